//! Enqueue: what ties a stored task to others, in the form that is stored with it.
//!
//! Most tasks have none, and pay nothing for those that have: their row holds NULL.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::follow::{Follow, FollowOption};
use crate::gate::{Gate, GateOption};
use crate::id::TaskId;
use crate::json;
use crate::key::check_key;
use crate::slot::Slot;
use crate::time::Timestamp;
use crate::unique::{Claim, Held, Unique};

/// Tasks that one task may wait for, at most.
pub const AFTER_MAX: usize = 10_000;

/// What a definition and a call ask for, before the arguments are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TiesOption {
    pub(crate) unique: Option<Unique>,
    pub(crate) gate: Option<GateOption>,
    /// What is stored when it ends.
    pub(crate) follow: Vec<FollowOption>,
    /// Its failures are told by notices, at most one in so many milliseconds.
    pub(crate) notice_ms: Option<u64>,
}

impl TiesOption {
    /// What one call with these arguments asks for.
    pub(crate) fn resolve(
        &self,
        kind: &str,
        arguments: &str,
        now: Timestamp,
    ) -> Result<Extra, Error> {
        if self.unique.as_ref().is_some_and(Unique::is_by_arguments) && arguments != "null" {
            // Without names all calls would look the same. `null` is a type without arguments.
            json::only_object(arguments)?;
        }
        let wants = |name: &str| {
            self.unique.as_ref().is_some_and(|unique| unique.wants(name))
                || self.gate.as_ref().is_some_and(|gate| gate.wants(name))
        };
        let some = given(arguments, wants);
        // Whoever misses an argument says which there are.
        self.resolve_with(kind, &some, now)
            .or_else(|_| self.resolve_with(kind, &given(arguments, |_| true), now))
    }

    fn resolve_with(
        &self,
        kind: &str,
        arguments: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Extra, Error> {
        let mut extra = Extra::default();
        if let Some(unique) = &self.unique {
            let claim = unique.resolve(kind, arguments, now)?;
            if unique.is_last() {
                extra.wait_key = Some(format!("last:{}", claim.key));
                extra.ties.gate = Some(Gate::TURN);
            }
            extra.ties.unique = Some(Key { key: claim.key.clone(), held: claim.held });
            extra.claim = Some(claim);
        }
        if let Some(gate) = &self.gate {
            let (key, gate) = gate.resolve(arguments)?;
            extra.wait_key = Some(key);
            extra.ties.gate = Some(gate);
        }
        Ok(extra)
    }
}

/// The arguments of these names. They were encoded, or checked, as the object that they are.
fn given(arguments: &str, wants: impl Fn(&str) -> bool) -> Map<String, Value> {
    /// By itself a `Cow` is always read as a text of its own.
    #[derive(Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    struct Wanted<W>(W);

    impl<'de, W: Fn(&str) -> bool> Visitor<'de> for Wanted<W> {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut wanted = Map::new();
            while let Some(Name(name)) = map.next_key()? {
                if (self.0)(&name) {
                    wanted.insert(name.into_owned(), map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(wanted)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(arguments);
    reader.deserialize_map(Wanted(wants)).unwrap_or_default()
}

/// What the end of a task must be for the one that comes after it to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// A failure or a cancel ends what comes after it.
    Success,
    /// Any end will do.
    Finish,
}

impl Policy {
    /// The word that is stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Finish => "finish",
        }
    }

    /// The value of a stored word.
    pub(crate) fn from_word(word: &str) -> Self {
        if word == "finish" { Self::Finish } else { Self::Success }
    }
}

/// A task that another waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ref {
    /// One that is stored.
    Task(TaskId),
    /// One of the same call, by its position, which is before that of the one that waits.
    Item(usize),
}

/// One that must end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) what: Ref,
    pub(crate) policy: Policy,
}

/// What a call says of other tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Links {
    pub(crate) name: Option<String>,
    pub(crate) after: Vec<(TaskId, Policy)>,
    pub(crate) takes: Option<String>,
    pub(crate) ignore_failure: bool,
}

impl Links {
    /// Adds what the call says to what is to be stored of it. `before` are those of the same flow.
    pub(crate) fn tie(
        &self,
        before: &[Before],
        arguments: &str,
        extra: &mut Extra,
    ) -> Result<(), Error> {
        if let Some(name) = &self.name {
            check_task_name("name", name)?;
            extra.name = Some(name.clone());
        }
        extra.after = before.to_vec();
        let mut places = HashMap::new();
        for (id, policy) in &self.after {
            let place = *places.entry(id).or_insert(extra.after.len());
            match extra.after.get_mut(place) {
                // Named twice, the stricter word counts.
                Some(known) if *policy == Policy::Success => known.policy = *policy,
                Some(_) => {}
                None => extra.after.push(Before { what: Ref::Task(*id), policy: *policy }),
            }
        }
        check_after(extra.after.len())?;
        if let Some(takes) = &self.takes {
            check_key("parameter that takes a result", takes)?;
            if extra.after.is_empty() {
                let allowed = "one or more tasks before it, whose results it takes";
                return Err(Error::invalid("nothing_before", "tasks before it", 0, allowed));
            }
            check_parameter(takes, arguments)?;
            (extra.ties.takes, extra.ties.sources) = (Some(takes.clone()), extra.after.len());
        }
        if !extra.after.is_empty() {
            extra.ties.behind = true;
            extra.ties.held_key.clone_from(&extra.wait_key);
        }
        Ok(())
    }
}

/// A parameter that the call gives nothing for is most likely misspelt, and would be passed over.
fn check_parameter(takes: &str, arguments: &str) -> Result<(), Error> {
    // They were encoded as the object that they are.
    let given = given(arguments, |_| true);
    if given.contains_key(takes) {
        return Ok(());
    }
    let given: Vec<&str> = given.keys().map(String::as_str).collect();
    let allowed = format!("one of the parameters that the call gives: {}", given.join(", "));
    Err(Error::invalid("no_parameter", "parameter that takes a result", takes, allowed))
}

/// 1 to 200 bytes without control characters.
pub(crate) fn check_task_name(place: &str, name: &str) -> Result<(), Error> {
    check_key(place, name).map_err(|_| {
        let allowed = "1 to 200 bytes without control characters";
        Error::invalid("bad_name", place, name, allowed)
    })
}

/// At most [`AFTER_MAX`].
pub(crate) fn check_after(count: usize) -> Result<(), Error> {
    if count > AFTER_MAX {
        let allowed = format!("at most {AFTER_MAX}; gather them in a flow and wait for that");
        return Err(Error::invalid("too_many_before", "tasks before one", count, allowed));
    }
    Ok(())
}

/// What the start or the end of a task means to others, as JSON in its row.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all combinations occur"
)]
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
    /// How many are before it, whose results that takes.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) sources: usize,
    /// There were tasks before it when it was stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) behind: bool,
    /// Other tasks wait for its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) awaited: bool,
    /// It is never run, but sums up others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sums: bool,
    /// Its members that were deleted before it had ended, and had failed or been cancelled.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) lost: usize,
    /// Whatever sums it up passes over its failure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ignored: bool,
    /// The key of its gate, at which it does not stand before those that it waits for have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_key: Option<String>,
    /// How many steps it will have, as its arguments tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<u64>,
    /// What is stored when it ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) follow: Vec<Follow>,
    /// The slot of a schedule that it was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<Slot>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A key that a stored task has, or takes again when it has to start again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) key: String,
    pub(crate) held: Held,
}

impl Ties {
    /// What is taken for ties that cannot be read: whether others wait is asked of those.
    #[cfg(feature = "sqlite")]
    pub(crate) fn unreadable() -> Self {
        Self { awaited: true, ..Self::default() }
    }

    /// Whether others may have kept it waiting beyond its due time.
    pub(crate) fn may_wait(&self) -> bool {
        self.behind || self.gate.is_some_and(|gate| !matches!(gate, Gate::Rate(_)))
    }

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
    /// On its way into the store: what must end first.
    pub(crate) after: Vec<Before>,
    /// On its way into the store: the item of the same call that sums it up.
    pub(crate) member_of: Option<usize>,
    /// On its way into the store: a task of an earlier slot that has not ended, for which it is skipped.
    pub(crate) overlaps: Option<TaskId>,
    /// Once it runs: the number that grows with each holder of its lock.
    pub(crate) fence: Option<i64>,
    pub(crate) ties: Ties,
}

impl Extra {
    /// What a copy of the task has: whose it is, what it is called, its gate and what follows it. Its unique
    /// key, and what its end means to tasks that are stored, stay with the first.
    pub(crate) fn of_copy(&self) -> Option<Box<Self>> {
        // A turn is waited for behind a unique key.
        let gate = self.ties.gate.filter(|_| self.ties.unique.is_none());
        let copy = Self {
            owner: self.owner.clone(),
            name: self.name.clone(),
            wait_key: self.wait_key.clone().filter(|_| gate.is_some()),
            ties: Ties {
                gate,
                follow: self.ties.follow.clone(),
                steps: self.ties.steps,
                ..Ties::default()
            },
            ..Self::default()
        };
        let plain = copy.owner.is_none() && copy.name.is_none() && copy.ties.are_none();
        (!plain).then(|| Box::new(copy))
    }

    /// What it must pass before it starts, and the key under which it stands there.
    pub(crate) fn gate(&self) -> Option<(&str, Gate)> {
        self.wait_key.as_deref().zip(self.ties.gate)
    }

    /// The same for one that may wait for others, and does not stand there before those have ended.
    pub(crate) fn gate_in_the_end(&self) -> Option<(&str, Gate)> {
        let key = self.wait_key.as_deref().or(self.ties.held_key.as_deref());
        key.zip(self.ties.gate)
    }

    /// Sets its gate anew. One that waits for others does not stand there yet, and one that had others
    /// before it may have to wait for them again.
    pub(crate) fn stand_at(&mut self, gate: Option<(&str, Gate)>, waits: bool, had_before: bool) {
        let key = gate.map(|(key, _)| key.to_owned());
        self.ties.gate = gate.map(|(_, gate)| gate);
        self.ties.held_key = key.clone().filter(|_| had_before);
        self.wait_key = key.filter(|_| !waits);
        // What it was the holder of, if it has run, was another lock.
        self.fence = None;
    }

    /// Whether it waits for others, or is summed up.
    pub(crate) fn is_linked(&self) -> bool {
        self.member_of.is_some() || !self.after.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn names_are_looked_at_where_they_stand_and_only_what_is_wanted_is_taken() {
        let arguments = r#"{"to":"ada","\u0061":[1],"width":7}"#;
        let text = arguments.as_bytes().as_ptr_range();
        let seen = RefCell::new(Vec::new());
        let found = given(arguments, |name| {
            seen.borrow_mut().push((name.to_owned(), text.contains(&name.as_ptr())));
            name == "a"
        });
        assert_eq!(Value::Object(found), serde_json::json!({"a": [1]}));
        let seen: Vec<(String, bool)> = seen.into_inner();
        let expected = [("to", true), ("a", false), ("width", true)];
        assert_eq!(seen, expected.map(|(name, borrowed)| (name.to_owned(), borrowed)));
    }
}
