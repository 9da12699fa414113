//! Async bodies are refused for the same reasons as others.
#![allow(unused)]

use litework::task;

#[task]
async fn generic<T>(text: &'static str, list: &Vec<T>) {}

fn main() {}
