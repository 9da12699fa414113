//! Define: the options that a body runs under, in the form that is stored where a call differs from its
//! definition.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Durability, TIMEOUT_MAX};
use crate::error::Error;
use crate::range::{AGE, Range};
use crate::retry::{Retry, millis_opt};

const TIMEOUT: Range<Duration> =
    Range { least: Duration::from_millis(1), most: TIMEOUT_MAX, text: "1 ms to 365 days" };

/// The options that the running process needs; where one call differs from the definition they are
/// stored with the task, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Retry>,
    #[serde(rename = "timeout_ms", with = "millis_opt", skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Duration>,
    #[serde(rename = "keep_for_ms", with = "millis_opt", skip_serializing_if = "Option::is_none")]
    pub(crate) keep_for: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_sync: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) durability: Option<Durability>,
}

impl RunOptions {
    /// These options, with the gaps filled from `base`.
    pub(super) fn over(&self, base: &Self) -> Self {
        Self {
            retry: self.retry.clone().or_else(|| base.retry.clone()),
            timeout: self.timeout.or(base.timeout),
            keep_for: self.keep_for.or(base.keep_for),
            finish_sync: self.finish_sync.or(base.finish_sync),
            durability: self.durability.or(base.durability),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// As they are stored, where anything is set.
    pub(super) fn stored(&self) -> Option<String> {
        if self.is_plain() { None } else { serde_json::to_string(self).ok() }
    }

    /// Those that were stored with a task, over these.
    pub(super) fn with_stored(&self, text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Self>(text).map(|stored| stored.over(self))
    }

    /// Every option in its range.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(Retry::Ladder(steps)) = self.retry.as_ref().filter(|retry| retry.is_too_long())
        {
            let allowed = "at most 64 steps; the last repeats";
            return Err(Error::invalid(
                "out_of_range",
                "steps of the ladder",
                steps.len(),
                allowed,
            ));
        }
        if let Some(Retry::Exponential { base, cap }) = &self.retry
            && base > cap
        {
            let allowed = format!("at least {base:?}, the bound of the first");
            return Err(Error::invalid("out_of_range", "longest delay", cap, allowed));
        }
        if let Some(span) = &self.timeout {
            TIMEOUT.check("out_of_range", || "timeout".to_owned(), span)?;
        }
        if let Some(span) = &self.keep_for {
            AGE.check("out_of_range", || "keep_for".to_owned(), span)?;
        }
        Ok(())
    }
}

/// The retention that one call has asked for, from the options that are stored with its task. Damaged
/// ones ask for none.
pub(crate) fn stored_keep_for(text: &str) -> Option<Duration> {
    if !text.contains("keep_for_ms") {
        return None;
    }
    serde_json::from_str::<RunOptions>(text).ok()?.keep_for
}
