//! Store: the two engines side by side, and what they must agree on.
//!
//! Ids carry a random tag, which is blanked before answers are compared; of an error its code and
//! what it names count, not its text.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::offer::{KINDS, Places, QUEUES, Terms};
use crate::backend::{Backend, Exchanged, Over};
use crate::backends::memory::Memory;
use crate::backends::sqlite::recorder::{Edge, Recorder};
use crate::backends::sqlite::{Settings, Sqlite};
use crate::error::Error;
use crate::filter::Filter;
use crate::id::TaskId;
use crate::options::Durability;
use crate::outcome::Report;
use crate::record::{Claimed, Finished, Page, Stored, TaskRecord};
use crate::ties::Extra;
use crate::time::Timestamp;
use crate::watch::{Heard, Listener, Notice, Subscription};

/// What the file has or says, and what the model has or says.
pub(super) type Both<T> = [T; 2];

/// What an engine rang.
#[derive(Default)]
struct Bell {
    rung: Mutex<Vec<Notice>>,
}

impl Listener for Bell {
    fn notice(&self, notice: Notice) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
    }
}

/// Who waits for a row, at each engine.
pub(super) type Waiters = Vec<Both<Subscription>>;

/// The two engines.
pub(super) struct Pair {
    engines: Both<Box<dyn Backend>>,
    bells: Both<Arc<Bell>>,
    pub(super) recorder: Recorder,
    /// Last, so that it is removed after the file is closed.
    _folder: TempDir,
}

impl Pair {
    pub(super) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the file");
        // No power is lost here, so nothing needs a flush.
        let settings = Settings { durability: Durability::Normal, ..Settings::default() };
        let file = Sqlite::open(&folder.path().join("tasks.db"), &settings).expect("it opens");
        let recorder = Recorder::install(&file).expect("it notes");
        let engines: Both<Box<dyn Backend>> = [Box::new(file), Box::new(Memory::default())];
        let bells = engines.each_ref().map(|engine| {
            let bell = Arc::new(Bell::default());
            let listener: Arc<dyn Listener> = Arc::clone(&bell) as Arc<dyn Listener>;
            engine.signal().listen(&listener);
            bell
        });
        Self { engines, bells, recorder, _folder: folder }
    }

    /// What the file's tasks went through: only edges of the table of states.
    pub(super) fn check_edges(&self) -> BTreeSet<Edge> {
        let edges = self.recorder.edges().expect("they can be read");
        let strange =
            edges.iter().find(|(was, became)| was.is_some_and(|was| !was.may_become(*became)));
        assert_eq!(strange, None, "a task went where `state.rs` has no edge");
        edges
    }

    /// Asks both; the number says which of [`Both`] is asked.
    pub(super) fn ask<R>(&self, ask: impl Fn(&dyn Backend, usize) -> R) -> Both<R> {
        let [file, model] = &self.engines;
        [ask(&**file, 0), ask(&**model, 1)]
    }

    /// Asks both something that always has an answer, and gives the answer they agree on.
    pub(super) fn agree<R: Debug + PartialEq>(
        &self,
        what: &str,
        ask: impl Fn(&dyn Backend, usize) -> Result<R, Error>,
    ) -> R {
        let answers = self.ask(|engine, which| ask(engine, which).expect("it answers"));
        check_same(what, &answers);
        let [_file, model] = answers;
        model
    }

    pub(super) fn wait_for(&self, ids: &[Both<TaskId>]) -> Waiters {
        ids.iter()
            .map(|id| self.ask(|engine, which| engine.signal().subscribe(id[which].row())))
            .collect()
    }

    /// The bells rung since this was last asked.
    pub(super) fn rung(&self) -> Both<Vec<Notice>> {
        self.bells.each_ref().map(|bell| {
            let mut rung = bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *rung)
        })
    }

    /// The same bells were rung, and the same waiters woken.
    pub(super) fn check_signals(&self, waiters: &Waiters) {
        // What is done in slices rings for each of them.
        let once = |rung: Vec<Notice>| -> BTreeSet<String> {
            rung.iter().map(|notice| format!("{notice:?}")).collect()
        };
        check_same("bells rung", &self.rung().map(once));
        let woken = |which: usize| -> Vec<bool> {
            let heard = |waiter: &Both<Subscription>| waiter[which].wait(Duration::ZERO);
            waiters.iter().map(|waiter| heard(waiter) == Some(Heard::Row)).collect()
        };
        check_same("waiters woken, in the order of the ids", &[woken(0), woken(1)]);
    }

    /// Every page of a list, and the count.
    pub(super) fn check_list(&self, filter: &Filter, page_size: usize, limit: u64) {
        let mut from = None;
        loop {
            let pages =
                self.ask(|engine, _| engine.list(filter, from, page_size).expect("it answers"));
            let rows = |page: &Page| page.tasks.iter().map(|task| task.id.row()).collect();
            check_same::<Vec<i64>>("rows of a page", &pages.each_ref().map(rows));
            check_same("the next page", &pages.each_ref().map(|page| page.next));
            let [file, model] = pages;
            for (file, model) in file.tasks.into_iter().zip(model.tasks) {
                check_same("a task in a list", &[file, model].map(blanked));
            }
            from = model.next;
            if from.is_none() {
                break;
            }
        }
        self.agree("a count", |engine, _| engine.count(filter, limit));
    }

    /// One task, by its id.
    pub(super) fn check_task(&self, id: Both<TaskId>) {
        self.agree("a task", |engine, which| Ok(engine.get(id[which])?.map(blanked)));
        self.agree("attempts", |engine, which| {
            let mut attempts = engine.attempts(id[which])?;
            for attempt in &mut attempts {
                attempt.error = attempt.error.take().map(without_tag);
            }
            Ok(attempts)
        });
        self.agree("steps", |engine, which| engine.steps(id[which]));
        self.agree("progress", |engine, which| engine.progress(id[which]));
        self.agree("a log", |engine, which| engine.log(id[which], 3));
        self.agree("what comes after it", |engine, which| {
            Ok(engine.after(id[which])?.into_iter().map(blanked).collect::<Vec<_>>())
        });
    }

    /// What is asked about keys, owners and kinds.
    pub(super) fn check_names(
        &self,
        keys: impl Iterator<Item = String>,
        owners: impl Iterator<Item = i64>,
    ) {
        for key in keys {
            self.agree("a key", |engine, _| Ok(engine.find(&key)?.map(blanked)));
        }
        for owner in owners {
            self.agree("asked to stop, in whatever order", |engine, _| {
                let mut rows = engine.cancel_requests(owner)?;
                rows.sort_unstable();
                Ok(rows)
            });
        }
        for kind in KINDS {
            for queue in QUEUES {
                self.agree("who serves", |engine, _| engine.serves(queue, kind));
            }
        }
    }
}

/// An offer for each engine, on the same terms.
pub(super) fn offers(terms: Terms) -> Both<Arc<Places>> {
    [Places::new(terms), Places::new(terms)]
}

/// The same was taken of both offers.
pub(super) fn check_offers(offers: &Both<Arc<Places>>) {
    check_same("places taken", &offers.each_ref().map(|offer| offer.taken().clone()));
}

/// Shows where the two differ, if they do.
pub(super) fn check_same<T: Debug + PartialEq>(what: &str, [file, model]: &Both<T>) {
    let shown = || {
        let (file, model) = (format!("{file:#?}"), format!("{model:#?}"));
        let lines = file.lines().count().max(model.lines().count());
        let file = file.lines().map(Some).chain(std::iter::repeat(None));
        let model = model.lines().map(Some).chain(std::iter::repeat(None));
        let show = |(file, model): (Option<&str>, Option<&str>)| match (file, model) {
            (Some(file), Some(model)) if file == model => format!("       {file}\n"),
            (file, model) => {
                format!("file:  {}\nmodel: {}\n", file.unwrap_or(""), model.unwrap_or(""))
            }
        };
        file.zip(model).take(lines).map(show).collect::<String>()
    };
    assert!(file == model, "{what} differs:\n{}", shown());
}

fn blanked(mut task: TaskRecord) -> TaskRecord {
    task.error = task.error.map(without_tag);
    let batch = task.batch.map(|batch| TaskId::new(batch.row(), 0));
    TaskRecord { id: TaskId::new(task.id.row(), 0), batch, ..task }
}

/// A report may name the holder of a lock, or what has ended before the task.
fn without_tag(mut report: Report) -> Report {
    for named in ["holder", "before"] {
        if let Some(named) = report.data.as_mut().and_then(|data| data.get_mut(named)) {
            let id: Option<TaskId> = named.as_str().and_then(|text| text.parse().ok());
            *named = id.map(TaskId::row).into();
        }
    }
    report
}

pub(super) fn shown_error(error: &Error) -> String {
    match error {
        Error::KeyConflict { existing } => format!("key_conflict with {}", existing.row()),
        Error::NotUnique { existing } => format!("not_unique with {}", existing.row()),
        Error::LeaseLost { id, attempt } => format!("lease_lost of {}, {attempt}", id.row()),
        Error::Item { index, source } => format!("item {index}: {}", shown_error(source)),
        other => other.code().to_owned(),
    }
}

pub(super) fn shown_claim(task: &Claimed) -> String {
    let mut blanked = Claimed { id: TaskId::new(task.id.row(), 0), ..task.clone() };
    if let Some(extra) = &mut blanked.extra {
        // Wishes of the call, which are of no use once it is stored, and a mark that the file alone needs.
        (extra.claim, extra.member_of, extra.ties.awaited) = (None, None, false);
        extra.after.clear();
        // A file takes numbers for several holders at once, and leaves some out.
        extra.fence = extra.fence.map(|_| 0);
    }
    let bare = format!("{:?}", Extra::default());
    blanked.extra = blanked.extra.filter(|extra| format!("{extra:?}") != bare);
    format!("{blanked:?}")
}

pub(super) fn shown_stored(answer: &Result<Vec<Stored>, Error>) -> Result<Vec<String>, String> {
    let shown = |task: &Stored| {
        let Stored { id, state, due_at, existing, claimed } = task;
        let claimed = claimed.as_ref().map(shown_claim);
        format!("{} {state} {due_at:?} existing {existing} claimed {claimed:?}", id.row())
    };
    answer.as_ref().map(|stored| stored.iter().map(shown).collect()).map_err(shown_error)
}

/// What has ended by a deed: rows, among them some that have not, and what is not there any more.
pub(super) fn shown_over(over: Over) -> (BTreeSet<i64>, Vec<TaskRecord>) {
    (over.rows.into_iter().collect(), over.gone.into_iter().map(blanked).collect())
}

/// What an exchange answered, comparable.
#[derive(Debug, PartialEq)]
pub(super) struct ShownExchange {
    finished: Vec<Result<Finished, String>>,
    claimed: Vec<String>,
    next_due: Option<Timestamp>,
    more: bool,
    unflushed: Vec<String>,
    ended: BTreeSet<i64>,
}

pub(super) fn shown_exchange(answer: &Exchanged) -> ShownExchange {
    let shown = |answer: &Result<Finished, Error>| answer.as_ref().copied().map_err(shown_error);
    ShownExchange {
        finished: answer.finished.iter().map(shown).collect(),
        claimed: answer.claimed.iter().map(shown_claim).collect(),
        next_due: answer.next_due,
        more: answer.more,
        unflushed: answer.unflushed.iter().map(shown_claim).collect(),
        ended: answer.ended.iter().copied().collect(),
    }
}
