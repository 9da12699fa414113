//! Functions that cannot be tasks.
#![allow(unused)]

use std::fmt;

use litework::{Result, task};

struct Mailer;

impl Mailer {
    #[task]
    fn send(&self, to: String) -> Result<()> {
        Ok(())
    }
}

#[task]
fn generic<T>(value: T) {}

#[task]
fn sized<const N: usize>(list: [u8; N]) {}

#[task]
fn borrowed<'a>(text: &'a str) {}

#[task]
fn bounded(text: String)
where
    String: Clone,
{
}

#[task]
unsafe fn dangerous() {}

#[task]
extern "C" fn foreign() {}

#[task]
const fn early() {}

#[task]
fn secret() -> impl fmt::Debug {}

#[task]
fn secret_inside() -> Result<impl fmt::Debug> {
    Ok(())
}

#[task]
fn lent() -> &'static str {
    ""
}

#[task]
fn lent_inside() -> Result<Vec<&'static str>> {
    Ok(vec![])
}

#[task]
fn unnamed() -> fmt::Result {
    Ok(())
}

#[task(attempts = 0)]
fn several<T>(text: &String, (a, b): (u8, u8)) -> fmt::Result {
    Ok(())
}

fn main() {}
