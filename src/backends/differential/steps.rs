//! Store: a random history, taken step by step on both engines.
//!
//! Everything is drawn from one seed, so a history can be told again. The log says what was done.

mod deeds;
mod saying;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::compare::{
    Both, Pair, check_offers, check_same, offers, shown_claim, shown_error, shown_exchange,
    shown_over, shown_stored,
};
use super::offer::{ALL_LANES, KINDS, Places, QUEUES, Terms};
use super::tied::{self, OWNERS, owner};
use crate::backend::{Offer, Picked, next_view};
use crate::backends::sqlite::recorder::Edge;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::outcome::{Outcome, Report};
use crate::quota::Quota;
use crate::record::{Claimed, Finish, Lease, Member, NewStep, NewTask, Said};
use crate::retention::{Keep, Prune, Retention, Step, Walk};
use crate::retry::Retry;
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Different idempotency keys; few, so that they meet.
const KEYS: u8 = 8;
/// A history begins at this moment.
const BEGIN_MS: i64 = 1_000;
/// Longer than what a row of the file holds itself.
const LONG: usize = 3_000;

/// What kind of history is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot {
    pub(super) steps: usize,
    /// Whether queues may share by weight.
    pub(super) weights: bool,
    /// Whether tasks are tied to each other.
    pub(super) ties: bool,
    /// Whether each stands at one of few gates, and nothing else ties them.
    pub(super) gates: bool,
    /// Tasks of the first queue that are there from the beginning.
    pub(super) tasks: usize,
    /// Places of an offer at most.
    pub(super) places_max: usize,
}

/// A process that runs tasks.
#[derive(Debug, Clone, Copy)]
struct Runner {
    owner: i64,
    view: u64,
    lanes: u8,
}

/// One history.
pub(super) struct History<'a> {
    rng: Rng,
    pair: Pair,
    plot: Plot,
    now_ms: i64,
    ids: Vec<Both<TaskId>>,
    held: Vec<Both<Claimed>>,
    runners: Vec<Runner>,
    log: &'a mut Vec<String>,
}

impl<'a> History<'a> {
    pub(super) fn new(seed: u64, plot: Plot, log: &'a mut Vec<String>) -> Self {
        let mut history = Self {
            rng: Rng::with_seed(seed),
            pair: Pair::open(),
            plot,
            now_ms: BEGIN_MS,
            ids: Vec::new(),
            held: Vec::new(),
            runners: Vec::new(),
            log,
        };
        history.join();
        history.join();
        if plot.ties {
            history.declare();
        }
        let tasks: Vec<NewTask> = (0..plot.tasks).map(|_| history.unlimited_task()).collect();
        history.store(&tasks, None);
        history
    }

    /// Tells it, and says along which edges its tasks went.
    pub(super) fn tell(mut self) -> BTreeSet<Edge> {
        for _ in 0..self.plot.steps {
            self.pass_time();
            let waiters = self.pair.wait_for(&self.ids);
            self.step();
            self.pair.check_signals(&waiters);
            self.check_a_list();
        }
        self.check_everything();
        self.pair.check_edges()
    }

    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.now_ms)
    }

    /// Mostly forward; a clock may also be set back.
    fn pass_time(&mut self) {
        if self.one_in(3) {
            self.now_ms += self.rng.i64(0..8);
        } else if self.one_in(30) {
            self.now_ms -= self.rng.i64(0..8);
        }
    }

    fn one_in(&mut self, chances: u8) -> bool {
        self.rng.u8(0..chances) == 0
    }

    fn note(&mut self, what: &str) {
        self.log.push(format!("at {}: {what}", self.now_ms));
    }

    fn step(&mut self) {
        // Where tasks are to meet at gates, nobody else comes in between.
        let kinds = if self.plot.gates { 40 } else { 68 };
        match self.rng.u8(0..kinds) {
            0..16 => {
                // Plain ones that come together are written together, also where limits count them.
                let plain = self.plot.ties && self.one_in(3);
                let many = if plain { 2..6 } else { 0..4 };
                let count = if self.rng.bool() { 1 } else { self.rng.usize(many) };
                let mut tasks: Vec<NewTask> = (0..count)
                    .map(|_| if plain { self.plain_task() } else { self.new_task() })
                    .collect();
                if self.plot.ties && !plain && count > 0 && self.one_in(4) {
                    tasks = tied::flow(&mut self.rng, tasks);
                }
                let terms = self.terms_or_none();
                self.store(&tasks, terms);
            }
            16..36 => self.exchange(),
            36..40 => self.claim_one(),
            40..44 => self.cancel(),
            44..46 => self.read(),
            46 if self.plot.ties && self.rng.bool() => self.declare(),
            47 if self.plot.ties && self.rng.bool() => self.open_gates(),
            46 => self.look_elsewhere(),
            47 => self.leave(),
            48..50 => self.prune(),
            50..54 => self.keep_step(),
            54..60 => self.act(),
            60..63 => self.act_on_many(),
            63 if self.rng.bool() => self.replace_many(),
            63 => self.replace(),
            64 => self.pause(),
            65 => self.say(),
            66 => self.leave_something(),
            _ => self.ask_why(),
        }
    }

    fn join(&mut self) {
        let serves = self.rng.bool();
        let kinds = vec![KINDS[0].to_owned()];
        let mut some = || -> Vec<String> {
            QUEUES.into_iter().filter(|_| self.rng.bool()).map(str::to_owned).collect()
        };
        let (queues, exclude) = (some(), some());
        let name = format!("w{}", self.rng.u8(..));
        let member = Member { name, kinds, serves, queues, exclude, ..Member::default() };
        let now = self.now();
        let owner = self.pair.agree("an owner", |engine, _| engine.join(now, &member));
        // Half of them serve every lane, so that work does not pile up.
        let all = self.plot.gates || self.rng.bool();
        let lanes = if all { ALL_LANES } else { self.rng.u8(1..=ALL_LANES) };
        self.runners.push(Runner { owner, view: next_view(), lanes });
        self.note(&format!("owner {owner} joins, serves {serves}"));
    }

    fn leave(&mut self) {
        let which = self.rng.usize(0..self.runners.len());
        let owner = self.runners.swap_remove(which).owner;
        self.note(&format!("owner {owner} leaves"));
        let now = self.now();
        self.pair.agree("leave", |engine, _| engine.leave(now, owner));
        self.pair.agree("renew", |engine, _| engine.renew(owner));
        self.join();
    }

    /// A runner serves other lanes from now on.
    fn look_elsewhere(&mut self) {
        let lanes = self.rng.u8(1..=ALL_LANES);
        let which = self.rng.usize(0..self.runners.len());
        let runner = &mut self.runners[which];
        (runner.lanes, runner.view) = (lanes, next_view());
        let owner = runner.owner;
        self.note(&format!("owner {owner} serves {lanes:04b}"));
    }

    fn terms(&mut self) -> Terms {
        let which = self.rng.usize(0..self.runners.len());
        let Runner { owner, view, lanes } = self.runners[which];
        let places_max = self.plot.places_max;
        Terms {
            owner,
            view,
            lanes,
            places: self.rng.usize(0..=places_max),
            threads: if self.plot.gates || self.rng.bool() {
                places_max
            } else {
                self.rng.usize(0..=places_max)
            },
            places_limited: self.rng.usize(0..=places_max.div_ceil(2)),
            turns: (self.plot.weights && self.rng.bool())
                .then(|| [self.rng.u64(0..6), self.rng.u64(0..6)]),
            in_order: !self.one_in(4),
            suspects: !self.one_in(4),
        }
    }

    fn terms_or_none(&mut self) -> Option<Terms> {
        (!self.one_in(3)).then(|| self.terms())
    }

    fn store(&mut self, tasks: &[NewTask], terms: Option<Terms>) {
        self.note(&format!("enqueue for {terms:?}: {tasks:#?}"));
        let now = self.now();
        let offers = terms.map(offers);
        let stored = self.pair.ask(|engine, which| {
            let offer = offers.as_ref().map(|both| Arc::clone(&both[which]) as Arc<dyn Offer>);
            let other = which > 0;
            let tasks = if other {
                tied::as_the_other_calls_them(tasks, &self.ids)
            } else {
                tasks.to_vec()
            };
            engine.enqueue(now, tasks, offer)
        });
        check_same("what was stored", &stored.each_ref().map(shown_stored));
        offers.iter().for_each(check_offers);
        if let [Ok(file), Ok(model)] = stored {
            for (file, model) in file.into_iter().zip(model) {
                self.ids.push([file.id, model.id]);
                self.held.extend(file.claimed.zip(model.claimed).map(<[Claimed; 2]>::from));
            }
        }
    }

    fn new_task(&mut self) -> NewTask {
        let (now, now_ms) = (self.now(), self.now_ms);
        let rng = &mut self.rng;
        let Plot { ties, gates, .. } = self.plot;
        let extra = match (ties, gates) {
            (true, _) => tied::extra(rng, now),
            (false, true) => Some(tied::gate(rng)),
            (false, false) => None,
        };
        let long = rng.u8(0..4) == 0;
        let comes_after = ties && rng.u8(0..4) == 0;
        let mut task = NewTask {
            kind: KINDS[rng.usize(0..2)].into(),
            queue: QUEUES[rng.usize(0..2)].into(),
            priority: rng.i8(-1..=1),
            due_at: Timestamp::clamped(now_ms + rng.i64(-5..5)),
            expires_at: (rng.u8(0..4) == 0).then(|| Timestamp::clamped(now_ms + rng.i64(0..9))),
            attempts_max: rng.u32(1..4),
            at_most_once: rng.u8(0..6) == 0,
            arguments: if long {
                json!({"x": "y".repeat(LONG)}).to_string()
            } else {
                json!({"n": rng.u8(0..9)}).to_string()
            },
            key: (rng.u8(0..3) == 0).then(|| key(rng.u8(0..KEYS))),
            tags: rng.bool().then(|| r#"["t1","t2"]"#.to_owned()),
            meta: rng.bool().then(|| r#"{"m":1.5}"#.to_owned()),
            options: rng.bool().then(|| format!(r#"{{"keep_for_ms":{}}}"#, rng.u8(0..20))),
            trace: (rng.u8(0..4) == 0).then(|| "00-1-2-01".into()),
            ledger: None,
            quota: Quota { waiting: (rng.u8(0..4) == 0).then(|| rng.u64(1..20)), file_bytes: None },
            extra,
        };
        if comes_after {
            tied::come_after(rng, &mut task, &self.ids);
        }
        if gates {
            (task.expires_at, task.key, task.quota) = (None, None, Quota::default());
        }
        task
    }

    /// The program's limits for queues and kinds.
    fn declare(&mut self) {
        let limits = tied::limits(&mut self.rng);
        self.note(&format!("declare {limits:?}"));
        self.pair.agree("what was declared", |engine, _| engine.declare(&limits));
    }

    fn open_gates(&mut self) {
        self.note("open the gates");
        let now = self.now();
        self.pair.agree("gates that were opened", |engine, _| engine.open_gates(now));
    }

    /// A task of the first queue, without a key or a quota, as one refusal would refuse all. Most are due:
    /// of many that become due at once, an engine promotes as many as it sees fit.
    fn unlimited_task(&mut self) -> NewTask {
        let quota = Quota::default();
        let task = NewTask { key: None, quota, queue: QUEUES[0].into(), ..self.new_task() };
        let due_at = if self.one_in(4) { task.due_at } else { task.due_at.min(self.now()) };
        NewTask { due_at, ..task }
    }

    fn plain_task(&mut self) -> NewTask {
        NewTask { key: None, quota: Quota::default(), extra: None, ..self.new_task() }
    }

    fn exchange(&mut self) {
        let count = self.rng.usize(0..4).max(self.rng.usize(0..=self.plot.places_max / 2));
        let ends: Vec<Both<Finish>> = (0..count).filter_map(|_| self.end()).collect();
        let terms = self.terms_or_none();
        self.note(&format!(
            "exchange for {terms:?}: {:#?}",
            ends.iter().map(|end| &end[1]).collect::<Vec<_>>()
        ));
        let now = self.now();
        let offers = terms.map(offers);
        let done = self.pair.ask(|engine, which| {
            let offer = offers.as_ref().map(|both| &*both[which] as &dyn Offer);
            let ends: Vec<Finish> = ends.iter().map(|end| end[which].clone()).collect();
            engine.exchange(now, &ends, offer).expect("it answers")
        });
        check_same("what was exchanged", &done.each_ref().map(shown_exchange));
        offers.iter().for_each(check_offers);
        let [file, model] = done;
        self.held.extend(file.claimed.into_iter().zip(model.claimed).map(<[Claimed; 2]>::from));
    }

    /// The end of something that is held, now and then under a lease that does not hold.
    fn end(&mut self) -> Option<Both<Finish>> {
        if self.held.is_empty() {
            return None;
        }
        let which = self.rng.usize(0..self.held.len());
        let keeps = self.one_in(8);
        let held = if keeps { self.held[which].clone() } else { self.held.swap_remove(which) };
        let later = u32::from(self.one_in(16));
        let (outcome, chance, stuck) = (self.outcome(), self.rng.f64(), self.rng.bool());
        let now = self.now();
        let retry = if self.plot.gates {
            Retry::ladder([])
        } else {
            Retry::exponential(Duration::from_millis(2), Duration::from_millis(9))
        };
        let retry = Arc::new(retry);
        let said = self.one_in(3).then(|| self.words(&held[1]));
        Some(held.map(|task| Finish {
            id: task.id,
            lease: Lease { attempt: task.lease.attempt + later, ..task.lease },
            started_at: task.started_at,
            finished_at: now,
            outcome: outcome.clone(),
            retry: Arc::clone(&retry),
            chance,
            durability: None,
            stuck,
            tied: task.is_tied(),
            gate: task.only_gate(),
            about: None,
            ran: None,
            said:
                said.clone().map(|said| Box::new(Said { id: task.id, lease: task.lease, ..said })),
        }))
    }

    /// A step of something that is held, now and then under a lease that does not hold, or again.
    fn keep_step(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let which = self.rng.usize(0..self.held.len());
        let held = self.held[which].clone();
        let later = u32::from(self.one_in(8));
        let name = format!("s{}", self.rng.u8(0..4));
        let long = self.one_in(4);
        let value =
            if long { json!("y".repeat(LONG)).to_string() } else { self.now_ms.to_string() };
        self.note(&format!("step {name} of {}, {later} attempts later", held[0].lease.row));
        let now = self.now();
        let kept = self.pair.ask(|engine, which| {
            let Claimed { id, lease, .. } = held[which];
            let lease = Lease { attempt: lease.attempt + later, ..lease };
            let (name, value) = (name.as_str(), value.as_str());
            let step = NewStep { id, lease, name, value, durability: None };
            let before = engine.step(id, lease, name);
            let kept = engine.keep_step(now, &step);
            let after = engine.step(id, lease, name);
            [before.map(|found| format!("{found:?}")), kept.map(|()| String::new())]
                .into_iter()
                .chain([after.map(|found| format!("{found:?}"))])
                .map(|answer| answer.map_err(|error| shown_error(&error)))
                .collect::<Vec<_>>()
        });
        check_same("what was kept of a step", &kept);
    }

    fn outcome(&mut self) -> Outcome {
        let after = Duration::from_millis(self.rng.u64(0..6));
        let mut report = Box::new(Report::new("Broken", format!("at {}", self.now_ms)));
        report.data = Some(json!({"f": 0.1}));
        // Who is tried again at once meets those that have waited for him.
        let fails = self.plot.gates && self.one_in(2);
        match if fails { 3 } else { self.rng.u8(0..12) } {
            0 if self.plot.ties && self.rng.bool() => Outcome::RateLimited { after },
            0 => Outcome::Succeeded { result: "1".to_owned() },
            1 => Outcome::Succeeded { result: json!("z".repeat(LONG)).to_string() },
            2 => Outcome::Retry { reason: Reason::Error, report, after: Some(after) },
            3 => Outcome::Retry { reason: Reason::Timeout, report, after: None },
            4 => Outcome::Failed { reason: Reason::GaveUp, report },
            // A reason that the state does not admit; neither engine may store it.
            5 => Outcome::Failed { reason: Reason::Asked, report },
            6 => Outcome::Snoozed { after },
            7 => Outcome::Cancelled { report: self.rng.bool().then_some(report) },
            8..10 => Outcome::GivenBack,
            _ => Outcome::Crashed { report },
        }
    }

    /// Some task's id, now and then with a tag that is only guessed.
    fn some_id(&mut self) -> Option<Both<TaskId>> {
        let id = *self.rng.choice(&self.ids)?;
        let guessed = i64::from(self.one_in(8));
        Some(id.map(|id| TaskId::new(id.row(), id.tag().wrapping_add(guessed))))
    }

    fn claim_one(&mut self) {
        let Some(id) = self.some_id() else { return };
        let terms = self.terms();
        self.note(&format!("claim {} by name for {terms:?}", id[0].row()));
        let now = self.now();
        let offers: Both<Arc<Places>> = offers(terms);
        let claimed = self.pair.ask(|engine, which| {
            engine.claim_one(now, id[which], &*offers[which]).expect("it answers")
        });
        let shown = claimed.each_ref().map(|picked| match picked {
            Picked::Task(task) => shown_claim(task),
            Picked::Ended(rows) => format!("{:?} have ended", BTreeSet::from_iter(rows)),
            Picked::NotNow => "not now".to_owned(),
        });
        check_same("what was claimed by name", &shown);
        check_offers(&offers);
        if let [Picked::Task(file), Picked::Task(model)] = claimed {
            self.held.push([*file, *model]);
        }
    }

    fn cancel(&mut self) {
        let Some(id) = self.some_id() else { return };
        self.note(&format!("cancel {}", id[0].row()));
        let now = self.now();
        let cancelled = self.pair.ask(|engine, which| {
            let cancelled = engine.cancel(now, id[which]);
            cancelled
                .map(|(done, over)| (done, shown_over(over)))
                .map_err(|error| shown_error(&error))
        });
        check_same("what was cancelled", &cancelled);
    }

    fn prune(&mut self) {
        let mut keep = || match self.rng.u8(0..4) {
            0 => Keep::forever(),
            1 => Keep::forever().count(self.rng.u64(0..9)),
            2 => Keep::age(Duration::from_millis(self.rng.u64(0..20))),
            _ => Keep::age(Duration::from_millis(self.rng.u64(0..20))).count(self.rng.u64(0..9)),
        };
        let rules = Retention::all(keep()).failed(keep()).cancelled(keep());
        let rules = rules.queue(QUEUES[1], Retention::default().succeeded(keep()));
        let prune = Prune::by(rules);
        let prune = if self.one_in(4) { prune.dry_run() } else { prune };
        let prune = if self.one_in(4) { prune.queue(QUEUES[0]) } else { prune };
        let inspects = self.one_in(2);
        self.note(&format!("prune: {prune:?}"));
        let kinds = HashMap::from([(KINDS[1].to_owned(), Duration::from_millis(3))]);
        let (now, own, kinds) = (self.now(), Arc::default(), Arc::new(kinds));
        self.pair.agree("what was pruned", |engine, _| {
            let mut walk = Walk::new(now, prune.clone(), &own, &kinds);
            if inspects {
                walk.step = Step::Inspect { after: i64::MIN };
            }
            while !walk.is_done() {
                engine.prune(&mut walk)?;
            }
            Ok((walk.next(), walk.pruned))
        });
        self.pair.agree("the newest moment", |engine, _| engine.newest_moment());
    }

    fn ask_why(&mut self) {
        let Some(id) = self.some_id() else { return };
        let now = self.now();
        let ids = &self.ids;
        self.pair.agree("why", |engine, which| {
            let why = engine.facts(now, id[which])?.map(|facts| facts.judge(now));
            // The cause may name another task, whose tag is random.
            let shown = ids.iter().fold(format!("{why:?}"), |shown, id| {
                shown.replace(&id[which].to_string(), &id[which].row().to_string())
            });
            Ok(shown)
        });
    }

    fn read(&mut self) {
        if let Some(id) = self.some_id() {
            self.pair.check_task(id);
        }
        self.check_names();
    }

    fn check_names(&self) {
        let owners = self.runners.iter().map(|runner| runner.owner);
        self.pair.check_names((0..KEYS).map(key), owners);
    }

    fn filter(&mut self) -> Filter {
        let now = self.now();
        match self.rng.u8(0..14) {
            0 => Filter::new().kind(KINDS[0]),
            1 => Filter::new().tag("t1"),
            2 => Filter::new().state(State::Ready).state(State::Failed),
            3 => Filter::new().state(State::Running).queue(QUEUES[1]),
            4 => Filter::new().owner(owner(self.rng.u8(0..OWNERS))),
            5 => Filter::new().state(State::Failed).owner(owner(0)),
            6 => Filter::new().error(format!("at {}", self.rng.u8(0..9))),
            7 => Filter::new().created_after(now).finished_before(now),
            8 => Filter::new().created_before(now).finished_after(now),
            9 => Filter::new().arg("n", self.rng.u8(0..9).to_string()),
            _ => Filter::new(),
        }
    }

    fn check_a_list(&mut self) {
        let filter = self.filter();
        let page_size = if self.one_in(4) { self.rng.usize(1..9) } else { usize::MAX };
        self.pair.check_list(&filter, page_size, self.rng.u64(0..20));
    }

    fn check_everything(&self) {
        self.pair.check_list(&Filter::new(), usize::MAX, u64::MAX);
        self.ids.iter().for_each(|id| self.pair.check_task(*id));
        self.check_names();
    }
}

fn key(number: u8) -> String {
    format!("k{number}")
}
