//! Files of artifacts in a folder beside the queue file. Only a file has a folder beside it, and who runs the body makes no
//! difference to it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use litework::{Client, Context, Prune, Result, State, TaskId, task};

/// Leaves a text, and a file of so many bytes.
#[task(attempts = 1)]
fn leave(ctx: &Context, bytes: usize, fails: bool) -> Result<u64> {
    ctx.artifact("note").text("small")?;
    let mut file = ctx.artifact("large.bin").file()?;
    std::io::Write::write_all(&mut file, &pattern(bytes))?;
    if fails {
        return Err("in the middle of it".into());
    }
    Ok(file.finish()?.size)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn open(folder: &Path) -> Client {
    let builder = Client::builder(folder.join("tasks.db")).artifacts_beside(true);
    builder.register(leave).open().unwrap()
}

fn drawer(folder: &Path) -> PathBuf {
    folder.join("tasks.db-artifacts")
}

/// The names of what is kept beside.
fn kept(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(drawer(folder)) else { return Vec::new() };
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(tasks: &Client, id: TaskId, number: u32) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tasks.open_artifact(id, number).unwrap().read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_file_is_kept_beside_and_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path());
    for bytes in [0, 1, 256 << 10, 700_000] {
        let id = tasks.enqueue(leave::with(bytes, false)).unwrap().id();
        assert_eq!(tasks.get(id).unwrap().state, State::Succeeded);
        assert_eq!(read(&tasks, id, 2).unwrap(), pattern(bytes), "{bytes}");
        assert_eq!(read(&tasks, id, 1).unwrap(), b"small", "a text stays in the file");
        assert_eq!(tasks.artifacts(id).unwrap()[1].size, bytes as u64);
    }
    assert_eq!(kept(folder.path()).len(), 4);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let one = drawer(folder.path()).join(&kept(folder.path())[0]);
        assert_eq!((mode(&drawer(folder.path())), mode(&one)), (0o700, 0o600));
    }
}

#[test]
fn a_file_goes_with_its_task_and_half_a_file_with_its_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path());
    let whole = tasks.enqueue(leave::with(10, false)).unwrap().id();
    let half = tasks.enqueue(leave::with(300_000, true)).unwrap().id();
    assert_eq!(tasks.artifacts(half).unwrap().len(), 1, "half a file is none");
    tasks.prune(Prune::new()).unwrap();
    assert_eq!(kept(folder.path()).len(), 1);
    tasks.delete(whole).unwrap();
    tasks.prune(Prune::new()).unwrap();
    assert_eq!(kept(folder.path()), [""; 0]);
}

#[test]
fn the_files_of_an_erased_owner_are_gone_at_once_and_those_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path());
    let of =
        |owner: &str, bytes| tasks.enqueue(leave::with(bytes, false).owner(owner)).unwrap().id();
    of("ada", 300_000);
    of("ada", 10);
    let kept_one = of("bob", 2_000);
    assert_eq!(kept(folder.path()).len(), 3);
    assert_eq!(tasks.erase("ada").unwrap().tasks, 2);
    assert_eq!(kept(folder.path()).len(), 1);
    assert_eq!(read(&tasks, kept_one, 2).unwrap(), pattern(2_000));
}

/// What was kept in one way is read when the program has changed its mind.
#[test]
fn a_program_may_change_where_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let plain = || Client::builder(folder.path().join("tasks.db")).register(leave).open().unwrap();
    let ids = [(plain(), 1_000), (open(folder.path()), 2_000), (plain(), 3_000)]
        .map(|(tasks, bytes)| (tasks.enqueue(leave::with(bytes, false)).unwrap().id(), bytes));
    for tasks in [plain(), open(folder.path())] {
        for (id, bytes) in ids {
            assert_eq!(read(&tasks, id, 2).unwrap(), pattern(bytes));
        }
    }
    assert_eq!(kept(folder.path()).len(), 1);
}

#[test]
fn a_file_that_somebody_has_removed_is_missed_and_not_taken_for_empty() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = open(folder.path());
    let id = tasks.enqueue(leave::with(10, false)).unwrap().id();
    std::fs::remove_file(drawer(folder.path()).join(&kept(folder.path())[0])).unwrap();
    assert_eq!(read(&tasks, id, 2).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    tasks.delete(id).unwrap();
    tasks.prune(Prune::new()).unwrap();
}

#[test]
fn where_no_folder_can_be_made_the_body_is_told_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(drawer(folder.path()), "in the way").unwrap();
    let tasks = open(folder.path());
    let id = tasks.enqueue(leave::with(10, false)).unwrap().id();
    let task = tasks.get(id).unwrap();
    let message = task.error.unwrap().message;
    assert!(message.contains("not_stored") && message.contains("tasks.db-artifacts"), "{message}");
    assert_eq!(tasks.artifacts(id).unwrap().len(), 1, "the text before it");
    assert_eq!(std::fs::read_to_string(drawer(folder.path())).unwrap(), "in the way");
}

/// A link would have files written, and removed, where nobody expects it.
#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_the_folder_or_of_a_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), drawer(folder.path())).unwrap();
    let tasks = open(folder.path());
    let id = tasks.enqueue(leave::with(10, false)).unwrap().id();
    assert_eq!(tasks.get(id).unwrap().state, State::Failed);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    std::fs::remove_file(drawer(folder.path())).unwrap();
    let id = tasks.enqueue(leave::with(10, false)).unwrap().id();
    let file = drawer(folder.path()).join(&kept(folder.path())[0]);
    let secret = elsewhere.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&secret, &file).unwrap();
    assert_eq!(read(&tasks, id, 2).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    tasks.delete(id).unwrap();
    tasks.prune(Prune::new()).unwrap();
    assert!(secret.exists() && kept(folder.path()).is_empty());
}
