//! The name and the number of steps that arguments tell.

use std::path::Path;

use litework::{Signature, task};

#[task(called = "Copy of {book}", steps = pages.len())]
fn copy(book: &str, pages: &[u32]) {
    let _ = (book, pages);
}

#[task(called = format!("{} at {width}", path.display()), steps = width)]
fn shrink(path: &Path, width: u32) {
    let _ = (path, width);
}

#[task(called = if *urgent { "Now" } else { "Later" }, steps = count.unwrap_or(1))]
fn ring(urgent: bool, count: Option<u64>, r#type: char) {
    let _ = (urgent, count, r#type);
}

#[task(steps = 3)]
fn three() {}

fn told<T: Signature>(call: litework::Call<T>) -> (Option<String>, Option<u64>) {
    (call.args().called(), call.args().steps())
}

fn main() {
    assert_eq!(told(copy::with("Faust", [1, 2])), (Some("Copy of Faust".into()), Some(2)));
    assert_eq!(told(shrink::with("a.png", 640)), (Some("a.png at 640".into()), Some(640)));
    assert_eq!(told(ring::with(true, None, 'x')), (Some("Now".into()), Some(1)));
    assert_eq!(told(three::with()), (None, Some(3)));
}
