//! Schedules: seeded by code, fired at their slots, late or not, edited by people; in each engine, and whoever
//! runs what they make.

use std::time::Duration;

use litework::{
    Client, Context, Failure, Filter, Missed, Origin, Overlap, Reason, Result, Schedule,
    ScheduleRecord, ScheduleState, SlotKind, SlotRecord, State, Task, TaskRecord, Timestamp,
    Unique, task,
};

use tracing::Level;

use crate::common::{Events, Gate, Lab, Log, eventually};

mod operating;
mod owners;
mod past;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Notes its slot: seconds since the lab's clock began, and why.
#[task]
pub(super) fn tick(ctx: &Context, word: &str) -> Result<()> {
    let slot = ctx.slot().expect("it was made by a schedule");
    let began = 1_767_225_600_000;
    let at = (slot.at.as_millis() - began) / 1_000;
    ctx.state::<Log>()?
        .note(format!("{word}@{at}{}", if slot.kind == SlotKind::Due { "" } else { "!" }));
    Ok(())
}

/// Notes its slot in UTC.
#[cfg(feature = "cron")]
#[task]
pub(super) fn chime(ctx: &Context, word: &str) -> Result<()> {
    let slot = ctx.slot().expect("it was made by a schedule");
    ctx.state::<Log>()?.note(format!("{word} {}", slot.at.to_chrono().format("%dT%H:%M")));
    Ok(())
}

#[task(attempts = 1)]
pub(super) fn fail(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("failed");
    Err(Failure::give_up("always"))
}

#[task]
pub(super) fn hold(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("held");
    ctx.state::<Gate>()?.pass();
    ctx.check()
}

everywhere! {
    a_client_that_says_nothing_of_schedules_stops_none,
    an_end_and_a_start_hold_whatever_the_clock_shows_meanwhile,
    a_slot_fires_once_though_its_time_comes_again_in_a_sleep,
    a_former_name_and_its_rollback_leave_one_schedule,
    a_new_schedule_does_not_take_the_place_of_one_that_was_renamed,
    two_programs_do_not_share_a_name_for_different_calls,
    a_unique_key_and_a_wait_for_the_run_before_contradict_each_other,
    an_interval_fires_at_each_of_its_slots_and_does_not_drift,
    a_slot_that_is_older_than_the_grace_is_late,
    a_year_of_sleep_makes_no_storm,
    a_clock_that_is_set_brings_neither_double_nor_silence,
    a_schedule_that_a_wrong_clock_has_stored_keeps_pace_by_the_right_one,
    code_seeds_and_people_decide,
    a_task_without_parameters_runs_whatever_its_type_is,
    a_schedule_that_has_no_slot_ahead_is_told_once,
    a_schedule_of_another_name_stays_the_same,
    runs_that_follow_each_other_keep_their_pauses,
    it_ends_after_so_many_runs_or_at_its_end,
}

pub(super) struct Bench<'a> {
    pub(super) lab: &'a Lab,
    pub(super) log: Log,
    pub(super) gate: Gate,
}

impl<'a> Bench<'a> {
    pub(super) fn new(lab: &'a Lab) -> Self {
        Self { lab, log: Log::default(), gate: Gate::default() }
    }

    pub(super) fn open(&self, schedules: impl IntoIterator<Item = Schedule>) -> Client {
        let builder = self.lab.builder().name("bench").register(tick).register(fail).register(hold);
        let builder = builder.state(self.log.clone()).state(self.gate.clone());
        builder.schedules(schedules).open().unwrap()
    }

    /// Moves the clock, and waits until what that fires has run.
    pub(super) fn advance(&self, client: &Client, span: Duration) {
        self.lab.advance(client, span);
        let now = self.lab.now();
        eventually("what is due is fired and run", || {
            let all = client.schedules().list("", 100).unwrap();
            let waits = |it: &ScheduleRecord| it.next_at.is_some_and(|at| at <= now);
            !all.iter().any(|it| it.open > 0 || it.state == ScheduleState::Active && waits(it))
        });
    }
}

pub(super) fn every(span: Duration) -> Schedule {
    Schedule::every("tick", span, tick::with("t"))
}

pub(super) fn get(client: &Client) -> ScheduleRecord {
    client.schedules().get("tick").unwrap()
}

pub(super) fn history(client: &Client) -> Vec<SlotRecord> {
    client.schedules().history("tick", Timestamp::MAX, 100).unwrap()
}

pub(super) fn tasks(client: &Client) -> Vec<TaskRecord> {
    client.list(&Filter::new(), None, 100).unwrap().tasks
}

fn an_interval_fires_at_each_of_its_slots_and_does_not_drift(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let began = lab.now();
    assert_eq!(get(&client).next_at, Some(began.after(MINUTE)));
    bench.advance(&client, 59 * SECOND);
    assert_eq!(bench.log.len(), 0, "not before its time");
    for late in [3, 7, 0] {
        bench.advance(&client, SECOND + late * SECOND);
        bench.advance(&client, (59 - late) * SECOND);
    }
    assert_eq!(bench.log.words(), ["t@60", "t@120", "t@180"]);
    let known = get(&client);
    assert_eq!((known.runs, known.missed_slots, known.open), (3, 0, 0));
    assert_eq!(known.last.as_ref().and_then(|last| last.state), Some(State::Succeeded));
    let slots = history(&client);
    assert_eq!(slots.len(), 3);
    assert!(slots.iter().all(|slot| slot.kind == SlotKind::Due && slot.task.is_some()));
    let first = &tasks(&client)[2];
    let slot = first.slot.as_ref().unwrap();
    assert_eq!((slot.name.as_str(), slot.at, slot.late), ("tick", began.after(MINUTE), 3 * SECOND));
}

/// The clock stands at the slot 600 s later: what became of the slots before it.
fn after_a_gap(missed: Missed, words: &[&str], missed_slots: u64) {
    let run = move |lab: &Lab| {
        let bench = Bench::new(lab);
        let client = bench.open([every(MINUTE).missed(missed)]);
        bench.advance(&client, 10 * MINUTE + 30 * SECOND);
        let known = get(&client);
        (bench.log.words(), known.missed_slots, known.next_at, lab.now())
    };
    for lab in [Lab::pool(), Lab::inline()] {
        let (said, count, next_at, now) = run(&lab);
        assert_eq!(
            (&said[..], count),
            (&words.iter().map(ToString::to_string).collect::<Vec<_>>()[..], missed_slots)
        );
        assert_eq!(next_at, Some(now.after(30 * SECOND)));
    }
}

#[test]
fn of_slots_that_were_missed_the_last_runs_late() {
    after_a_gap(Missed::Last, &["t@600"], 9);
}

#[test]
fn slots_that_were_missed_are_only_counted_where_that_is_wished() {
    after_a_gap(Missed::Skip, &["t@600"], 9); // that one is on time
}

#[test]
fn slots_that_were_missed_run_as_far_as_is_wished() {
    after_a_gap(Missed::all(3, HOUR), &["t@480!", "t@540!", "t@600"], 7);
    after_a_gap(Missed::all(100, 2 * MINUTE), &["t@540!", "t@600"], 8);
}

fn a_slot_that_is_older_than_the_grace_is_late(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR).missed(Missed::Skip)]);
    bench.advance(&client, HOUR + 61 * SECOND);
    assert_eq!(bench.log.len(), 0);
    let slots = history(&client);
    assert_eq!((slots[0].kind, slots[0].count, slots[0].task), (SlotKind::Missed, 1, None));
    bench.advance(&client, 3_599 * SECOND);
    assert_eq!(bench.log.words(), ["t@7200"]);
}

fn a_year_of_sleep_makes_no_storm(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(10 * SECOND)]);
    bench.advance(&client, YEAR);
    let known = get(&client);
    assert_eq!((known.runs, tasks(&client).len()), (1, 1));
    assert_eq!(known.missed_slots, 3_153_600 - 1);
    assert!(
        known.next_at.is_some_and(|next| next > lab.now() && next <= lab.now().after(10 * SECOND))
    );
}

fn a_clock_that_is_set_brings_neither_double_nor_silence(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    for _ in 0..5 {
        bench.advance(&client, MINUTE);
    }
    let five = bench.log.words();
    assert_eq!(five.len(), 5);
    // Back by four minutes: those slots have fired, and do not again.
    lab.clock.set(Timestamp::from_millis(lab.now().as_millis() - 240_000).unwrap());
    lab.settle(&client);
    for _ in 0..4 {
        bench.advance(&client, MINUTE);
    }
    assert_eq!(bench.log.words(), five);
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words().last().map(String::as_str), Some("t@360"));
    // Ten years ahead, and back again: one late run, and then on as before.
    let here = lab.now();
    bench.advance(&client, 10 * YEAR);
    assert_eq!(bench.log.len(), 7);
    lab.clock.set(here);
    lab.settle(&client);
    eventually("the next slot is found anew", || {
        lab.settle(&client);
        get(&client).next_at == Some(here.after(MINUTE))
    });
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words().last().map(String::as_str), Some("t@420"));
}

/// As of a device whose clock is put right by the network some seconds after its programs have started.
fn a_schedule_that_a_wrong_clock_has_stored_keeps_pace_by_the_right_one(lab: &Lab) {
    let right = lab.now();
    lab.clock.set(right.after(10 * YEAR));
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    lab.clock.set(right);
    lab.settle(&client);
    eventually("the next slot is found anew", || {
        lab.settle(&client);
        get(&client).next_at.is_some_and(|next| next <= right.after(MINUTE))
    });
    for runs in 1..4 {
        bench.advance(&client, MINUTE);
        assert_eq!(get(&client).runs, runs);
    }
    assert_eq!(get(&client).missed_slots, 0);
}

fn code_seeds_and_people_decide(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let changed = client.schedules().edit("tick", |edit| edit.every(HOUR).priority(7)).unwrap();
    let fields: Vec<&str> = changed.edited.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["priority", "timing"]);
    assert_eq!(changed.next_at, Some(lab.now().after(HOUR)));
    let created_at = changed.created_at;
    client.shutdown(SECOND).unwrap();
    // The program starts again, and its code says something else of what nobody has edited.
    let client = bench.open([every(2 * MINUTE).describe("Ticks")]);
    let known = get(&client);
    assert_eq!(known.timing.unwrap().to_string(), "Every 1h");
    assert_eq!(known.description.as_deref(), Some("Ticks"));
    assert_eq!(known.created_at, created_at);
    assert_eq!(known.origin, Origin::Code { program: "bench".to_owned() });
    let reset = client.schedules().reset("tick").unwrap();
    assert_eq!(reset.timing.unwrap().to_string(), "Every 2m");
    assert!(reset.edited.is_empty());
    client.shutdown(SECOND).unwrap();
    // Then the code does not have it any more.
    let client = bench.open([]);
    assert_eq!((get(&client).state, get(&client).next_at), (ScheduleState::Orphaned, None));
    bench.advance(&client, HOUR);
    assert_eq!(bench.log.len(), 0);
    client.shutdown(SECOND).unwrap();
    // And then it has again.
    let client = bench.open([every(2 * MINUTE)]);
    assert_eq!(get(&client).state, ScheduleState::Active);
    assert!(
        get(&client).next_at.is_some_and(|next| next > lab.now()),
        "what it missed stays missed"
    );
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Unit;

impl Task for Unit {
    const NAME: &'static str = "unit";
    type Output = ();

    fn run(self, ctx: &Context) -> Result<()> {
        ctx.state::<Log>()?.note("unit");
        Ok(())
    }
}

#[task]
fn bare(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("bare");
    Ok(())
}

fn a_task_without_parameters_runs_whatever_its_type_is(lab: &Lab) {
    let bench = Bench::new(lab);
    let builder = lab.builder().register(Unit::define()).register(bare).state(bench.log.clone());
    let unit = Schedule::every("unit", MINUTE, Unit);
    let plain = Schedule::every("bare", MINUTE, bare::with());
    let client = builder.schedule(unit).schedule(plain).open().unwrap();
    bench.advance(&client, MINUTE);
    let mut said = bench.log.words();
    said.sort();
    assert_eq!(said, ["bare", "unit"]);
    let refused = client.schedules().edit("unit", |edit| edit.argument("x", 1)).unwrap_err();
    assert_eq!(refused.code(), "bad_arguments");
    let edited = client.schedules().edit("unit", |edit| edit.priority(1)).unwrap();
    assert_eq!(edited.arguments, "{}");
}

fn a_schedule_that_has_no_slot_ahead_is_told_once(lab: &Lab) {
    let bench = Bench::new(lab);
    let past = || Schedule::once("tick", lab.now().to_chrono() - HOUR, tick::with("t"));
    let warned = |open: &dyn Fn() -> Client| {
        let mut client = None;
        let said = Events::of(|| client = Some(open()));
        let warned = said.into_iter().filter(|(level, _)| *level == Level::WARN);
        (client.unwrap(), warned.map(|(_, text)| text).collect::<Vec<_>>())
    };
    let (client, said) =
        warned(&|| bench.open([past(), Schedule::every("b", HOUR, tick::with("b"))]));
    assert_eq!(said, ["a schedule has no slot ahead, and does not fire"]);
    assert_eq!(get(&client).state, ScheduleState::Ended);
    client.shutdown(SECOND).unwrap();
    if lab.keeps_tasks() {
        assert_eq!(warned(&|| bench.open([past()])).1.len(), 1, "only that the other is orphaned");
    }
}

fn a_schedule_of_another_name_stays_the_same(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    bench.advance(&client, MINUTE);
    client.schedules().edit("tick", |edit| edit.rename("Tock")).unwrap();
    client.shutdown(SECOND).unwrap();
    let client = bench.open([every(MINUTE)]);
    let all = client.schedules().list("", 10).unwrap();
    assert_eq!(all.iter().map(|it| (&*it.name, it.runs)).collect::<Vec<_>>(), [("Tock", 1)]);
    client.shutdown(SECOND).unwrap();
    // In code too.
    let renamed = Schedule::every("tack", MINUTE, tick::with("t")).formerly("tick");
    let client = bench.open([renamed]);
    let all = client.schedules().list("", 10).unwrap();
    assert_eq!(all.iter().map(|it| (&*it.name, it.runs)).collect::<Vec<_>>(), [("Tock", 1)]);
    assert_eq!(client.schedules().history("Tock", Timestamp::MAX, 10).unwrap().len(), 1);
}

fn runs_that_follow_each_other_keep_their_pauses(lab: &Lab) {
    let bench = Bench::new(lab);
    let good = Schedule::after_finish("tick", MINUTE, tick::with("t"));
    let bad = Schedule::after_finish("fail", MINUTE, fail::with()).pause_after_error(HOUR);
    let client = bench.open([good, bad]);
    bench.advance(&client, Duration::ZERO);
    let next = |name| client.schedules().get(name).unwrap().next_at;
    assert_eq!(next("tick"), Some(lab.now().after(MINUTE)));
    assert_eq!(next("fail"), Some(lab.now().after(HOUR)));
    bench.advance(&client, MINUTE + 5 * SECOND);
    assert_eq!(next("tick"), Some(lab.now().after(MINUTE)));
    assert_eq!(bench.log.words().iter().filter(|word| *word == "failed").count(), 1);
}

fn it_ends_after_so_many_runs_or_at_its_end(lab: &Lab) {
    let bench = Bench::new(lab);
    let end = lab.now().after(150 * SECOND).to_chrono();
    let twice = Schedule::every("twice", MINUTE, tick::with("a")).times(2);
    let ends = Schedule::every("ends", MINUTE, tick::with("b")).ending(end);
    let once = Schedule::once("once", lab.now().after(70 * SECOND).to_chrono(), tick::with("c"));
    let past = Schedule::once("past", lab.now().to_chrono() - HOUR, tick::with("d"));
    let client = bench.open([twice, ends, once, past]);
    for _ in 0..5 {
        bench.advance(&client, MINUTE);
    }
    let mut words = bench.log.words();
    words.sort();
    assert_eq!(words, ["a@120", "a@60", "b@120", "b@60", "c@70"]);
    for schedule in client.schedules().list("", 10).unwrap() {
        assert_eq!(schedule.state, ScheduleState::Ended, "{}", schedule.name);
    }
}

/// Only in a pool, as nobody else goes on while a body runs.
fn overlapping(overlap: Overlap, check: fn(&Bench<'_>, &Client)) {
    let lab = Lab::pool();
    let bench = Bench::new(&lab);
    let client = bench.open([Schedule::every("tick", MINUTE, hold::with()).overlap(overlap)]);
    lab.clock.advance(MINUTE);
    bench.gate.wait_for(1);
    lab.clock.advance(MINUTE);
    eventually("the second slot is fired", || history(&client).len() == 2);
    check(&bench, &client);
}

#[test]
fn a_slot_is_skipped_while_the_task_before_runs() {
    overlapping(Overlap::Skip, |bench, client| {
        let (second, first) = (&tasks(client)[0], &tasks(client)[1]);
        assert_eq!((second.state, second.reason), (State::Skipped, Some(Reason::Overlap)));
        let report = second.error.as_ref().unwrap();
        assert_eq!((&*report.kind, report.expected), ("overlap", true));
        assert_eq!(report.data.as_ref().unwrap()["holder"], first.id.to_string());
        assert_eq!(history(client)[0].kind, SlotKind::Overlap);
        bench.gate.open();
        eventually("the first ends", || get(client).open == 0);
        assert_eq!((get(client).runs, get(client).overlapped_slots), (1, 1));
    });
}

#[test]
fn tasks_run_beside_each_other_where_that_is_allowed() {
    overlapping(Overlap::Allow, |bench, _client| {
        bench.gate.wait_for(2);
        bench.gate.open();
    });
}

#[test]
fn one_slot_waits_for_the_task_before_and_the_next_are_skipped() {
    overlapping(Overlap::BufferOne, |bench, client| {
        let second = &tasks(client)[0];
        assert_eq!((second.state, second.reason), (State::Waiting, Some(Reason::Parents)));
        bench.lab.clock.advance(MINUTE);
        eventually("the third slot is fired", || history(client).len() == 3);
        assert_eq!(tasks(client)[0].reason, Some(Reason::Overlap));
        bench.gate.open();
        eventually("both have run", || bench.log.len() == 2 && get(client).open == 0);
    });
}

#[test]
fn the_task_before_is_cancelled_and_the_new_one_follows_it() {
    overlapping(Overlap::CancelRunning, |bench, client| {
        let first = &tasks(client)[1];
        assert!(first.cancel_requested);
        assert_eq!(tasks(client)[0].state, State::Waiting);
        bench.gate.open();
        eventually("the second has run", || get(client).open == 0);
        assert_eq!(tasks(client)[1].state, State::Cancelled);
        assert_eq!(tasks(client)[0].state, State::Succeeded);
    });
}

/// What two schedules in Berlin fire in a night of half hours, from midnight there.
#[cfg(feature = "cron")]
fn night(midnight: &str, words: [&[&str]; 2]) {
    let fixed = || Schedule::cron("fixed", "30 2 * * *", chime::with("f")).zone("Europe/Berlin");
    let pace = || Schedule::cron("pace", "15 * * * *", chime::with("p")).zone("Europe/Berlin");
    let midnight: Timestamp = midnight.parse().unwrap();
    for lab in [Lab::pool(), Lab::inline()] {
        let bench = Bench::new(&lab);
        lab.clock.set(midnight);
        let builder = lab.builder().register(chime).state(bench.log.clone());
        let client = builder.schedule(fixed()).schedule(pace()).open().unwrap();
        for _ in 0..10 {
            bench.advance(&client, 30 * MINUTE);
        }
        let said = bench.log.words();
        let of = |begins: &str| {
            let words = said.iter().filter_map(|word| word.strip_prefix(begins)).map(str::to_owned);
            words.collect::<Vec<_>>()
        };
        assert_eq!(of("f "), words[0]);
        assert_eq!(of("p "), words[1]);
    }
}

#[cfg(feature = "cron")]
#[test]
fn a_local_time_that_is_skipped_fires_at_once_after_it() {
    // At 02:00 clocks go to 03:00, which is 01:00 in UTC.
    let pace = ["28T23:15", "29T00:15", "29T01:15", "29T02:15", "29T03:15"];
    night("2026-03-28T23:00:00Z", [&["29T01:00"], &pace]);
}

#[cfg(feature = "cron")]
#[test]
fn a_local_time_that_comes_twice_fires_once() {
    // At 03:00 clocks go back to 02:00; the first 02:30 is 00:30 in UTC.
    let pace = ["24T22:15", "24T23:15", "25T00:15", "25T01:15", "25T02:15"];
    night("2026-10-24T22:00:00Z", [&["25T00:30"], &pace]);
}

fn a_client_that_says_nothing_of_schedules_stops_none(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let other = lab.builder().name("bench").declare::<tick>().open().unwrap();
    assert_eq!(get(&other).state, ScheduleState::Active);
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words(), ["t@60"]);
}

fn an_end_and_a_start_hold_whatever_the_clock_shows_meanwhile(lab: &Lab) {
    let bench = Bench::new(lab);
    let began = lab.now();
    let day = 24 * HOUR;
    let ends = every(HOUR).ending((began.after(3 * day)).to_chrono());
    let starts = Schedule::after_finish("starts", MINUTE, tick::with("s"));
    let starts = starts.starting(began.after(10 * day).to_chrono());
    let client = bench.open([ends, starts]);
    bench.advance(&client, 10 * YEAR);
    assert_eq!(get(&client).state, ScheduleState::Ended);
    lab.clock.set(began);
    lab.settle(&client);
    eventually("it has its next slot again", || {
        lab.settle(&client);
        get(&client).next_at == Some(began.after(HOUR))
    });
    bench.advance(&client, HOUR);
    let starts = client.schedules().get("starts").unwrap();
    assert!(starts.next_at.is_some_and(|at| at >= began.after(10 * day)), "{:?}", starts.next_at);
    let words = bench.log.words();
    assert_eq!(words.iter().filter(|word| **word == "t@3600").count(), 1, "{words:?}");
}

fn a_slot_fires_once_though_its_time_comes_again_in_a_sleep(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(10 * SECOND)]);
    let began = lab.now();
    bench.advance(&client, 30 * MINUTE);
    for _ in 0..150 {
        bench.advance(&client, 10 * SECOND);
    }
    let fired = bench.log.len();
    // Back to a time that was slept through; then asleep until one that was not.
    lab.clock.set(began.after(10 * MINUTE));
    bench.advance(&client, SECOND);
    bench.advance(&client, 30 * MINUTE);
    let words = bench.log.words();
    let distinct: std::collections::BTreeSet<&String> = words.iter().collect();
    assert_eq!(distinct.len(), words.len(), "{:?}", &words[fired..]);
}

fn a_former_name_and_its_rollback_leave_one_schedule(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let renamed = || Schedule::every("tack", MINUTE, tick::with("t")).formerly("tick");
    let active = |client: &Client| {
        let all = client.schedules().list("", 10).unwrap();
        let active = all.into_iter().filter(|it| it.state == ScheduleState::Active);
        active.map(|it| it.name).collect::<Vec<_>>()
    };
    bench.open([every(MINUTE)]).shutdown(SECOND).unwrap();
    bench.open([renamed()]).shutdown(SECOND).unwrap();
    let client = bench.open([every(MINUTE)]);
    assert_eq!(active(&client), ["tick"]);
    client.shutdown(SECOND).unwrap();
    let client = bench.open([renamed()]);
    assert_eq!(active(&client), ["tack"]);
}

fn a_new_schedule_does_not_take_the_place_of_one_that_was_renamed(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    client.schedules().edit("tick", |edit| edit.rename("tock").every(HOUR)).unwrap();
    client.shutdown(SECOND).unwrap();
    let tock = Schedule::every("tock", 2 * MINUTE, tick::with("new"));
    let client = bench.open([tock, every(MINUTE)]);
    let all = client.schedules().list("", 10).unwrap();
    let said = all.iter().map(|it| (&*it.name, it.timing.as_ref().unwrap().to_string()));
    let expected = [("tock", "Every 1h".to_owned()), ("tock (2)", "Every 2m".to_owned())];
    assert_eq!(said.collect::<Vec<_>>(), expected);
}

fn two_programs_do_not_share_a_name_for_different_calls(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let other = lab.builder().name("other").register(fail).state(bench.log.clone());
    let refused = other.schedule(Schedule::every("tick", MINUTE, fail::with())).open().unwrap_err();
    assert_eq!(refused.code(), "duplicate_schedule");
    assert!(refused.to_string().contains("the program bench declares"), "{refused}");
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words(), ["t@60"]);
}

fn a_unique_key_and_a_wait_for_the_run_before_contradict_each_other(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([]);
    let unique = |unique| Schedule::every("tick", MINUTE, tick::with("t").unique(unique));
    for overlap in [Overlap::BufferOne, Overlap::CancelRunning] {
        let refused = client.schedules().add(unique(Unique::key("k")).overlap(overlap));
        assert_eq!(refused.unwrap_err().code(), "contradiction");
    }
    client
        .schedules()
        .add(unique(Unique::key("k").until_start()).overlap(Overlap::BufferOne))
        .unwrap();
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_in_the_words_it_is_written_in() {
    let lab = Lab::inline();
    let bench = Bench::new(&lab);
    let client = bench.open([]);
    let schedules = client.schedules();
    let call = || tick::with("t");
    let hourly = || Schedule::every("s", HOUR, call());
    let follows = || Schedule::after_finish("s", HOUR, call());
    let late = |most, within| hourly().missed(Missed::all(most, within));
    let refused = vec![
        (
            hourly().pause_after_error(HOUR),
            "bad_schedule: pause after an error is 3600s; `pause_after_error` goes with `Schedule::after_finish` only",
        ),
        (
            Schedule::every("s", 101 * YEAR, call()),
            "out_of_range: interval is 3185136000s; 5 s to 100 years; `frequent` allows 1 s",
        ),
        (
            follows().pause_after_error(SECOND),
            "too_frequent: pause after an error is 1s; 5 s to 100 years; `frequent` allows 1 s",
        ),
        (
            Schedule::every("s", HOUR, call().run_after(HOUR)),
            "unsupported: call of a schedule is \"run_after\"; none: the schedule says when",
        ),
        (
            Schedule::every("s", HOUR, call().run_at(lab.now())),
            "unsupported: call of a schedule is \"run_at\"; none: the schedule says when",
        ),
        (late(0, HOUR), "out_of_range: `most` of `Missed::all` is 0; 1 to 1000"),
        (
            late(1, Duration::ZERO),
            "out_of_range: `within` of `Missed::all` is 0ns; 1 ms to 100 years",
        ),
        (
            hourly().stop_after_failures(0),
            "out_of_range: `stop_after_failures` is 0; 1 to 1000000000",
        ),
        (hourly().times(0), "out_of_range: `times` is 0; 1 to 1000000000"),
        (
            hourly().describe("x".repeat(5_000)),
            "bad_schedule: description is 5000 bytes; at most 4096 bytes",
        ),
        (
            Schedule::every(" \u{a0} ", HOUR, call()),
            "bad_name: schedule name is \" \\u{a0} \"; 1 to 200 bytes without control characters, not only blanks",
        ),
    ];
    for (schedule, expected) in refused {
        assert_eq!(schedules.add(schedule).unwrap_err().to_string(), expected);
    }
    let builder = lab.builder().register(tick).schedule(hourly().formerly(""));
    let expected = "schedule \"s\": bad_name: former name of the schedule is \"\"; 1 to 200 bytes without control characters, not only blanks";
    assert_eq!(builder.open().unwrap_err().to_string(), expected);
    schedules.add(hourly()).unwrap();
    let blank = schedules.edit("s", |edit| edit.rename("  ")).unwrap_err();
    assert_eq!(blank.code(), "bad_name");
    let immediate = Client::immediate().register(tick).schedule(hourly()).open().unwrap_err();
    assert!(immediate.to_string().contains("schedule \"s\""), "{immediate}");
}

#[cfg(feature = "cron")]
#[test]
fn a_zone_that_is_none_comes_with_a_word_on_local_time() {
    let lab = Lab::inline();
    let bench = Bench::new(&lab);
    let client = bench.open([]);
    let daily = || Schedule::cron("s", "0 2 * * *", tick::with("t"));
    for zone in ["", "Local", "+01:00"] {
        let said = client.schedules().add(daily().zone(zone)).unwrap_err().to_string();
        let ends =
            "name the zone, or ask the computer for its own, as the crate iana-time-zone does";
        assert!(said.starts_with("unknown_zone: ") && said.ends_with(ends), "{said}");
    }
    let zoned = client.schedules().add(every(HOUR).zone("Europe/Berlin")).unwrap_err().to_string();
    assert_eq!(
        zoned,
        "bad_schedule: zone of the schedule is \"Europe/Berlin\"; `zone` goes with `Schedule::cron` only"
    );
    client.schedules().add(every(HOUR)).unwrap();
    let zoned = client.schedules().edit("tick", |edit| edit.zone("Europe/Berlin")).unwrap_err();
    assert!(zoned.to_string().ends_with("; `zone` goes with a cron expression only"), "{zoned}");
}
