//! Operate: the limit of `latency_cross_process`: a child that does nothing but ask, as often as it can, whether
//! somebody has committed, and reads what.

use std::path::Path;

use super::clock::now_ms;
use super::cross::{Cross, arrived, await_open, say};
use super::files::QueueFile;
use super::helper::{self, Helper};
use super::measure::Measured;
use super::probe::Probe;
use super::raw::Raw;
use crate::options::Durability;

/// The role of the child.
pub(crate) const ROLE: &str = "spin";

/// The child. It claims nothing, as it would have to wait until the other has let the lock go.
pub(crate) fn serve(file: &Path) -> Measured<()> {
    let probe = Probe::open(file)?;
    // The parent lets it go at any moment.
    std::thread::Builder::new().spawn(|| {
        helper::await_parent();
        std::process::exit(0);
    })?;
    let (mut seen, mut last) = (probe.data_version()?, 0);
    if let Some((row, _)) = probe.newest(last)? {
        last = row;
    }
    say("open")?;
    loop {
        let version = probe.data_version()?;
        if version != seen {
            seen = version;
            if let Some((row, arguments)) = probe.newest(last)? {
                last = row;
                say(serde_json::from_str::<Cross>(&arguments)?.arrive())?;
            }
        }
    }
}

/// Both ends.
pub(crate) struct Spinning {
    raw: Raw,
    helper: Helper,
}

impl Spinning {
    pub(crate) fn new(file: &QueueFile, level: Durability) -> Measured<Self> {
        let raw = Raw::open(&file.path(), level, now_ms)?;
        let helper = Helper::start(ROLE, &file.path(), level)?;
        await_open(&helper)?;
        Ok(Self { raw, helper })
    }

    /// How many milliseconds one takes.
    pub(crate) fn milliseconds(&self) -> Measured<f64> {
        self.raw.insert(std::iter::once(Cross::now()))?;
        arrived(&self.helper)
    }
}
