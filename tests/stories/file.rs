//! What happens to the file and beside it while a client has it open.
//! Only who waits and who reads is looked at: nobody runs a task here.

use std::time::Duration;

use litework::sqlite::ClientExt;
use litework::{Client, Error, Filter, Handle, Mode, State, TaskRef, task};
use rusqlite::Connection;

use crate::common::{LONG, Lab, eventually};

#[task]
fn double(n: u32) -> u32 {
    2 * n
}

fn client(lab: &Lab) -> Client {
    lab.builder().register(double).mode(Mode::Enqueue).open().unwrap()
}

/// Stores a task without a look at who would run it, so that no reading connection is open yet.
fn store(client: &Client) -> Handle<<double as TaskRef>::Task> {
    let stored = client.write(|tx| Ok::<_, Error>(tx.enqueue(double::with(21))?.handle()));
    stored.unwrap().unwrap()
}

/// Another program ends the task.
fn end_elsewhere(lab: &Lab) {
    let conn = Connection::open(lab.path()).unwrap();
    conn.busy_timeout(LONG).unwrap();
    let ended = "UPDATE litework_task SET state = 'succeeded', attempt = 1, finished_at = due_at, \
                 result = '42'";
    conn.execute(ended, []).unwrap();
}

#[test]
fn a_wait_that_could_not_look_can_be_repeated() {
    let lab = Lab::inline();
    let client = client(&lab);
    let handle = store(&client);
    let folder = lab.path().parent().unwrap().to_owned();
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).unwrap();
    assert_eq!(handle.wait(LONG).unwrap_err().code(), "storage");
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(handle.wait(Duration::ZERO).unwrap_err().code(), "timeout");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.wait(LONG));
        end_elsewhere(&lab);
        assert_eq!(waiting.join().unwrap().unwrap(), 42);
    });
}

/// Reading connections are opened by a helper thread, which may still be about to let go of one.
#[test]
fn the_last_client_leaves_nothing_beside_the_file_however_soon_it_goes() {
    let lab = Lab::inline();
    for _ in 0..100 {
        let client = client(&lab);
        client.count(&Filter::new()).unwrap();
        drop(client);
        assert!(!lab.path().with_extension("db-wal").exists());
    }
}

#[test]
fn a_file_that_was_removed_does_not_come_back_empty() {
    let lab = Lab::inline();
    let client = client(&lab);
    store(&client);
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("tasks.db{suffix}");
        std::fs::remove_file(lab.path().with_file_name(name)).unwrap();
    }
    let failed = client.count(&Filter::new().state(State::Ready)).unwrap_err();
    assert_eq!(failed.code(), "storage");
    assert!(!lab.path().exists(), "reading made a new file");
}

/// Stores tasks until one is refused, which names the file; how many were taken before does not matter.
fn refused_at_last(client: &Client) -> String {
    let mut refused = None;
    eventually("a task is refused", || {
        refused = client.enqueue(double::with(21)).err();
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert!(!refused.is_retryable());
    refused.to_string()
}

/// While it is open, so only where an open file can be moved.
#[cfg(unix)]
#[test]
fn nothing_is_stored_in_a_file_that_was_moved_or_removed() {
    let lab = Lab::inline();
    let client = client(&lab);
    store(&client);
    let told = format!(
        "file_replaced: {}: it is no longer the file that was opened; restart this program",
        std::fs::canonicalize(lab.path()).unwrap().display()
    );
    let away = lab.path().with_extension("away");
    std::fs::rename(lab.path(), &away).unwrap();
    assert_eq!(refused_at_last(&client), told);
    let many = client.enqueue_many((0..3).map(double::with)).unwrap_err();
    assert_eq!(many.code(), "file_replaced");
    let inside = client.write(|tx| tx.enqueue(double::with(21)).map(drop));
    assert!(inside.unwrap_err().to_string().contains("file_replaced"));

    // Another file in its place is not it either.
    std::fs::write(lab.path(), "").unwrap();
    assert_eq!(refused_at_last(&client), told);

    // Once it is back, all that was accepted is there, and it goes on.
    std::fs::rename(&away, lab.path()).unwrap();
    client.enqueue(double::with(21)).unwrap();
    let stored = client.count(&Filter::new()).unwrap();
    assert!(stored >= 2, "{stored} tasks");

    std::fs::remove_file(lab.path()).unwrap();
    assert_eq!(refused_at_last(&client), told);
    client.shutdown(Duration::ZERO).unwrap();
}

/// Its shutdown says that nothing could be written, and does not wait for the file.
#[cfg(unix)]
#[test]
fn a_pool_ends_without_its_file() {
    let lab = Lab::pool();
    let client = lab.builder().register(double).serve(["none"]).open().unwrap();
    store(&client);
    std::fs::remove_file(lab.path()).unwrap();
    assert!(refused_at_last(&client).starts_with("file_replaced: "));
    assert_eq!(client.shutdown(LONG).unwrap_err().code(), "file_replaced");
}
