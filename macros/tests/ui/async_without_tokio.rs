//! Async bodies, without feature `tokio`.
#![allow(unused)]

use litework::task;

#[task]
async fn later() {}

fn main() {}
