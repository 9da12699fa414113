//! Times and retry policies that cannot be read.
#![allow(unused)]

use litework::task;

#[task(timeout = 20)]
fn no_unit() {}

#[task(timeout = "20 seconds")]
fn long_unit() {}

#[task(timeout = 1.5s)]
fn fraction() {}

#[task(timeout = TWENTY)]
fn constant() {}

#[task(timeout = 0s)]
fn no_time() {}

#[task(timeout = "s")]
fn no_number() {}

#[task(expires_after = "0d")]
fn expired() {}

#[task(keep_for = "1000000d")]
fn forever() {}

#[task(timeout = 366d)]
fn too_long() {}

#[task(retry = [])]
fn no_steps() {}

#[task(retry = 5s)]
fn no_list() {}

#[task(retry = linear("1s", "2s"))]
fn no_such_policy() {}

#[task(retry = exponential("1h", "1s"))]
fn reversed() {}

#[task(retry = exponential("1s", "1h", 2))]
fn three() {}

#[task(retry = exponential("0s", "1h"))]
fn no_first_delay() {}

#[task(retry = exponential)]
fn no_delays() {}

#[task(retry = [5s, 400d])]
fn too_late() {}

#[task(retry = [
    1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s,
    1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s,
    1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s,
])]
fn too_many_steps() {}

fn main() {}
