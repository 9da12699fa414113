//! Define: the kinds of task that a program knows, by name.
//!
//! Built once, at open, where every definition is checked; nothing is added later.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Error;
use crate::options::{Options, Plan, check_name};
use crate::retry::Retry;

/// One kind of task, checked.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: Arc<str>,
    pub(crate) options: Options,
    pub(crate) plan: Plan,
    pub(crate) retry: Arc<Retry>,
}

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
}

/// The kinds of a program.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    by_name: HashMap<Arc<str>, Arc<Kind>>,
    /// Names that may be used as queues; empty allows all.
    queues: Vec<String>,
}

impl Catalog {
    pub(crate) fn new(queues: Vec<String>) -> Result<Self, Error> {
        for queue in &queues {
            check_name("bad_queue", "queue name", queue)?;
        }
        Ok(Self { by_name: HashMap::new(), queues })
    }

    /// Adds a kind under its name and its aliases; each name may be taken once.
    pub(crate) fn add(&mut self, name: &str, options: Options) -> Result<Arc<Kind>, Error> {
        check_name("bad_name", "task name", name)?;
        let plan = options.checked()?;
        self.check_queue(&plan.queue)?;
        let name: Arc<str> = name.into();
        let retry = Arc::new(options.run_options().retry.clone().unwrap_or_default());
        let aliases: Vec<Arc<str>> =
            options.aliases().iter().map(|alias| (**alias).into()).collect();
        let kind = Arc::new(Kind { name: Arc::clone(&name), options, plan, retry });
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
            nearest: self.nearest(name),
        })
    }

    /// Every name and alias, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.by_name.keys().cloned()
    }

    pub(crate) fn check_queue(&self, queue: &str) -> Result<(), Error> {
        if self.queues.is_empty() || self.queues.iter().any(|known| known == queue) {
            return Ok(());
        }
        let allowed = format!("one of {}", self.queues.join(", "));
        Err(Error::invalid("unknown_queue", "queue name", queue, allowed))
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
            })
            .collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// Up to three names that differ in few letters.
    fn nearest(&self, name: &str) -> Vec<String> {
        let mut near: Vec<(usize, &str)> = self
            .by_name
            .keys()
            .map(|known| (distance(name, known), &**known))
            .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3 + 1)
            .collect();
        near.sort_unstable();
        near.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
    }
}

/// How many letters must be changed, added or dropped (Levenshtein, 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_kind_is_told_its_nearest_names() {
        let mut catalog = Catalog::default();
        catalog.add("pictures.shrink", Options::new()).expect("new");
        catalog.add("mail.send", Options::new().alias("mail.post")).expect("new");
        let error = catalog.get("picture.shrink").expect_err("unknown").to_string();
        assert_eq!(
            error,
            "unknown_kind: \"picture.shrink\" is not registered; did you mean pictures.shrink?"
        );
        assert_eq!(catalog.get("mail.post").expect("alias").name.as_ref(), "mail.send");
    }
}
