//! Define: the kinds of task that a program knows, by name.
//!
//! Built once, at open, where every definition is checked; nothing is added later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::capability::{Capabilities, Capability};
use crate::error::Error;
use crate::event::EventKind;
use crate::flow::BATCH_KIND;
use crate::follow::{FOLLOWS_MAX, Follow};
use crate::json::{JsonError, JsonLimits};
use crate::near::nearest;
use crate::options::{Options, Plan, check_name};
use crate::redact::Redaction;
use crate::retry::Retry;
use crate::route::Routes;
use crate::ties::{Extra, TiesOption};
use crate::time::Timestamp;
use crate::untyped::{Caption, ReadCaption};

/// The kind whose tasks tell of failures.
pub(crate) const NOTICE: &str = "litework.notice";

/// The client of a set that takes what nothing sends elsewhere.
pub const CLIENT_DEFAULT: &str = "default";

/// One kind of task, checked.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: Arc<str>,
    pub(crate) options: Options,
    pub(crate) plan: Plan,
    pub(crate) retry: Arc<Retry>,
    pub(crate) reads: Reads,
}

impl Kind {
    /// A kind of which nothing is known.
    fn plain(name: &str) -> Result<Self, Error> {
        check_kind_name(name)?;
        let options = Options::new();
        let plan = options.checked()?;
        let reads = Reads { caption: |_| Caption::default(), rewrite: None };
        Ok(Self { name: name.into(), options, plan, retry: Arc::default(), reads })
    }
}

fn check_kind_name(name: &str) -> Result<(), Error> {
    check_name("bad_name", "task name", name)?;
    if name == BATCH_KIND {
        return Err(stands_for_flows());
    }
    Ok(())
}

fn stands_for_flows() -> Error {
    let allowed = "any other; tasks of this name stand for flows";
    Error::invalid("bad_name", "task name", BATCH_KIND, allowed)
}

/// What the type of its arguments can do with their text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reads {
    pub(crate) caption: ReadCaption,
    /// Reads arguments as its body does; none where the body is in another program.
    pub(crate) rewrite: Option<Rewrite>,
}

/// Reads arguments as a type, and writes them as that type does.
pub(crate) type Rewrite = fn(&str, JsonLimits) -> Result<String, JsonError>;

/// A kind as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindInfo {
    /// The stable name.
    pub name: String,
    /// Former names that still run.
    pub aliases: Vec<String>,
    /// One paragraph for people, from the doc comment.
    pub description: Option<String>,
    /// Its queue unless a call names another.
    pub queue: String,
    /// The client of a set that its calls go to, if its definition names one.
    pub client: Option<String>,
}

/// The kinds of a program.
#[derive(Debug)]
pub(crate) struct Catalog {
    by_name: HashMap<Arc<str>, Arc<Kind>>,
    /// Names that may be used as queues; empty allows all.
    queues: Vec<String>,
    /// Queues of kinds that name none.
    queue_for: Routes<String>,
    /// Kinds whose failures are told by notices, and how long it is at least from one to the next.
    pub(crate) notices: Routes<Duration>,
    /// What is hidden from people, of whichever kind.
    pub(crate) redaction: Redaction,
    /// Whether calls of kinds that are not known are stored too, by those who run nothing.
    pub(crate) takes_any: bool,
    capabilities: Capabilities,
    /// Its client's name in a set; none for a client that was opened by itself.
    member: Option<Arc<str>>,
}

impl Catalog {
    pub(crate) fn new(
        queues: Vec<String>,
        queue_for: Routes<String>,
        capabilities: Capabilities,
        member: Option<Arc<str>>,
    ) -> Result<Self, Error> {
        for queue in &queues {
            check_name("bad_queue", "queue name", queue)?;
        }
        Ok(Self {
            by_name: HashMap::new(),
            queues,
            queue_for,
            notices: Routes::default(),
            redaction: Redaction::default(),
            takes_any: false,
            capabilities,
            member,
        })
    }

    /// Adds a kind under its name and its aliases; each name may be taken once.
    pub(crate) fn add(
        &mut self,
        name: &str,
        options: Options,
        reads: Reads,
    ) -> Result<Arc<Kind>, Error> {
        check_kind_name(name)?;
        if options.aliases().iter().any(|alias| alias == BATCH_KIND) {
            return Err(stands_for_flows());
        }
        let options = match self.queue_for.find(name) {
            Some(queue) if !options.has_queue() => options.queue(queue.clone()),
            _ => options,
        };
        let options = match self.notices.find(name) {
            // A notice tells nobody of its own failure: each would cause the next.
            Some(every) if name != NOTICE => options.noticed(*every),
            _ => options,
        };
        let plan = options.checked()?;
        check_allowed(|| format!("queue of task {name}"), &plan.queue, &self.queues)?;
        options
            .needed()
            .try_for_each(|needed| self.require(needed, || format!("task {name} needs it")))?;
        let name: Arc<str> = name.into();
        let retry = Arc::new(options.run_options().retry.clone().unwrap_or_default());
        let aliases: Vec<Arc<str>> =
            options.aliases().iter().map(|alias| (**alias).into()).collect();
        let kind = Arc::new(Kind { name: Arc::clone(&name), options, plan, retry, reads });
        for name in std::iter::once(name).chain(aliases) {
            if self.by_name.insert(Arc::clone(&name), Arc::clone(&kind)).is_some() {
                let allowed = "each name and alias may be used by one task";
                return Err(Error::invalid("duplicate_name", "task name", name, allowed));
            }
        }
        Ok(kind)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Arc<Kind>, Error> {
        self.by_name.get(name).ok_or_else(|| Error::UnknownKind {
            kind: crate::error::shorten(name),
            nearest: nearest(name, self.by_name.keys().map(|known| &**known)),
        })
    }

    /// The kind of a call. One that is not known is plain where any is taken: whatever its definition says, in the
    /// program that knows it, is no part of it.
    pub(crate) fn for_call(&self, name: &str) -> Result<Arc<Kind>, Error> {
        match self.get(name) {
            Err(_) if self.takes_any => Kind::plain(name).map(Arc::new),
            known => known.map(Arc::clone),
        }
    }

    /// Whether two names mean the same kind, each by its own name or an alias.
    pub(crate) fn is_same(&self, one: &str, other: &str) -> bool {
        let kinds = self.by_name.get(one).zip(self.by_name.get(other));
        one == other || kinds.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// What one call with these arguments is tied to.
    pub(crate) fn tie(
        &self,
        kind: &Kind,
        ties: &TiesOption,
        arguments: &str,
        now: Timestamp,
    ) -> Result<Extra, Error> {
        let mut extra = ties.resolve(&kind.name, arguments, now)?;
        extra.ties.follow = self.follows(&kind.name, ties)?;
        Ok(extra)
    }

    /// What a task of this kind is followed by, each with all that has to be known where it is stored.
    pub(crate) fn follows(&self, kind: &Arc<str>, ties: &TiesOption) -> Result<Vec<Follow>, Error> {
        self.follows_of(ties, &mut vec![Arc::clone(kind)], &mut 0)
    }

    fn follows_of(
        &self,
        ties: &TiesOption,
        path: &mut Vec<Arc<str>>,
        count: &mut usize,
    ) -> Result<Vec<Follow>, Error> {
        let mut follows = Vec::new();
        let wishes = ties.follow.iter().map(|wish| (&*wish.on, &*wish.kind, None));
        let notice = ties.notice_ms.map(|every| (&[EventKind::Failed][..], NOTICE, Some(every)));
        for (on, name, every_ms) in wishes.chain(notice) {
            let kind = self.get(name)?;
            let place = || format!("kinds that follow {}", path[0]);
            if path.contains(&kind.name) {
                let way = format!("{} → {}", path.join(" → "), kind.name);
                let allowed = "kinds of which none leads back to itself";
                return Err(Error::invalid("follows_itself", place(), way, allowed));
            }
            let theirs = kind.plan.ties.as_deref();
            if theirs.is_some_and(|ties| ties.unique.is_some() || ties.gate.is_some()) {
                let allowed = "a kind without unique key, lock, limit and rate of a key";
                return Err(Error::invalid("bad_follow", place(), name, allowed));
            }
            *count += 1;
            if *count > FOLLOWS_MAX {
                let allowed = "at most 64, those that follow in turn counted too";
                return Err(Error::invalid("too_many_follows", place(), *count, allowed));
            }
            path.push(Arc::clone(&kind.name));
            let then = theirs.map_or(Ok(Vec::new()), |ties| self.follows_of(ties, path, count))?;
            path.pop();
            let expires = kind.plan.expires_after.map(|span| span.as_millis());
            follows.push(Follow {
                on: on.to_vec(),
                kind: kind.name.to_string(),
                queue: kind.plan.queue.to_string(),
                priority: kind.plan.priority,
                attempts: kind.plan.attempts_max,
                at_most_once: kind.plan.at_most_once,
                expires_ms: expires.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
                every_ms,
                then,
            });
        }
        Ok(follows)
    }

    /// Refuses definitions that are followed by what nobody knows, or by themselves.
    pub(crate) fn check_follows(&self) -> Result<(), Error> {
        let mut tied = self.kinds().filter_map(|kind| Some((kind, kind.plan.ties.as_deref()?)));
        tied.try_for_each(|(kind, ties)| self.follows(&kind.name, ties).map(drop))
    }

    /// Every name and alias, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.by_name.keys().cloned()
    }

    /// How long tasks of those kinds are kept that say so, by name and alias.
    pub(crate) fn kept(&self) -> HashMap<String, Duration> {
        let kinds = self.by_name.iter();
        let kept = kinds.filter_map(|(name, kind)| {
            Some((name.to_string(), kind.options.run_options().keep_for?))
        });
        kept.collect()
    }

    pub(crate) fn check_queue(&self, queue: &str) -> Result<(), Error> {
        check_allowed(|| "queue name".to_owned(), queue, &self.queues)
    }

    /// What is hidden from people of tasks of this kind, which may be unknown.
    pub(crate) fn redaction_of(&self, kind: &str) -> Redaction {
        let redaction = self.redaction.clone();
        match self.by_name.get(kind) {
            Some(kind) => redaction.and(kind.options.redaction()),
            None => redaction,
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// `unsupported` where the client lacks what is needed for this reason.
    pub(crate) fn require(
        &self,
        needed: Capability,
        reason: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        if self.capabilities.has(needed) {
            return Ok(());
        }
        let place = format!("{needed} of client {:?}", self.client_name());
        Err(Error::invalid("unsupported", place, false, reason()))
    }

    /// Refuses what is to run later where nobody would run it.
    pub(crate) fn check_later(
        &self,
        is_later: bool,
        what: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        if !is_later {
            return Ok(());
        }
        self.require(Capability::Defer, || {
            format!("{} is to run later; leave its due time out", what())
        })
    }

    /// What one call asks for beyond its definition.
    pub(crate) fn check_call(
        &self,
        kind: &Kind,
        with: &Options,
        is_later: bool,
        priority: i8,
    ) -> Result<(), Error> {
        self.check_later(is_later, || format!("task {}", kind.name))?;
        if priority != 0 {
            self.require(Capability::Priority, || format!("task {} has a priority", kind.name))?;
        }
        let named = with.named_client().or(kind.options.named_client());
        match (named, &self.member) {
            (Some(named), Some(member)) if named != &**member => {
                let allowed = format!(
                    "this is the client {member:?}; enqueue it through the set, \
                     `Clients::enqueue`, or name this one in the call"
                );
                let place = format!("client of task {}", kind.name);
                Err(Error::invalid("other_client", place, named, allowed))
            }
            _ => Ok(()),
        }
    }

    /// The name that errors and sets have for the client.
    fn client_name(&self) -> &str {
        self.member.as_deref().unwrap_or(CLIENT_DEFAULT)
    }

    /// Each name and alias, with the client of a set that its definition names.
    pub(crate) fn named_clients(&self) -> impl Iterator<Item = (&Arc<str>, Option<&str>)> {
        self.by_name.iter().map(|(name, kind)| (name, kind.options.named_client()))
    }

    /// Every kind once.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        let own = self.by_name.iter().filter(|(name, kind)| **name == kind.name);
        own.map(|(_, kind)| &**kind)
    }

    pub(crate) fn infos(&self) -> Vec<KindInfo> {
        let mut infos: Vec<KindInfo> = self
            .kinds()
            .map(|kind| KindInfo {
                name: kind.name.to_string(),
                aliases: kind.options.aliases().iter().map(ToString::to_string).collect(),
                description: kind.options.described().map(str::to_owned),
                queue: kind.plan.queue.to_string(),
                client: kind.options.named_client().map(str::to_owned),
            })
            .collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }
}

/// Refuses a queue that is none of those that may be used; where none is named, any may.
pub(crate) fn check_allowed(
    place: impl FnOnce() -> String,
    queue: &str,
    queues: &[String],
) -> Result<(), Error> {
    if queues.is_empty() || queues.iter().any(|known| known == queue) {
        return Ok(());
    }
    let allowed = format!("one of {}", queues.join(", "));
    Err(Error::invalid("unknown_queue", place(), queue, allowed))
}

#[cfg(test)]
impl Default for Catalog {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            queues: Vec::new(),
            queue_for: Routes::default(),
            notices: Routes::default(),
            redaction: Redaction::default(),
            takes_any: false,
            capabilities: Capabilities::MEMORY,
            member: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::untyped::Caption;

    const UNTYPED: Reads =
        Reads { caption: |_| Caption { name: None, steps: None }, rewrite: None };

    #[test]
    fn a_misspelt_kind_is_told_its_nearest_names() {
        let mut catalog = Catalog::default();
        catalog.add("pictures.shrink", Options::new(), UNTYPED).expect("new");
        catalog.add("mail.send", Options::new().alias("mail.post"), UNTYPED).expect("new");
        let error = catalog.get("picture.shrink").expect_err("unknown").to_string();
        assert_eq!(
            error,
            "unknown_kind: \"picture.shrink\" is not registered; did you mean pictures.shrink?"
        );
        assert_eq!(catalog.get("mail.post").expect("alias").name.as_ref(), "mail.send");
    }

    #[test]
    fn a_client_without_priorities_refuses_them_at_definition_and_at_the_call() {
        let can = Capabilities { supports_priority: false, ..Capabilities::MEMORY };
        let (none, member) = (Routes::default(), Some("flat".into()));
        let mut catalog = Catalog::new(Vec::new(), none, can, member).expect("nothing to check");
        let defined =
            catalog.add("mail.send", Options::new().priority(3), UNTYPED).expect_err("a priority");
        assert_eq!(
            defined.to_string(),
            "unsupported: supports_priority of client \"flat\" is false; task mail.send needs it"
        );
        let kind =
            catalog.add("mail.send", Options::new().priority(0), UNTYPED).expect("the usual one");
        let call = |priority| catalog.check_call(&kind, &Options::new(), false, priority);
        assert!(call(0).is_ok());
        assert_eq!(
            call(3).expect_err("a priority").to_string(),
            "unsupported: supports_priority of client \"flat\" is false; \
             task mail.send has a priority"
        );
    }
}
