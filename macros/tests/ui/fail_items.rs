//! Items that are no functions.
#![allow(unused)]

use litework::task;

#[task]
struct Mail {
    to: String,
}

#[task]
impl Mail {
    fn send(&self) {}
}

#[task]
pub(crate) enum Kind {}

#[task]
const LIMIT: u32 = 1;

#[task]
mod inner {}

trait Send {
    #[task]
    fn send(to: String);
}

fn main() {}
