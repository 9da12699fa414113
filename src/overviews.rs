//! Watch: what operators ask of all tasks: how deep the queues are, what fails, and lists that cost little.

use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::overview::{Browsed, Capped, FAILURES_MAX, Failed, Failures, Order, Overview, Place};
use crate::rule::Scope;
use crate::state::State;

impl Client {
    /// How deep each queue is, how old its oldest ready task is, and how large the file has grown: some ten
    /// thousand looks into indexes, however many tasks there are. Of a state of which there are very many,
    /// the numbers are told as capped.
    ///
    /// ```
    /// # use litework::{Client, Mode, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(send).open()?;
    /// tasks.enqueue(send::with("Ada"))?;
    /// let overview = tasks.overview()?;
    /// for queue in &overview.queues {
    ///     let age = queue.oldest_ready.map(|due| due.until(overview.at));
    ///     println!("{}: {} ready, the oldest for {age:?}", queue.queue, queue.depth(litework::State::Ready));
    /// }
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where it cannot be read.
    pub fn overview(&self) -> Result<Overview, Error> {
        let mut overview = self.hub.backend.overview()?;
        overview.at = self.hub.clock.now();
        for paused in self.hub.backend.paused()? {
            let Scope::Queue(name) = &paused.scope else { continue };
            if let Some(queue) = overview.queues.iter_mut().find(|queue| queue.queue == *name) {
                queue.paused_at = Some(paused.since);
            }
        }
        Ok(overview)
    }

    /// The newest 10,000 failed tasks, grouped by kind, error and text, where numbers and ids in the text make no
    /// difference.
    ///
    /// ```
    /// # use litework::{Client, Failure, Filter, Result, task};
    /// #[task(attempts = 1)]
    /// fn fetch(page: u32) -> Result<()> {
    ///     Err(Failure::from(format!("page {page} is gone")))
    /// }
    ///
    /// let tasks = Client::in_memory().register(fetch).open()?;
    /// tasks.enqueue_many((1..=3).map(fetch::with))?;
    /// let gone = &tasks.failures()?.groups[0];
    /// assert_eq!((gone.text.as_str(), gone.count), ("page # is gone", 3));
    /// let all = gone.ids.iter().fold(Filter::new(), |filter, id| filter.id(*id));
    /// assert_eq!(tasks.bulk(&all).retry()?.done, 3);
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn failures(&self) -> Result<Failures, Error> {
        self.hub.backend.failures()
    }

    /// The same of those that pass a filter: the newest 10,000 of them.
    ///
    /// ```
    /// # use litework::{Client, Failure, Filter, Result, task};
    /// # #[task(attempts = 1)]
    /// # fn fetch(page: u32) -> Result<()> {
    /// #     Err(Failure::from(format!("page {page} is gone")))
    /// # }
    /// let tasks = Client::in_memory().register(fetch).open()?;
    /// tasks.enqueue(fetch::with(1).owner("ada"))?;
    /// tasks.enqueue(fetch::with(2).owner("grace"))?;
    /// let of_ada = tasks.failures_among(&Filter::new().owner("ada"))?;
    /// assert_eq!((of_ada.groups.len(), of_ada.groups[0].count), (1, 1));
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// `bad_state` for a filter of other states than `failed`; those of [`Client::browse`].
    pub fn failures_among(&self, filter: &Filter) -> Result<Failures, Error> {
        if *filter == Filter::new() {
            return self.failures();
        }
        if let Some(state) = filter.states.iter().find(|state| **state != State::Failed) {
            let allowed = "failed, or none; only failed tasks are grouped";
            return Err(Error::invalid("bad_state", "state", state, allowed));
        }
        let filter = Filter { states: vec![State::Failed], ..filter.clone() };
        let (mut failed, mut from) = (Vec::new(), None);
        while failed.len() <= FAILURES_MAX {
            let page = self.browse(&filter, from, 1_000)?;
            failed.extend(page.tasks.into_iter().filter_map(Failed::of));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        failed.truncate(FAILURES_MAX + 1);
        Ok(Failures::of(failed))
    }

    /// How many tasks pass the filter, counted up to `most`. Where it can be seen in an index, that costs no more
    /// than counting so many; other filters may look at all tasks, as [`Client::count`] does.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(double).open()?;
    /// tasks.enqueue_many((0..25).map(double::with))?;
    /// assert_eq!(tasks.count_up_to(&Filter::new(), 10)?.to_string(), "10+");
    /// assert_eq!(tasks.count_up_to(&Filter::new(), 100)?.to_string(), "25");
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::count`].
    pub fn count_up_to(&self, filter: &Filter, most: u64) -> Result<Capped, Error> {
        filter.checked()?;
        let found = self.hub.backend.count(filter, most.saturating_add(1))?;
        Ok(Capped::of(found, most))
    }

    /// The same as far as a look at some ten thousand tasks tells, whatever the filter: where it says that there may be
    /// more, it has not looked at all.
    #[cfg(feature = "web")]
    pub(crate) fn count_in_a_look(&self, filter: &Filter, most: u64) -> Result<Capped, Error> {
        filter.checked()?;
        self.hub.backend.count_in_a_look(filter, most)
    }

    /// Tasks that pass the filter, 1 to 1,000 a page, for a list that people look at: a page costs little
    /// however many tasks there are. Where the filter names final states only, those that have ended last come
    /// first, else those that were stored last. Unlike in [`Client::list`], a look ends once it has passed over some
    /// ten thousand tasks that are not meant: then the page is not full, says so ([`Browsed::stopped`]), and the
    /// next goes on from there.
    ///
    /// A task that ends while one turns pages of ended tasks stands before the first.
    ///
    /// ```
    /// # use litework::{Client, Filter, State, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().register(double).open()?;
    /// tasks.enqueue_many((0..25).map(double::with))?;
    /// let done = Filter::new().kind("double").state(State::Succeeded);
    /// let first = tasks.browse(&done, None, 20)?;
    /// let second = tasks.browse(&done, first.next, 20)?;
    /// assert_eq!((first.tasks.len(), second.tasks.len(), second.next), (20, 5, None));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `out_of_range` for the page size and for over 1,000 ids; `bad_cursor` for a place that a page of another
    /// order has given; `storage`.
    pub fn browse(
        &self,
        filter: &Filter,
        from: Option<Place>,
        size: usize,
    ) -> Result<Browsed, Error> {
        filter.checked()?;
        if !(1..=1_000).contains(&size) {
            return Err(Error::invalid("out_of_range", "page size", size, "1 to 1000"));
        }
        let order = Order::of(filter);
        if let Some(place) = from {
            place.check(order)?;
        }
        self.hub.backend.browse(filter, order, from.map(|place| place.0), size)
    }
}
