//! Schedules in a file that several programs have open: who fires what, what others change is heard at once,
//! and what a damaged row does to the rest.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use litework::{
    Client, Context, EventKind, Filter, Mode, Pending, Result, Schedule, ScheduleState, Timestamp,
    Unique, task,
};
use rusqlite::Connection;

use crate::common::{Events, Lab, Log, eventually};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[task]
fn tick(ctx: &Context, word: &str) -> Result<()> {
    ctx.state::<Log>()?.note(word);
    Ok(())
}

/// A kind that only another program knows.
#[task]
fn theirs(ctx: &Context) -> Result<()> {
    ctx.state::<Log>()?.note("theirs");
    Ok(())
}

fn every(name: &str, span: Duration) -> Schedule {
    Schedule::every(name, span, tick::with(name))
}

fn open(lab: &Lab, log: &Log, schedules: impl IntoIterator<Item = Schedule>) -> Client {
    let builder = lab.builder().name("story").register(tick).state(log.clone());
    schedules.into_iter().fold(builder, litework::Builder::schedule).open().unwrap()
}

fn state(client: &Client, name: &str) -> ScheduleState {
    client.schedules().get(name).unwrap().state
}

/// Only in a pool, as nobody else sleeps.
#[test]
fn what_another_program_changes_is_heard_by_a_pool_that_sleeps() {
    let lab = Lab::pool();
    let log = Log::default();
    let pool = open(&lab, &log, [every("a", HOUR)]);
    let desk = lab.builder().name("desk").mode(Mode::Hold).declare::<tick>().open().unwrap();
    desk.schedules().edit("a", |edit| edit.every(MINUTE)).unwrap();
    desk.schedules().add(every("b", MINUTE)).unwrap();
    lab.clock.advance(MINUTE);
    eventually("both fire", || {
        let said: BTreeSet<String> = log.words().into_iter().collect();
        said.len() == 2
    });
    desk.schedules().disable("a").unwrap();
    pool.shutdown(SECOND).unwrap();
}

#[test]
fn a_schedule_of_a_kind_that_this_program_does_not_know_is_left_to_one_that_does() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let other =
            lab.builder().name("other").mode(Mode::Hold).register(theirs).state(log.clone());
        let other =
            other.schedule(Schedule::every("theirs", MINUTE, theirs::with())).open().unwrap();
        let client = open(lab, &log, [every("ours", MINUTE)]);
        lab.advance(&client, MINUTE);
        eventually("ours has run", || log.words() == ["ours"]);
        let late = client.schedules().get("theirs").unwrap();
        assert!(
            late.state == ScheduleState::Active && late.next_at.is_some_and(|at| at <= lab.now())
        );
        let refused = client.schedules().run_now("theirs").unwrap_err();
        assert_eq!(refused.code(), "unknown_kind");
        assert_eq!(other.run_pending(&Pending::all()).unwrap().succeeded, 1);
        assert_eq!(log.words(), ["ours", "theirs"]);
    });
}

/// Only where this thread fires, as it hears what is said on it.
#[test]
fn a_program_whose_schedules_another_of_its_name_orphans_is_told_so_once() {
    let lab = Lab::inline();
    let log = Log::default();
    let client = open(&lab, &log, [every("a", MINUTE), every("b", MINUTE)]);
    lab.advance(&client, MINUTE);
    let fewer = open(&lab, &log, [every("a", MINUTE)]);
    let told = |part: &dyn Fn()| {
        let said = Events::of(part).into_iter().filter(|(level, _)| *level == tracing::Level::WARN);
        said.map(|(_, text)| text).collect::<Vec<_>>()
    };
    let said = told(&|| lab.advance(&client, MINUTE));
    assert!(
        said.len() == 1 && said[0].contains("another client of this program's name"),
        "{said:?}"
    );
    assert_eq!(log.words(), ["a", "b", "a"]);
    fewer.schedules().disable("a").unwrap();
    assert_eq!(told(&|| lab.advance(&client, MINUTE)), [""; 0]);
}

/// Only where nobody runs anything by himself, and then a pool beside it.
#[test]
fn a_schedule_that_nobody_fires_is_overdue_and_unserved() {
    let lab = Lab::pool();
    let log = Log::default();
    let desk = lab.builder().name("story").mode(Mode::Hold).register(tick).state(log.clone());
    let daily = every("daily", 24 * HOUR);
    let desk = desk.schedule(every("a", MINUTE)).schedule(daily).open().unwrap();
    let queue = litework::Scope::queue("default");
    assert_eq!(desk.unserved().unwrap(), []);
    lab.clock.advance(MINUTE);
    let unserved = desk.unserved().unwrap();
    assert_eq!(unserved.len(), 1);
    let one = &unserved[0];
    assert_eq!(
        (&*one.queue, &*one.kind, &one.schedules[..]),
        ("default", "tick", &["a".to_owned()][..])
    );
    let clerk = lab.builder().mode(Mode::Enqueue).declare::<tick>().open().unwrap();
    let said = Events::of(|| {
        for _ in 0..2 {
            clerk.enqueue(tick::with("later").run_after(48 * HOUR)).unwrap();
        }
    });
    let warned = said.iter().filter(|(level, _)| *level == tracing::Level::WARN);
    let warned: Vec<&str> = warned.map(|(_, text)| text.as_str()).collect();
    assert_eq!(warned, ["schedules are due, and no live process fires them"]);
    let is_overdue = || desk.schedules().get("a").unwrap().is_overdue(lab.now());
    assert!(!is_overdue(), "it is within its grace");
    lab.clock.advance(MINUTE + SECOND);
    assert!(is_overdue());
    desk.pause(&queue).unwrap();
    assert_eq!(desk.unserved().unwrap(), [], "what is paused is not to be run");
    desk.resume(&queue).unwrap();
    assert_eq!(desk.run_pending(&Pending::all()).unwrap().succeeded, 1);
    assert!(!is_overdue());
    assert_eq!(desk.unserved().unwrap(), []);
    let _pool = open(&lab, &log, []);
    lab.clock.advance(MINUTE);
    assert_eq!(desk.unserved().unwrap(), [], "a pool fires it");
}

#[test]
fn a_damaged_schedule_stops_by_itself_and_says_so() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let names = ["a", "b", "c", "d", "e", "good"];
        let client = open(lab, &log, names.map(|name| every(name, MINUTE)));
        let conn = Connection::open(lab.path()).unwrap();
        conn.busy_timeout(20 * SECOND).unwrap();
        let damage = [
            ("a", "edits = '{'"),
            ("b", "edits = '{\"timing\": {\"every\": {\"interval_ms\": 1}}}'"),
            ("c", "code = CAST(x'ff' AS TEXT)"),
            ("d", "edits = '{\"surprise\": 1}'"),
            ("e", "fired = '['"),
        ];
        for (name, set) in damage {
            let sql = format!("UPDATE litework_schedule SET {set} WHERE name = ?1");
            assert_eq!(conn.execute(&sql, [name]).unwrap(), 1);
        }
        // A slot that no program of ours has noted.
        let slot = "INSERT INTO litework_slot (schedule, at, kind, count, fired_at) \
             SELECT id, 1, 'odd', 1, 1 FROM litework_schedule";
        conn.execute(slot, []).unwrap();
        lab.advance(&client, MINUTE);
        eventually("the good one runs, and the others stop", || {
            lab.settle(&client);
            let next = |name: &str| client.schedules().get(name).unwrap().next_at;
            let stopped = |name: &&str| next(name).is_none() == (*name != "d");
            log.words() == ["good"] && names[..5].iter().all(stopped)
        });
        for name in &names[..5] {
            let record = client.schedules().get(name).unwrap();
            assert_eq!(record.state, ScheduleState::Damaged, "{name}");
            assert!(
                record
                    .damage
                    .is_some_and(|text| text.starts_with("bad_") || text.starts_with("too_"))
            );
        }
        // An edit repairs it, and so does a reset.
        client.schedules().edit("a", |edit| edit.every(HOUR)).unwrap();
        client.schedules().reset("b").unwrap();
        let repaired = client.schedules().edit("d", |edit| edit.priority(1)).unwrap();
        assert_eq!((repaired.state, repaired.priority), (ScheduleState::Active, Some(1)));
        conn.execute(
            "UPDATE litework_schedule SET edits = '{\"surprise\": 1}' WHERE name = 'd'",
            [],
        )
        .unwrap();
        assert_eq!(state(&client, "a"), ScheduleState::Active);
        assert_eq!(state(&client, "b"), ScheduleState::Active);
        client.shutdown(SECOND).unwrap();
        // The next start of the program brings back what code says.
        let client = open(lab, &log, names.map(|name| every(name, MINUTE)));
        assert_eq!(state(&client, "c"), ScheduleState::Active);
        assert_eq!(state(&client, "d"), ScheduleState::Damaged, "what people said stays theirs");
        // Another version may know more of it: whoever can read it goes on.
        conn.execute("UPDATE litework_schedule SET edits = '{}' WHERE name = 'd'", []).unwrap();
        client.schedules().disable("good").unwrap();
        eventually("it goes on", || {
            lab.settle(&client);
            state(&client, "d") == ScheduleState::Active
        });
    });
}

/// In a file of one's own, changed as another program would.
fn change(lab: &Lab, sql: &str) -> usize {
    let conn = Connection::open(lab.path()).unwrap();
    conn.busy_timeout(20 * SECOND).unwrap();
    conn.execute(sql, []).unwrap()
}

#[cfg(feature = "cron")]
#[test]
fn an_expression_in_a_zone_that_is_not_known_here_is_left_to_one_that_knows_it() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let daily = || Schedule::cron("c", "0 * * * *", tick::with("c"));
        let client = open(lab, &log, [daily()]);
        let put = |from: &str, to: &str| {
            change(
                lab,
                &format!("UPDATE litework_schedule SET code = replace(code, '{from}', '{to}')"),
            )
        };
        assert_eq!(put("UTC", "Mars/Olympus"), 1);
        lab.advance(&client, HOUR);
        eventually("it is held back", || {
            lab.settle(&client);
            state(&client, "c") == ScheduleState::Paused
        });
        let why = client.schedules().get("c").unwrap().damage.unwrap();
        assert!(why.starts_with("unknown_zone"), "{why}");
        // Set back, which finds each slot anew.
        lab.clock.set(Timestamp::from_millis(lab.now().as_millis() - 60_000).unwrap());
        lab.settle(&client);
        lab.advance(&client, MINUTE);
        assert_eq!(state(&client, "c"), ScheduleState::Paused);
        client.shutdown(SECOND).unwrap();
        put("Mars/Olympus", "UTC");
        let client = open(lab, &log, [daily()]);
        eventually("the slot has run", || {
            lab.settle(&client);
            log.words() == ["c"]
        });
    });
}

#[test]
fn one_that_is_damaged_while_it_is_held_back_is_damaged_and_not_held_back() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let client = open(lab, &log, [every("a", MINUTE)]);
        client.pause(&litework::Scope::queue("default")).unwrap();
        lab.advance(&client, MINUTE);
        eventually("it is held back", || {
            lab.settle(&client);
            state(&client, "a") == ScheduleState::Paused
        });
        change(lab, "UPDATE litework_schedule SET edits = '{'");
        client.resume(&litework::Scope::queue("default")).unwrap();
        let settled =
            "UPDATE litework_schedule SET failures = 0 WHERE damage IS NOT NULL AND held = 0";
        eventually("it is damaged", || {
            lab.settle(&client);
            change(lab, settled) == 1
        });
        let edited = client.schedules().edit("a", |edit| edit.every(HOUR)).unwrap();
        assert_eq!(edited.state, ScheduleState::Active);
    });
}

#[test]
fn one_that_waits_for_a_task_which_has_gone_goes_on_with_the_next_program() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let plain = || lab.builder().register(tick).state(log.clone()).open().unwrap();
        let client = plain();
        client.pause(&litework::Scope::kind("tick")).unwrap();
        let start = lab.now().after(SECOND).to_chrono();
        let after = Schedule::after_finish("a", MINUTE, tick::with("a")).starting(start);
        client.schedules().add(after).unwrap();
        client.schedules().run_now("a").unwrap();
        client.schedules().edit("a", |edit| edit.after_finish(HOUR, HOUR)).unwrap();
        assert_eq!(client.schedules().get("a").unwrap().open, 1);
        client.shutdown(SECOND).unwrap();
        assert_eq!(change(lab, "DELETE FROM litework_task"), 1);
        let client = plain();
        let known = client.schedules().get("a").unwrap();
        assert_eq!((known.open, known.state), (0, ScheduleState::Active));
        assert!(known.next_at.is_some());
    });
}

#[test]
fn what_this_program_cannot_fire_stays_as_it_is_when_the_clock_is_set_back() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let other = lab.builder().name("other").mode(Mode::Hold).register(theirs);
        let other = other.schedule(Schedule::every("theirs", MINUTE, theirs::with()));
        let other = other.state(log.clone()).open().unwrap();
        let client = open(lab, &log, [every("ours", MINUTE)]);
        let newer = "UPDATE litework_schedule SET edits = '{\"newer\": 1}' WHERE name = 'theirs'";
        change(lab, newer);
        let began = lab.now();
        lab.clock.set(Timestamp::from_millis(began.as_millis() - 3_600_000).unwrap());
        eventually("ours has its next slot again", || {
            lab.settle(&client);
            let next = client.schedules().get("ours").unwrap().next_at;
            next.is_some_and(|at| at <= lab.now().after(MINUTE))
        });
        lab.advance(&client, MINUTE);
        eventually("ours has run", || {
            lab.settle(&client);
            log.words() == ["ours"]
        });
        let left = "UPDATE litework_schedule SET edits = '{}' \
             WHERE name = 'theirs' AND damage IS NULL AND held = 0 AND next_at IS NOT NULL";
        assert_eq!(change(lab, left), 1);
        assert_eq!(other.run_pending(&Pending::all()).unwrap().succeeded, 0);
        lab.clock.advance(MINUTE);
        assert!(other.run_pending(&Pending::all()).unwrap().succeeded >= 1);
        assert!(log.words().contains(&"theirs".to_owned()));
    });
}

/// As by a damaged index, or a rule that somebody else has put on our tables.
#[test]
fn a_schedule_whose_rows_refuse_to_be_written_stops_alone() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let names = ["a", "b", "c", "d", "good"];
        let client = open(lab, &log, names.map(|name| every(name, MINUTE)));
        let conn = Connection::open(lab.path()).unwrap();
        conn.busy_timeout(20 * SECOND).unwrap();
        // The same text for whoever reads them, though not for the file.
        conn.execute_batch(
            "UPDATE litework_schedule SET name = CAST(x'ff' AS TEXT) WHERE name = 'a';
             UPDATE litework_schedule SET name = CAST(x'fe' AS TEXT) WHERE name = 'b';
             CREATE TRIGGER odd_slot BEFORE INSERT ON litework_slot
             WHEN NEW.schedule = (SELECT id FROM litework_schedule WHERE name = 'c')
             BEGIN SELECT RAISE(ABORT, 'no slot for c'); END;
             CREATE TRIGGER odd_schedule BEFORE UPDATE ON litework_schedule WHEN OLD.name = 'd'
             BEGIN SELECT RAISE(ABORT, 'no change of d'); END;",
        )
        .unwrap();
        let ran = || {
            let mut words = log.words();
            words.sort();
            words
        };
        lab.advance(&client, MINUTE);
        eventually("all but the two have run", || {
            lab.settle(&client);
            ran() == ["a", "b", "good"]
        });
        let stopped = client.schedules().get("c").unwrap();
        assert_eq!(stopped.state, ScheduleState::Damaged);
        assert!(stopped.damage.is_some_and(|text| text.contains("no slot for c")));
        let tasks = client.list(&Filter::new(), None, 100).unwrap().tasks;
        assert_eq!(tasks.len(), 3, "nothing is left of what was taken back");
        // When somebody has put it right, it goes on.
        conn.execute_batch("DROP TRIGGER odd_slot; DROP TRIGGER odd_schedule;").unwrap();
        lab.advance(&client, SECOND);
        eventually("the one that waits for it runs", || {
            lab.settle(&client);
            ran() == ["a", "b", "d", "good"]
        });
    });
}

#[test]
fn a_task_of_a_schedule_is_told_like_any_other() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        let builder = lab.builder().register(tick).state(log.clone()).schedule(every("a", MINUTE));
        let kinds = [EventKind::Enqueued, EventKind::Succeeded];
        let client = builder
            .on(kinds, move |_client, event| {
                into.lock().unwrap().push((event.what, event.kind.to_string()));
            })
            .open()
            .unwrap();
        lab.advance(&client, MINUTE);
        let expected = kinds.map(|what| (what, "tick".to_owned()));
        eventually("both are heard", || *heard.lock().unwrap() == expected);
    });
}

#[test]
fn a_unique_key_holds_for_what_a_schedule_makes() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let unique = || tick::with("u").unique(Unique::key("one"));
        let schedule = Schedule::every("u", MINUTE, unique());
        let client = open(lab, &log, [schedule]);
        client.pause(&litework::Scope::queue("default")).unwrap();
        let first = client.enqueue(unique().run_after(HOUR)).unwrap();
        client.resume(&litework::Scope::queue("default")).unwrap();
        lab.advance(&client, MINUTE);
        eventually("the slot is noted", || {
            lab.settle(&client);
            client.schedules().get("u").unwrap().overlapped_slots == 1
        });
        let slot = &client.schedules().history("u", Timestamp::MAX, 1).unwrap()[0];
        assert_eq!(slot.task, Some(first.id()));
        assert_eq!(client.count(&Filter::new()).unwrap(), 1);
    });
}

#[test]
fn jitter_makes_a_task_later_than_its_slot_and_the_same_in_every_process() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
        let schedules = names.iter().map(|name| every(name, HOUR).jitter(MINUTE));
        let client = open(lab, &log, schedules.collect::<Vec<_>>());
        lab.advance(&client, HOUR);
        let due: Vec<i64> = {
            let conn = Connection::open(lab.path()).unwrap();
            let mut read =
                conn.prepare("SELECT due_at - next_at FROM litework_schedule ORDER BY id").unwrap();
            read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
        };
        assert!(due.iter().all(|late| (0..=60_000).contains(late)), "{due:?}");
        assert!(due.iter().collect::<BTreeSet<_>>().len() > 10, "they differ: {due:?}");
        lab.advance(&client, MINUTE);
        eventually("all have run", || {
            lab.settle(&client);
            log.len() == 20
        });
        let tasks = client.list(&Filter::new(), None, 100).unwrap().tasks;
        assert!(tasks.iter().all(|task| task.slot.as_ref().unwrap().late <= MINUTE));
    });
}

#[test]
fn a_program_that_cannot_make_a_call_leaves_it_to_the_one_that_declares_it() {
    Lab::each_way(|lab| {
        let log = Log::default();
        let reports = Schedule::every("r", MINUTE, tick::with("r").queue("reports"));
        let owner = lab.builder().name("owner").mode(Mode::Hold).register(tick).state(log.clone());
        let owner = owner.schedule(reports).open().unwrap();
        let other = lab.builder().name("other").register(tick).state(log.clone());
        let other = other.allow_queues(["default"]).schedule(every("d", MINUTE)).open().unwrap();
        lab.advance(&other, MINUTE);
        eventually("the other has run its own", || {
            lab.settle(&other);
            log.words() == ["d"] && state(&other, "r") == ScheduleState::Paused
        });
        owner.run_pending(&Pending::all()).unwrap();
        assert_eq!(state(&owner, "r"), ScheduleState::Active);
        eventually("the owner has made its task", || {
            owner.run_pending(&Pending::all()).unwrap();
            log.words().contains(&"r".to_owned())
        });
    });
}
