//! Watch: to which tasks something is to be done, as a form or a program says it; how many these are; and doing it.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::asked::Asked;
use super::doing::Doing;
use super::parts::Hidden;
use super::text;
use crate::bulk::Bulked;
use crate::client::Client;
use crate::doing::Tell;
use crate::error::Error;
use crate::filter::{FILTER_IDS_MAX, Filter};
use crate::id::TaskId;
use crate::overview::{COUNT_MAX, Capped};
use crate::record::TaskRecord;
use crate::shown::command;
use crate::time::Timestamp;
use crate::web::fault::Fault;
use crate::web::guard::is_json;
use crate::web::site::Visit;

/// Tasks that are named before it is done.
const NAMED: usize = 10;

/// To which tasks.
#[derive(Debug, Clone)]
enum Which {
    Selected(Vec<TaskId>),
    Matching(Box<Asked>),
    /// The failed tasks of a fingerprint.
    Group(String),
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) doing: Doing,
    which: Which,
    /// How many there were when that was shown, or that there were more.
    pub(crate) expect: Option<Capped>,
    pub(crate) confirmed: bool,
    /// They are to be counted, however long that takes.
    counts_all: bool,
}

/// The same as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    action: String,
    #[serde(default)]
    ids: Option<Vec<String>>,
    #[serde(default)]
    filter: Option<Map<String, Value>>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    expect_count: Option<u64>,
    /// That many, and more that were not counted.
    #[serde(default)]
    expect_capped: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    count_all: bool,
}

pub(crate) fn bad(detail: impl Into<String>) -> Fault {
    Fault::bad_request("bad_action", detail)
}

impl Ask {
    pub(crate) fn of(visit: &Visit, now: Timestamp) -> Result<Self, Fault> {
        if is_json(&visit.parts.headers) {
            Self::of_json(visit, now)
        } else {
            Self::of_form(visit, now)
        }
    }

    fn of_form(visit: &Visit, now: Timestamp) -> Result<Self, Fault> {
        let fields = visit.fields();
        let field = |name: &str| {
            fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        let wish = field("do").unwrap_or_default();
        let (word, which) = wish.split_once(' ').unwrap_or((wish, ""));
        let doing = doing(word)?;
        let which = match (field("group"), which) {
            (Some(group), _) => Which::Group(group.to_owned()),
            (None, "selected") => {
                let ids = fields.iter().filter(|(name, _)| name == "selected");
                Which::Selected(ids_of(ids.map(|(_, id)| id.as_str()))?)
            }
            (None, "matching") => Which::Matching(Box::new(Asked::of_form(&fields, now)?)),
            (None, other) => {
                return Err(bad(format!(
                    "{:?} tasks; selected or matching",
                    text::brief(other, 40)
                )));
            }
        };
        let expect = field("expect").map(|text| {
            let (digits, capped) = match text.strip_suffix('+') {
                Some(digits) => (digits, true),
                None => (text, false),
            };
            let allowed = "a number, with + where there were more";
            let count = digits.parse();
            let count = count
                .map_err(|_| bad(format!("expect is {:?}; {allowed}", text::brief(text, 40))))?;
            Ok::<_, Fault>(Capped { count, capped })
        });
        let counts_all = field("count") == Some("all");
        let confirmed = field("confirmed") == Some("yes") && !counts_all;
        Ok(Self { doing, which, expect: expect.transpose()?, confirmed, counts_all })
    }

    fn of_json(visit: &Visit, now: Timestamp) -> Result<Self, Fault> {
        let sent: Sent =
            serde_json::from_slice(&visit.body).map_err(|error| bad(error.to_string()))?;
        let doing = doing(&sent.action)?;
        let which = match (sent.ids, sent.filter, sent.group) {
            (Some(ids), None, None) => Which::Selected(ids_of(ids.iter().map(String::as_str))?),
            (None, Some(filter), None) => {
                Which::Matching(Box::new(Asked::of(pairs(filter)?, now)?))
            }
            (None, None, Some(group)) => Which::Group(group),
            _ => return Err(bad("one of ids, filter and group is needed")),
        };
        let expect = sent.expect_count.map(|count| Capped { count, capped: sent.expect_capped });
        let (confirmed, counts_all) = (!sent.dry_run, sent.count_all);
        Ok(Self { doing, which, expect, confirmed, counts_all })
    }

    /// In words for people.
    pub(crate) fn words(&self) -> String {
        match &self.which {
            Which::Selected(ids) => format!("{} selected tasks", ids.len()),
            Which::Matching(asked) => asked.words(),
            Which::Group(group) => format!("failed tasks of the group {group}"),
        }
    }

    pub(crate) fn command(&self, client: &Client) -> String {
        let verb = self.doing.verb();
        match &self.which {
            Which::Matching(asked) => asked.command(verb, client),
            Which::Selected(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                command::of_tasks(verb, ids.iter().map(String::as_str), client.path())
            }
            Which::Group(group) => command::of_failures(verb, group, client.path()),
        }
    }

    /// What the form carries on that asks.
    pub(crate) fn hidden(&self) -> Vec<Hidden> {
        let doing = self.doing.as_str();
        match &self.which {
            Which::Group(group) => {
                vec![Hidden::new("do", doing), Hidden::new("group", group.as_str())]
            }
            Which::Selected(ids) => {
                let ids = ids.iter().map(|id| Hidden::new("selected", id.to_string()));
                std::iter::once(Hidden::new("do", format!("{doing} selected"))).chain(ids).collect()
            }
            Which::Matching(asked) => {
                let pairs =
                    asked.pairs.iter().map(|(word, value)| Hidden::new(word, value.as_str()));
                std::iter::once(Hidden::new("do", format!("{doing} matching")))
                    .chain(pairs)
                    .collect()
            }
        }
    }

    /// Where it was asked for.
    pub(crate) fn origin(&self) -> String {
        match &self.which {
            Which::Group(group) => format!("failures#f-{group}"),
            Which::Selected(_) => "tasks".to_owned(),
            Which::Matching(asked) => format!("tasks?{}", asked.query()),
        }
    }

    /// The tasks to which it can be done; none where there can be none.
    fn filter(&self) -> Option<Filter> {
        match &self.which {
            Which::Selected(ids) if ids.is_empty() => None,
            Which::Selected(ids) => {
                let mut filter = Filter::new();
                filter.ids.clone_from(ids);
                self.doing.narrowed(&filter)
            }
            Which::Matching(asked) => self.doing.narrowed(&asked.filter),
            Which::Group(_) => None,
        }
    }

    /// How many they are, as far as that costs little or was asked for, and the first of them.
    pub(crate) fn look(&self, client: &Client) -> Result<(Capped, Vec<TaskRecord>), Error> {
        let exact = |count: u64| Capped { count, capped: false };
        if let Which::Group(group) = &self.which {
            let failures = client.failures()?;
            let found = failures.groups.iter().find(|known| known.fingerprint == *group);
            let Some(found) = found else { return Ok((exact(0), Vec::new())) };
            let named =
                Filter { ids: found.ids.iter().take(NAMED).copied().collect(), ..Filter::new() };
            return Ok((exact(found.count), client.list(&named, None, NAMED)?.tasks));
        }
        let Some(filter) = self.filter() else { return Ok((exact(0), Vec::new())) };
        let count = if self.counts_all {
            exact(client.bulk(&filter).count()?)
        } else {
            client.count_in_a_look(&filter, COUNT_MAX)?
        };
        Ok((count, client.browse(&filter, None, NAMED)?.tasks))
    }

    /// Does it. Who was told that there are more than were counted has agreed to as many as there are.
    pub(crate) fn run(
        &self,
        client: &Client,
        expect: Capped,
        tell: Tell<'_>,
    ) -> Result<Bulked, Error> {
        if let Which::Group(group) = &self.which {
            return self.doing.act_on_group(client, group, expect.count, tell);
        }
        let Some(filter) = self.filter() else { return Ok(Bulked::default()) };
        let bulk = client.bulk(&filter);
        let bulk = if expect.capped { bulk } else { bulk.expecting(expect.count) };
        self.doing.act(bulk.on_slice(tell), client.now())
    }
}

fn doing(word: &str) -> Result<Doing, Fault> {
    Doing::from_word(word).ok_or_else(|| {
        bad(format!("the action is {:?}; retry, run, cancel or delete", text::brief(word, 40)))
    })
}

fn ids_of<'a>(ids: impl Iterator<Item = &'a str>) -> Result<Vec<TaskId>, Fault> {
    let ids: Result<Vec<TaskId>, _> = ids
        .map(|id| {
            id.parse().map_err(|_| bad(format!("{:?} is no id of a task", text::brief(id, 40))))
        })
        .collect();
    let ids = ids?;
    if ids.len() > FILTER_IDS_MAX {
        return Err(bad(format!("{} tasks are selected; at most 1000", ids.len())));
    }
    Ok(ids)
}

/// A filter as JSON: each word a text, or several.
fn pairs(filter: Map<String, Value>) -> Result<Vec<(String, String)>, Fault> {
    let mut pairs = Vec::new();
    for (word, value) in filter {
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        for value in values {
            let Value::String(value) = value else {
                return Err(bad(format!("{word} of the filter is {value}; a text, or several")));
            };
            pairs.push((word.clone(), value));
        }
    }
    Ok(pairs)
}
