//! What a body leaves for people is there when the call returns, once, and for as long as its task.

use std::io::{Read, Write};
use std::time::Duration;

use litework::{
    ARTIFACT_TEXT_BYTES_MAX, ARTIFACTS_MAX, Artifact, ArtifactKind, Client, Context, Failure,
    Filter, Prune, Result, TaskId, task,
};

use crate::common::{Gate, Lab, Runs, eventually};

crate::everywhere! {
    texts_links_json_and_files_are_left_and_read,
    an_attempt_that_is_repeated_leaves_nothing_twice,
    a_file_is_there_once_it_is_finished_and_not_before,
    a_large_file_is_read_as_it_was_written,
    what_is_left_is_there_while_the_task_runs,
    what_expires_is_given_out_no_more_and_removed,
    what_is_left_goes_with_its_task,
    a_bad_name_a_bad_type_and_a_bad_link_give_up,
    one_that_is_too_large_gives_up_and_leaves_no_trace,
    a_task_leaves_so_many_and_no_more,
    a_full_shelf_refuses_one_more_until_there_is_room,
    an_artifact_that_is_replaced_is_not_read_on,
    nothing_is_left_without_a_task_or_under_a_lease_that_is_lost,
}

const MINUTE: Duration = Duration::from_secs(60);

fn read(client: &Client, id: TaskId, number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.open_artifact(id, number).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn names(artifacts: &[Artifact]) -> Vec<(u32, &str, u64)> {
    artifacts.iter().map(|it| (it.number, it.name.as_str(), it.size)).collect()
}

fn texts_links_json_and_files_are_left_and_read(lab: &Lab) {
    #[task]
    fn leave(ctx: &Context) -> Result<()> {
        ctx.artifact("note").text("Grüße")?;
        ctx.artifact("page").url("https://docs.rs/lites?b")?;
        ctx.artifact("sums").json(&[1, 2])?;
        let mut file = ctx.artifact("report.csv").media_type("text/csv").file()?;
        writeln!(file, "a,b")?;
        let report = file.finish()?;
        assert_eq!((report.number, report.size, report.attempt), (4, 4, 1));
        ctx.artifact("copy.bin").copy(&[0_u8, 255, 7][..])?;
        Ok(())
    }
    let client = lab.builder().register(leave).open().unwrap();
    let handle = client.enqueue(leave::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    let left = handle.artifacts().unwrap();
    let expected =
        [(1, "note", 7), (2, "page", 23), (3, "sums", 5), (4, "report.csv", 4), (5, "copy.bin", 3)];
    assert_eq!(names(&left), expected);
    let kinds: Vec<_> = left.iter().map(|it| (it.kind, it.media_type.as_str())).collect();
    let expected = [
        (ArtifactKind::Text, "text/plain; charset=utf-8"),
        (ArtifactKind::Url, "text/uri-list"),
        (ArtifactKind::Json, "application/json"),
        (ArtifactKind::File, "text/csv"),
        (ArtifactKind::File, "application/octet-stream"),
    ];
    assert_eq!(kinds, expected);
    let id = handle.id();
    assert_eq!(read(&client, id, 1), "Grüße".as_bytes());
    assert_eq!(read(&client, id, 3), b"[1,2]");
    assert_eq!(read(&client, id, 5), [0, 255, 7]);
    let error = client.open_artifact(id, 6).unwrap_err();
    assert_eq!(error.code(), "no_artifact");
}

fn an_attempt_that_is_repeated_leaves_nothing_twice(lab: &Lab) {
    #[task(attempts = 2, retry = [0s])]
    fn again(ctx: &Context) -> Result<()> {
        ctx.artifact("first").text("x")?;
        ctx.artifact("result").text(format!("attempt {}", ctx.attempt()))?;
        let mut never = ctx.artifact("torn").file()?;
        never.write_all(b"half")?;
        if ctx.attempt() == 1 { Err("again")? } else { Ok(()) }
    }
    let client = lab.builder().register(again).open().unwrap();
    let handle = client.enqueue(again::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    let left = handle.artifacts().unwrap();
    assert_eq!(names(&left), [(1, "first", 1), (2, "result", 9)]);
    assert_eq!(left[1].attempt, 2);
    assert_eq!(read(&client, handle.id(), 2), b"attempt 2");
}

fn a_file_is_there_once_it_is_finished_and_not_before(lab: &Lab) {
    #[task]
    fn write(ctx: &Context) -> Result<Vec<usize>> {
        let (client, id) = (ctx.client().unwrap(), ctx.id().unwrap());
        let mut seen = Vec::new();
        let mut file = ctx.artifact("slow.txt").file()?;
        file.write_all(&vec![b'x'; 300 << 10])?;
        seen.push(client.artifacts(id)?.len());
        file.finish()?;
        seen.push(client.artifacts(id)?.len());
        Ok(seen)
    }
    let client = lab.builder().register(write).open().unwrap();
    let handle = client.enqueue(write::with()).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), [0, 1]);
}

fn a_large_file_is_read_as_it_was_written(lab: &Lab) {
    const BYTES: usize = (700 << 10) + 13;
    fn pattern() -> Vec<u8> {
        (0..BYTES).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
    }
    #[task]
    fn write(ctx: &Context) -> Result<()> {
        let mut file = ctx.artifact("large.bin").file()?;
        for piece in pattern().chunks(1_013) {
            file.write_all(piece)?;
        }
        file.finish()?;
        Ok(())
    }
    let client = lab.builder().register(write).open().unwrap();
    let handle = client.enqueue(write::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(read(&client, handle.id(), 1), pattern());
}

fn what_is_left_is_there_while_the_task_runs(lab: &Lab) {
    #[task]
    fn wait(ctx: &Context) -> Result<()> {
        ctx.artifact("preview").text("half of it")?;
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
        let id = client.find("one").unwrap().unwrap().id;
        assert_eq!(read(&client, id, 1), b"half of it");
        gate.open();
    });
}

#[task]
fn leave_two(ctx: &Context) -> Result<()> {
    ctx.artifact("short.txt").expires_after(MINUTE).text("gone soon")?;
    ctx.artifact("long.txt").text("stays")?;
    Ok(())
}

fn what_expires_is_given_out_no_more_and_removed(lab: &Lab) {
    let client = lab.builder().register(leave_two).open().unwrap();
    let handle = client.enqueue(leave_two::with()).unwrap();
    lab.wait(&client, &handle).unwrap();
    assert_eq!(handle.artifacts().unwrap().len(), 2);
    lab.clock.advance(MINUTE);
    assert_eq!(names(&handle.artifacts().unwrap()), [(2, "long.txt", 5)]);
    assert_eq!(client.open_artifact(handle.id(), 1).unwrap_err().code(), "no_artifact");
    client.prune(Prune::new()).unwrap();
    assert_eq!(kept_bytes(lab), lab.keeps_tasks().then_some(5));
}

/// The bytes of all parts in the file, counted and as they are.
fn kept_bytes(lab: &Lab) -> Option<i64> {
    if !lab.keeps_tasks() {
        return None;
    }
    let file = rusqlite::Connection::open(lab.path()).unwrap();
    let number = |sql: &str| -> i64 { file.query_row(sql, [], |row| row.get(0)).unwrap() };
    let counted = number("SELECT value FROM litework_meta WHERE name = 'artifact_bytes'");
    assert_eq!(counted, number("SELECT coalesce(sum(length(body)), 0) FROM litework_part"));
    Some(counted)
}

fn what_is_left_goes_with_its_task(lab: &Lab) {
    let client = lab.builder().register(leave_two).open().unwrap();
    let of = |owner: &str| client.enqueue(leave_two::with().owner(owner)).unwrap();
    let (deleted, erased, newest) = (of("ada"), of("grace"), of("joan"));
    lab.wait(&client, &newest).unwrap();
    for handle in [&deleted, &erased] {
        lab.wait(&client, handle).unwrap();
    }
    client.delete(deleted.id()).unwrap();
    assert_eq!(client.artifacts(deleted.id()).unwrap_err().code(), "not_found");
    client.erase("grace").unwrap();
    // Erasing leaves nothing behind, of whomever.
    assert_eq!(kept_bytes(lab), lab.keeps_tasks().then_some(14));
    assert_eq!(client.count(&Filter::new()).unwrap(), 1);
    assert_eq!(newest.artifacts().unwrap().len(), 2);
}

/// Leaves what its arguments say.
#[task(attempts = 3, retry = [0s])]
fn one(ctx: &Context, name: &str, media_type: &str, url: &str) -> Result<()> {
    ctx.artifact(name).media_type(media_type).url(url)?;
    Ok(())
}

fn a_bad_name_a_bad_type_and_a_bad_link_give_up(lab: &Lab) {
    let client = lab.builder().register(one).open().unwrap();
    let code = |name: &str, media_type: &str, url: &str| {
        let handle = client.enqueue(one::with(name, media_type, url)).unwrap();
        let record = lab.ended(&client, &handle);
        assert_eq!(record.attempt, 1, "no attempt can do better");
        assert!(handle.artifacts().unwrap().is_empty());
        record.error.unwrap().code.unwrap()
    };
    assert_eq!(code("a/b", "text/csv", "/x"), "bad_name");
    assert_eq!(code("a", "text\r\ncsv", "/x"), "bad_media_type");
    assert_eq!(code("a", "text/csv", "javascript:alert(1)"), "bad_url");
}

fn one_that_is_too_large_gives_up_and_leaves_no_trace(lab: &Lab) {
    #[task(attempts = 3, retry = [0s])]
    fn text(ctx: &Context) -> Result<()> {
        ctx.artifact("a").text("x".repeat(ARTIFACT_TEXT_BYTES_MAX + 1))?;
        Ok(())
    }
    #[task(attempts = 1)]
    fn file(ctx: &Context) -> Result<()> {
        let mut file = ctx.artifact("a").file()?;
        file.write_all(&vec![0; 600 << 10])?;
        file.finish()?;
        Ok(())
    }
    let builder = lab.builder().max_artifact_bytes(2 << 20);
    let client = builder.register(text).register(file).open().unwrap();
    let handle = client.enqueue(text::with()).unwrap();
    let record = lab.ended(&client, &handle);
    assert_eq!(record.error.unwrap().code.as_deref(), Some("artifact_too_large"));
    assert_eq!(record.attempt, 1);
    drop(client);
    let client = lab.builder().max_artifact_bytes(500 << 10).register(file).open().unwrap();
    let handle = client.enqueue(file::with()).unwrap();
    let error = lab.ended(&client, &handle).error.unwrap();
    assert!(
        error.message.contains("artifact_too_large") && error.message.contains("512000"),
        "{error}"
    );
    client.prune(Prune::new()).unwrap();
    assert_eq!(kept_bytes(lab), lab.keeps_tasks().then_some(0));
}

fn a_task_leaves_so_many_and_no_more(lab: &Lab) {
    #[task(attempts = 1)]
    fn many(ctx: &Context) -> Result<()> {
        for number in 0..=ARTIFACTS_MAX {
            ctx.artifact(format!("n{number}")).text("x")?;
        }
        Ok(())
    }
    let client = lab.builder().register(many).open().unwrap();
    let handle = client.enqueue(many::with()).unwrap();
    let record = lab.ended(&client, &handle);
    assert_eq!(record.error.unwrap().code.as_deref(), Some("too_many_artifacts"));
    assert_eq!(handle.artifacts().unwrap().len(), ARTIFACTS_MAX);
}

fn a_full_shelf_refuses_one_more_until_there_is_room(lab: &Lab) {
    #[task(attempts = 1)]
    fn fill(ctx: &Context, bytes: usize) -> Result<()> {
        ctx.artifact("a").text("x".repeat(bytes))?;
        Ok(())
    }
    let client = lab.builder().max_artifacts_bytes(100).register(fill).open().unwrap();
    let first = client.enqueue(fill::with(60_usize)).unwrap();
    lab.wait(&client, &first).unwrap();
    let second = client.enqueue(fill::with(41_usize)).unwrap();
    let error = lab.ended(&client, &second).error.unwrap();
    assert_eq!(error.code.as_deref(), Some("overloaded"));
    client.delete(first.id()).unwrap();
    client.prune(Prune::new()).unwrap();
    let third = client.enqueue(fill::with(100_usize)).unwrap();
    lab.wait(&client, &third).unwrap();
}

fn an_artifact_that_is_replaced_is_not_read_on(lab: &Lab) {
    #[task(attempts = 1)]
    fn twice(ctx: &Context) -> Result<String> {
        let (client, id) = (ctx.client().unwrap(), ctx.id().unwrap());
        ctx.artifact("a").copy(&*vec![b'1'; 300 << 10])?;
        let mut reader = client.open_artifact(id, 1)?;
        let mut some = [0; 10];
        reader.read_exact(&mut some)?;
        ctx.artifact("a").copy(&*vec![b'2'; 300 << 10])?;
        assert_eq!(client.artifacts(id)?.len(), 1);
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        Ok(error.to_string())
    }
    let client = lab.builder().register(twice).open().unwrap();
    let handle = client.enqueue(twice::with()).unwrap();
    assert_eq!(lab.wait(&client, &handle).unwrap(), "the artifact \"a\" was removed");
}

fn nothing_is_left_without_a_task_or_under_a_lease_that_is_lost(lab: &Lab) {
    let detached = Context::detached();
    assert_eq!(detached.artifact("a").text("x").unwrap().size, 1);
    assert_eq!(
        detached.artifact("a/b").text("x").unwrap_err().report().code.as_deref(),
        Some("bad_name")
    );
    let mut file = detached.artifact("f").file().unwrap();
    file.write_all(&vec![0; 600 << 10]).unwrap();
    assert_eq!(file.finish().unwrap().size, 600 << 10);
    // A lease that is lost leaves nothing.
    #[task(attempts = 1)]
    fn stuck(ctx: &Context) -> Result<()> {
        let gate = ctx.state::<Gate>()?;
        gate.pass();
        let refused = ctx.artifact("late").text("x");
        Err(refused.map_or_else(|failure: Failure| failure, |_| Failure::from("it was left")))
    }
    if !lab.runs(Runs::Pool) {
        return;
    }
    let gate = Gate::default();
    let client = lab.builder().register(stuck).state(gate.clone()).open().unwrap();
    let handle = client.enqueue(stuck::with()).unwrap();
    gate.wait_for(1);
    let id = handle.id();
    client.shutdown(Duration::ZERO).unwrap();
    gate.open();
    eventually("it is handed back", || handle.refresh().is_ok_and(|task| task.attempt == 0));
    assert!(client.artifacts(id).unwrap().is_empty());
}
