//! Schedules as people find them: edited, switched, run now, added and removed while programs go on.

use std::time::Duration;

use litework::{
    Context, Origin, Overlap, Result, Schedule, ScheduleState, Scope, SlotKind, State, Switch, task,
};
use tracing::Level;

use super::{Bench, HOUR, MINUTE, SECOND, YEAR, every, fail, get, tasks, tick};
use crate::common::{Events, Lab, Log, eventually};

crate::everywhere! {
    what_is_edited_back_to_what_code_says_is_no_edit,
    of_what_an_edit_says_twice_the_later_holds,
    each_argument_is_edited_by_itself,
    an_argument_that_the_task_does_not_take_is_refused,
    an_edit_that_does_not_go_with_the_code_any_more_follows_it,
    a_name_that_a_person_has_given_is_shown_beside_that_in_code,
    an_edit_never_makes_up_for_the_past,
    a_paused_queue_holds_its_schedules_back,
    people_run_it_now,
    a_schedule_asked_for_twice_runs_twice,
    many_are_switched_and_run_together_or_none,
    failures_in_a_row_stop_it_until_somebody_enables_it,
    an_edit_of_what_follows_its_end_does_not_run_it_at_once,
    people_add_and_remove_schedules,
    a_schedule_that_code_declares_is_not_removed,
    a_task_that_is_retried_is_open_again,
}

/// Notes what it copies.
#[task]
fn copy(ctx: &Context, from: &str, to: &str) -> Result<()> {
    ctx.state::<Log>()?.note(format!("{from} to {to}"));
    Ok(())
}

#[task(name = "move")]
fn move_by_name(ctx: &Context, from: &str, to: &str) -> Result<()> {
    ctx.state::<Log>()?.note(format!("{from} to {to}"));
    Ok(())
}

/// The same in a later version of the program.
#[task(name = "move")]
fn move_by_number(ctx: &Context, from: u32, via: &str, size: u32) -> Result<()> {
    ctx.state::<Log>()?.note(format!("{from} via {via}: {size}"));
    Ok(())
}

fn what_is_edited_back_to_what_code_says_is_no_edit(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let schedules = client.schedules();
    schedules.disable("tick").unwrap();
    assert_eq!(schedules.enable("tick").unwrap().edited, []);
    schedules.edit("tick", |edit| edit.every(HOUR).queue("q").argument("word", "x")).unwrap();
    schedules.edit("tick", |edit| edit.grace(SECOND).times(3).overlap(Overlap::Allow)).unwrap();
    assert_eq!(get(&client).edited.len(), 6);
    let back =
        |edit: litework::ScheduleEdit| edit.every(MINUTE).argument("word", "t").grace(MINUTE);
    schedules.edit("tick", |edit| back(edit).without_times().overlap(Overlap::Skip)).unwrap();
    let left = get(&client).edited;
    assert_eq!(left.iter().map(|it| &*it.field).collect::<Vec<_>>(), ["queue"]);
    client.shutdown(SECOND).unwrap();
    // So its code, which says something else now, is followed.
    let client = bench.open([every(2 * MINUTE).enabled(false).times(9)]);
    let known = get(&client);
    assert_eq!((known.state, known.times), (ScheduleState::Disabled, Some(9)));
    assert_eq!(known.timing.unwrap().to_string(), "Every 2m");
}

fn of_what_an_edit_says_twice_the_later_holds(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let schedules = client.schedules();
    let (soon, later) = (lab.now().after(HOUR), lab.now().after(2 * HOUR));
    let edit =
        |edit: litework::ScheduleEdit| edit.once(later).every(HOUR).ending(soon).without_end();
    let edited = schedules.edit("tick", |it| edit(it).without_times().times(3)).unwrap();
    assert_eq!((edited.ends_at, edited.times), (None, Some(3)));
    assert_eq!(edited.timing.unwrap().to_string(), "Every 1h");
    let no_moment = lab.now().to_chrono() - 100 * YEAR; // before 1970
    let edited = schedules.edit("tick", |edit| edit.ending(no_moment).ending(later)).unwrap();
    assert_eq!(edited.ends_at, Some(later));
    let edited = schedules.edit("tick", |edit| edit.without_end().ending(soon)).unwrap();
    assert_eq!(edited.ends_at, Some(soon));
    let argued = |edit: litework::ScheduleEdit| edit.without_argument("word").argument("word", "x");
    let edited = schedules.edit("tick", argued).unwrap();
    assert_eq!(edited.arguments, r#"{"word":"x"}"#);
    let often = schedules.edit("tick", |edit| edit.frequent().every(SECOND).without_frequent());
    assert_eq!(often.unwrap_err().code(), "too_frequent");
}

/// What one argument was edited to goes before what code says of that parameter, and of no other.
fn each_argument_is_edited_by_itself(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let open = |from: &str, to: &str| {
        let builder = lab.builder().name("bench").register(copy).state(bench.log.clone());
        let (from, to) = (from.to_owned(), to.to_owned());
        builder.schedule(Schedule::every("tick", HOUR, copy::with(from, to))).open().unwrap()
    };
    let client = open("a", "b");
    let edited = client.schedules().edit("tick", |edit| edit.argument("from", "x")).unwrap();
    let fields: Vec<&str> = edited.edited.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["arguments.from"]);
    client.shutdown(SECOND).unwrap();
    let client = open("a", "c");
    assert_eq!(get(&client).arguments, r#"{"from":"x","to":"c"}"#);
}

fn an_argument_that_the_task_does_not_take_is_refused(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR)]);
    let schedules = client.schedules();
    let made = Schedule::every("made", HOUR, tick::with("m"));
    schedules.add(made).unwrap();
    for name in ["tick", "made"] {
        let refused = |edit: fn(litework::ScheduleEdit) -> litework::ScheduleEdit| {
            let error = schedules.edit(name, edit).unwrap_err();
            assert_eq!(error.code(), "bad_arguments", "{error}");
            error.to_string()
        };
        let said = refused(|edit| edit.argument("word", 5));
        assert!(said.contains("$.word") && said.contains("expected a string"), "{said}");
        let said = refused(|edit| edit.argument("wrod", "x"));
        assert!(said.contains("\"wrod\"") && said.contains("word"), "{said}");
        let said = refused(|edit| edit.without_argument("word"));
        assert!(said.contains("missing field `word`"), "{said}");
        let known = schedules.get(name).unwrap();
        assert!(known.edited.is_empty() && known.arguments.len() == r#"{"word":"t"}"#.len());
    }
}

fn an_edit_that_does_not_go_with_the_code_any_more_follows_it(lab: &Lab) {
    if !lab.keeps_tasks() {
        return;
    }
    let bench = Bench::new(lab);
    let builder = || lab.builder().name("bench").state(bench.log.clone());
    let old = Schedule::every("tick", HOUR, move_by_name::with("a", "b"));
    let client = builder().register(move_by_name).schedule(old).open().unwrap();
    let edit =
        |edit: litework::ScheduleEdit| edit.argument("from", "x").argument("to", "y").every(MINUTE);
    client.schedules().edit("tick", edit).unwrap();
    client.shutdown(SECOND).unwrap();
    let open = || {
        let new = Schedule::every("tick", HOUR, move_by_number::with(7, "c", 1));
        builder().register(move_by_number).schedule(new).open().unwrap()
    };
    let mut client = None;
    let said = Events::of(|| client = Some(open()));
    let client = client.unwrap();
    assert!(
        said.iter().any(|(level, text)| *level == Level::WARN && text.contains("followed")),
        "{said:?}"
    );
    let known = get(&client);
    assert_eq!(known.arguments, r#"{"from":7,"size":1,"via":"c"}"#);
    assert_eq!(known.edited.iter().map(|it| &*it.field).collect::<Vec<_>>(), ["timing"]);
    // What goes with it stays.
    client.schedules().edit("tick", |edit| edit.argument("size", 2)).unwrap();
    client.shutdown(SECOND).unwrap();
    let client = open();
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words(), ["7 via c: 2"]);
}

fn a_name_that_a_person_has_given_is_shown_beside_that_in_code(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    let schedules = client.schedules();
    assert_eq!(get(&client).code_name.as_deref(), Some("tick"));
    let renamed = schedules.edit("tick", |edit| edit.rename("tock")).unwrap();
    assert_eq!(renamed.code_name.as_deref(), Some("tick"));
    let edited = &renamed.edited[0];
    assert_eq!(
        (&*edited.field, &edited.code, &edited.edited),
        ("name", &"tick".into(), &"tock".into())
    );
    let refused = schedules.get("tick").unwrap_err();
    assert_eq!(refused.code(), "no_schedule");
    assert!(refused.to_string().contains("\"tock\""), "{refused}");
    assert!(schedules.disable("tick").unwrap_err().to_string().contains("\"tock\""));
    let added = schedules.add(every(MINUTE)).unwrap();
    assert_eq!((added.code_name, added.edited), (None, Vec::new()));
}

fn an_edit_never_makes_up_for_the_past(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR).enabled(false)]);
    bench.advance(&client, 10 * HOUR);
    let enabled = client.schedules().enable("tick").unwrap();
    assert_eq!(enabled.next_at, Some(lab.now().after(HOUR)));
    let generation = enabled.generation;
    let edited = client.schedules().edit("tick", |edit| edit.every(MINUTE)).unwrap();
    assert_eq!(
        (edited.next_at, edited.generation),
        (Some(lab.now().after(MINUTE)), generation + 1)
    );
    bench.advance(&client, SECOND);
    assert_eq!(bench.log.len(), 0);
    assert!(!client.schedules().toggle("tick").unwrap().enabled);
    assert!(client.schedules().toggle("tick").unwrap().enabled);
}

fn a_paused_queue_holds_its_schedules_back(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    client.pause(&Scope::queue("default")).unwrap();
    lab.advance(&client, 10 * MINUTE);
    eventually("it is held back", || {
        lab.settle(&client);
        get(&client).state == ScheduleState::Paused
    });
    assert_eq!(tasks(&client).len(), 0);
    client.resume(&Scope::queue("default")).unwrap();
    bench.advance(&client, SECOND);
    eventually("the last of the missed slots runs", || {
        lab.settle(&client);
        bench.log.words() == ["t@600"]
    });
    assert_eq!(get(&client).missed_slots, 9);
}

fn people_run_it_now(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR).enabled(false)]);
    let made = client.schedules().run_now("tick").unwrap();
    let again = client.schedules().run_now("tick").unwrap();
    assert_ne!(made.id, again.id);
    eventually("both have run", || {
        lab.settle(&client);
        bench.log.len() == 2 && get(&client).open == 0
    });
    assert_eq!(bench.log.words(), ["t@0!", "t@0!"]);
    let known = get(&client);
    assert_eq!((known.runs, known.last.map(|last| last.kind)), (0, Some(SlotKind::Manual)));
    assert_eq!(client.schedules().run_now("tock").unwrap_err().code(), "no_schedule");
}

fn a_schedule_asked_for_twice_runs_twice(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(HOUR).overlap(Overlap::Allow)]);
    lab.advance(&client, 3_599 * SECOND);
    lab.clock.advance(SECOND);
    assert_eq!(client.schedules().run_all_now(&["tick", "tick"]).unwrap().len(), 2);
    bench.advance(&client, SECOND);
    eventually("both have run, and the slot of that moment too", || {
        lab.settle(&client);
        bench.log.len() == 3
    });
    assert_eq!(get(&client).runs, 1);
}

fn many_are_switched_and_run_together_or_none(lab: &Lab) {
    let bench = Bench::new(lab);
    let named = |name: &str| Schedule::every(name, HOUR, tick::with(name));
    let client = bench.open([named("a"), named("b").enabled(false), named("c")]);
    let schedules = client.schedules();
    let on = |names: &[&str], to| {
        schedules
            .switch(names, to)
            .map(|all| all.into_iter().map(|it| it.enabled).collect::<Vec<_>>())
    };
    assert_eq!(on(&["a", "b"], Switch::Toggle).unwrap(), [false, true]);
    assert_eq!(on(&["c", "nobody"], Switch::Off).unwrap_err().code(), "no_schedule");
    assert!(schedules.get("c").unwrap().enabled, "none was switched");
    assert_eq!(on(&["a", "b", "c"], Switch::On).unwrap(), [true; 3]);
    assert_eq!(schedules.run_all_now(&["a", "nobody"]).unwrap_err().code(), "no_schedule");
    assert_eq!(tasks(&client).len(), 0);
    assert_eq!(schedules.run_all_now(&["a", "b"]).unwrap().len(), 2);
    eventually("both have run", || {
        lab.settle(&client);
        bench.log.len() == 2
    });
}

fn failures_in_a_row_stop_it_until_somebody_enables_it(lab: &Lab) {
    let bench = Bench::new(lab);
    let failing = Schedule::every("fail", MINUTE, fail::with()).stop_after_failures(2);
    let client = bench.open([failing]);
    for _ in 0..3 {
        client.schedules().run_now("fail").unwrap();
        bench.advance(&client, Duration::ZERO);
    }
    let known = client.schedules().get("fail").unwrap();
    assert_eq!((known.state, known.failures), (ScheduleState::Active, 0), "people see their own");
    for _ in 0..4 {
        bench.advance(&client, MINUTE);
    }
    let stopped = client.schedules().get("fail").unwrap();
    assert_eq!((stopped.state, stopped.failures, stopped.runs), (ScheduleState::Failing, 2, 2));
    let enabled = client.schedules().enable("fail").unwrap();
    assert_eq!((enabled.state, enabled.failures), (ScheduleState::Active, 0));
    bench.advance(&client, MINUTE);
    assert_eq!(client.schedules().get("fail").unwrap().runs, 3);
}

fn an_edit_of_what_follows_its_end_does_not_run_it_at_once(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([Schedule::after_finish("tick", HOUR, tick::with("t"))]);
    bench.advance(&client, Duration::ZERO);
    let ended = lab.now();
    bench.advance(&client, 10 * MINUTE);
    let edited =
        client.schedules().edit("tick", |edit| edit.after_finish(2 * HOUR, 2 * HOUR)).unwrap();
    assert_eq!(edited.next_at, Some(ended.after(2 * HOUR)));
    assert_eq!(bench.log.len(), 1);
}

fn people_add_and_remove_schedules(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([]);
    let schedules = client.schedules();
    let made = schedules.add(every(MINUTE)).unwrap();
    assert_eq!(made.origin, Origin::Made);
    assert_eq!(schedules.add(every(HOUR)).unwrap_err().code(), "duplicate_schedule");
    assert_eq!(schedules.reset("tick").unwrap_err().code(), "unsupported");
    let ahead = schedules.preview("tick", 3).unwrap();
    assert_eq!(ahead, [1, 2, 3].map(|minutes| lab.now().after(minutes * MINUTE)));
    bench.advance(&client, MINUTE);
    assert_eq!(bench.log.words(), ["t@60"]);
    schedules.remove("tick").unwrap();
    assert_eq!(schedules.get("tick").unwrap_err().code(), "no_schedule");
    bench.advance(&client, HOUR);
    assert_eq!(bench.log.len(), 1);
    assert_eq!(tasks(&client).len(), 1, "its task stays");
}

fn a_schedule_that_code_declares_is_not_removed(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([every(MINUTE)]);
    assert_eq!(client.schedules().remove("tick").unwrap_err().code(), "declared");
}

fn a_task_that_is_retried_is_open_again(lab: &Lab) {
    let bench = Bench::new(lab);
    let client = bench.open([Schedule::every("tick", MINUTE, fail::with())]);
    bench.advance(&client, MINUTE);
    assert_eq!(get(&client).last.unwrap().state, Some(State::Failed));
    client.pause(&Scope::kind("fail")).unwrap();
    client.retry(tasks(&client)[0].id).unwrap();
    assert_eq!((get(&client).open, get(&client).last.unwrap().state), (1, None));
}
