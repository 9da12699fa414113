//! What a name and a number of steps cannot be made of.

use litework::task;

#[task(steps = book)]
fn no_number(book: &str) {
    let _ = book;
}

#[task(title = "Copy")]
fn other_word() {}

#[task(called)]
fn no_value() {}

fn main() {}
