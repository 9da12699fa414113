//! What a user sees of `register_all`: every `#[task]` linked into the program is there without being
//! named, and naming one of them again is refused. A test program of its own, as what is linked into it
//! is what is tested.
#![cfg(all(feature = "inventory", feature = "macros"))]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use litework::{Builder, Client, Clients, task};

/// Adds.
#[task(name = "sums.add")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Its definition names a client of a set.
#[task(name = "sums.zero", client = "other")]
fn zero() -> i64 {
    0
}

mod deeper {
    use litework::task;

    /// Found wherever it stands in the program.
    #[task(name = "sums.double", aliases = ["sums.twice"])]
    pub(super) fn double(n: i64) -> i64 {
        2 * n
    }
}

const LONG: Duration = Duration::from_secs(20);

/// The environment of the test run has no say in it.
fn builder() -> Builder {
    Client::in_memory().environment([("", ""); 0])
}

fn names(client: &Client) -> Vec<String> {
    client.kinds().into_iter().map(|kind| kind.name).collect()
}

#[test]
fn every_task_of_the_program_is_registered_without_being_named() {
    let client = builder().register_all().workers(1).open().unwrap();
    assert_eq!(names(&client), ["sums.add", "sums.double", "sums.zero"]);
    let sum = client.enqueue(add::with(2, 3)).unwrap();
    assert_eq!(sum.wait(LONG).unwrap(), 5);
    let twice = client.enqueue_json("sums.twice", br#"{"n":21}"#).unwrap();
    assert_eq!(client.handle::<deeper::double>(twice.id).unwrap().wait(LONG).unwrap(), 42);
}

#[test]
fn calling_it_twice_registers_each_task_once() {
    let client = builder().register_all().register_all().open().unwrap();
    assert_eq!(names(&client), ["sums.add", "sums.double", "sums.zero"]);
}

#[test]
fn a_task_that_is_also_named_is_refused_at_open() {
    let error = builder().register_all().register(add).open().map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "duplicate_name");
    assert!(error.to_string().contains("\"sums.add\""), "{error}");
}

#[test]
fn without_it_nothing_is_registered_by_itself() {
    let client = builder().register(add).open().unwrap();
    assert_eq!(names(&client), ["sums.add"]);
}

#[test]
fn a_set_hears_of_the_client_that_a_task_names_without_being_named() {
    let without = Clients::builder().add("default", builder().register_all());
    let error = without.open().map(drop).unwrap_err().to_string();
    assert_eq!(error, "unknown_client: client of task sums.zero is \"other\"; one of default");
    let set = Clients::builder().add("default", builder().register_all());
    let clients = set.add("other", builder().register_all()).open().unwrap();
    let handle = clients.enqueue(zero::with()).unwrap();
    assert_eq!(clients.get("other").unwrap().get(handle.id()).unwrap().value::<i64>().unwrap(), 0);
}
