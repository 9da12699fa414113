//! Define: who runs what is enqueued, decided by configuration alone.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Who runs what is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Worker threads of this process.
    Pool,
    /// The caller, before `enqueue` returns. The default where no workers are configured. Attempts that
    /// fail follow each other at once for at most 10 s; `retry_in_place(false)` of the builder keeps the
    /// back-off. What is due later, snoozes, or waits at a lock, a limit or a rate is stored:
    /// [`run_pending`](crate::Client::run_pending) or a pool runs it.
    Inline,
    /// Another process.
    Enqueue,
    /// Nobody: tasks are stored only.
    Hold,
}

impl Mode {
    /// Every mode.
    pub const ALL: &'static [Self] = &[Self::Pool, Self::Inline, Self::Enqueue, Self::Hold];

    /// The word in configuration and environment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Inline => "inline",
            Self::Enqueue => "enqueue",
            Self::Hold => "hold",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Mode {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().find(|mode| mode.as_str() == word);
        let allowed = "pool, inline, enqueue or hold";
        known.copied().ok_or_else(|| Error::invalid("bad_config", "mode", word, allowed))
    }
}
