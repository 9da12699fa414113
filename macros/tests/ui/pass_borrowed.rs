//! Every borrowed form, and what `with` takes for it.
#![deny(warnings)]

use std::path::{Path, PathBuf};

use litework::{Context, Result, task};

#[task]
fn texts(ctx: &Context, text: &str, maybe: Option<&str>) -> Result<usize> {
    let _ = ctx;
    Ok(text.len() + maybe.map_or(0, str::len))
}

#[task]
fn lists(bytes: &[u8], words: &[String], pairs: &[(u32, Option<String>)]) -> usize {
    bytes.len() + words.len() + pairs.len()
}

#[task]
fn paths(short: &Path, long: &std::path::Path, owned: PathBuf) -> bool {
    short == long && long == owned
}

#[task]
fn qualified(
    a: std::option::Option<&str>,
    b: &std::primitive::str,
    c: std::string::String,
) -> usize {
    a.map_or(0, str::len) + b.len() + c.len()
}

#[task]
fn by_value(
    a: String,
    b: std::string::String,
    c: Vec<String>,
    d: Option<String>,
    e: [u8; 4],
) -> usize {
    a.len() + b.len() + c.len() + d.map_or(0, |d| d.len()) + e.len()
}

fn main() {
    drop(texts::with("a", None));
    drop(texts::with(String::from("a"), Some("b")));
    drop(texts::with('a', Some(String::from("b").as_str())));
    drop(lists::with([1, 2], vec![], &[(1, None)][..]));
    drop(paths::with("a", String::from("a"), Path::new("a")));
    drop(qualified::with(Some("a"), "b", "c"));
    drop(by_value::with("a", 'b', vec![], None, [0; 4]));
    let plain: &fn(&Context, &str, Option<&str>) -> Result<usize> = &texts;
    let _ = plain;
    assert_eq!(lists(&[1], &[], &[]), 1);
    assert!(paths(Path::new("a"), Path::new("a"), PathBuf::from("a")));
    assert_eq!(qualified(None, "b", "c".into()), 2);
    assert_eq!(by_value("a".into(), "b".into(), vec![], None, [0; 4]), 6);
}
