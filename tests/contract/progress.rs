//! What a body says on its way is there for others while it runs, and afterwards.

use std::time::Duration;

use litework::{
    Context, Failure, Flow, LOG_LINES_MAX, LogLevel, Progress, Result, STAGE_MAX, State, task,
};

use crate::common::{Gate, Lab, Log, eventually};

crate::everywhere! {
    what_a_task_says_last_is_kept_with_its_end,
    what_is_said_is_there_while_the_task_runs,
    each_attempt_begins_anew_and_what_it_said_last_stays,
    a_task_that_says_nothing_has_no_progress,
    steps_that_the_arguments_tell_are_known_before_it_runs,
    a_success_is_all_of_its_steps,
    a_batch_adds_up_the_steps_of_its_members,
    threads_of_one_body_lose_no_step,
    a_log_keeps_the_newest_lines_of_each_attempt,
    a_stage_that_is_too_long_is_cut,
    a_name_that_arguments_give_is_made_fit,
    a_name_that_the_call_gives_goes_before,
    what_a_user_is_told_of_a_failure_is_not_the_error,
    what_was_said_goes_with_its_task,
}

/// Two steps of three, then whatever its arguments say.
#[task(attempts = 2, retry = [0s])]
fn travel(ctx: &Context, fails: u32) -> Result<()> {
    let progress = ctx.progress();
    progress.total(3).unit("stations").stage(format!("attempt {}", ctx.attempt()));
    progress.advance(1).advance(1).message("Two stations are behind us.");
    ctx.log(format!("attempt {} was at two", ctx.attempt()));
    if ctx.attempt() <= fails { Err("the train stands")? } else { Ok(()) }
}

fn what_a_task_says_last_is_kept_with_its_end(lab: &Lab) {
    let client = lab.builder().register(travel).open().unwrap();
    let handle = client.enqueue(travel::with(2)).unwrap();
    lab.wait(&client, &handle).unwrap_err();
    let progress = handle.progress().unwrap().unwrap();
    let Progress { attempt, done, total, unit, stage, message, .. } = progress.clone();
    assert_eq!((attempt, done, total), (2, 2, Some(3)), "a failure keeps what it had come to");
    assert_eq!((unit.as_deref(), stage.as_deref()), (Some("stations"), Some("attempt 2")));
    assert_eq!(message.as_deref(), Some("Two stations are behind us."));
    assert_eq!(progress.percent(), Some(66));
}

fn what_is_said_is_there_while_the_task_runs(lab: &Lab) {
    #[task]
    fn wait(ctx: &Context) -> Result<()> {
        ctx.progress().total(9).advance(4).stage("waiting");
        ctx.log("the door is shut");
        ctx.state::<Gate>()?.pass();
        Ok(())
    }
    let gate = Gate::default();
    let client = lab.builder().register(wait).state(gate.clone()).open().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.enqueue(wait::with().key("one")).unwrap();
            lab.settle(&client);
        });
        gate.wait_for(1);
        let handle = client.find("one").unwrap().unwrap();
        let id = handle.id;
        eventually("what was said first is written", || client.progress(id).unwrap().is_some());
        let progress = client.progress(id).unwrap().unwrap();
        assert_eq!((progress.attempt, progress.total), (1, Some(9)));
        eventually("all of it is written", || {
            let progress = client.progress(id).unwrap().unwrap();
            (progress.done, progress.stage.as_deref()) == (4, Some("waiting"))
        });
        eventually("the line is written", || !client.log(id).unwrap().is_empty());
        gate.open();
    });
}

fn each_attempt_begins_anew_and_what_it_said_last_stays(lab: &Lab) {
    let client = lab.builder().register(travel).open().unwrap();
    let handle = client.enqueue(travel::with(1)).unwrap();
    lab.wait(&client, &handle).unwrap();
    let progress = handle.progress().unwrap().unwrap();
    assert_eq!((progress.attempt, progress.done), (2, 3));
    let lines: Vec<_> = handle.log().unwrap();
    let told = lines.iter().map(|line| (line.attempt, line.number, line.text.as_str()));
    let expected = [(1, 1, "attempt 1 was at two"), (2, 1, "attempt 2 was at two")];
    assert!(told.eq(expected), "{lines:?}");
}

fn a_task_that_says_nothing_has_no_progress(lab: &Lab) {
    #[task]
    fn silent() {}
    let client = lab.builder().register(silent).open().unwrap();
    let handle = client.enqueue(silent::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!((handle.progress().unwrap(), handle.log().unwrap()), (None, Vec::new()));
    let other: litework::TaskId = "1-0000000000000".parse().unwrap();
    assert_eq!(client.progress(other).unwrap_err().code(), "not_found");
    assert_eq!(client.log(other).unwrap_err().code(), "not_found");
}

/// One step for each page; tells of none of them.
#[task(attempts = 2, retry = [0s], called = "Copy of {book}", steps = pages.len())]
fn copy(ctx: &Context, book: &str, pages: &[u32], fails: u32) -> Result<()> {
    ctx.state::<Log>()?.note(format!("{book}: {}", pages.len()));
    if fails > 0 {
        ctx.progress().advance(1);
    }
    if ctx.attempt() <= fails { Err("no paper")? } else { Ok(()) }
}

fn steps_that_the_arguments_tell_are_known_before_it_runs(lab: &Lab) {
    let client = lab.builder().register(copy).state(Log::default()).open().unwrap();
    let later = copy::with("Faust", [1, 2, 3], 0).run_after(Duration::from_secs(60));
    let handle = client.enqueue(later).unwrap();
    let progress = handle.progress().unwrap().unwrap();
    assert_eq!((progress.attempt, progress.done, progress.total), (0, 0, Some(3)));
    let by_text = br#"{"book": "Faust", "pages": [1, 2], "fails": 0}"#;
    let by_text = client.enqueue_json("copy", by_text).unwrap();
    assert_eq!(by_text.name.as_deref(), Some("Copy of Faust"));
    assert_eq!(client.progress(by_text.id).unwrap().unwrap().total, Some(2));
}

fn a_success_is_all_of_its_steps(lab: &Lab) {
    let client = lab.builder().register(copy).state(Log::default()).open().unwrap();
    let done = |fails| {
        let handle = client.enqueue(copy::with("Faust", [1, 2, 3], fails)).unwrap();
        let _fails_too = lab.wait(&client, &handle);
        let progress = handle.progress().unwrap().unwrap();
        (progress.attempt, progress.done, progress.total)
    };
    assert_eq!(done(0), (1, 3, Some(3)));
    assert_eq!(done(1), (2, 3, Some(3)));
    assert_eq!(done(2), (2, 1, Some(3)), "what failed is not finished");
}

fn a_batch_adds_up_the_steps_of_its_members(lab: &Lab) {
    let client = lab.builder().register(copy).state(Log::default()).open().unwrap();
    let later =
        |pages: &[u32], fails| copy::with("Faust", pages, fails).run_after(Duration::from_secs(60));
    let members = [later(&[1, 2], 0), later(&[1, 2, 3], 2), later(&[1, 2, 3, 4], 1)];
    let batch = client.enqueue_flow(Flow::group("Library", members)).unwrap();
    let sums = || {
        let progress = batch.progress().unwrap().unwrap();
        (progress.done, progress.total)
    };
    assert_eq!(sums(), (0, Some(9)), "before any of them has started");
    lab.advance(&client, Duration::from_secs(60));
    batch.wait(crate::common::LONG).unwrap_err();
    assert_eq!(sums(), (2 + 1 + 4, Some(9)), "an attempt that begins anew takes its steps back");
}

fn threads_of_one_body_lose_no_step(lab: &Lab) {
    #[task]
    fn crowd(ctx: &Context) {
        let progress = ctx.progress().total(4_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| _ = progress.advance(1)));
            }
        });
        assert_eq!(progress.get().done, 4_000);
    }
    let client = lab.builder().register(crowd).open().unwrap();
    let handle = client.enqueue(crowd::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(handle.progress().unwrap().unwrap().done, 4_000);
}

fn a_log_keeps_the_newest_lines_of_each_attempt(lab: &Lab) {
    #[task(attempts = 2, retry = [0s])]
    fn talk(ctx: &Context, lines: usize) -> Result<()> {
        (1..=lines).for_each(|line| ctx.log(format!("line {line}")));
        ctx.log_at(LogLevel::Error, "nobody listens");
        if ctx.attempt() == 1 { Err("again")? } else { Ok(()) }
    }
    let client = lab.builder().register(talk).open().unwrap();
    let handle = client.enqueue(talk::with(LOG_LINES_MAX + 5)).unwrap();
    lab.wait(&client, &handle).unwrap();
    let log = handle.log().unwrap();
    assert_eq!(log.len(), LOG_LINES_MAX);
    assert!(log.iter().all(|line| line.attempt == 2), "the newest");
    let (first, last) = (&log[0], &log[LOG_LINES_MAX - 1]);
    assert_eq!((first.number, first.text.as_str()), (7, "line 7"));
    assert_eq!((last.level, last.text.as_str()), (LogLevel::Error, "nobody listens"));
}

fn a_stage_that_is_too_long_is_cut(lab: &Lab) {
    #[task]
    fn shout(ctx: &Context) {
        ctx.progress().stage("ä".repeat(STAGE_MAX + 1)).unit("x".repeat(33));
    }
    let client = lab.builder().register(shout).open().unwrap();
    let handle = client.enqueue(shout::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    let progress = handle.progress().unwrap().unwrap();
    let stage = format!("{}… (cut, 201 characters)", "ä".repeat(STAGE_MAX));
    assert_eq!(progress.stage, Some(stage));
    assert_eq!(progress.unit, Some(format!("{}… (cut, 33 characters)", "x".repeat(32))));
}

fn a_name_that_arguments_give_is_made_fit(lab: &Lab) {
    let client = lab.builder().register(copy).state(Log::default()).open().unwrap();
    let name = |book: &str| {
        let handle = client.enqueue(copy::with(book, [], 0)).unwrap();
        handle.refresh().unwrap().name.unwrap()
    };
    assert_eq!(name("Faust\n\u{1b}[2J II"), "Copy of Faust  [2J II");
    let long = name(&"ö".repeat(200));
    assert!(long.len() <= 200 && long.ends_with("ö…"), "{long}");
}

fn a_name_that_the_call_gives_goes_before(lab: &Lab) {
    let client = lab.builder().register(copy).state(Log::default()).open().unwrap();
    let handle = client.enqueue(copy::with("Faust", [], 0).name("For Ada")).unwrap();
    assert_eq!(handle.refresh().unwrap().name.as_deref(), Some("For Ada"));
}

fn what_a_user_is_told_of_a_failure_is_not_the_error(lab: &Lab) {
    #[task(attempts = 1)]
    fn pay() -> Result<()> {
        Err(Failure::from("card 4000: do_not_honor").for_user("Your bank has refused the payment."))
    }
    let client = lab.builder().register(pay).open().unwrap();
    let handle = client.enqueue(pay::with()).unwrap();
    let record = lab.ended(&client, &handle);
    let error = record.error.unwrap();
    assert_eq!(error.user_message.as_deref(), Some("Your bank has refused the payment."));
    assert_eq!(error.message, "card 4000: do_not_honor");
    assert_eq!(record.state, State::Failed);
}

fn what_was_said_goes_with_its_task(lab: &Lab) {
    let client = lab.builder().register(travel).open().unwrap();
    let handle = client.enqueue(travel::with(0)).unwrap();
    lab.wait(&client, &handle).unwrap();
    let id = handle.id();
    client.delete(id).unwrap();
    assert_eq!(client.progress(id).unwrap_err().code(), "not_found");
    if lab.keeps_tasks() {
        let file = rusqlite::Connection::open(lab.path()).unwrap();
        let left =
            "SELECT (SELECT count(*) FROM litework_progress) + (SELECT count(*) FROM litework_log)";
        let left: i64 = file.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}
