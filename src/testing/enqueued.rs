//! Tests of programs: assertions about what was enqueued, and about what is left.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::due::{every, live};
use super::expect::Expected;
use crate::client::Client;
use crate::error::Error;
use crate::error::shorten;
use crate::filter::Filter;
use crate::record::TaskRecord;
use crate::state::State;

/// A failure names at most this many tasks.
const LISTED_MAX: usize = 10;

/// Every task that has not ended, oldest first.
///
/// ```
/// # use litework::{Client, task};
/// # use litework::testing::all_enqueued;
/// # #[task]
/// # fn mail(to: &str) {}
/// let tasks = Client::dummy().register(mail).open()?;
/// tasks.enqueue_many(["ada", "grace"].map(mail::with))?;
/// let kinds: Vec<String> = all_enqueued(&tasks)?.into_iter().map(|task| task.kind).collect();
/// assert_eq!(kinds, ["mail", "mail"]);
/// # Ok::<(), litework::Error>(())
/// ```
///
/// # Errors
/// `storage` where they cannot be read.
pub fn all_enqueued(client: &Client) -> Result<Vec<TaskRecord>, Error> {
    Ok(every(client, &live())?.0)
}

/// What [`assert_enqueued!`](crate::assert_enqueued) calls: the tasks that are as expected, oldest first.
///
/// # Panics
/// When there is none, or not as many as [`Expected::count`] says; it names those that come nearest, and in
/// what they differ. When the kind is not known to the client, or the tasks cannot be read.
#[track_caller]
pub fn assert_enqueued(client: &Client, expected: &Expected) -> Vec<TaskRecord> {
    match look(client, expected) {
        Ok(Looked { matching, others }) if is_enough(expected, matching.len()) => {
            drop(others);
            matching
        }
        Ok(looked) => panic!("{}", looked.told(client, expected)),
        Err(error) => panic!("assert_enqueued!({expected}): {error}"),
    }
}

/// What [`refute_enqueued!`](crate::refute_enqueued) calls.
///
/// # Panics
/// When there is a task as expected; it names them. When the kind is not known to the client, or the tasks
/// cannot be read.
#[track_caller]
pub fn refute_enqueued(client: &Client, unexpected: &Expected) {
    assert!(
        unexpected.count.is_none(),
        "refute_enqueued!: `count` says nothing here, as none may match"
    );
    match look(client, unexpected) {
        Ok(looked) if looked.matching.is_empty() => {}
        Ok(looked) => {
            let text =
                format!("{} should not be there: {unexpected}", tasks(looked.matching.len()));
            panic!("{text}{}", listed(looked.matching.iter().map(shown).collect()))
        }
        Err(error) => panic!("refute_enqueued!({unexpected}): {error}"),
    }
}

fn is_enough(expected: &Expected, found: usize) -> bool {
    expected.count.map_or(found > 0, |count| found == count)
}

/// The tasks of one kind, of whatever state, beside what was expected.
struct Looked {
    matching: Vec<TaskRecord>,
    /// With what they differ in, nearest first.
    others: Vec<(TaskRecord, Vec<String>)>,
}

fn look(client: &Client, expected: &Expected) -> Result<Looked, Error> {
    client.hub.catalog.get(expected.kind)?;
    let (tasks, _bad) = every(client, &Filter::new())?;
    let mut looked = Looked { matching: Vec::new(), others: Vec::new() };
    for task in tasks.into_iter().filter(|task| expected.is_of(client, task)) {
        let differences = expected.differences(&task);
        if differences.is_empty() {
            looked.matching.push(task);
        } else {
            looked.others.push((task, differences));
        }
    }
    looked.others.sort_by_key(|(task, differences)| (differences.len(), -task.id.row()));
    Ok(looked)
}

impl Looked {
    fn told(&self, client: &Client, expected: &Expected) -> String {
        let wanted =
            expected.count.map_or_else(|| "1 or more".to_owned(), |count| count.to_string());
        let mut text = format!("{} instead of {wanted}: {expected}", tasks(self.matching.len()));
        let matching = self.matching.iter().map(shown);
        let others = self.others.iter().map(|(task, differences)| {
            format!("{} ({}): {}", task.id, task.state, differences.join("; "))
        });
        if expected.count.is_some_and(|count| self.matching.len() > count) {
            text += &listed(matching.collect());
        } else if self.matching.is_empty() && self.others.is_empty() {
            text += &others_there(client);
        } else {
            text += &listed(matching.chain(others).collect());
        }
        text
    }
}

fn others_there(client: &Client) -> String {
    let tasks = every(client, &Filter::new()).map(|(tasks, _bad)| tasks).unwrap_or_default();
    let mut kinds = BTreeMap::<String, usize>::new();
    for task in tasks {
        *kinds.entry(task.kind).or_default() += 1;
    }
    if kinds.is_empty() {
        return "\n  there is no task at all".to_owned();
    }
    let kinds: Vec<String> =
        kinds.iter().take(LISTED_MAX).map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("\n  there is none of this kind; tasks by kind: {}", kinds.join(", "))
}

fn tasks(count: usize) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}

/// One task on a line.
fn shown(task: &TaskRecord) -> String {
    let mut text = format!("{} {} ({}", task.id, task.kind, task.state);
    if let Some(reason) = task.reason {
        let _to_text = write!(text, ": {reason}");
    }
    if task.state == State::Scheduled {
        let _to_text = write!(text, ", due {}", task.due_at);
    }
    let _to_text = match &task.error {
        Some(report) if task.state == State::Failed => {
            write!(text, "): {}", shorten(&report.to_string()))
        }
        _ => write!(text, "): {}", shorten(&task.arguments)),
    };
    text
}

/// Lines below a sentence, the first of them.
fn listed(mut lines: Vec<String>) -> String {
    let more = lines.len().saturating_sub(LISTED_MAX);
    lines.truncate(LISTED_MAX);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines.into_iter().fold(String::new(), |text, line| text + "\n  " + &line)
}

/// What [`assert_no_leftovers!`](crate::assert_no_leftovers) calls.
///
/// # Panics
/// When a task has not ended, has failed with an error that was not declared as
/// [`expected`](crate::Failure::expected), or cannot be read; it names them.
#[track_caller]
pub fn assert_no_leftovers(client: &Client) {
    match leftovers(client) {
        Ok(lines) if lines.is_empty() => {}
        Ok(lines) => panic!("{} left over:{}", tasks(lines.len()), listed(lines)),
        Err(error) => panic!("assert_no_leftovers!: {error}"),
    }
}

fn leftovers(client: &Client) -> Result<Vec<String>, Error> {
    let (tasks, bad) = every(client, &live().state(State::Failed))?;
    let expected = |task: &TaskRecord| {
        task.state == State::Failed && task.error.as_ref().is_some_and(|report| report.expected)
    };
    let mut lines: Vec<String> = tasks.iter().filter(|task| !expected(task)).map(shown).collect();
    lines.extend(
        bad.iter().map(|bad| format!("row {}, column {}: {}", bad.row, bad.column, bad.reason)),
    );
    Ok(lines)
}

/// Asserts at the end of its scope that nothing is left over; see [`no_leftovers`].
#[derive(Debug)]
#[must_use = "it looks when it is dropped, so give it a name: `let _all_done = ..`"]
pub struct NoLeftovers {
    client: Client,
}

/// Makes the end of a test assert that nothing is left over, as
/// [`assert_no_leftovers!`](crate::assert_no_leftovers) does, unless the test is panicking already. It
/// keeps the client open until then.
///
/// ```
/// # use litework::{Client, Mode, task};
/// use litework::testing::{Drain, drain, no_leftovers};
/// # #[task]
/// # fn mail(to: &str) {}
/// let tasks = Client::in_memory().mode(Mode::Hold).register(mail).open()?;
/// let _all_done = no_leftovers(&tasks);
/// tasks.enqueue(mail::with("ada"))?;
/// drain(&tasks, &Drain::new())?;
/// # Ok::<(), litework::Error>(())
/// ```
pub fn no_leftovers(client: &Client) -> NoLeftovers {
    NoLeftovers { client: client.clone() }
}

impl Drop for NoLeftovers {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_no_leftovers(&self.client);
        }
    }
}
