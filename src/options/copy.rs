//! Define: what a copy of a stored task may differ in from that one.

use super::Options;
use crate::error::Error;
use crate::gate::GateOption;
use crate::redact::Redaction;

impl Options {
    /// These options with the overrides for the running process that were stored with a task.
    pub(crate) fn with_run(mut self, stored: Option<&str>) -> Result<Self, serde_json::Error> {
        if let Some(text) = stored {
            self.run = self.run.with_stored(text)?;
        }
        Ok(self)
    }

    /// Refuses what a copy of a stored task cannot differ in.
    pub(crate) fn check_for_copy(&self) -> Result<(), Error> {
        let gate = self.gates.first().map(GateOption::option);
        let fixed = [
            ("description", self.description.is_some()),
            ("alias", !self.aliases.is_empty()),
            ("client", self.client.is_some()),
            ("needs", !self.needs.is_empty()),
            ("redact", self.redaction != Redaction::default()),
            ("on_commit", self.on_commit.is_some()),
            ("unique", self.unique.is_some()),
            (gate.unwrap_or_default(), gate.is_some()),
            ("max_running", self.limits.max_running.is_some()),
            ("rate", self.limits.rate.is_some()),
            ("follow", !self.follow.is_empty()),
        ];
        let Some((name, _)) = fixed.iter().find(|(_, given)| *given) else { return Ok(()) };
        let allowed = "queue, priority, attempts, at_most_once, expires_after, retry, timeout, keep_for, \
                       finish_sync or durability; enqueue a new call for the rest";
        Err(Error::invalid("unsupported", "option of a copy", *name, allowed))
    }
}
