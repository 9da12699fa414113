//! Schedules of which several have a say: programs that share a file, code that changes, and people.

use litework::{Client, Origin, Schedule, ScheduleState, task};

use super::{Bench, HOUR, MINUTE, SECOND, every, fail, get, tick};
use crate::common::{Lab, eventually};

crate::everywhere! {
    a_call_that_is_refused_here_waits_for_a_program_that_can_make_it,
    code_does_not_take_over_what_a_person_has_made_of_another_kind,
    code_takes_over_what_a_person_has_made_of_its_kind,
    what_was_edited_for_another_kind_is_neither_used_nor_lost,
    what_was_edited_goes_along_where_a_kind_is_only_renamed,
    two_programs_do_not_change_a_schedule_in_turn,
    another_version_of_a_program_without_a_name_takes_over,
    a_reset_keeps_the_name_where_another_has_that_of_the_code,
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

fn open_as(bench: &Bench<'_>, name: &str, schedules: impl IntoIterator<Item = Schedule>) -> Client {
    let builder = bench.lab.builder().name(name).register(tick).state(bench.log.clone());
    builder.schedules(schedules).open().unwrap()
}

/// Which program declares it, and when it fires.
fn of(client: &Client) -> (Origin, String) {
    let known = get(client);
    (known.origin, known.timing.unwrap().to_string())
}

fn by(program: &str, timing: &str) -> (Origin, String) {
    (Origin::Code { program: program.to_owned() }, timing.to_owned())
}

fn two_programs_do_not_change_a_schedule_in_turn(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let first = || open_as(&bench, "first", [every(MINUTE)]);
    let second = || open_as(&bench, "second", [every(HOUR)]);
    let generation = get(&first()).generation;
    for client in [second(), first(), second()] {
        assert_eq!(of(&client), by("first", "Every 1m"));
        assert_eq!(get(&client).generation, generation);
        client.shutdown(SECOND).unwrap();
    }
    // One that says the same agrees, and what a former name of it means is not that of another program.
    open_as(&bench, "second", [every(MINUTE)]).shutdown(SECOND).unwrap();
    let renamed = Schedule::every("tack", HOUR, tick::with("t")).formerly("tick");
    let client = open_as(&bench, "second", [renamed]);
    assert_eq!(of(&client), by("first", "Every 1m"));
    assert_eq!(client.schedules().get("tack").unwrap().state, ScheduleState::Active);
    client.shutdown(SECOND).unwrap();
    // Then the first declares it no more.
    open_as(&bench, "first", []).shutdown(SECOND).unwrap();
    let client = second();
    assert_eq!(of(&client), by("second", "Every 1h"));
    assert_eq!(get(&client).state, ScheduleState::Active);
}

fn another_version_of_a_program_without_a_name_takes_over(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let file = std::env::args().next().unwrap();
    let file = std::path::Path::new(&file).file_stem().unwrap().to_str().unwrap().to_owned();
    open_as(&bench, &format!("{file}-1.2"), [every(MINUTE)]).shutdown(SECOND).unwrap();
    let builder = lab.builder().register(tick).state(bench.log.clone());
    let client = builder.schedules([every(HOUR)]).open().unwrap();
    assert_eq!(of(&client), by(&file, "Every 1h"));
    client.shutdown(SECOND).unwrap();
    // One that is named after all.
    open_as(&bench, "app-1", [every(2 * HOUR)]).shutdown(SECOND).unwrap();
    let one = || Schedule::every("one", MINUTE, tick::with("t"));
    open_as(&bench, "app-1", [one()]).shutdown(SECOND).unwrap();
    let client = open_as(&bench, "app", [one().times(9)]);
    let known = client.schedules().get("one").unwrap();
    assert_eq!((known.origin, known.times), (by("app", "").0, Some(9)));
}

fn a_reset_keeps_the_name_where_another_has_that_of_the_code(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let schedules = client.schedules();
    schedules.edit("tick", |edit| edit.rename("tock").every(HOUR)).unwrap();
    schedules.add(every(2 * HOUR)).unwrap();
    let reset = schedules.reset("tock").unwrap();
    let edited: Vec<&str> = reset.edited.iter().map(|it| &*it.field).collect();
    assert_eq!((&*reset.name, &edited[..]), ("tock", &["name"][..]));
    assert_eq!(reset.timing.unwrap().to_string(), "Every 1m");
    assert_eq!(get(&client).timing.unwrap().to_string(), "Every 2h");
    schedules.remove("tick").unwrap();
    let reset = schedules.reset("tock").unwrap();
    assert_eq!((&*reset.name, reset.edited.len()), ("tick", 0));
}
