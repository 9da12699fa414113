//! Every step of the journey: what people do to all tasks that pass a filter, or that belong to somebody.

use std::fmt;
use std::ops::ControlFlow;

use crate::audit::{self, of_filter};
use crate::backend::Over;
use crate::client::Client;
use crate::deed::{Deed, Tally};
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::operate::{Edit, moment_of};
use crate::record::{Cursor, NewTask};
use crate::state::State;
use crate::task::check_owner;
use crate::time::{AsMoment, Timestamp};

/// Copies of one slice at most, and bytes of their arguments about: what is prepared before the lock is taken.
const COPIES_MAX: usize = 100;
const COPIES_BYTES: usize = 4 * 1024 * 1024;

/// Many tasks.
impl Client {
    /// All tasks that pass a filter: count them, then do something to them.
    ///
    /// It is done in slices of about 20 ms, each a commit of its own, so that others go on meanwhile; an
    /// error ends it, and what was done until then stays done. A task is judged by what it is when its
    /// slice comes: one that no longer passes the filter is left alone. Tasks that are enqueued after
    /// it has begun are not touched.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, State, task};
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(double).open()?;
    /// tasks.enqueue_many((0..25).map(double::with))?;
    /// let filter = Filter::new().kind("double").state(State::Ready);
    /// let count = tasks.bulk(&filter).count()?;
    /// // … ask somebody whether that is what was meant …
    /// let cancelled = tasks.bulk(&filter).expecting(count).cancel()?;
    /// assert_eq!((count, cancelled.done), (25, 25));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn bulk(&self, filter: &Filter) -> Bulk<'_> {
        Bulk { client: self, filter: filter.clone(), expected: None, tell: None }
    }
}

/// Tasks that pass a filter; see [`Client::bulk`].
#[must_use = "nothing is done yet"]
pub struct Bulk<'a> {
    client: &'a Client,
    filter: Filter,
    expected: Option<u64>,
    tell: Option<Tell<'a>>,
}

/// Is told what was done until now, and may end it.
type Tell<'a> = Box<dyn FnMut(&Bulked) -> ControlFlow<()> + 'a>;

impl fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("filter", &self.filter)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// What was done to many tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bulked {
    /// To how many.
    pub done: u64,
    /// How many run and were asked to stop.
    pub asked: u64,
    /// How many passed the filter and were in a state in which it cannot be done, or damaged; of copies, those
    /// too that are refused as `linked`.
    pub left: u64,
    /// Whether [`Bulk::on_slice`] ended it before it was through.
    pub stopped: bool,
}

impl Bulked {
    fn add(&mut self, slice: &Tally) {
        self.done += slice.done;
        self.asked += slice.asked;
        self.left += slice.left;
    }
}

impl<'a> Bulk<'a> {
    /// How many there are now.
    ///
    /// # Errors
    /// `out_of_range` for too many ids; `storage` where they cannot be read.
    pub fn count(&self) -> Result<u64, Error> {
        self.filter.checked()?;
        self.client.hub.backend.count(&self.filter, u64::MAX)
    }

    /// Does nothing if there are clearly more than were counted before: over a tenth more, and over
    /// ten more. Then the error is `changed`.
    pub fn expecting(mut self, count: u64) -> Self {
        self.expected = Some(count);
        self
    }

    /// Is called after each slice with what was done until then: to show how far it has come, or to end it, by
    /// `ControlFlow::Break`. What was done stays done.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, task};
    /// # use std::ops::ControlFlow;
    /// #[task]
    /// fn double(n: u32) -> u32 {
    ///     2 * n
    /// }
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(double).open()?;
    /// tasks.enqueue_many((0..2_500).map(double::with))?;
    /// let all = tasks.bulk(&Filter::new());
    /// let cancelled = all.on_slice(|_so_far| ControlFlow::Break(())).cancel()?;
    /// assert!(cancelled.stopped && cancelled.done < 2_500);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    pub fn on_slice(mut self, tell: impl FnMut(&Bulked) -> ControlFlow<()> + 'a) -> Self {
        self.tell = Some(Box::new(tell));
        self
    }

    /// Runs those that have ended again, as [`Client::retry`] does, with what has ended only because of
    /// them, which is not counted. Those that succeeded only where the filter names
    /// [`State::Succeeded`].
    ///
    /// # Errors
    /// `changed`; those of [`Bulk::count`]; `closed`, `reentrant`; `not_stored` and
    /// `unknown_outcome` from the engine.
    pub fn retry(mut self) -> Result<Bulked, Error> {
        if self.filter.states.is_empty() {
            self.filter.states = vec![State::Failed, State::Cancelled, State::Skipped];
        }
        self.run(Deed::Retry)
    }

    /// Cancels those that have not started, and asks those that run to stop.
    ///
    /// # Errors
    /// Those of [`Bulk::retry`].
    pub fn cancel(self) -> Result<Bulked, Error> {
        self.run(Deed::Cancel)
    }

    /// Forgets those that do not run, as [`Client::delete`] does.
    ///
    /// # Errors
    /// Those of [`Bulk::retry`].
    pub fn delete(self) -> Result<Bulked, Error> {
        self.run(Deed::Delete)
    }

    /// Makes those that have not started due at this moment, as [`Client::reschedule`] does.
    ///
    /// # Errors
    /// `time_out_of_range`; `unsupported` for a moment yet to come, where the client runs nothing later;
    /// those of [`Bulk::retry`].
    #[expect(clippy::needless_pass_by_value, reason = "a moment is a small value")]
    pub fn reschedule(self, moment: impl AsMoment) -> Result<Bulked, Error> {
        let at = moment_of(&moment)?;
        self.client.check_may_wait_till(at, || "what passes the filter".to_owned())?;
        self.run(Deed::Reschedule(at))
    }

    /// Stores a changed copy of each, as [`Client::edit_as_copy`] does. The copy takes the place of one that has
    /// not started; one that runs or has ended stays as it is, and is copied only where the filter names its
    /// state. Copies are not copied again. What is linked to others, and could not be copied alone (`linked`),
    /// is counted as `left`.
    ///
    /// The change is made outside of all locks, from what was read just before.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, State, task};
    /// #[task]
    /// fn resize(path: &str, width: u32) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(resize).open()?;
    /// tasks.enqueue_many(["cat", "dog"].map(|path| resize::with(path, 64_000)))?;
    /// let wrong = Filter::new().kind("resize");
    /// let count = tasks.bulk(&wrong).count()?;
    /// let copied = tasks.bulk(&wrong).expecting(count).edit_as_copy(|edit| edit.argument("width", 640))?;
    /// assert_eq!((copied.done, copied.left), (2, 0));
    /// let copies = tasks.list(&wrong.state(State::Ready), None, 10)?.tasks;
    /// assert_eq!(copies[0].arguments, r#"{"path":"dog","width":640}"#);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::enqueue`] for what was changed; those of [`Bulk::retry`].
    pub fn edit_as_copy(mut self, mut change: impl FnMut(Edit) -> Edit) -> Result<Bulked, Error> {
        if self.filter.states.is_empty() {
            self.filter.states = vec![State::Scheduled, State::Ready, State::Waiting];
        }
        let tell = self.tell.take();
        let by = self.client.entry("edit_as_copy", || of_filter(&self.filter));
        let copy = |now: Timestamp, rows: &[i64]| {
            let copies = self.copies(now, rows, &mut change)?;
            let replace = || self.client.hub.backend.replace_each(now, &self.filter, &copies);
            audit::during(by.as_ref(), replace)
        };
        self.summed(copy, tell)
    }

    /// Copies of the first of these rows, as many as go into a slice. None stands for one that is gone or
    /// damaged.
    fn copies(
        &self,
        now: Timestamp,
        rows: &[i64],
        mut change: impl FnMut(Edit) -> Edit,
    ) -> Result<Vec<(i64, Option<NewTask>)>, Error> {
        let mut copies = Vec::new();
        let mut bytes = 0;
        for row in rows.iter().take(COPIES_MAX) {
            let found = self.client.hub.backend.by_row(*row);
            let copy = found.and_then(|task| {
                let copy = task.map(|task| self.client.copy_of(task.id, now, &mut change));
                copy.transpose()
            });
            let copy = match copy {
                Err(Error::BadRow { .. } | Error::NotFound { .. }) => None,
                copy => copy?,
            };
            bytes += copy.as_ref().map_or(0, |copy| copy.arguments.len());
            copies.push((*row, copy));
            if bytes >= COPIES_BYTES {
                break;
            }
        }
        Ok(copies)
    }

    fn run(mut self, deed: Deed) -> Result<Bulked, Error> {
        let tell = self.tell.take();
        self.summed(self.doing(deed), tell)
    }

    /// What all slices came to, of which somebody may be told.
    fn summed(
        &self,
        act: impl FnMut(Timestamp, &[i64]) -> Result<(Tally, Over), Error>,
        mut tell: Option<Tell<'a>>,
    ) -> Result<Bulked, Error> {
        let mut total = Bulked::default();
        self.each_slice(act, |slice| {
            total.add(slice);
            let goes_on = tell.as_mut().map_or(ControlFlow::Continue(()), |tell| tell(&total));
            total.stopped = goes_on.is_break();
            goes_on
        })?;
        Ok(total)
    }

    /// Does this to a slice.
    fn doing(&self, deed: Deed) -> impl Fn(Timestamp, &[i64]) -> Result<(Tally, Over), Error> {
        let by = self.client.entry(deed.word(), || deed.what(of_filter(&self.filter)));
        move |now, rows| {
            let act = || self.client.hub.backend.act_on(now, deed, &self.filter, rows);
            audit::during(by.as_ref(), act)
        }
    }

    /// `act` does something to the first of the rows, to as many as fit into one commit. Gives the newest row
    /// that was there when it began.
    fn each_slice(
        &self,
        mut act: impl FnMut(Timestamp, &[i64]) -> Result<(Tally, Over), Error>,
        mut came_to: impl FnMut(&Tally) -> ControlFlow<()>,
    ) -> Result<i64, Error> {
        self.client.check_open()?;
        self.filter.checked()?;
        self.check_expected()?;
        let hub = &self.client.hub;
        let newest = hub.backend.list(&Filter::new(), None, 1)?;
        let tasks = newest.tasks.iter().map(|task| task.id.row());
        // A row that cannot be read may be the newest.
        let last = tasks.chain(newest.bad.iter().map(|bad| bad.row)).max().unwrap_or(0);
        let mut after = 0;
        loop {
            let page = hub.backend.rows(&self.filter, after, last)?;
            let Some(end) = page.last() else { return Ok(last) };
            after = *end;
            let mut rows = page.as_slice();
            while !rows.is_empty() {
                self.client.check_open()?;
                let (slice, over) = act(hub.clock.now(), rows)?;
                hub.tell(&over);
                rows = &rows[slice.seen..];
                let goes_on = came_to(&slice);
                self.client.run_in_caller(&slice.ready);
                if goes_on.is_break() {
                    return Ok(last);
                }
            }
        }
    }

    fn check_expected(&self) -> Result<(), Error> {
        let Some(expected) = self.expected else { return Ok(()) };
        let most = expected.saturating_add((expected / 10).max(10));
        let found = self.client.hub.backend.count(&self.filter, most.saturating_add(1))?;
        if found <= most {
            return Ok(());
        }
        let allowed =
            format!("at most {most}, as {expected} were counted before; count them again");
        Err(Error::invalid("changed", "number of tasks that pass the filter", found, allowed))
    }
}

/// What [`Client::erase`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erased {
    /// How many tasks are gone.
    pub tasks: u64,
    /// Tasks that run and were asked to stop. Erase again when they have ended.
    pub running: Vec<TaskId>,
    /// How many others of the owner's tasks are still there: the batch of a flow of which members run, and
    /// tasks that have ended since they were asked to stop, which a later call erases; and rows that are so
    /// damaged that they are not found.
    pub left: u64,
    /// Whether the log of the file was emptied too. It was not where somebody read from the file all
    /// the time, or where something still runs; older copies may be left in it until it is begun anew.
    pub log_emptied: bool,
}

/// All tasks of one owner.
impl Client {
    /// Erases all that is kept of an owner: tasks with their arguments, results, errors and steps. What
    /// runs is asked to stop, and is erased by a later call; the answer says what that is, and how many are
    /// left besides. Tasks that the owner's tasks have enqueued for others, or for nobody, stay, and so do
    /// those that come meanwhile.
    ///
    /// In a file the bytes of deleted rows are overwritten with zeros (`secure_delete`), and the log is
    /// emptied. Copies that an earlier change left in the unused part of a page that is still in use
    /// are overwritten only with that page, or by `VACUUM`; copies of the file are not reached at all. Artifacts in a
    /// folder beside the file ([`Builder::artifacts_beside`](crate::Builder::artifacts_beside)) are removed, and not overwritten.
    ///
    /// ```
    /// # use litework::{Client, Filter, Mode, task};
    /// #[task]
    /// fn export(format: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(export).open()?;
    /// tasks.enqueue(export::with("csv").owner("user-7"))?;
    /// tasks.enqueue(export::with("pdf").owner("user-8"))?;
    /// let erased = tasks.erase("user-7")?;
    /// assert_eq!((erased.tasks, erased.running.len()), (1, 0));
    /// assert_eq!(tasks.count(&Filter::new())?, 1);
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// `bad_owner`; `closed`, `reentrant`; `storage`, `not_stored` and `unknown_outcome` from the
    /// engine: what was erased until then stays so.
    pub fn erase(&self, owner: &str) -> Result<Erased, Error> {
        let filter = Filter::new().owner(check_owner(owner)?);
        let mut tasks = 0;
        // Whatever else is kept of an owner is erased here too.
        let bulk = self.bulk(&filter);
        let last = bulk.each_slice(bulk.doing(Deed::Erase), |slice| {
            tasks += slice.done;
            ControlFlow::Continue(())
        })?;
        let (mut running, mut left) = (Vec::new(), 0);
        // What was enqueued meanwhile is none of it.
        let mut from = Some(Cursor(last.saturating_add(1)));
        loop {
            let page = self.list(&filter, from, 1_000)?;
            left += page.bad.len() as u64;
            for task in page.tasks {
                if task.state == State::Running {
                    running.push(task.id);
                } else {
                    left += 1;
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        // What is let go is seen by nobody, and is removed in slices.
        let now = self.hub.clock.now();
        while self.hub.backend.sweep_artifacts(now)? {}
        let log_emptied = running.is_empty() && self.hub.backend.wipe()?;
        Ok(Erased { tasks, running, left, log_emptied })
    }
}
