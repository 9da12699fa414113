//! What is enqueued in the place of a call.
#![allow(unused)]
use litework::{Client, task};
#[task]
fn shrink(path: &str) {}

fn main() {
    let client = Client::in_memory().register(shrink).open().unwrap();
    client.enqueue(shrink).unwrap();
    client.enqueue(shrink("a.png")).unwrap();
    client.enqueue_many(["a.png", "b.png"]).unwrap();
}
