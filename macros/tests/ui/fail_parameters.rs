//! Parameters that cannot be stored.
#![allow(unused)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use litework::{Context, task};

struct Order;

#[task]
fn implied(text: impl Into<String>) {}

#[task]
fn inside(texts: Vec<impl Into<String>>) {}

#[task]
fn reference(order: &Order) {}

#[task]
fn string(text: &String) {}

#[task]
fn vector(list: &Vec<u8>) {}

#[task]
fn path(path: &PathBuf) {}

#[task]
fn array(list: &[u8; 4]) {}

#[task]
fn mutable(list: &mut [u8]) {}

#[task]
fn with_lifetime(text: &'static str) {}

#[task]
fn cow(text: Cow<'static, str>) {}

#[task]
fn maybe(path: Option<&Path>, list: Option<&[&str]>, order: Option<&Order>) {}

#[task]
fn nested(texts: Vec<&str>, slices: &[&str], map: HashMap<&str, u32>) {}

#[task]
fn late_context(number: u32, ctx: &Context) {}

#[task]
fn changed_context(ctx: &mut Context) {}

#[task]
fn owned_context(ctx: Context) {}

#[task]
fn wild(_: u32) {}

#[task]
fn taken_apart((a, b): (u32, u32), [c, d]: [u32; 2]) {}

#[task]
fn by_ref(ref text: String) {}

#[task]
fn conditional(#[cfg(unix)] mode: u32, #[cfg_attr(unix, serde(default))] other: u32) {}

#[task]
fn stored_context(#[serde(default)] ctx: &Context) {}

fn main() {}
