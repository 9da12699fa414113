//! Finish: removing what has ended long ago, for all who do it: `Client::prune`, the keeper of a pool,
//! and `run_pending`.
//!
//! By itself a pass begins when something is old enough, or has ended since the last one, and no
//! sooner than 5 minutes, nor a hundred times as long as the last one took, after that. It reads;
//! nothing is written where nothing is to be removed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::error::Error;
use crate::retention::{Prune, Pruned, Retention, Step, Walk};
use crate::steady::Steady;
use crate::time::{Clock, Moment, Timestamp};

/// The first pass of a program begins so long after it has opened the file.
const FIRST: Duration = Duration::from_secs(5);
/// Passes are at least so far apart.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// A pass takes at most the hundredth part of the time.
const SHARE: u32 = 100;
/// After a slice a pass rests for so many times as long as that took: always, where it goes by itself,
/// and where others write.
const REST: u32 = 2;
/// And at least for this long.
const REST_MIN: Duration = Duration::from_millis(1);

/// What the builder says of it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) retention: Retention,
    /// Whether anything is removed without being asked for.
    pub(crate) automatic: bool,
    /// Whether space is given back to the disk.
    pub(crate) gives_space: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { retention: Retention::default(), automatic: true, gives_space: false }
    }
}

/// Removes what is old.
pub(crate) struct Pruner {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    retention: Arc<Retention>,
    /// What the definitions of kinds say, by name and alias.
    kinds: Arc<HashMap<String, Duration>>,
    automatic: bool,
    gives_space: bool,
    steady: Steady,
    chore: Mutex<Chore>,
}

/// Where the pass stands that goes by itself.
struct Chore {
    walk: Option<Walk>,
    /// How much of it was work.
    took: Duration,
    /// By the even clock: no pass begins before.
    not_before: Duration,
    /// Whether something may have ended since the last pass.
    ended: bool,
    /// When the next that was kept is old enough.
    next: Option<Timestamp>,
    /// No pass has gone by itself yet: it also looks for damage.
    first: bool,
}

impl Pruner {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        plan: Plan,
        kinds: HashMap<String, Duration>,
    ) -> Self {
        let now = Moment::of(&*clock);
        Self {
            backend,
            clock,
            automatic: plan.automatic && !plan.retention.is_forever(),
            gives_space: plan.gives_space,
            retention: Arc::new(plan.retention),
            kinds: Arc::new(kinds),
            steady: Steady::new(now),
            chore: Mutex::new(Chore {
                walk: None,
                took: Duration::ZERO,
                not_before: now.even + FIRST,
                ended: true,
                next: None,
                first: true,
            }),
        }
    }

    fn walk(&self, now: Timestamp, prune: Prune) -> Walk {
        let mut walk = Walk::new(now, prune, &self.retention, &self.kinds);
        walk.gives_space = self.gives_space;
        walk
    }

    /// The whole of it, slice by slice, while others get their turn between two slices.
    pub(crate) fn prune(&self, prune: Prune) -> Result<Pruned, Error> {
        if let Some(retention) = &prune.retention {
            retention.check()?;
        }
        let now = Moment::of(&*self.clock);
        if prune.confirmed {
            self.steady.accept(now);
        } else if !prune.dry_run {
            let newest = || self.backend.newest_moment();
            self.steady.look(now, newest).map_err(|(error, _first)| error)?;
        }
        let mut walk = self.walk(now.wall, prune);
        while !walk.is_done() {
            let began = Instant::now();
            self.backend.prune(&mut walk)?;
            if walk.busy {
                // An early end of the pause does no harm.
                std::thread::park_timeout(began.elapsed() * REST);
            }
        }
        Ok(walk.pruned)
    }

    /// Does the next slice, if one is due; `ended`: something has ended since it was last asked.
    /// Returns after which pause it wants to be asked again, while a pass goes on.
    pub(crate) fn tick(&self, ended: bool) -> Option<Duration> {
        self.slice(ended, false)
    }

    /// Does slices for about so long, if they are due, and does not wait for the first of them.
    pub(crate) fn work_for(&self, span: Duration) {
        let began = Instant::now();
        while self.slice(true, true).is_some() && began.elapsed() < span {}
    }

    fn slice(&self, ended: bool, at_once: bool) -> Option<Duration> {
        if !self.automatic {
            return None;
        }
        let now = Moment::of(&*self.clock);
        self.steady.tick(now);
        let mut chore = match self.chore.try_lock() {
            Ok(chore) => chore,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return None,
        };
        chore.ended |= ended;
        if chore.walk.is_none() {
            let due = chore.is_due(now) || at_once && chore.first;
            if !due || !self.is_steady(now) {
                return None;
            }
            let mut walk = self.walk(now.wall, Prune::new());
            if std::mem::take(&mut chore.first) {
                walk.step = Step::Inspect { after: i64::MIN };
            }
            chore.walk = Some(walk);
            (chore.took, chore.ended) = (Duration::ZERO, false);
        }
        let began = Instant::now();
        let answer = chore.walk.as_mut().map_or(Ok(()), |walk| self.backend.prune(walk));
        let took = began.elapsed();
        chore.took += took;
        if let Err(error) = answer {
            tracing::warn!(%error, "what ended long ago could not be removed; trying again later");
            chore.ended = true;
            chore.end(now);
            return None;
        }
        if chore.walk.as_ref().is_some_and(|walk| !walk.is_done()) {
            return Some((took * REST).max(REST_MIN));
        }
        chore.end(now);
        None
    }

    /// The clock is looked at again before each pass that goes by itself; a jump is said once.
    fn is_steady(&self, now: Moment) -> bool {
        match self.steady.look(now, || self.backend.newest_moment()) {
            Ok(()) => true,
            Err((error, first)) => {
                if first {
                    tracing::warn!(%error, "nothing is removed by itself for now");
                }
                false
            }
        }
    }
}

impl Chore {
    fn is_due(&self, now: Moment) -> bool {
        now.even >= self.not_before
            && (self.ended || self.next.is_some_and(|next| next <= now.wall))
    }

    fn end(&mut self, now: Moment) {
        if let Some(walk) = self.walk.take() {
            self.next = walk.next();
            if walk.pruned.total() > 0 {
                tracing::debug!(tasks = walk.pruned.total(), "removed tasks that ended long ago");
            }
        }
        self.not_before = now.even + EVERY.max(self.took.saturating_mul(SHARE));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;
    use crate::backends::spy::Spy;
    use crate::filter::Filter;
    use crate::id::TaskId;
    use crate::outcome::Outcome;
    use crate::record::{Finish, Lease, NewTask};
    use crate::retention::Keep;

    const SECOND: u64 = 1_000;
    const HOUR: u64 = 3_600 * SECOND;
    const BEGAN: i64 = 1_800_000_000_000;

    #[derive(Default)]
    struct Hands {
        wall: AtomicI64,
        even: AtomicU64,
    }

    impl Hands {
        fn pass(&self, ms: u64) {
            self.wall.fetch_add(ms.cast_signed(), Ordering::SeqCst);
            self.even.fetch_add(ms, Ordering::SeqCst);
        }

        fn jump(&self, ms: i64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
        }
    }

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(BEGAN + self.wall.load(Ordering::SeqCst))
        }

        fn even(&self) -> Duration {
            Duration::from_millis(self.even.load(Ordering::SeqCst))
        }
    }

    struct Bench {
        spy: Arc<Spy>,
        clock: Arc<Hands>,
        pruner: Pruner,
    }

    impl Bench {
        fn new(plan: Plan) -> Self {
            let (spy, clock) = (Arc::new(Spy::default()), Arc::new(Hands::default()));
            let engine: Arc<dyn Backend> = Arc::clone(&spy) as _;
            let pruner = Pruner::new(engine, Arc::clone(&clock) as _, plan, HashMap::new());
            Self { spy, clock, pruner }
        }

        /// So many tasks that have just ended, and one that stays as the newest.
        fn end(&self, count: usize) {
            let now = self.clock.now();
            let owner = self.spy.join(now, &crate::record::Member::default()).expect("an owner");
            let tasks = vec![NewTask::plain("q", "k"); count + 1];
            let offer: Arc<dyn crate::backend::Offer> = Arc::new(Room(owner));
            let mut stored = self.spy.enqueue(now, tasks, Some(offer)).expect("stored");
            stored.pop();
            let ends = stored.into_iter().map(|stored| self.success(stored.id, owner));
            let ends: Vec<Finish> = ends.collect();
            let done = self.spy.exchange(now, &ends, None).expect("it answers");
            assert!(done.finished.iter().all(Result::is_ok));
        }

        fn success(&self, id: TaskId, owner: i64) -> Finish {
            let lease = Lease { row: id.row(), attempt: 1, owner };
            let outcome = Outcome::Succeeded { result: "1".to_owned() };
            Finish::plain(id, lease, self.clock.now(), self.clock.now(), outcome)
        }

        fn count(&self) -> u64 {
            self.spy.count(&Filter::new(), u64::MAX).expect("it answers")
        }

        fn slices(&self) -> usize {
            self.spy.prunes.load(Ordering::SeqCst)
        }

        /// Ticks until the pass, if one begins, has ended.
        fn pass(&self, ended: bool) -> usize {
            let before = self.slices();
            let mut ended = ended;
            while self.pruner.tick(ended).is_some() {
                ended = false;
            }
            self.slices() - before
        }
    }

    struct Room(i64);

    impl crate::backend::Offer for Room {
        fn owner(&self) -> i64 {
            self.0
        }
        fn view(&self) -> u64 {
            1
        }
        fn serves(&self, _queue: &str, _kind: &str) -> bool {
            true
        }
        fn reserve(&self, _queue: &str, _kind: &str, _bytes: usize) -> crate::backend::Room {
            crate::backend::Room::Taken
        }
        fn weigh(&self, _bytes: usize) {}
        fn reserve_suspect(&self) -> bool {
            true
        }
        fn release_suspect(&self) {}
        fn release(&self, _queue: &str, _bytes: usize) {}
        fn in_order(&self) -> bool {
            false
        }
    }

    fn kept_for(ms: u64) -> Plan {
        let retention = Retention::all(Keep::age(Duration::from_millis(ms)));
        Plan { retention, ..Plan::default() }
    }

    #[test]
    fn a_pass_begins_when_something_is_old_enough_and_not_before() {
        let bench = Bench::new(kept_for(HOUR));
        bench.end(3);
        assert_eq!(bench.pass(true), 0, "the program has only just begun");
        bench.clock.pass(5 * SECOND);
        assert!(bench.pass(false) > 0, "the first pass");
        assert_eq!(bench.count(), 4);
        bench.clock.pass(HOUR - 6 * SECOND);
        assert_eq!(bench.pass(false), 0, "nothing has ended since, and nothing is old enough");
        bench.clock.pass(SECOND);
        assert!(bench.pass(false) > 0);
        assert_eq!(bench.count(), 1);
        bench.clock.pass(1_000 * HOUR);
        assert_eq!(bench.pass(false), 0, "nothing is left that time could make old");
    }

    #[test]
    fn passes_stand_apart_however_much_ends() {
        let bench = Bench::new(kept_for(0));
        bench.clock.pass(5 * SECOND);
        bench.end(2);
        assert!(bench.pass(true) > 0);
        assert_eq!(bench.count(), 1);
        bench.end(2);
        bench.clock.pass(299 * SECOND);
        assert_eq!(bench.pass(true), 0);
        bench.clock.pass(SECOND);
        assert!(bench.pass(false) > 0, "what ended meanwhile is remembered");
        assert_eq!(bench.count(), 2, "that which was the newest before has not ended");
    }

    #[test]
    fn whoever_has_little_time_goes_on_at_the_next_call() {
        let bench = Bench::new(kept_for(0));
        bench.end(2_500);
        bench.pruner.work_for(Duration::ZERO);
        assert_eq!((bench.slices(), bench.count()), (1, 2_501), "it looked for damage");
        bench.pruner.work_for(Duration::ZERO);
        assert_eq!(bench.count(), 1_501);
        bench.pruner.work_for(Duration::from_secs(60));
        assert_eq!(bench.count(), 1);
        bench.end(2);
        bench.pruner.work_for(Duration::from_secs(60));
        assert_eq!(bench.count(), 4, "the next pass is not due");
    }

    #[test]
    fn nothing_goes_by_itself_where_all_is_kept_or_it_was_switched_off() {
        let off = Plan { automatic: false, ..kept_for(0) };
        let forever = Plan { retention: Retention::forever(), ..Plan::default() };
        for plan in [off, forever] {
            let bench = Bench::new(plan);
            bench.end(2);
            bench.clock.pass(HOUR);
            assert_eq!(bench.pass(true), 0);
            bench.pruner.work_for(Duration::from_secs(60));
            assert_eq!(bench.count(), 3);
            let all = Prune::by(Retention::all(Keep::age(Duration::ZERO)));
            assert_eq!(bench.pruner.prune(all).expect("it answers").total(), 2);
        }
    }

    #[test]
    fn after_a_jump_of_the_clock_nothing_goes_by_itself_until_it_is_stable() {
        let bench = Bench::new(kept_for(HOUR));
        bench.clock.pass(5 * SECOND);
        bench.end(2);
        assert!(bench.pass(true) > 0);
        bench.clock.jump(2 * HOUR.cast_signed());
        bench.clock.pass(300 * SECOND);
        assert_eq!(bench.pass(true), 0, "all looks old");
        bench.clock.pass(599 * SECOND);
        assert_eq!(bench.pass(true), 0);
        assert_eq!(bench.count(), 3);
        bench.clock.pass(SECOND);
        assert!(bench.pass(false) > 0);
        assert_eq!(bench.count(), 1);
    }

    #[test]
    fn a_file_from_the_future_is_left_alone_by_the_first_pass() {
        let bench = Bench::new(kept_for(0));
        bench.clock.jump(2 * HOUR.cast_signed());
        bench.end(2);
        bench.clock.jump(-2 * HOUR.cast_signed());
        let pruner = Pruner::new(
            Arc::clone(&bench.spy) as _,
            Arc::clone(&bench.clock) as _,
            kept_for(0),
            HashMap::new(),
        );
        let error = pruner.prune(Prune::new()).expect_err("the file is ahead").to_string();
        assert!(error.contains("the file holds moments 7200 s ahead of it"), "{error}");
        bench.clock.pass(5 * SECOND);
        assert_eq!(pruner.tick(true), None);
        assert_eq!(bench.slices(), 0);
        assert_eq!(pruner.prune(Prune::new().confirmed()).expect("it answers").total(), 0);
        bench.clock.pass(2 * HOUR);
        assert_eq!(pruner.prune(Prune::new()).expect("it answers").total(), 2);
    }
}
