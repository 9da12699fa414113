//! A step of a task is made once, however often the task is tried; a durable sleep holds no thread.

use std::time::Duration;

use litework::{Context, Failure, JsonLimits, Reason, Result, State, TaskId, TaskRecord, task};

use crate::common::{Lab, Log, Runs};

crate::everywhere! {
    a_step_is_made_once_however_often_its_task_is_tried,
    a_step_that_fails_stores_nothing_and_is_made_again,
    a_step_returns_what_later_attempts_will_see,
    the_steps_of_a_task_are_listed_for_people,
    a_bad_name_of_a_step_is_refused_before_it_runs,
    a_name_stands_for_one_step_of_an_attempt,
    a_step_that_failed_may_be_tried_again_in_the_same_attempt,
    a_value_that_does_not_fit_is_refused_and_not_stored,
    a_step_whose_type_has_changed_is_refused,
    a_durable_sleep_spends_no_attempt_and_runs_no_step_again,
    a_sleep_that_is_woken_early_sleeps_the_rest,
    a_sleep_of_no_length_passes_and_too_long_a_one_is_refused,
    a_sleeping_task_can_be_cancelled,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Two steps; fails until its third attempt.
#[task(attempts = 4, retry = [0s])]
fn order(ctx: &Context, seats: u32) -> Result<u32> {
    let log = ctx.state::<Log>()?;
    log.note(format!("attempt {}", ctx.attempt()));
    let first = ctx.step("reserve", || {
        log.note("reserve");
        Ok(seats)
    })?;
    for number in 0..2 {
        ctx.step(&format!("mail-{number}"), || {
            log.note(format!("mail {number}"));
            if ctx.attempt() == 1 && number == 1 { Err("no carrier")? } else { Ok(()) }
        })?;
    }
    assert!(ctx.attempt() != 2, "the printer burns");
    Ok(first)
}

fn a_step_is_made_once_however_often_its_task_is_tried(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(order).state(log.clone()).open().unwrap();
    let handle = client.enqueue(order::with(7)).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), 7);
    let other = client.enqueue(order::with(8)).unwrap();
    assert_eq!(lab.wait(&client, &other).unwrap(), 8, "steps belong to one task");
    let expected = ["attempt 1", "reserve", "mail 0", "mail 1", "attempt 2", "mail 1", "attempt 3"];
    assert_eq!(log.words(), [expected, expected].concat());
}

fn a_step_that_fails_stores_nothing_and_is_made_again(lab: &Lab) {
    #[task(attempts = 2, retry = [0s])]
    fn flaky(ctx: &Context) -> Result<u32> {
        ctx.step("only", || if ctx.attempt() == 1 { Err("not yet")? } else { Ok(ctx.attempt()) })
    }
    let client = lab.builder().register(flaky).open().unwrap();
    let handle = client.enqueue(flaky::with()).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), 2);
    assert_eq!(client.steps(handle.id()).unwrap().len(), 1);
}

/// What serde does not carry is lost in the first attempt as in all others.
#[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
struct Part {
    kept: u32,
    #[serde(skip)]
    dropped: u32,
}

fn a_step_returns_what_later_attempts_will_see(lab: &Lab) {
    #[task(attempts = 2, retry = [0s])]
    fn partly(ctx: &Context) -> Result<()> {
        let part = ctx.step("part", || Ok(Part { kept: 1, dropped: 2 }))?;
        ctx.state::<Log>()?.note(format!("{part:?}"));
        if ctx.attempt() == 1 { Err("again")? } else { Ok(()) }
    }
    let log = Log::default();
    let client = lab.builder().register(partly).state(log.clone()).open().unwrap();
    let handle = client.enqueue(partly::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(log.words(), ["Part { kept: 1, dropped: 0 }"; 2]);
}

fn the_steps_of_a_task_are_listed_for_people(lab: &Lab) {
    #[task]
    fn long(ctx: &Context) -> Result<()> {
        ctx.step("second-by-name", || Ok("x".repeat(3_000)))?;
        ctx.step("first-by-name", || Ok((1, None::<u8>)))?;
        ctx.sleep("nap", MINUTE)?;
        ctx.step("last", || Ok(()))
    }
    let client = lab.builder().register(long).open().unwrap();
    let began = lab.now();
    let handle = client.enqueue(long::with()).unwrap();
    lab.settle(&client);
    crate::common::eventually("it sleeps", || handle.refresh().unwrap().state == State::Scheduled);
    lab.advance(&client, MINUTE);
    lab.wait(&client, &handle).unwrap();
    let steps = client.steps(handle.id()).unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["first-by-name", "nap", "second-by-name", "last"], "by (moment, name)");
    let woke = began.after(MINUTE);
    assert_eq!((steps[2].stored_at, steps[3].stored_at), (began, woke));
    assert_eq!((steps[0].value.as_str(), steps[3].value.as_str()), ("[1,null]", "null"));
    assert_eq!(steps[1].value, format!("\"{woke}\""));
    assert_eq!(steps[2].value.len(), 3_002);
    let nobody: TaskId = "7-0000000000000".parse().unwrap();
    assert_eq!(client.steps(nobody).unwrap_err().code(), "not_found");
    let guessed: TaskId = format!("{}0", &handle.id().to_string()[..14]).parse().unwrap();
    if guessed != handle.id() {
        assert_eq!(client.steps(guessed).unwrap_err().code(), "not_found");
    }
}

/// Makes steps of these names, in one attempt.
#[task(attempts = 3, retry = [0s])]
fn named(ctx: &Context, names: Vec<String>) -> Result<()> {
    for name in names {
        ctx.step(&name, || {
            ctx.state::<Log>()?.note(name.clone());
            Ok(())
        })?;
    }
    Ok(())
}

/// A task of steps with these names fails at once, with a code.
fn refused(lab: &Lab, names: &[&str]) -> (TaskRecord, Vec<String>) {
    let log = Log::default();
    let client = lab.builder().register(named).state(log.clone()).open().unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let handle = client.enqueue(named::with(names)).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.state, task.reason, task.attempt), (State::Failed, Some(Reason::GaveUp), 1));
    (task, log.words())
}

fn message_of(task: &TaskRecord) -> String {
    let error = task.error.as_ref().unwrap();
    format!("{} | {}", error.code.as_deref().unwrap_or_default(), error.message)
}

fn a_bad_name_of_a_step_is_refused_before_it_runs(lab: &Lab) {
    let long = "x".repeat(65);
    for (name, why) in [
        ("", "it is empty"),
        ("two words", "it has a character at byte 3 that is not allowed"),
        (long.as_str(), "it has 65 bytes"),
    ] {
        let (task, made) = refused(lab, &[name]);
        let message = message_of(&task);
        assert!(message.starts_with("bad_name | bad_name: step is "), "{message}");
        assert!(message.contains(why), "{message}");
        assert_eq!(made, Vec::<String>::new());
    }
}

fn a_name_stands_for_one_step_of_an_attempt(lab: &Lab) {
    let (task, made) = refused(lab, &["a", "b", "a"]);
    assert_eq!(
        message_of(&task),
        "duplicate_step | duplicate_step: step is \"a\"; a name that this attempt has not used; in a \
         loop put the number into it"
    );
    assert_eq!(made, ["a", "b"]);
}

fn a_step_that_failed_may_be_tried_again_in_the_same_attempt(lab: &Lab) {
    #[task]
    fn stubborn(ctx: &Context) -> Result<(u32, bool)> {
        let mut tries = 0;
        let mut once = || {
            ctx.step("dial", || {
                tries += 1;
                if tries < 3 { Err("busy")? } else { Ok(tries) }
            })
        };
        let _busy = (once().is_err(), once().is_err());
        let dialled = once()?;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ctx.step("burst", || -> Result<()> { panic!("in a step") })
        }));
        ctx.step("burst", || Ok(()))?;
        Ok((dialled, panicked.is_err()))
    }
    let client = lab.builder().register(stubborn).open().unwrap();
    let handle = client.enqueue(stubborn::with()).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), (3, true));
}

fn a_value_that_does_not_fit_is_refused_and_not_stored(lab: &Lab) {
    #[task]
    fn large(ctx: &Context, bytes: usize) -> Result<usize> {
        Ok(ctx.step("large", || Ok("x".repeat(bytes)))?.len())
    }
    #[task]
    fn odd(ctx: &Context) -> Result<f64> {
        ctx.step("odd", || Ok(f64::NAN))
    }
    let limits = JsonLimits { size_bytes: 10_000, ..JsonLimits::default() };
    let builder = lab.builder().register(large).register(odd).json_limits(limits);
    let client = builder.open().unwrap();
    let fits = client.enqueue(large::with(9_998)).unwrap();
    assert_eq!(lab.wait(&client, &fits).unwrap(), 9_998);
    let too_large = client.enqueue(large::with(9_999)).unwrap();
    let no_number = client.enqueue(odd::with()).unwrap();
    let failed = [lab.ended(&client, &too_large), lab.ended(&client, &no_number)];
    for (task, code) in failed.iter().zip(["payload_too_large", "number_out_of_range"]) {
        assert_eq!((task.reason, task.attempt), (Some(Reason::GaveUp), 1));
        assert!(message_of(task).starts_with(code), "{}", message_of(task));
        assert!(client.steps(task.id).unwrap().is_empty());
    }
}

fn a_step_whose_type_has_changed_is_refused(lab: &Lab) {
    #[task(retry = [0s])]
    fn changed(ctx: &Context) -> Result<()> {
        if ctx.attempt() == 1 {
            ctx.step("part", || Ok("text".to_owned()))?;
            Err("and now a new version")?;
        }
        ctx.step("part", || Ok(7_u32)).map(drop)
    }
    let client = lab.builder().register(changed).open().unwrap();
    let handle = client.enqueue(changed::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.reason, task.attempt), (Some(Reason::GaveUp), 2));
    let message = message_of(&task);
    assert!(message.starts_with("bad_step | bad_step: value of step \"part\" ("), "{message}");
    assert!(message.contains("u32 as it was stored; a step that returns"), "{message}");
    assert_eq!(client.steps(task.id).unwrap()[0].value, "\"text\"", "it is left as it was");
}

#[task(attempts = 2, retry = [0s])]
fn remind(ctx: &Context) -> Result<u32> {
    let log = ctx.state::<Log>()?;
    log.note("wakes");
    ctx.step("invite", || {
        log.note("invites");
        Ok(())
    })?;
    ctx.sleep("a-minute", MINUTE)?;
    ctx.sleep("another", MINUTE)?;
    log.note("reminds");
    Ok(ctx.attempt())
}

fn a_durable_sleep_spends_no_attempt_and_runs_no_step_again(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(remind).state(log.clone()).open().unwrap();
    let handle = client.enqueue(remind::with()).unwrap();
    for slept in 0..2 {
        lab.settle(&client);
        crate::common::eventually("it sleeps", || {
            let task = handle.refresh().unwrap();
            (task.state, task.reason) == (State::Scheduled, Some(Reason::Snoozed))
                && task.snoozes == slept + 1
        });
        let task = handle.refresh().unwrap();
        assert_eq!((task.attempt, task.due_at), (0, lab.now().after(MINUTE)));
        if slept == 0 && lab.runs(Runs::Inline) {
            assert_eq!(handle.wait(MINUTE).unwrap_err().code(), "nobody_runs");
        }
        lab.advance(&client, MINUTE);
    }
    assert_eq!(lab.wait(&client, &handle).unwrap(), 1);
    assert_eq!(log.words(), ["wakes", "invites", "wakes", "wakes", "reminds"]);
    assert_eq!(handle.refresh().unwrap().snoozes, 2);
}

/// Asks to be woken after 10 s where it should sleep a minute.
#[task]
fn restless(ctx: &Context) -> Result<()> {
    let log = ctx.state::<Log>()?;
    log.note("wakes");
    match ctx.sleep("a-minute", MINUTE) {
        Err(_) if log.len() == 1 => Err(Failure::snooze(MINUTE / 6)),
        slept => slept,
    }
}

fn a_sleep_that_is_woken_early_sleeps_the_rest(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(restless).state(log.clone()).open().unwrap();
    let end = lab.now().after(MINUTE);
    let handle = client.enqueue(restless::with()).unwrap();
    let asleep_until = |moment| {
        lab.settle(&client);
        crate::common::eventually("it sleeps", || handle.refresh().unwrap().due_at == moment);
    };
    asleep_until(lab.now().after(MINUTE / 6));
    lab.advance(&client, MINUTE / 6);
    asleep_until(end);
    assert_eq!(log.len(), 2);
    lab.advance(&client, 5 * MINUTE / 6);
    lab.wait(&client, &handle).unwrap();
    assert_eq!((log.len(), handle.refresh().unwrap().attempt), (3, 1));
}

fn a_sleep_of_no_length_passes_and_too_long_a_one_is_refused(lab: &Lab) {
    #[task]
    fn naps(ctx: &Context) -> Result<()> {
        ctx.sleep("none", Duration::ZERO)?;
        ctx.sleep("long", litework::RETRY_DELAY_MAX + Duration::from_millis(1))
    }
    let client = lab.builder().register(naps).open().unwrap();
    let handle = client.enqueue(naps::with()).unwrap();
    let task = lab.ended(&client, &handle);
    assert_eq!((task.reason, task.attempt, task.snoozes), (Some(Reason::GaveUp), 1, 0));
    assert_eq!(
        message_of(&task),
        "out_of_range | out_of_range: span of the sleep \"long\" is 31536000.001s; 0 to 365 days; for \
         longer, sleep several times"
    );
    let steps = client.steps(handle.id()).unwrap();
    assert_eq!((steps.len(), steps[0].name.as_str()), (1, "none"));
}

fn a_sleeping_task_can_be_cancelled(lab: &Lab) {
    let log = Log::default();
    let client = lab.builder().register(remind).state(log.clone()).open().unwrap();
    let handle = client.enqueue(remind::with()).unwrap();
    lab.settle(&client);
    crate::common::eventually("it sleeps", || handle.refresh().unwrap().state == State::Scheduled);
    assert_eq!(client.cancel(handle.id()).unwrap(), litework::Cancelled::Now);
    lab.advance(&client, MINUTE);
    let task = handle.refresh().unwrap();
    assert_eq!((task.state, task.reason), (State::Cancelled, Some(Reason::Asked)));
    assert_eq!(log.words(), ["wakes", "invites"]);
    assert_eq!(client.steps(handle.id()).unwrap().len(), 2, "they stay as long as the task");
}
