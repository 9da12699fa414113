//! Contract: what this process counts of tasks in a file, until it is kept there.
//!
//! Counted in memory, after the commit: a task costs two looks at one map. A thread that exists already (see
//! `scribe`) keeps what is new at most every 10 s, without a sync; nothing is written, and nobody wakes, while
//! nothing is counted. A process that is killed loses what it has not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use crate::counters::{Counts, LaneCounts, LaneNumber, MINUTE_MS, Ran, begin_of};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Finished, TaskRecord};
use crate::state::{Reason, State, due_of};
use crate::time::Timestamp;

/// What one queue and kind came to in one minute.
#[derive(Debug, Clone)]
pub(crate) struct News {
    pub(crate) queue: Arc<str>,
    pub(crate) kind: Arc<str>,
    /// When the minute begins.
    pub(crate) at: Timestamp,
    pub(crate) counts: Counts,
}

/// A task that has ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) queue: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) state: State,
    pub(crate) at: Timestamp,
}

impl End {
    /// None of one that has not ended.
    pub(crate) fn of(task: &TaskRecord) -> Option<Self> {
        let (queue, kind) = (task.queue.as_str().into(), task.kind.as_str().into());
        Some(Self { queue, kind, state: task.state, at: task.finished_at? })
    }
}

/// Called with the queue, the kind, the beginning, and the numbers of a minute or an hour.
pub(crate) type EachCount<'a> = &'a mut dyn FnMut(&str, &str, Timestamp, &Counts);

/// What an engine keeps of what is counted.
pub(crate) trait Counting: Send + Sync {
    /// What this process has counted and not kept.
    fn meter(&self) -> &Arc<Meter>;

    /// Adds news to what is kept, in one commit, and makes hours of a slice of what is old.
    fn keep_counts(&self, now: Timestamp, news: &[News]) -> Result<(), Error>;

    /// What is kept of minutes and hours that begin from `since` on and before `until`, in no order.
    fn each_count(
        &self,
        since: Timestamp,
        until: Timestamp,
        each: EachCount<'_>,
    ) -> Result<(), Error>;

    /// All that was ever kept, by queue and kind.
    fn totals(&self) -> Result<Vec<LaneCounts>, Error>;

    /// Those of these rows that have ended.
    #[cfg(feature = "sqlite")]
    fn ends(&self, rows: &[i64]) -> Result<Vec<End>, Error>;
}

/// Who keeps what is counted, later.
pub(crate) trait Keeper: Send + Sync {
    fn keep_later(&self);
}

/// What is counted; all clients of a file in this process share it.
pub(crate) struct Meter {
    book: Mutex<Book>,
    /// Held by whoever moves news from here into the file, and shared by those who read both.
    moving: RwLock<()>,
    keepers: Mutex<Vec<Weak<dyn Keeper>>>,
    step_ms: i64,
}

#[derive(Default)]
pub(crate) struct Book {
    lanes: Vec<Lane>,
    numbers: HashMap<Arc<str>, HashMap<Arc<str>, u32>>,
    /// The lane that was looked for last.
    last: u32,
    /// Something is new since it was last taken …
    new: bool,
    /// … and somebody was asked to keep it.
    asked: bool,
}

struct Lane {
    queue: Arc<str>,
    kind: Arc<str>,
    /// By minute; mostly one.
    news: Vec<(i64, Counts)>,
}

impl Meter {
    /// `step_ms`: how much earlier one point of priority counts.
    pub(crate) fn new(step_ms: i64) -> Arc<Self> {
        let (book, moving, keepers) = Default::default();
        Arc::new(Self { book, moving, keepers, step_ms })
    }

    /// One more who may be asked to keep what is counted.
    pub(crate) fn kept_by(&self, keeper: Weak<dyn Keeper>) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|keeper| keeper.strong_count() > 0);
        keepers.push(keeper);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something.
    pub(crate) fn count<R>(&self, body: impl FnOnce(&mut Book) -> R) -> R {
        let mut book = self.book();
        let answer = body(&mut book);
        let ask = book.new && !book.asked;
        book.asked |= ask;
        drop(book);
        if ask {
            self.ask();
        }
        answer
    }

    fn ask(&self) {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = keepers.iter().find_map(Weak::upgrade);
        drop(keepers);
        if let Some(keeper) = keeper {
            keeper.keep_later();
        }
    }

    /// A body begins now.
    pub(crate) fn begin(&self, task: &Claimed, now: Timestamp) -> LaneNumber {
        let waited = self.waited(task, now);
        self.count(|book| {
            let lane = book.lane(&task.queue, &task.kind);
            let counts = book.at(lane, now);
            counts.started += 1;
            if let Some(waited) = waited {
                counts.wait.note(waited);
            }
            lane
        })
    }

    /// How long it was ready; none where others kept it waiting, as it is not known until when.
    fn waited(&self, task: &Claimed, now: Timestamp) -> Option<Duration> {
        let held_up = task.extra.as_ref().is_some_and(|extra| extra.ties.may_wait());
        let due_at = due_of(task.rank, task.priority, self.step_ms);
        (!held_up).then(|| due_at.until(now))
    }

    /// A body that its own thread does not end.
    pub(crate) fn ran(&self, task: &Claimed, now: Timestamp) -> Ran {
        let lane = self.count(|book| book.lane(&task.queue, &task.kind));
        Ran { lane, took: task.started_at.until(now) }
    }

    /// Attempts have come to this.
    pub(crate) fn end(&self, finishes: &[Finish], answers: &[Result<Finished, Error>]) {
        if finishes.is_empty() {
            return;
        }
        self.count(|book| {
            for (finish, answer) in finishes.iter().zip(answers) {
                if let Ok(came_to) = answer {
                    book.end(finish, *came_to);
                }
            }
        });
    }

    /// These have ended without an attempt.
    pub(crate) fn ended(&self, ends: &[End]) {
        if ends.is_empty() {
            return;
        }
        self.count(|book| {
            for end in ends {
                let lane = book.lane(&end.queue, &end.kind);
                book.at(lane, end.at).ended(end.state);
            }
        });
    }

    /// Keeps what is new. After an error it is kept by the next, unless it may be kept already: it is lost
    /// before it is counted twice.
    pub(crate) fn keep(&self, engine: &dyn Counting, now: Timestamp) -> Result<(), Error> {
        let _alone = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        let news = self.book().take();
        if news.is_empty() {
            return Ok(());
        }
        let kept = Error::caught(|| engine.keep_counts(now, &news));
        // A panic, as what comes from reading, tells as little of the commit.
        let doubt = |error: &Error| matches!(error, Error::Unknown { .. } | Error::Storage { .. });
        if kept.as_ref().is_err_and(|error| !doubt(error)) {
            self.count(|book| news.iter().for_each(|one| book.put_back(one)));
        }
        kept
    }

    /// Until it is let go, nothing moves from here into the file.
    pub(crate) fn still(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not kept yet.
    pub(crate) fn news(&self) -> Vec<News> {
        self.book().lanes.iter().flat_map(Lane::told).collect()
    }
}

impl Lane {
    fn told(&self) -> impl Iterator<Item = News> {
        self.news.iter().map(|(at, counts)| News {
            queue: Arc::clone(&self.queue),
            kind: Arc::clone(&self.kind),
            at: Timestamp::clamped(*at),
            counts: counts.clone(),
        })
    }
}

impl Book {
    /// So many tasks of this queue and kind were stored.
    pub(crate) fn enqueued(&mut self, queue: &Arc<str>, kind: &Arc<str>, at: Timestamp, more: u64) {
        let lane = self.lane(queue, kind);
        self.at(lane, at).enqueued += more;
    }

    /// The process died that ran one.
    pub(crate) fn interrupted(&mut self, queue: &Arc<str>, kind: &Arc<str>, at: Timestamp) {
        let lane = self.lane(queue, kind);
        self.at(lane, at).interrupted += 1;
    }

    fn lane(&mut self, queue: &Arc<str>, kind: &Arc<str>) -> LaneNumber {
        let same = |lane: &Lane| lane.kind == *kind && lane.queue == *queue;
        if !self.lanes.get(self.last as usize).is_some_and(same) {
            let known = self.numbers.get(queue).and_then(|kinds| kinds.get(kind)).copied();
            self.last = known.unwrap_or_else(|| self.add(queue, kind));
        }
        LaneNumber(self.last)
    }

    fn add(&mut self, queue: &Arc<str>, kind: &Arc<str>) -> u32 {
        // An engine has a thousand at most.
        let number = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        let (queue, kind) = (Arc::clone(queue), Arc::clone(kind));
        let kinds = self.numbers.entry(Arc::clone(&queue)).or_default();
        kinds.insert(Arc::clone(&kind), number);
        self.lanes.push(Lane { queue, kind, news: Vec::new() });
        number
    }

    /// The numbers of a lane in the minute of this moment.
    fn at(&mut self, lane: LaneNumber, at: Timestamp) -> &mut Counts {
        self.new = true;
        let minute = begin_of(MINUTE_MS, at);
        let news = &mut self.lanes[lane.0 as usize].news;
        let place = news.iter().rposition(|(begins, _)| *begins == minute).unwrap_or(news.len());
        if place == news.len() {
            news.push((minute, Counts::default()));
        }
        &mut news[place].1
    }

    fn end(&mut self, finish: &Finish, came_to: Finished) {
        let ended = came_to.state.is_final();
        let lane = match (&finish.ran, &finish.about) {
            (Some(ran), _) => ran.lane,
            (None, Some(about)) if ended => self.lane(&about.queue, &about.kind),
            _ => return,
        };
        let counts = self.at(lane, finish.finished_at);
        if let Some(ran) = finish.ran {
            *counts.result(&finish.outcome) += 1;
            counts.run.note(ran.took);
        }
        if ended {
            counts.ended(came_to.state);
        }
    }

    fn take(&mut self) -> Vec<News> {
        (self.new, self.asked) = (false, false);
        let news: Vec<News> = self.lanes.iter().flat_map(Lane::told).collect();
        self.lanes.iter_mut().for_each(|lane| lane.news.clear());
        news
    }

    fn put_back(&mut self, news: &News) {
        let lane = self.lane(&news.queue, &news.kind);
        self.at(lane, news.at).add(&news.counts);
    }
}

impl Counts {
    fn ended(&mut self, state: State) {
        match state {
            State::Succeeded => self.succeeded += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            State::Skipped => self.skipped += 1,
            State::Scheduled | State::Waiting | State::Ready | State::Running => {}
        }
    }

    /// Where an attempt that came to this is counted.
    fn result(&mut self, outcome: &Outcome) -> &mut u64 {
        match outcome {
            Outcome::Succeeded { .. } | Outcome::Snoozed { .. } | Outcome::RateLimited { .. } => {
                &mut self.ok
            }
            Outcome::Cancelled { .. }
            | Outcome::GivenBack
            | Outcome::Crashed { .. }
            | Outcome::Failed { reason: Reason::Lost, .. } => &mut self.interrupted,
            Outcome::Retry { reason: Reason::Timeout, .. }
            | Outcome::Failed { reason: Reason::Timeout, .. } => &mut self.timeouts,
            Outcome::Retry { report, .. } | Outcome::Failed { report, .. }
                if report.kind == "panic" =>
            {
                &mut self.panics
            }
            Outcome::Retry { .. } | Outcome::Failed { .. } => &mut self.errors,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backends::spy::Spy;

    #[derive(Default)]
    struct Asked(AtomicUsize);

    impl Keeper for Asked {
        fn keep_later(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Bench {
        spy: Spy,
        asked: Arc<Asked>,
    }

    impl Bench {
        fn new() -> Self {
            let (spy, asked) = (Spy::default(), Arc::new(Asked::default()));
            spy.meter().kept_by(Arc::downgrade(&asked) as Weak<dyn Keeper>);
            Self { spy, asked }
        }

        fn enqueue(&self, tasks: u64) {
            let (queue, kind) = ("q".into(), "k".into());
            self.spy.meter().count(|book| book.enqueued(&queue, &kind, Timestamp::MIN, tasks));
        }

        fn keep(&self) -> Result<(), Error> {
            self.spy.meter().keep(&self.spy, Timestamp::MIN)
        }

        fn kept(&self) -> u64 {
            self.spy.totals().expect("it answers").iter().map(|lane| lane.counts.enqueued).sum()
        }

        fn asked(&self) -> usize {
            self.asked.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn one_is_asked_once_however_much_is_counted_until_it_is_kept() {
        let bench = Bench::new();
        assert_eq!(bench.asked(), 0);
        (1..4).for_each(|tasks| bench.enqueue(tasks));
        assert_eq!((bench.asked(), bench.kept()), (1, 0));
        bench.keep().expect("memory is never busy");
        assert_eq!((bench.asked(), bench.kept()), (1, 6));
        bench.enqueue(1);
        assert_eq!(bench.asked(), 2);
    }

    #[test]
    fn nothing_is_written_where_nothing_is_new() {
        let bench = Bench::new();
        bench.keep().expect("memory is never busy");
        bench.enqueue(1);
        bench.keep().expect("memory is never busy");
        bench.keep().expect("memory is never busy");
        assert_eq!(bench.spy.keeps.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_is_refused_is_kept_with_what_comes_next() {
        let bench = Bench::new();
        bench.enqueue(2);
        bench.spy.refuses_counts.store(true, Ordering::SeqCst);
        bench.keep().expect_err("as it was told");
        assert_eq!((bench.asked(), bench.kept()), (2, 0), "he is asked again");
        bench.enqueue(3);
        bench.spy.refuses_counts.store(false, Ordering::SeqCst);
        bench.keep().expect("memory is never busy");
        assert_eq!((bench.asked(), bench.kept()), (2, 5));
    }

    #[test]
    fn what_may_be_kept_already_is_not_counted_twice() {
        let bench = Bench::new();
        bench.enqueue(2);
        // A panic leaves open whether it was committed.
        bench.spy.panics.store(1, Ordering::SeqCst);
        bench.keep().expect_err("as it was told");
        bench.enqueue(3);
        bench.keep().expect("memory is never busy");
        assert_eq!(bench.kept(), 3);
    }

    #[test]
    fn who_is_gone_is_not_asked() {
        let bench = Bench::new();
        let next = Arc::new(Asked::default());
        bench.spy.meter().kept_by(Arc::downgrade(&next) as Weak<dyn Keeper>);
        let Bench { spy, asked } = bench;
        drop(asked);
        let bench = Bench { spy, asked: next };
        bench.enqueue(1);
        assert_eq!(bench.asked(), 1);
    }

    #[test]
    fn what_an_attempt_came_to_is_told_by_how_it_ended() {
        let report = |kind: &str| Box::new(crate::outcome::Report::new(kind, "x"));
        let retry = |reason, kind| Outcome::Retry { reason, report: report(kind), after: None };
        let failed = |reason, kind| Outcome::Failed { reason, report: report(kind) };
        let mut counts = Counts::default();
        for outcome in [
            Outcome::Succeeded { result: "1".to_owned() },
            Outcome::Snoozed { after: Duration::ZERO },
            Outcome::RateLimited { after: Duration::ZERO },
            retry(Reason::Error, "io"),
            failed(Reason::GaveUp, "io"),
            retry(Reason::Error, "panic"),
            retry(Reason::Timeout, "timeout"),
            Outcome::Cancelled { report: None },
            Outcome::GivenBack,
            Outcome::Crashed { report: report("crash") },
            failed(Reason::Lost, "shutdown"),
        ] {
            *counts.result(&outcome) += 1;
        }
        let Counts { ok, errors, timeouts, panics, interrupted, .. } = counts;
        assert_eq!((ok, errors, timeouts, panics, interrupted), (3, 2, 1, 1, 4));
    }
}
