//! Operate: which tasks are meant: the names of [`Filter::from_pairs`] as flags, as terms such as `state:failed`, and
//! ids.

use super::value;
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::filter::pairs::{NAMES, resolved, unknown};
use crate::id::TaskId;
use crate::state::State;

/// Short for the moments that are asked for most.
const SHORT: [(&str, &str); 2] = [("since", "created_after"), ("until", "created_before")];

// No doc comment: it would be taken for the help of whatever this is part of.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct FilterFlags {
    /// Only tasks in this state; several times: in any of them.
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only tasks of this kind; several times: of any of them.
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only tasks of this queue; several times: of any of them.
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Only tasks of this owner.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Only tasks with this tag.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only members of the flow that this batch stands for.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only this task; several times: any of them.
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Only tasks that their owner has taken off their list, or only others.
    #[arg(long, value_name = "true|false")]
    dismissed: Option<String>,
    /// Only where the newest error contains this text.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only where this stands in the arguments, as in `to=ada` or `lines[0].sku=7`; several times: all of it.
    #[arg(long, value_name = "PATH=VALUE")]
    arg: Vec<String>,
    /// Only what was enqueued then or later: a moment, or a span before now such as 6h.
    #[arg(long, value_name = "TIME", visible_alias = "since")]
    created_after: Option<String>,
    /// Only what was enqueued before then.
    #[arg(long, value_name = "TIME", visible_alias = "until")]
    created_before: Option<String>,
    /// Only what ended then or later.
    #[arg(long, value_name = "TIME")]
    finished_after: Option<String>,
    /// Only what ended before then.
    #[arg(long, value_name = "TIME")]
    finished_before: Option<String>,
}

impl FilterFlags {
    /// Names and values, ids left out.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for (name, values) in [
            ("state", &self.state),
            ("kind", &self.kind),
            ("queue", &self.queue),
            ("arg", &self.arg),
        ] {
            pairs.extend(values.iter().map(|value| (name, value.clone())));
        }
        for (name, value) in [
            ("owner", &self.owner),
            ("tag", &self.tag),
            ("batch", &self.batch),
            ("dismissed", &self.dismissed),
            ("error", &self.error),
            ("created_after", &self.created_after),
            ("created_before", &self.created_before),
            ("finished_after", &self.finished_after),
            ("finished_before", &self.finished_before),
        ] {
            pairs.extend(value.iter().map(|value| (name, value.clone())));
        }
        pairs
    }
}

/// What was meant.
#[derive(Debug, Default)]
pub(crate) struct Meant {
    pub(crate) filter: Filter,
    /// Tasks that were named by their ids; they are part of the filter.
    pub(crate) named: Vec<TaskId>,
    /// Whether anything narrows it.
    pub(crate) is_narrow: bool,
}

impl Meant {
    /// Refuses that nothing was found where tasks were named by their ids.
    pub(crate) fn check_found(&self, any: bool) -> Result<(), Error> {
        match self.named.first() {
            Some(id) if !any => Err(Error::not_found(id)),
            _ => Ok(()),
        }
    }
}

/// The tasks that these words, which are ids or terms, and these flags mean together.
pub(crate) fn meant(
    client: &Client,
    words: &[String],
    flags: &FilterFlags,
) -> Result<Meant, Error> {
    let mut pairs = flags.pairs();
    let mut ids = flags.id.clone();
    for word in words {
        if word.contains(':') {
            let (named, other): (Vec<_>, Vec<_>) =
                terms(word)?.into_iter().partition(|(name, _)| *name == "id");
            ids.extend(named.into_iter().map(|(_, id)| id));
            pairs.extend(other);
        } else if State::from_word(word).is_some() {
            let allowed = format!("the id of a task, or state:{word}");
            return Err(Error::invalid("bad_id", "id", word, allowed));
        } else {
            ids.push(word.clone());
        }
    }
    let now = client.now();
    let read = pairs.iter().map(|(name, value)| (*name, resolved(name, value, now)));
    let mut filter = Filter::from_pairs(read)?;
    let named: Result<Vec<TaskId>, Error> = ids.iter().map(|id| value::id(client, id)).collect();
    let named = named?;
    filter.ids.clone_from(&named);
    filter.checked()?;
    let is_narrow = filter != Filter::new();
    Ok(Meant { filter, named, is_narrow })
}

/// An expression such as `state:failed error:connection refused`: a value goes on to the next name.
fn terms(text: &str) -> Result<Vec<(&'static str, String)>, Error> {
    let mut terms: Vec<(&'static str, String)> = Vec::new();
    for part in text.split_inclusive(' ') {
        match (part.split_once(':').and_then(term), terms.last_mut()) {
            (Some(term), _) => terms.push(term),
            (None, Some((_, value))) => value.push_str(part),
            (None, None) => {
                let name = part.split(':').next().unwrap_or_default();
                return Err(unknown(name.trim(), &NAMES));
            }
        }
    }
    let trimmed = terms.into_iter().map(|(name, value)| (name, value.trim_end().to_owned()));
    Ok(trimmed.collect())
}

/// A term; of arguments the path may stand in its name, as in `args.customer.id:42`.
fn term((name, value): (&str, &str)) -> Option<(&'static str, String)> {
    match name.strip_prefix("args.") {
        Some(path) => Some(("arg", format!("{path}={value}"))),
        None => Some((named(name)?, value.to_owned())),
    }
}

/// The name that a word of a term means.
fn named(word: &str) -> Option<&'static str> {
    let word = word.replace('-', "_");
    let short = SHORT.iter().find(|(short, _)| *short == word).map(|(_, name)| *name);
    short.or_else(|| NAMES.into_iter().find(|name| *name == word))
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn each_name_of_a_filter_is_a_flag() {
        let command = FilterFlags::augment_args(clap::Command::new("test"));
        for name in NAMES {
            let flag = name.replace('_', "-");
            let is_flag = |arg: &clap::Arg| arg.get_long() == Some(&flag);
            assert!(command.get_arguments().any(is_flag), "{flag}");
        }
    }

    #[test]
    fn a_value_of_a_term_goes_on_to_the_next_name() {
        let read = terms("state:failed error:a: b  c since:6h finished-after:1d").expect("read");
        let pairs = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        assert_eq!(
            read,
            pairs(&[
                ("state", "failed"),
                ("error", "a: b  c"),
                ("created_after", "6h"),
                ("finished_after", "1d"),
            ])
        );
        let read = terms("args.lines[0].sku:a b state:failed arg:to=ada").expect("read");
        let meant = [("arg", "lines[0].sku=a b"), ("state", "failed"), ("arg", "to=ada")];
        assert_eq!(read, pairs(&meant));
        assert_eq!(terms("stat:failed").expect_err("no name").code(), "unknown_parameter");
    }
}
