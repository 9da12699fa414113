//! Other attributes, lints and conditions go where they belong.
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications)]
#![forbid(unsafe_code)]

use litework::{Context, Definition, Result, task};

/// Documented, and used under its own name.
///
/// See [`gone`] for one that is not there.
#[task(
    name = "docs.all",
    aliases = ["docs.first", "docs.second"],
    description = "another text",
    client = "slow",
    queue = "slow-1",
    priority = -100,
    attempts = 1000,
    retry = [0s, 500ms, "30s", 5m, 2h],
    timeout = 20s,
    expires_after = "1h",
    keep_for = "7d",
    finish_sync = false,
    durability = "full",
    on_commit,
    at_most_once = false,
)]
#[allow(clippy::unnecessary_wraps, unused_variables)]
#[inline(never)]
#[must_use]
pub fn documented(ctx: &Context, #[allow(unused_mut)] mut unused: u32) -> Result<()> {
    let never_read = 1;
    Ok(())
}

#[task(retry = exponential("1s", 1h))]
#[cfg(all())]
#[cfg_attr(all(), doc = "Documented by a condition.")]
#[cfg_attr(all(), allow(unused_variables))]
fn here(left: u32) {}

/// Not compiled: its types do not exist.
#[task]
#[cfg(any())]
pub fn gone(what: &NoSuchType) -> Result<Nothing> {
    no_such_function()
}

#[cfg(any())]
#[task]
fn gone_too() {}

/// Used to be called so.
#[task]
#[deprecated = "use `here`"]
fn old() {}

#[task]
#[expect(unused_variables)]
fn expected(left: u32) {}

#[task]
#[tracing::instrument(skip_all)]
fn traced(ctx: &Context, text: &str) -> Result<usize> {
    let _ = ctx;
    Ok(text.len())
}

fn main() {
    drop(traced::with("a"));
    drop(documented::with(1));
    here(1);
    drop([Definition::from(documented), here.into(), expected.into()]);
    #[allow(deprecated)]
    let definition = Definition::from(old);
    drop(definition);
}
