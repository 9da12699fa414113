//! Enqueue: what ties a stored task to others, in the form that is stored with it.
//!
//! Most tasks have none, and pay nothing for those that have: their row holds NULL.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::gate::{Gate, GateOption};
use crate::time::Timestamp;
use crate::unique::{Claim, Held, Unique};

/// What a definition and a call ask for, before the arguments are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TiesOption {
    pub(crate) unique: Option<Unique>,
    pub(crate) gate: Option<GateOption>,
}

impl TiesOption {
    /// What one call with these arguments asks for.
    pub(crate) fn resolve(
        &self,
        kind: &str,
        arguments: &str,
        now: Timestamp,
    ) -> Result<Extra, Error> {
        // They were encoded, or checked, as the object that they are.
        let arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
        let mut extra = Extra::default();
        if let Some(unique) = &self.unique {
            let claim = unique.resolve(kind, &arguments, now)?;
            if unique.is_last() {
                extra.wait_key = Some(format!("last:{}", claim.key));
                extra.ties.gate = Some(Gate::TURN);
            }
            extra.ties.unique = Some(Key { key: claim.key.clone(), held: claim.held });
            extra.claim = Some(claim);
        }
        if let Some(gate) = &self.gate {
            let (key, gate) = gate.resolve(&arguments)?;
            extra.wait_key = Some(key);
            extra.ties.gate = Some(gate);
        }
        Ok(extra)
    }
}

/// What the start or the end of a task means to others, as JSON in its row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ties {
    /// The key that no other task may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<Key>,
    /// What it must pass before it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gate: Option<Gate>,
    /// The parameter that takes the result of the task before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) takes: Option<String>,
    /// Other tasks wait for its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) awaited: bool,
    /// It is never run, but sums up others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sums: bool,
}

/// A key that a stored task has, or takes again when it has to start again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) key: String,
    pub(crate) held: Held,
}

impl Ties {
    /// Whether its end concerns nobody.
    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// As it is stored. Text and numbers always encode.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a plain task does not have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    pub(crate) owner: Option<String>,
    /// What people call it.
    pub(crate) name: Option<String>,
    /// On its way into the store: its wish to be the only one.
    pub(crate) claim: Option<Claim>,
    /// The key under which it stands at its gate.
    pub(crate) wait_key: Option<String>,
    /// Once it runs: the number that grows with each holder of its lock.
    pub(crate) fence: Option<i64>,
    pub(crate) ties: Ties,
}

impl Extra {
    /// What a copy of the task has: whose it is, what it is called and its gate. Its unique key, and what
    /// its end means to others, stay with the first.
    pub(crate) fn of_copy(&self) -> Option<Box<Self>> {
        // A turn is waited for behind a unique key.
        let gate = self.ties.gate.filter(|_| self.ties.unique.is_none());
        let copy = Self {
            owner: self.owner.clone(),
            name: self.name.clone(),
            wait_key: self.wait_key.clone().filter(|_| gate.is_some()),
            ties: Ties { gate, ..Ties::default() },
            ..Self::default()
        };
        let plain = copy.owner.is_none() && copy.name.is_none() && copy.ties.are_none();
        (!plain).then(|| Box::new(copy))
    }

    /// What it must pass before it starts, and the key under which it stands there.
    pub(crate) fn gate(&self) -> Option<(&str, Gate)> {
        self.wait_key.as_deref().zip(self.ties.gate)
    }
}
