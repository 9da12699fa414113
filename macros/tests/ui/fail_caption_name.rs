//! A name that is made of a parameter which is not there.

use litework::task;

#[task(called = "Copy of {cook}")]
fn misspelt(book: &str) {
    let _ = book;
}

fn main() {}
