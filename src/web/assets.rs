//! Watch: the style sheet and the browser's module, as they stand in the source.
//!
//! Their address holds a digest of them, so that browsers may keep them for good.

/// The browser's module.
pub(crate) const JS: &str = include_str!("assets/litework.js");
/// The style sheet.
pub(crate) const CSS: &str = include_str!("assets/litework.css");

/// FNV-1a in 64 bits, as its authors give it: it tells versions apart and guards nothing.
const fn digest(text: &str, start: u64) -> u64 {
    let (bytes, mut hash, mut at) = (text.as_bytes(), start, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const HASH: u64 = digest(CSS, digest(JS, 0xcbf2_9ce4_8422_2325));

/// The part of their address that changes with them.
pub(crate) fn hash() -> String {
    format!("{HASH:016x}")
}

/// Media type and text of what is asked for as `{hash}/{name}`; none but for the version that is there.
pub(crate) fn find(path: &str) -> Option<(&'static str, &'static str)> {
    let (asked, name) = path.split_once('/')?;
    match name {
        _ if asked != hash() => None,
        "litework.js" => Some(("text/javascript; charset=utf-8", JS)),
        "litework.css" => Some(("text/css; charset=utf-8", CSS)),
        _ => None,
    }
}
