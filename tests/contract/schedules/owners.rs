//! Schedules of which several have a say: programs that share a file, code that changes, and people.

use litework::{Client, Schedule, ScheduleState, task};

use super::{Bench, HOUR, MINUTE, SECOND, every, fail, get, tick};
use crate::common::{Lab, eventually};

crate::everywhere! {
    a_call_that_is_refused_here_waits_for_a_program_that_can_make_it,
    code_does_not_take_over_what_a_person_has_made_of_another_kind,
    code_takes_over_what_a_person_has_made_of_its_kind,
    what_was_edited_for_another_kind_is_neither_used_nor_lost,
    what_was_edited_goes_along_where_a_kind_is_only_renamed,
}

/// The same parameters as `tick`.
#[task]
fn tock(word: &str) {
    let _ = word;
}

/// Others.
#[task]
fn copy(from: &str, to: &str) {
    let _ = (from, to);
}

fn a_call_that_is_refused_here_waits_for_a_program_that_can_make_it(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let reports = || Schedule::every("tick", MINUTE, tick::with("t").queue("reports"));
    for declared in [false, true] {
        let lab = &Lab::new(lab.place);
        let bench = Bench::new(lab);
        let able = || {
            if declared {
                return bench.open([reports()]);
            }
            let client = lab.builder().name("bench").register(tick).state(bench.log.clone());
            client.open().unwrap()
        };
        let client = able();
        if !declared {
            client.schedules().add(reports()).unwrap();
        }
        client.shutdown(SECOND).unwrap();
        // The same program, before an upgrade.
        let old = lab.builder().name("bench").register(tick).state(bench.log.clone());
        let old = old.allow_queues(["default"]).open().unwrap();
        lab.advance(&old, MINUTE);
        eventually("it is held back", || {
            lab.settle(&old);
            get(&old).state == ScheduleState::Paused
        });
        assert_eq!((get(&old).damage, get(&old).missed_slots), (None, 0));
        old.shutdown(SECOND).unwrap();
        let client = able();
        eventually("it has run", || {
            lab.settle(&client);
            bench.log.words() == ["t@60"]
        });
        assert_eq!(get(&client).state, ScheduleState::Active);
    }
}

fn names(client: &Client) -> Vec<(String, String)> {
    let all = client.schedules().list("", 10).unwrap();
    all.into_iter().map(|it| (it.name, it.kind)).collect()
}

fn code_does_not_take_over_what_a_person_has_made_of_another_kind(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([]);
    let theirs = Schedule::every("tick", HOUR, fail::with()).describe("Somebody's own");
    client.schedules().add(theirs).unwrap();
    client.shutdown(SECOND).unwrap();
    for _ in 0..2 {
        let client = bench.open([every(MINUTE)]);
        let pair = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        assert_eq!(names(&client), [pair("tick", "fail"), pair("tick (2)", "tick")]);
        assert_eq!(get(&client).description.as_deref(), Some("Somebody's own"));
        client.shutdown(SECOND).unwrap();
    }
}

fn code_takes_over_what_a_person_has_made_of_its_kind(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([]);
    client.schedules().add(every(HOUR)).unwrap();
    client.shutdown(SECOND).unwrap();
    let client = bench.open([every(MINUTE)]);
    assert_eq!(names(&client).len(), 1);
    assert_eq!(get(&client).timing.unwrap().to_string(), "Every 1h", "what people said holds");
}

fn what_was_edited_for_another_kind_is_neither_used_nor_lost(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    client
        .schedules()
        .edit("tick", |edit| edit.argument("word", "mine").priority(7).describe("Ours"))
        .unwrap();
    client.shutdown(SECOND).unwrap();
    let open = || {
        let builder = lab.builder().name("bench").register(copy);
        let changed = Schedule::every("tick", MINUTE, copy::with("a", "b"));
        builder.schedule(changed).open().unwrap()
    };
    for _ in 0..2 {
        let client = open();
        let known = get(&client);
        assert_eq!((&*known.kind, known.state), ("copy", ScheduleState::Disabled));
        assert_eq!(known.arguments, r#"{"from":"a","to":"b"}"#);
        assert_eq!(known.priority, Some(7), "what fits stays");
        let text = known.description.unwrap();
        assert!(text.contains(r#"{"word":"mine"}"#) && text.ends_with("Ours"), "{text}");
        assert!(known.edited.iter().any(|it| it.field == "enabled"));
        client.shutdown(SECOND).unwrap();
    }
    let client = open();
    let reset = client.schedules().reset("tick").unwrap();
    assert_eq!((reset.state, reset.description), (ScheduleState::Active, None));
}

fn what_was_edited_goes_along_where_a_kind_is_only_renamed(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    client.schedules().edit("tick", |edit| edit.argument("word", "mine")).unwrap();
    client.shutdown(SECOND).unwrap();
    let builder = lab.builder().name("bench").register(tock);
    let client = builder.schedule(Schedule::every("tick", MINUTE, tock::with("t"))).open().unwrap();
    let known = get(&client);
    assert_eq!((&*known.kind, known.state), ("tock", ScheduleState::Active));
    assert_eq!(known.arguments, r#"{"word":"mine"}"#);
}
