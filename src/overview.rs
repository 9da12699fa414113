//! Words: what operators see first: how many tasks wait where, since when, which errors there are; and pages of
//! lists that cost little however many tasks there are.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::outcome::Report;
use crate::record::{BadRow, TaskRecord};
use crate::state::{Reason, State};
use crate::time::Timestamp;

/// Counting stops there.
pub const COUNT_MAX: u64 = 10_000;

/// Failed tasks that are looked at to group them, newest first.
pub const FAILURES_MAX: usize = 10_000;

/// Ids of one group of failures at most.
const GROUP_IDS_MAX: usize = 1_000;

/// Characters of the text of a group at most.
pub(crate) const GROUP_TEXT_MAX: usize = 200;

/// A number that is counted only up to a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capped {
    /// How many were counted.
    pub count: u64,
    /// Whether there may be more.
    pub capped: bool,
}

impl Capped {
    /// Of so many, of which no more are told than the bound.
    pub(crate) fn of(count: u64, most: u64) -> Self {
        Self { count: count.min(most), capped: count > most }
    }
}

/// With a `+` where there may be more.
impl fmt::Display for Capped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, if self.capped { "+" } else { "" })
    }
}

/// What a queue holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOverview {
    /// The queue.
    pub queue: String,
    /// How many tasks there are in each state, each up to [`COUNT_MAX`]; see [`QueueOverview::depth`].
    pub(crate) depths: [Capped; State::ALL.len()],
    /// When the oldest of those that are ready was due. Where priorities age, of those that start next.
    pub oldest_ready: Option<Timestamp>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
}

impl QueueOverview {
    pub(crate) fn new(queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), ..Self::default() }
    }

    /// How many of its tasks are in this state, up to [`COUNT_MAX`].
    ///
    /// ```
    /// # use litework::{Client, Mode, State, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().mode(Mode::Hold).register(send).open()?;
    /// tasks.enqueue(send::with("Ada"))?;
    /// let mail = &tasks.overview()?.queues[0];
    /// assert_eq!((mail.queue.as_str(), mail.depth(State::Ready).count), ("mail", 1));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn depth(&self, state: State) -> Capped {
        self.depths[state as usize]
    }

    pub(crate) fn depth_mut(&mut self, state: State) -> &mut Capped {
        &mut self.depths[state as usize]
    }
}

/// What a queue file holds, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// When it was looked at, by the clock of the client.
    pub at: Timestamp,
    /// All queues there ever were a task of, by name.
    pub queues: Vec<QueueOverview>,
    /// Bytes of the file; none in memory.
    pub file_bytes: Option<u64>,
    /// Bytes of its -wal; none in memory.
    pub wal_bytes: Option<u64>,
}

/// Failed tasks of one kind whose errors look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureGroup {
    /// 16 hexadecimal digits, the same for the same kind, error and text, in each program.
    pub fingerprint: String,
    /// The name of the tasks.
    pub kind: String,
    /// Their queue; of the newest, where they are in several.
    pub queue: String,
    /// The code of the error where it has one, else its type, else the reason of the end.
    pub error: String,
    /// The first line of its text, at most 200 characters; whatever has a digit in it is `#`.
    pub text: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them ended.
    pub first_at: Timestamp,
    /// When the last did.
    pub last_at: Timestamp,
    /// The newest of them, newest first, at most 1,000: enough for a [`Filter`].
    pub ids: Vec<TaskId>,
}

/// The newest failed tasks, by what they failed with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// Those with most tasks first.
    pub groups: Vec<FailureGroup>,
    /// How many tasks were looked at: all that have failed, or the newest [`FAILURES_MAX`] of them.
    pub looked_at: Capped,
}

/// A failed task, as far as it matters to its group.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) id: TaskId,
    pub(crate) kind: String,
    pub(crate) queue: String,
    pub(crate) reason: Option<Reason>,
    pub(crate) at: Timestamp,
    pub(crate) error: Option<Report>,
}

impl Failed {
    /// None of one that has not ended.
    pub(crate) fn of(task: TaskRecord) -> Option<Self> {
        let TaskRecord { id, kind, queue, reason, error, .. } = task;
        Some(Self { id, kind, queue, reason, at: task.finished_at?, error })
    }
}

impl Failures {
    /// Groups tasks that come newest first. One more than is looked at shows that there are more.
    pub(crate) fn of(mut failed: Vec<Failed>) -> Self {
        let looked_at = Capped::of(failed.len() as u64, FAILURES_MAX as u64);
        failed.truncate(FAILURES_MAX);
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<FailureGroup> = Vec::new();
        for one in failed {
            let (id, at) = (one.id, one.at);
            let new = FailureGroup::of(one);
            let place = *places.entry(new.fingerprint.clone()).or_insert_with(|| {
                groups.push(new);
                groups.len() - 1
            });
            let group = &mut groups[place];
            group.count += 1;
            (group.first_at, group.last_at) = (group.first_at.min(at), group.last_at.max(at));
            if group.ids.len() < GROUP_IDS_MAX {
                group.ids.push(id);
            }
        }
        // Of as many, those that failed last.
        groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.last_at)));
        Self { groups, looked_at }
    }
}

impl FailureGroup {
    fn of(failed: Failed) -> Self {
        let Failed { kind, queue, reason, at, error, .. } = failed;
        let report = error.unwrap_or_default();
        let (error, text) = (called(&report, reason), folded(&report.message));
        let fingerprint = fingerprint([&kind, &error, &text]);
        let (first_at, last_at) = (at, at);
        let ids = Vec::new();
        Self { fingerprint, kind, queue, error, text, count: 0, first_at, last_at, ids }
    }
}

/// The group that an error of a task of this kind belongs to.
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) fn fingerprint_of(kind: &str, report: &Report, reason: Option<Reason>) -> String {
    fingerprint([kind, &called(report, reason), &folded(&report.message)])
}

/// The code of an error where it has one, else its type, else the reason of the end.
fn called(report: &Report, reason: Option<Reason>) -> String {
    let of_type = Some(&report.kind).filter(|of_type| !of_type.is_empty());
    let reason = || reason.map_or("failed", Reason::as_str).to_owned();
    report.code.as_ref().or(of_type).cloned().unwrap_or_else(reason)
}

/// The first line of a text, in which each word with a digit is `#`: numbers, ids, addresses, times.
fn folded(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let joins = |character: char| character.is_alphanumeric() || "-_.:".contains(character);
    let mut folded = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|character| !joins(character)).unwrap_or(rest.len());
        let end = if word == 0 { first.len_utf8() } else { word };
        let (part, after) = rest.split_at(end);
        // What ends a word is no part of it.
        let core = part.trim_end_matches(['.', ':', '-']);
        if core.chars().any(char::is_numeric) {
            folded.push('#');
            folded.push_str(&part[core.len()..]);
        } else {
            folded.push_str(part);
        }
        rest = after;
    }
    folded.chars().take(GROUP_TEXT_MAX).collect()
}

/// FNV-1a, 64 bits: short, and the same for ever.
fn fingerprint(parts: [&str; 3]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The order in which tasks are browsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Those that were stored last first.
    Stored,
    /// Those that have ended last first.
    Ended,
}

impl Order {
    /// Where only ended tasks are meant, those that have ended last are looked for.
    pub(crate) fn of(filter: &Filter) -> Self {
        let ended = filter.states.iter().all(|state| state.is_final());
        if ended && !filter.states.is_empty() { Self::Ended } else { Self::Stored }
    }
}

/// Where a page of [`Client::browse`](crate::Client::browse) begins: opaque text that stays valid while tasks come
/// and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub(crate) At);

/// Behind what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Row(i64),
    End(Timestamp, i64),
}

impl At {
    /// Of a task in this order.
    pub(crate) fn of(order: Order, task: &TaskRecord) -> Self {
        match (order, task.finished_at) {
            (Order::Ended, Some(ended)) => Self::End(ended, task.id.row()),
            _ => Self::Row(task.id.row()),
        }
    }
}

impl Place {
    /// Refuses one that was given in another order.
    pub(crate) fn check(self, order: Order) -> Result<(), Error> {
        match (order, self.0) {
            (Order::Stored, At::Row(_)) | (Order::Ended, At::End(..)) => Ok(()),
            _ => Err(bad_place(&self.to_string())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            At::Row(row) => write!(f, "r{row}"),
            At::End(at, row) => write!(f, "e{}.{row}", at.as_millis()),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let row = |text: &str| text.parse::<i64>().ok().filter(|row| *row > 0);
        let at = match text.split_at_checked(1) {
            Some(("r", text)) => row(text).map(At::Row),
            Some(("e", text)) => text.split_once('.').and_then(|(at, text)| {
                let at = at.parse::<i64>().ok().and_then(Timestamp::from_millis)?;
                Some(At::End(at, row(text)?))
            }),
            _ => None,
        };
        at.map(Self).filter(|at| at.to_string() == text).ok_or_else(|| bad_place(text))
    }
}

fn bad_place(text: &str) -> Error {
    Error::invalid("bad_cursor", "place", text, "text given by an earlier page of the same filter")
}

/// Tasks of one page of [`Client::browse`](crate::Client::browse).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Browsed {
    /// Together with those that cannot be read at most the page size asked for.
    pub tasks: Vec<TaskRecord>,
    /// Rows of this page that cannot be read, and why.
    pub bad: Vec<BadRow>,
    /// Where the next page begins; none after the last.
    pub next: Option<Place>,
    /// Whether the look has ended before the page was full, as it had passed over very many tasks that are not
    /// meant. It goes on from `next`.
    pub stopped: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_task_to_task_is_folded() {
        for (text, expected) in [
            ("", ""),
            ("no such file", "no such file"),
            ("order 7 of 1204 failed", "order # of # failed"),
            ("user 550e8400-e29b-41d4-a716-446655440000: gone", "user #: gone"),
            ("timeout after 12.5s.", "timeout after #."),
            ("GET http://example.com:8080/a?id=77 gave 503", "GET http://#/a?id=# gave #"),
            ("first line 1\nsecond line", "first line #"),
            ("größer als 5 €", "größer als # €"),
        ] {
            assert_eq!(folded(text), expected, "{text:?}");
        }
        assert_eq!(folded(&"a ".repeat(500)).chars().count(), GROUP_TEXT_MAX);
    }

    fn failed(row: i64, kind: &str, message: &str, at: i64) -> Failed {
        Failed {
            id: TaskId::new(row, 7),
            kind: kind.to_owned(),
            queue: "q".to_owned(),
            reason: Some(Reason::Error),
            at: Timestamp::clamped(at),
            error: Some(Report::new("io", message)),
        }
    }

    #[test]
    fn alike_are_those_of_one_kind_error_and_text() {
        let failures = Failures::of(vec![
            failed(5, "send", "port 7", 50),
            failed(4, "send", "port 8", 40),
            failed(3, "send", "no route", 30),
            failed(2, "copy", "port 9", 20),
            failed(1, "send", "port 1", 10),
        ]);
        let told: Vec<_> = failures
            .groups
            .iter()
            .map(|group| (group.kind.as_str(), group.text.as_str(), group.count))
            .collect();
        assert_eq!(told, [("send", "port #", 3), ("send", "no route", 1), ("copy", "port #", 1)]);
        let most = &failures.groups[0];
        assert_eq!((most.first_at.as_millis(), most.last_at.as_millis()), (10, 50));
        assert_eq!(most.ids.iter().map(|id| id.row()).collect::<Vec<_>>(), [5, 4, 1]);
        assert_eq!((most.error.as_str(), most.fingerprint.len()), ("io", 16));
        assert_eq!(failures.looked_at, Capped { count: 5, capped: false });
    }

    #[test]
    fn a_fingerprint_is_the_same_for_ever() {
        assert_eq!(fingerprint(["send", "io", "port #"]), fingerprint(["send", "io", "port #"]));
        assert_ne!(fingerprint(["a", "b", ""]), fingerprint(["ab", "", ""]));
        assert_eq!(fingerprint(["", "", ""]), "d94d12186c0f2fb7");
    }

    #[test]
    fn of_very_many_failures_the_newest_are_looked_at_and_it_is_said() {
        let many = (0..=10_000).map(|row| failed(20_000 - row, "send", "x", row)).collect();
        let failures = Failures::of(many);
        assert_eq!(failures.looked_at.to_string(), "10000+");
        assert_eq!((failures.groups[0].count, failures.groups[0].ids.len()), (10_000, 1_000));
    }

    #[test]
    fn a_place_is_read_as_it_is_written_and_nothing_else_is() {
        for at in [At::Row(7), At::End(Timestamp::clamped(5), 9)] {
            assert_eq!(Place(at).to_string().parse::<Place>().expect("its own text"), Place(at));
        }
        for text in ["", "r", "r0", "r-1", "r07", "e5", "e5.0", "e-5.1", "c7", "r7 ", "ä"] {
            assert_eq!(text.parse::<Place>().expect_err("no place").code(), "bad_cursor", "{text}");
        }
    }
}
