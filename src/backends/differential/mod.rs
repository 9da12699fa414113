//! Store: the file and the memory engine give the same answers to the same calls.
//!
//! The memory engine is the model: plain enough to be read and believed. Random histories of
//! enqueues, exchanges, steps, words said, artifacts, claims by name, cancels, prunes and leaving owners run on both, and after each step
//! the answers, the places taken of the offer, the bells rung, the waiters woken and the lists must
//! be equal, and in the file no task may go where the table of states has no edge. What was found this way stands below as tests of their own.
//!
//! Not compared: the text of errors, and `rescue`, as nobody can die who shares one memory.
//!
//! A failing run shows its seed and all its steps. `LITEWORK_SEEDS=20000` runs that many seeds, and
//! `LITEWORK_SEEDS=7..8` runs seed 7 alone.

mod compare;
mod edges;
mod flows;
mod gates;
mod limits;
mod offer;
mod steps;
mod tied;

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use self::compare::Pair;
use self::offer::{KINDS, Places, QUEUES, Terms};
use self::steps::{History, Plot};
use crate::backend::{Backend, STEPS_MAX};
use crate::backends::sqlite::recorder::Edge;
use crate::error::Error;
use crate::event::EventKind;
use crate::filter::Filter;
use crate::follow::Follow;
use crate::gate::{Gate, Rate};
use crate::id::TaskId;
use crate::options::Durability;
use crate::outcome::{Outcome, Report};
use crate::record::{Claimed, Finish, NewStep, NewTask, TaskRecord};
use crate::rule::Scope;
use crate::state::{Reason, State};
use crate::ties::{Extra, Ties};
use crate::time::Timestamp;

/// Few tasks and fewer places, so that every limit is met.
const NARROW: Plot =
    Plot { steps: 80, weights: false, ties: false, gates: false, tasks: 0, places_max: 4 };
/// Lanes deeper than what is read of them at once, and places for most of it.
const DEEP: Plot = Plot { steps: 30, weights: true, tasks: 800, places_max: 400, ..NARROW };

/// More than the heads of a lane that are read at once.
const DEEP_LANE: usize = 400;

const SEEDS: &str = "LITEWORK_SEEDS";

/// Whether as many seeds are run as by default.
fn is_default() -> bool {
    std::env::var_os(SEEDS).is_none()
}

/// The seeds to run: so many by default, or what the environment asks for.
fn seeds(default: u64) -> Range<u64> {
    let Ok(asked) = std::env::var(SEEDS) else { return 0..default };
    let number = |text: &str| text.trim().parse().expect("LITEWORK_SEEDS is 200 or 7..8");
    match asked.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => 0..number(&asked),
    }
}

/// The plots of histories, with every how many seeds one is told by default: one where lanes are deep takes
/// as long as thirty others.
const PLOTS: [(Plot, u64, usize); 5] = [
    (NARROW, 60, 1),
    (Plot { weights: true, ..NARROW }, 60, 1),
    (Plot { ties: true, ..NARROW }, 120, 1),
    (Plot { gates: true, ..NARROW }, 60, 1),
    (DEEP, 60, 30),
];

/// Tells the histories of a plot, whoever asks first, and says along which edges their tasks went.
fn told(number: usize) -> &'static BTreeSet<Edge> {
    static TOLD: [OnceLock<BTreeSet<Edge>>; PLOTS.len()] = [const { OnceLock::new() }; PLOTS.len()];
    let (plot, count, step) = PLOTS[number];
    TOLD[number].get_or_init(|| run(seeds(count).step_by(step), plot))
}

fn run(seeds: impl Iterator<Item = u64>, plot: Plot) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    for seed in seeds {
        let mut log = Vec::new();
        let told = catch_unwind(AssertUnwindSafe(|| History::new(seed, plot, &mut log).tell()));
        // The difference itself was shown by the panic.
        let log = log.join("\n");
        assert!(told.is_ok(), "seed {seed} of {plot:?}; its steps, the last one failed:\n{log}");
        edges.extend(told.into_iter().flatten());
    }
    edges
}

#[test]
fn both_engines_agree_on_random_histories() {
    told(0);
}

#[test]
fn both_engines_agree_where_queues_share_by_weight() {
    told(1);
}

#[test]
fn both_engines_agree_where_tasks_are_tied() {
    told(2);
}

/// Whoever leaves a gate, waits there and falls due meets the others in one commit.
#[test]
fn both_engines_agree_where_tasks_crowd_at_few_gates() {
    told(3);
}

#[test]
fn both_engines_agree_where_lanes_are_deep() {
    told(4);
}

/// The control of the look at edges in each history.
#[test]
fn a_step_that_is_no_edge_of_the_table_is_seen() {
    let pair = Pair::open();
    pair.ask(|engine, _| store(engine, vec![task(KINDS[0])]));
    assert_eq!(pair.check_edges(), BTreeSet::from([(None, State::Ready)]));
    pair.recorder.skip_the_attempt().expect("the schema admits it");
    catch_unwind(AssertUnwindSafe(|| pair.check_edges())).expect_err("there is no such edge");
}

/// Runs a story on each engine.
fn on_both(story: impl Fn(&dyn Backend)) {
    Pair::open().ask(|engine, _| story(engine));
}

fn at(ms: i64) -> Timestamp {
    Timestamp::clamped(ms)
}

/// A task of the first queue that is due.
fn task(kind: &str) -> NewTask {
    NewTask { attempts_max: 2, ..NewTask::plain(QUEUES[0], kind) }
}

fn store(engine: &dyn Backend, tasks: Vec<NewTask>) -> Vec<TaskId> {
    let stored = engine.enqueue(at(5), tasks, None).expect("stored");
    stored.into_iter().map(|task| task.id).collect()
}

fn claim(engine: &dyn Backend, now_ms: i64, terms: Terms) -> Vec<Claimed> {
    let done = engine.exchange(at(now_ms), &[], Some(&*Places::new(terms)));
    done.expect("it answers").claimed
}

fn end(engine: &dyn Backend, task: &Claimed, outcome: Outcome) {
    let plain = Finish::plain(task.id, task.lease, task.started_at, at(7), outcome);
    let end = Finish { chance: 0.5, stuck: true, ..plain };
    let done = engine.exchange(at(7), &[end], None).expect("it answers");
    assert!(done.finished[0].is_ok(), "{done:?}");
}

fn get(engine: &dyn Backend, id: TaskId) -> TaskRecord {
    engine.get(id).expect("it answers").expect("it is there")
}

fn report() -> Box<Report> {
    Box::new(Report::new("Broken", "not for everybody"))
}

#[test]
fn a_lane_of_a_call_that_was_taken_back_is_forgotten() {
    on_both(|engine| {
        let keyed = |arguments: &str| NewTask {
            key: Some("k".to_owned()),
            arguments: arguments.to_owned(),
            ..task(KINDS[0])
        };
        store(engine, vec![keyed("{}")]);
        let refused = engine.enqueue(at(5), vec![task(KINDS[1]), keyed("[]")], None);
        assert!(matches!(refused, Err(Error::Item { index: 1, .. })), "{refused:?}");
        let id = store(engine, vec![task(KINDS[1])])[0];
        assert_eq!(get(engine, id).kind, KINDS[1]);
        assert_eq!(claim(engine, 5, Terms::open(1)).len(), 2);
    });
}

#[test]
fn an_owner_that_looks_elsewhere_is_asked_again_what_it_serves() {
    on_both(|engine| {
        let ids = store(engine, vec![task(KINDS[0]), task(KINDS[1])]);
        let first_lane = Terms { lanes: 1, ..Terms::open(1) };
        let claimed =
            |terms| claim(engine, 5, terms).iter().map(|task| task.id).collect::<Vec<_>>();
        assert_eq!(claimed(first_lane), ids[..1]);
        assert_eq!(claimed(Terms::open(1)), ids[1..], "the same owner with another view");
    });
}

#[test]
fn a_guessed_id_gives_no_attempts_away() {
    on_both(|engine| {
        let id = store(engine, vec![task(KINDS[0])])[0];
        let held = &claim(engine, 5, Terms::open(1))[0];
        end(engine, held, Outcome::Failed { reason: Reason::GaveUp, report: report() });
        assert_eq!(engine.attempts(id).expect("it answers").len(), 1);
        let guessed = TaskId::new(id.row(), id.tag().wrapping_add(1));
        assert_eq!(engine.attempts(guessed).expect("it answers"), []);
    });
}

#[test]
fn a_claim_writes_nothing_of_its_owner_to_what_it_does_not_take() {
    on_both(|engine| {
        let expiring = NewTask { expires_at: Some(at(8)), ..task(KINDS[1]) };
        let ids = store(engine, vec![task(KINDS[0]), expiring]);
        let first_lane = Terms { lanes: 1, ..Terms::open(1) };
        end(engine, &claim(engine, 6, first_lane)[0], Outcome::Crashed { report: report() });
        let no_suspects = Terms { suspects: false, ..Terms::open(2) };
        assert!(claim(engine, 9, no_suspects).is_empty());
        let suspect = get(engine, ids[0]);
        assert_eq!(
            (suspect.worker, suspect.started_at, suspect.stuck),
            (Some(1), Some(at(6)), true)
        );
        let expired = get(engine, ids[1]);
        assert_eq!(
            (expired.state, expired.worker, expired.started_at),
            (State::Failed, None, None)
        );
    });
}

#[test]
fn what_must_not_start_twice_is_not_handed_back_by_an_owner_that_leaves() {
    on_both(|engine| {
        let once = NewTask { at_most_once: true, ..task(KINDS[0]) };
        let ids = store(engine, vec![once, task(KINDS[0])]);
        assert_eq!(claim(engine, 5, Terms::open(1)).len(), 2);
        engine.leave(at(6), 1).expect("it answers");
        let states =
            [0, 1].map(|which| (get(engine, ids[which]).state, get(engine, ids[which]).reason));
        assert_eq!(states, [(State::Failed, Some(Reason::Lost)), (State::Ready, None)]);
    });
}

#[test]
fn what_must_not_start_twice_is_not_held_ahead_of_a_free_thread() {
    on_both(|engine| {
        let once = || NewTask { at_most_once: true, ..task(KINDS[0]) };
        let one_thread = |owner| Terms { threads: 1, ..Terms::open(owner) };
        let rows = |claimed: Vec<Claimed>| -> Vec<TaskId> {
            claimed.into_iter().map(|task| task.id).collect()
        };
        // Handed over: the first has the thread, a plain one may stand behind it.
        let new = vec![once(), once(), task(KINDS[1])];
        let offer = Places::new(Terms { in_order: false, ..one_thread(1) });
        let stored = engine.enqueue(at(5), new, Some(offer)).expect("stored");
        let running: Vec<bool> = stored.iter().map(|task| task.claimed.is_some()).collect();
        assert_eq!(running, [true, false, true]);
        // Claimed: nothing goes before one that has no thread yet, whatever its kind.
        let later = store(engine, vec![task(KINDS[0]), once(), task(KINDS[1])]);
        assert_eq!(rows(claim(engine, 6, one_thread(2))), [stored[1].id, later[0]]);
        let busy = Terms { threads: 0, ..Terms::open(2) };
        let done = engine.exchange(at(6), &[], Some(&*Places::new(busy))).expect("it answers");
        assert!(done.claimed.is_empty() && done.more, "{done:?}");
        assert_eq!(rows(claim(engine, 6, one_thread(2))), later[1..]);
    });
}

#[test]
fn a_task_has_no_more_steps_than_it_may_and_each_may_be_sent_again() {
    on_both(|engine| {
        store(engine, vec![task(KINDS[0])]);
        let held = &claim(engine, 5, Terms::open(1))[0];
        let Claimed { id, lease, .. } = *held;
        let keep = |number: usize, value: &str| {
            let name = format!("s{number}");
            let durability = Some(Durability::Normal);
            engine.keep_step(at(6), &NewStep { id, lease, name: &name, value, durability })
        };
        for number in 0..STEPS_MAX {
            keep(number, "1").expect("it is kept");
        }
        let refused = keep(STEPS_MAX, "1").expect_err("it is one too many");
        assert_eq!(
            refused.to_string(),
            "too_many_steps: step is \"s1000\"; one of at most 1000 steps of a task; let one step do more"
        );
        keep(0, "2").expect("it is no other");
        assert_eq!(engine.step(id, lease, "s0").expect("it is held").as_deref(), Some("2"));
        end(engine, held, Outcome::GivenBack);
        assert_eq!(engine.steps(id).expect("it answers").len(), STEPS_MAX, "they stay");
        assert_eq!(keep(0, "3").expect_err("it is held no longer").code(), "lease_lost");
        let again = claim(engine, 8, Terms::open(1))[0].lease;
        assert_eq!(engine.step(id, again, "s0").expect("it is held").as_deref(), Some("2"));
    });
}

#[test]
fn what_was_claimed_by_name_is_not_waited_for() {
    on_both(|engine| {
        let ids = store(engine, vec![NewTask { due_at: at(20), ..task(KINDS[0]) }]);
        let next_due = |now_ms| {
            let nowhere = Places::new(Terms { places: 0, ..Terms::open(1) });
            let done = engine.exchange(at(now_ms), &[], Some(&*nowhere));
            done.expect("it answers").next_due
        };
        assert_eq!(next_due(5), Some(at(20)));
        let claimed = engine.claim_one(at(20), ids[0], &*Places::new(Terms::open(1)));
        assert!(claimed.expect("it answers").task().is_some());
        assert_eq!(next_due(19), None, "also where the clock was set back");
    });
}

#[test]
fn what_is_left_at_the_head_of_a_deep_lane_does_not_hide_the_rest() {
    on_both(|engine| {
        let low = NewTask { priority: -1, ..task(KINDS[1]) };
        let ids = store(engine, [vec![task(KINDS[0]); DEEP_LANE], vec![low]].concat());
        let one_place = Terms { places: 1, ..Terms::open(1) };
        end(engine, &claim(engine, 6, one_place)[0], Outcome::Crashed { report: report() });
        // The first claim makes the file's engine read the lane anew for the second.
        let claimed = [1, ids.len()].into_iter().flat_map(|places| {
            claim(engine, 9, Terms { suspects: false, places, ..Terms::open(2) })
        });
        let claimed: Vec<TaskId> = claimed.map(|task| task.id).collect();
        assert_eq!(claimed, ids[1..], "all but the one that crashed, in order");
    });
}

/// A task at a lock that others of the same lock wait for.
fn locked(kind: &str) -> NewTask {
    let ties = Ties { gate: Some(Gate::TURN), ..Ties::default() };
    let extra = Extra { wait_key: Some("lock:a".to_owned()), ties, ..Extra::default() };
    NewTask { extra: Some(Box::new(extra)), ..task(kind) }
}

#[test]
fn who_may_not_be_able_to_start_keeps_a_lock_from_nobody_for_long() {
    on_both(|engine| {
        let ids = store(engine, vec![locked(KINDS[0]), locked(KINDS[0]), locked(KINDS[1])]);
        let scope = Scope::kind(KINDS[0]);
        engine.pause(&scope, Some(at(5))).expect("it is paused");
        assert!(claim(engine, 6, Terms::open(1)).is_empty(), "the first has the place");
        engine.open_gates(at(7)).expect("it answers");
        let claimed = claim(engine, 8, Terms::open(1));
        assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[2]]);
        engine.pause(&scope, None).expect("it is resumed");
        assert!(claim(engine, 9, Terms::open(1)).is_empty(), "the lock is held");
        end(engine, &claimed[0], Outcome::Succeeded { result: "null".to_owned() });
        assert_eq!(claim(engine, 9, Terms::open(1))[0].id, ids[0], "and then goes on in order");
    });
}

#[test]
fn those_past_one_that_may_not_start_go_on_without_another_look() {
    let rate = Gate::Rate(Rate::per(1, Duration::from_millis(1)));
    for gate in [Gate::TURN, Gate::Limit { max: 1 }, rate] {
        on_both(|engine| {
            let gated = |kind: &str| {
                let ties = Ties { gate: Some(gate), ..Ties::default() };
                let wait_key = Some("a".to_owned());
                let extra = Extra { wait_key, ties, ..Extra::default() };
                NewTask { extra: Some(Box::new(extra)), ..task(kind) }
            };
            let ids = store(engine, vec![gated(KINDS[0]), gated(KINDS[1]), gated(KINDS[1])]);
            let scope = Scope::kind(KINDS[0]);
            engine.pause(&scope, Some(at(5))).expect("it is paused");
            assert!(claim(engine, 6, Terms::open(1)).is_empty(), "the first has the place");
            engine.open_gates(at(7)).expect("it answers");
            let mut ran = Vec::new();
            for now in 8..20 {
                if now == 15 {
                    assert_eq!(ran, ids[1..], "{gate:?}");
                    engine.pause(&scope, None).expect("it is resumed");
                }
                for claimed in claim(engine, now, Terms::open(1)) {
                    ran.push(claimed.id);
                    end(engine, &claimed, Outcome::Succeeded { result: "null".to_owned() });
                }
            }
            assert_eq!(ran, [ids[1], ids[2], ids[0]], "{gate:?}");
        });
    }
}

#[test]
fn what_a_rate_has_put_off_by_a_clock_that_was_set_back_since_goes_on_with_the_next() {
    on_both(|engine| {
        let rate = Gate::Rate(Rate::per(1, Duration::from_millis(10)));
        let ties = Ties { gate: Some(rate), ..Ties::default() };
        let extra = Extra { wait_key: Some("a".to_owned()), ties, ..Extra::default() };
        let gated = || NewTask { extra: Some(Box::new(extra.clone())), ..task(KINDS[0]) };
        let wrong = 10 * 365 * 24 * 3_600_000;
        let early = engine.enqueue(at(wrong), vec![gated(), gated()], None).expect("stored");
        assert_eq!(claim(engine, wrong, Terms::open(1))[0].id, early[0].id);
        let ids = store(engine, vec![gated(), gated()]);
        let mut ran = Vec::new();
        for now in 20..80 {
            engine.open_gates(at(now)).expect("it answers");
            ran.extend(claim(engine, now, Terms::open(1)).iter().map(|task| (now, task.id)));
        }
        let order = [ids[0], early[1].id, ids[1]];
        assert_eq!(ran.iter().map(|(_, id)| *id).collect::<Vec<_>>(), order);
        assert!(ran.windows(2).all(|two| two[1].0 >= two[0].0 + 10), "{ran:?}");
    });
}

#[test]
fn a_claim_says_that_more_can_start_where_an_expiry_has_opened_a_gate() {
    on_both(|engine| {
        let expires_at = Some(at(6));
        let ids = store(engine, vec![NewTask { expires_at, ..locked(KINDS[0]) }, locked(KINDS[0])]);
        let offer = Places::new(Terms::open(1));
        let done = engine.exchange(at(7), &[], Some(&*offer)).expect("it answers");
        assert!(done.claimed.is_empty() && done.more, "{done:?}");
        assert_eq!(claim(engine, 7, Terms::open(1))[0].id, ids[1]);
    });
}

#[test]
fn a_claim_says_that_more_can_start_where_something_follows_an_expiry() {
    on_both(|engine| {
        let follow = Follow {
            on: vec![EventKind::Failed],
            kind: KINDS[1].to_owned(),
            queue: QUEUES[0].to_owned(),
            priority: 0,
            attempts: 1,
            at_most_once: false,
            expires_ms: None,
            every_ms: None,
            then: Vec::new(),
        };
        let ties = Ties { follow: vec![follow], ..Ties::default() };
        let extra = Some(Box::new(Extra { ties, ..Extra::default() }));
        let followed = NewTask { expires_at: Some(at(6)), extra, ..task(KINDS[0]) };
        let id = store(engine, vec![followed])[0];
        let offer = Places::new(Terms::open(1));
        let done = engine.exchange(at(7), &[], Some(&*offer)).expect("it answers");
        assert!(done.claimed.is_empty() && done.more, "{done:?}");
        let follows = engine.followers(id).expect("it answers");
        assert_eq!(claim(engine, 7, Terms::open(1))[0].id, follows[0]);
    });
}

/// Lanes of a file or of a memory at most.
const LANES_MAX: usize = 1_000;

#[test]
fn copies_of_many_are_one_commit_also_where_the_lanes_run_out() {
    let pair = Pair::open();
    let ids = pair.ask(|engine, _| {
        let kinds = (1..LANES_MAX).map(|number| format!("k{number}"));
        let stored = engine.enqueue(at(5), kinds.map(|kind| task(&kind)).collect(), None);
        stored.expect("stored").into_iter().map(|task| task.id).collect::<Vec<_>>()
    });
    let waiters = pair.wait_for(&[[ids[0][0], ids[1][0]], [ids[0][1], ids[1][1]]]);
    pair.rung();
    pair.ask(|engine, which| {
        let copies: Vec<_> = ["new", "newer"]
            .iter()
            .zip(&ids[which])
            .map(|(kind, id)| (id.row(), Some(task(kind))))
            .collect();
        let refused = engine.replace_each(at(6), &Filter::new(), &copies);
        assert_eq!(refused.expect_err("one lane is left").code(), "overloaded");
        for id in &ids[which][..2] {
            assert_eq!(get(engine, *id).state, State::Ready);
        }
        let count = engine.count(&Filter::new(), u64::MAX).expect("it answers");
        assert_eq!(count, ids[which].len() as u64);
        let again = engine.replace_each(at(6), &Filter::new(), &copies[1..]);
        assert_eq!(again.expect("the lane is free again").0.done, 1);
    });
    pair.check_signals(&waiters);
}

#[test]
fn what_is_due_later_is_not_forgotten_when_something_due_now_is_stored_with_it() {
    on_both(|engine| {
        let ids = store(engine, vec![task(KINDS[0])]);
        // After a cancel, the file's engine looks up anew when the next task is due.
        engine.cancel(at(5), ids[0]).expect("it answers");
        let later = NewTask { due_at: at(20), ..task(KINDS[0]) };
        let offer = Places::new(Terms::open(1));
        let both = engine.enqueue(at(5), vec![later, task(KINDS[0])], Some(offer));
        assert_eq!(both.expect("stored").len(), 2);
        let nowhere = Places::new(Terms { places: 0, ..Terms::open(1) });
        let done = engine.exchange(at(6), &[], Some(&*nowhere)).expect("it answers");
        assert_eq!(done.next_due, Some(at(20)));
    });
}

#[test]
fn what_waits_is_not_forgotten_when_something_better_is_stored_with_it() {
    on_both(|engine| {
        let ids = store(engine, vec![task(KINDS[1]), task(KINDS[0])]);
        // After a cancel, the file's engine reads anew what is ready.
        engine.cancel(at(5), ids[1]).expect("it answers");
        let of_priority = |priority| NewTask { priority, ..task(KINDS[0]) };
        let offer = Places::new(Terms { places: 1, ..Terms::open(1) });
        let both = engine.enqueue(at(5), vec![of_priority(-1), of_priority(1)], Some(offer));
        let both = both.expect("stored");
        assert!(both[0].claimed.is_none() && both[1].claimed.is_some());
        let claimed: Vec<TaskId> =
            claim(engine, 6, Terms::open(1)).into_iter().map(|task| task.id).collect();
        assert_eq!(claimed, [ids[0], both[0].id]);
    });
}
