//! Run: what the tasks before this one returned, for its parameters and for its body.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::context::Context;
use crate::error::Error;
use crate::json::{self, JsonLimits};
use crate::near::nearest;
use crate::outcome::{Failure, Result};
use crate::record::Prior;

impl Prior {
    /// The return value; none where it did not succeed.
    ///
    /// # Errors
    /// `bad_json` when it does not fit `V`.
    pub fn value<V: DeserializeOwned>(&self) -> Result<Option<V>, Error> {
        Ok(self.result.as_deref().map(json::decode).transpose()?)
    }

    /// What a parameter takes of it, as JSON.
    fn text(&self) -> String {
        if self.kind == crate::flow::BATCH_KIND {
            return array(self.members.iter().map(Self::text));
        }
        self.result.clone().unwrap_or_else(|| "null".to_owned())
    }
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// The arguments with what came before in the place of one parameter; an error says why the task cannot
/// run so.
pub(crate) fn fill(
    arguments: &str,
    (parameter, sources): (&str, usize),
    before: &[Option<Prior>],
    limits: JsonLimits,
) -> std::result::Result<String, String> {
    let kept: Option<Vec<&Prior>> = before.iter().map(Option::as_ref).collect();
    let text = match kept.as_deref().filter(|kept| kept.len() == sources) {
        None | Some([]) => {
            return Err(format!(
                "the parameter {parameter:?} takes a result of a task that is no longer kept"
            ));
        }
        Some([one]) => one.text(),
        Some(several) => array(several.iter().map(|one| one.text())),
    };
    if text.len() > limits.size_bytes {
        return Err(format!(
            "the results that the parameter {parameter:?} takes have {} bytes; at most {}",
            text.len(),
            limits.size_bytes
        ));
    }
    let parsed = |text| -> serde_json::Result<Box<RawValue>> { RawValue::from_string(text) };
    let filled = || -> serde_json::Result<String> {
        let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(arguments)?;
        object.insert(parameter.to_owned(), parsed(text)?);
        serde_json::to_string(&object)
    };
    filled().map_err(|error| format!("the parameter {parameter:?} cannot take its result: {error}"))
}

impl Context {
    /// What came before this task, in the order in which it was named, with what it returned: the tasks of
    /// [`Call::after`](crate::Call::after) and [`Flow::after`](crate::Flow::after), and for what comes after
    /// a [`Flow`](crate::Flow), its batch with its members. Tasks that are no longer kept are left out. It
    /// is read each time; empty in a detached context.
    ///
    /// ```
    /// # use litework::{Client, Context, Flow, Result, task};
    /// #[task]
    /// fn fetch(page: u32) -> u32 {
    ///     100 * page
    /// }
    ///
    /// #[task]
    /// fn report(ctx: &Context) -> Result<u32> {
    ///     let first: u32 = ctx.result_of("first")?;
    ///     let all: Vec<u32> =
    ///         ctx.before()?.iter().filter_map(|prior| prior.value().transpose()).collect::<Result<_, _>>()?;
    ///     assert_eq!((first, all), (100, vec![100, 200]));
    ///     Ok(first)
    /// }
    ///
    /// let tasks = Client::in_memory().register(fetch).register(report).open()?;
    /// let flow = Flow::new("pages")
    ///     .add("first", fetch::with(1))
    ///     .add("second", fetch::with(2))
    ///     .add("report", report::with())
    ///     .after("report", ["first", "second"]);
    /// assert_eq!(tasks.enqueue_flow(flow)?.value()?.succeeded, 3);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where it cannot be read.
    pub fn before(&self) -> Result<Vec<Prior>, Error> {
        let Some((client, id)) = self.client().zip(self.id()) else { return Ok(Vec::new()) };
        Ok(client.hub.backend.before(id)?.into_iter().flatten().collect())
    }

    /// The result of the task of this name before this one, also of a member of a flow before it; see
    /// [`before`](Self::before).
    ///
    /// # Errors
    /// A failure that gives up, as no further attempt would find more: `not_found` when there is no such
    /// task before this one, `no_value` when it returned nothing, `bad_json` when that does not fit `V`.
    pub fn result_of<V: DeserializeOwned>(&self, name: &str) -> Result<V> {
        let before = self.before()?;
        let all = || before.iter().flat_map(|one| std::iter::once(one).chain(&one.members));
        let prior = all().find(|prior| prior.name.as_deref() == Some(name)).ok_or_else(|| {
            let near = nearest(name, all().filter_map(|prior| prior.name.as_deref()));
            let near = if near.is_empty() { "none".to_owned() } else { near.join(" or ") };
            let text = format!("no task before this one is called {name:?}; the nearest: {near}");
            Failure::give_up(text).code("not_found")
        })?;
        let value = prior.value().map_err(|error| Failure::give_up(error).code("bad_json"))?;
        value.ok_or_else(|| {
            let text = format!("the task {name:?} before this one was {}", prior.state);
            Failure::give_up(text).code("no_value")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::state::State;

    fn prior(result: Option<&str>) -> Prior {
        Prior {
            id: TaskId::new(1, 7),
            kind: "fetch".to_owned(),
            name: None,
            state: State::Succeeded,
            result: result.map(str::to_owned),
            members: Vec::new(),
        }
    }

    fn filled(before: &[Option<Prior>]) -> std::result::Result<String, String> {
        fill(r#"{"n":1.10,"page":""}"#, ("page", before.len()), before, JsonLimits::default())
    }

    #[test]
    fn a_parameter_takes_one_result_or_an_array_and_leaves_the_rest_as_it_is() {
        let one = Some(prior(Some("\"a\"")));
        let none = Some(prior(None));
        assert_eq!(filled(std::slice::from_ref(&one)).expect("one"), r#"{"n":1.10,"page":"a"}"#);
        assert_eq!(filled(std::slice::from_ref(&none)).expect("none"), r#"{"n":1.10,"page":null}"#);
        assert_eq!(filled(&[one.clone(), none]).expect("two"), r#"{"n":1.10,"page":["a",null]}"#);
        let members = vec![prior(Some("1")), prior(Some("2"))];
        let kind = crate::flow::BATCH_KIND.to_owned();
        let batch = Some(Prior { kind, members, ..prior(Some("{}")) });
        assert_eq!(
            filled(std::slice::from_ref(&batch)).expect("batch"),
            r#"{"n":1.10,"page":[1,2]}"#
        );
        assert_eq!(filled(&[batch, one]).expect("both"), r#"{"n":1.10,"page":[[1,2],"a"]}"#);
    }

    #[test]
    fn what_cannot_be_taken_is_told() {
        let gone = "the parameter \"page\" takes a result of a task that is no longer kept";
        assert_eq!(filled(&[None]).expect_err("gone"), gone);
        let one = fill("{}", ("page", 2), &[Some(prior(Some("1")))], JsonLimits::default());
        assert_eq!(one.expect_err("one of two is gone"), gone);
        let limits = JsonLimits { size_bytes: 3, ..JsonLimits::default() };
        let large = fill("{}", ("page", 1), &[Some(prior(Some("[1]")))], limits);
        assert_eq!(large.expect("it fits"), r#"{"page":[1]}"#);
        let large = fill("{}", ("page", 1), &[Some(prior(Some("[12]")))], limits);
        let told = "the results that the parameter \"page\" takes have 4 bytes; at most 3";
        assert_eq!(large.expect_err("too large"), told);
    }
}
