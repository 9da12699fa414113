//! Fallible and infallible bodies, with errors of every kind.
#![deny(warnings)]

use std::fmt;
use std::io;

use litework::{Context, Failure, Result, task};

#[derive(Debug)]
struct Mine;

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mine")
    }
}

impl std::error::Error for Mine {}

#[task]
fn nothing() {}

#[task]
fn unit(_ctx: &Context) -> () {}

#[task]
fn plain(n: u32) -> Option<Vec<u32>> {
    Some(vec![n])
}

#[task]
fn standard(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
}

#[task]
fn failure(fail: bool) -> Result<()> {
    if fail { Err("asked to".into()) } else { Ok(()) }
}

#[task]
fn named(fail: bool) -> std::result::Result<u8, Failure> {
    failure(fail)?;
    Ok(1)
}

#[task]
fn own(fail: bool) -> Result<u8, Mine> {
    if fail { Err(Mine) } else { Ok(1) }
}

#[task]
fn text(fail: bool) -> Result<(u8, u8), &'static str> {
    if fail { Err("no") } else { Ok((1, 2)) }
}

#[task]
fn boxed(fail: bool) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    Ok(own(fail)?)
}

fn main() {
    nothing();
    assert_eq!(plain(1), Some(vec![1]));
    assert!(standard("/no/such/file").is_err());
    assert!(failure(true).is_err() && named(true).is_err() && named(false).is_ok());
    assert!(own(true).is_err() && text(true).is_err() && boxed(true).is_err());
    drop((unit::with(), standard::with("a"), text::with(true)));
}
