//! Store: the engine that keeps tasks in one `SQLite` file.
//!
//! One verb a file, each a plain function `(write connection, now, request) → reply`; `writer` is
//! the only way to that connection, `query` reads on connections of its own. This module wires them
//! to the [`Backend`] contract.

mod audit;
mod backup;
mod bad_row;
mod blocks;
mod browse;
mod calendar;
mod cancel;
mod checkpoint;
mod claim;
mod core;
mod counters;
mod damaged;
mod differs;
mod drawer;
pub(crate) mod doors;
mod due;
mod edges;
mod ending;
mod ends;
mod enqueue;
mod errors;
pub(crate) mod exam;
pub(crate) mod examine;
mod exchange;
mod export;
mod finish;
mod follow;
mod gates;
mod holding;
mod import;
mod inbox;
pub(crate) mod inspect;
mod lanes;
mod maker;
mod meant;
mod member;
pub(crate) mod mounts;
mod newcomer;
#[cfg(feature = "cli")]
mod newest;
mod operate;
mod overview;
mod payload;
mod pinned;
mod place;
mod presence;
#[cfg(feature = "cli")]
pub(crate) mod probe;
mod promote;
mod prune;
mod query;
#[cfg(feature = "cli")]
pub(crate) mod raw;
#[cfg(test)]
pub(crate) mod recorder;
mod retry;
mod rights;
mod row;
mod rules;
mod schema;
mod seats;
mod shelf;
mod signs;
mod skip;
mod steps;
mod stored;
mod tags;
mod telling;
#[cfg(test)]
mod tests;
mod unique;
mod upkeep;
mod vacuum;
mod waiting;
mod watcher;
mod why;
mod wipe;
mod within;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError, Weak};
use std::time::Duration;

pub(crate) use schema::Settings;

use self::core::Core;
#[cfg(feature = "cli")]
pub(crate) use self::errors::is_damage;
use self::holding::{FileKey, file_key, with_held};
use self::newcomer::Newcomers;
use self::query::Reader;
use self::seats::{Beats, Life, Seat};
use self::writer::Writer;
use crate::backend::{Backend, Cancelled, CheckRow, Exchanged, Offer, Over, Picked, Rescued};
use crate::error::Error;
use crate::filter::Filter;
use crate::flow::Sum;
use crate::gate::Limits;
use crate::id::TaskId;
use crate::inbox::{Inbox, Slice};
use crate::meter::Meter;
use crate::mishap::Mishaps;
use crate::options::Durability;
#[cfg(feature = "web")]
use crate::overview::Capped;
use crate::overview::{At, Browsed, Failures, Order, Overview};
use crate::record::{
    AttemptRecord, Claimed, Cursor, Finish, Lease, Member, NewStep, NewTask, Page, Prior,
    StepRecord, Stored, TaskRecord,
};
use crate::retention::Walk;
use crate::rule::Scope;
use crate::time::Timestamp;
use crate::watch::Signal;

/// The version of `SQLite` that is linked.
#[cfg(feature = "cli")]
pub(crate) fn linked_version() -> &'static str {
    rusqlite::version()
}

/// One open file; shared by all clients of the process that open it.
pub(crate) struct Inner {
    writer: Writer,
    reader: Reader,
    signal: Arc<Signal>,
    meter: Arc<Meter>,
    step_ms: i64,
    path: PathBuf,
    folder: PathBuf,
    seats: RwLock<HashMap<i64, Seat>>,
    beats: Mutex<Beats>,
    /// The key of the gate that was looked at last.
    last_gate: Mutex<String>,
    watching: AtomicBool,
    newcomers: Arc<Newcomers>,
    /// How often it is looked for what others commit, where the system reports nothing; none: as is usual.
    look_every: Option<Duration>,
    bell: OnceLock<watcher::Bell>,
    writers: inbox::Writers,
    mishaps: Mishaps,
    key: FileKey,
    pid: u32,
}

/// The engine, as one client uses it.
pub(crate) struct Sqlite {
    inner: Arc<Inner>,
    durability: Durability,
}

/// Files that this process has open: one that is opened twice shares its write path.
static OPEN: Mutex<Option<HashMap<FileKey, Weak<Inner>>>> = Mutex::new(None);

impl Sqlite {
    pub(crate) fn open(path: &Path, settings: &Settings) -> Result<Self, Error> {
        schema::check_path(path)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        open.retain(|_, inner| inner.strong_count() > 0);
        if let Some(inner) = file_key(path).and_then(|key| open.get(&key)?.upgrade()) {
            inner.check_pid()?;
            inner.reader.with("the file's settings", |conn| {
                Ok(schema::check_made_with(conn, &inner.path, settings)??)
            })?;
            return Ok(Self { inner, durability: settings.durability });
        }
        let inner = Arc::new(Inner::open(path, settings)?);
        if let Some(key) = file_key(path) {
            open.insert(key, Arc::downgrade(&inner));
        }
        Ok(Self { inner, durability: settings.durability })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.inner.path
    }
}

/// Whether this process has the file open as a queue, or as its log. Whoever opened that once more by himself and closed it
/// would take the locks of `SQLite` from it.
#[cfg(feature = "cli")]
pub(crate) fn is_open_here(path: &Path) -> bool {
    let Some(key) = file_key(path) else { return false };
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut open = open.iter().flatten().filter_map(|(_, inner)| inner.upgrade());
    open.any(|inner| {
        let names = ["", "-wal", "-shm"].map(|suffix| inspect::beside(&inner.path, suffix));
        inner.key == key || names.iter().any(|name| file_key(name) == Some(key))
    })
}

impl Inner {
    fn open(path: &Path, settings: &Settings) -> Result<Self, Error> {
        let (conn, meta) = schema::prepare(path, settings)?;
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = seats::folder(&path);
        checkpoint::install(&conn);
        let signal = Arc::new(Signal::default());
        let meter = Meter::new(meta.step_ms);
        let newcomers = Arc::new(Newcomers::default());
        let mut core = Core::new(conn, path.clone(), meta.step_ms, settings.durability);
        core.newcomers = Arc::clone(&newcomers);
        Ok(Self {
            writer: Writer::new(core, Arc::clone(&signal), Arc::clone(&meter)),
            reader: Reader::new(&path, Arc::clone(&newcomers)),
            signal,
            meter,
            step_ms: meta.step_ms,
            key: file_key(&path).unwrap_or_default(),
            folder,
            path,
            seats: RwLock::default(),
            beats: Mutex::default(),
            last_gate: Mutex::default(),
            watching: AtomicBool::new(false),
            newcomers,
            look_every: settings.look_every,
            bell: OnceLock::new(),
            writers: inbox::Writers::default(),
            mishaps: Mishaps::default(),
            pid: std::process::id(),
        })
    }

    fn check_pid(&self) -> Result<(), Error> {
        if self.pid == std::process::id() {
            Ok(())
        } else {
            Err(Error::Forked { opened_by: self.pid })
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if self.inner.check_pid().is_err() {
            // A forked child: the connections, the lock and the folder are its parent's, and closing
            // them here would take them from it. So they stay as they are until the child ends.
            std::mem::forget(Arc::clone(&self.inner));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.seats.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
        // The folder goes with its last seat; one in use is not empty and stays.
        let _in_use = std::fs::remove_dir(&self.folder);
    }
}

impl Sqlite {
    fn read<R>(
        &self,
        what: &str,
        read: impl FnOnce(&rusqlite::Connection) -> Result<R, query::ReadError>,
    ) -> Result<R, Error> {
        self.inner.check_pid()?;
        self.inner.reader.with(what, read)
    }

    fn transaction<R>(
        &self,
        level: Durability,
        body: impl FnOnce(&mut Core) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.check_usable()?;
        self.inner.writer.turn()?.transaction(level, body)
    }
}

impl Backend for Sqlite {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn signal(&self) -> &Arc<Signal> {
        &self.inner.signal
    }

    fn mishaps(&self) -> &Mishaps {
        &self.inner.mishaps
    }

    fn watch(&self) -> Result<(), Error> {
        self.inner.check_pid()?;
        if self.inner.watching.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let wal = inspect::beside(&self.inner.path, "-wal");
        let Inner { newcomers, look_every, .. } = &*self.inner;
        let bell = watcher::start(Arc::downgrade(&self.inner), &wal, newcomers, *look_every);
        let bell = bell.map_err(|error| {
            // Whoever waits next tries again.
            self.inner.watching.store(false, Ordering::SeqCst);
            Error::Storage {
                reason: format!("the watching thread cannot be started: {error}"),
                source: Some(error.into()),
            }
        })?;
        if let Some(bell) = bell {
            let _first = self.inner.bell.set(bell);
        }
        Ok(())
    }

    fn check_usable(&self) -> Result<(), Error> {
        self.inner.check_pid()?;
        if with_held(|held| held.contains(&self.inner.key)) {
            return Err(Error::Reentrant {
                what: "this thread holds a write transaction on the file and would wait for itself",
                instead: "enqueue through that transaction, or end it first",
            });
        }
        Ok(())
    }

    fn enqueue(
        &self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<Arc<dyn Offer>>,
    ) -> Result<Vec<Stored>, Error> {
        self.check_usable()?;
        crate::fault::point("before_insert");
        self.inner.mishaps.enqueue(offer, |offer| self.insert(now, tasks, offer))
    }

    fn join(&self, now: Timestamp, member: &Member) -> Result<i64, Error> {
        self.check_usable()?;
        let seat = Seat::take(&self.inner.folder)?;
        let owner = self
            .transaction(Durability::Normal, |core| member::join(core, now, member, &seat.stem))?;
        self.inner.seats.write().unwrap_or_else(PoisonError::into_inner).insert(owner, seat);
        Ok(owner)
    }

    fn leave(&self, now: Timestamp, owner: i64) -> Result<(), Error> {
        self.transaction(self.durability, |core| member::leave(core, now, owner))?;
        self.inner.seats.write().unwrap_or_else(PoisonError::into_inner).remove(&owner);
        Ok(())
    }

    fn note_start(&self, owner: i64, slot: usize, row: i64, attempt: u32) {
        let seats = self.inner.seats.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats.get(&owner) {
            seat.note(slot, row, attempt);
        }
    }

    fn exchange(
        &self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Result<Exchanged, Error> {
        self.check_usable()?;
        self.inner
            .mishaps
            .finish(finishes.len(), offer, |offer| self.exchange_now(now, finishes, offer))
    }

    fn step(&self, id: TaskId, lease: Lease, name: &str) -> Result<Option<String>, Error> {
        // Before it, so that no step is run whose result could not be stored then.
        self.check_usable()?;
        self.read("a step", |conn| steps::read(conn, id, lease, name))
    }

    fn keep_step(&self, now: Timestamp, step: &NewStep<'_>) -> Result<(), Error> {
        let level = step.durability.unwrap_or(self.durability);
        self.transaction(level, |core| steps::keep(core, now, step))
    }

    fn claim_one(&self, now: Timestamp, id: TaskId, offer: &dyn Offer) -> Result<Picked, Error> {
        // The level is strict: the task may be one that must never start twice.
        let mut claimed_in_vain = None;
        self.check_usable()?;
        let mut turn = self.inner.writer.turn()?;
        let answer = turn.transaction(Durability::Full, |core| {
            let mut picked = claim::claim_one(core, now, id, offer)?;
            match &mut picked {
                Picked::Task(task) => claimed_in_vain = Some(Claimed::clone(task)),
                Picked::Ended(rows) => {
                    ends::settle(core)?;
                    rows.clone_from(&core.effects.changed);
                    core.effects.hear(rows);
                }
                Picked::NotNow => {}
            }
            Ok(picked)
        });
        if let Err(error) = &answer {
            turn.doubt(error, claim::doubts(claimed_in_vain.as_slice()));
            claim::undo(offer, claimed_in_vain.as_slice());
        }
        answer
    }

    fn renew(&self, owner: i64) -> Result<bool, Error> {
        self.transaction(Durability::Normal, |core| member::renew(core, owner))
    }

    fn rescue(&self, now: Timestamp, owner: i64) -> Result<Rescued, Error> {
        let mut ended = Vec::new();
        let rescued = self.transaction(self.durability, |core| {
            let mut beats = self.inner.beats.lock().unwrap_or_else(PoisonError::into_inner);
            let folder = &self.inner.folder;
            member::rescue(core, now, owner, folder, &mut beats, &mut ended)
        })?;
        // Only now: until the commit they are the proof of the death and of what had started.
        for stem in &ended {
            seats::remove(&self.inner.folder, stem);
        }
        Ok(rescued)
    }

    fn declare(&self, limits: &[(Scope, Limits)]) -> Result<(), Error> {
        self.check_usable()?;
        let mut turn = self.inner.writer.turn()?;
        if !turn.look(|conn| rules::differ(conn, limits))? {
            return Ok(());
        }
        turn.transaction(self.durability, |core| {
            rules::declare(&core.conn, limits)?;
            core.rules.forget();
            core.effects.work = true;
            Ok(())
        })
    }

    fn open_gates(&self, now: Timestamp) -> Result<(), Error> {
        self.check_usable()?;
        // The keeper of an idle pool, which writes nothing, finds out here; the log tells it once.
        if self.inner.writer.turn()?.check_path().is_err() {
            return Ok(());
        }
        let mut last = match self.inner.last_gate.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            // Somebody is looking; to wait for all his turns would hold up a keeper's leases.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        for _ in 0..gates::LOOKS {
            let mut turn = self.inner.writer.turn()?;
            let found = turn.look(|conn| Ok(gates::forgotten(conn, now, &mut last)))??;
            if !found.is_empty() {
                turn.transaction(self.durability, |core| {
                    let mut damaged = found.damaged.iter();
                    damaged.try_for_each(|row| damaged::end(core, *row, now))?;
                    found.keys.iter().try_for_each(|key| core.release(now, key))
                })?;
            }
            if last.is_empty() && found.damaged.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn cancel(&self, now: Timestamp, id: TaskId) -> Result<(Cancelled, Over), Error> {
        operate::cancel(self, now, id)
    }

    fn retry_batch(&self, now: Timestamp, id: TaskId) -> Result<u64, Error> {
        self.transaction(self.durability, |core| retry::batch(core, now, id))
    }

    fn before(&self, id: TaskId) -> Result<Vec<Option<Prior>>, Error> {
        self.read("the tasks before one", |conn| query::before(conn, id))
    }

    fn after(&self, id: TaskId) -> Result<Vec<TaskRecord>, Error> {
        self.read("the tasks after one", |conn| query::after(conn, id))
    }

    fn sum(&self, id: TaskId) -> Result<Sum, Error> {
        self.read("a batch", |conn| {
            if query::get(conn, id)?.is_none() {
                return Err(Error::not_found(id).into());
            }
            Ok(edges::sum(conn, id.row())?)
        })
    }

    fn cancel_requests(&self, owner: i64) -> Result<Vec<i64>, Error> {
        self.read("cancel requests", |conn| query::cancel_requests(conn, owner))
    }

    fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, Error> {
        self.read("a task", |conn| query::get(conn, id))
    }

    fn by_row(&self, row: i64) -> Result<Option<TaskRecord>, Error> {
        self.read("a task", |conn| query::by_row(conn, row))
    }

    fn followers(&self, id: TaskId) -> Result<Vec<TaskId>, Error> {
        self.read("what follows", |conn| Ok(follow::ready(conn, id)?))
    }

    fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        self.read("attempts", |conn| query::attempts(conn, id))
    }

    fn steps(&self, id: TaskId) -> Result<Vec<StepRecord>, Error> {
        self.read("steps", |conn| steps::list(conn, id))
    }

    fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error> {
        self.read("a key", |conn| query::find(conn, key))
    }

    fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error> {
        self.read("a list", |conn| query::list(conn, filter, from, size))
    }

    fn count(&self, filter: &Filter, limit: u64) -> Result<u64, Error> {
        self.read("a count", |conn| query::count(conn, filter, limit))
    }

    #[cfg(feature = "web")]
    fn count_in_a_look(&self, filter: &Filter, most: u64) -> Result<Capped, Error> {
        self.read("a count", |conn| browse::count(conn, filter, most))
    }

    fn overview(&self) -> Result<Overview, Error> {
        self.look_over()
    }

    fn failures(&self) -> Result<Failures, Error> {
        self.read("failures", overview::failures).map(Failures::of)
    }

    fn browse(
        &self,
        filter: &Filter,
        order: Order,
        from: Option<At>,
        size: usize,
    ) -> Result<Browsed, Error> {
        self.read("a list", |conn| browse::browse(conn, filter, order, from, size))
    }

    fn prune(&self, walk: &mut Walk) -> Result<(), Error> {
        self.inner.check_pid()?;
        self.prune_beside_others(walk)
    }

    fn busy_waits(&self) -> Option<u64> {
        Some(self.inner.writer.busy())
    }

    fn newest_moment(&self) -> Result<Option<Timestamp>, Error> {
        self.read("the newest moment", prune::newest_moment)
    }

    fn serves(&self, queue: &str, kind: &str) -> Result<bool, Error> {
        let runners = self.read("workers", |conn| query::runners(conn, queue, kind))?;
        let seats = self.inner.seats.read().unwrap_or_else(PoisonError::into_inner);
        Ok(runners.iter().any(|(worker, stem)| {
            seats.contains_key(worker) || seats::look(&self.inner.folder, stem) == Life::Alive
        }))
    }

    fn take_inbox(
        &self,
        now: Timestamp,
        kinds: &[Arc<str>],
        size_bytes: usize,
        check: CheckRow<'_>,
    ) -> Result<Option<Slice>, Error> {
        self.check_usable()?;
        let mut turn = self.inner.writer.turn()?;
        if !turn.look(|conn| inbox::waits(conn, kinds))? {
            return Ok(None);
        }
        let take = inbox::Take { now, kinds, size_bytes, check, durability: self.durability };
        let taken = turn.transaction(self.durability, |core| inbox::take(core, &take));
        drop(turn);
        let (slice, versions) = taken?;
        self.inner.writers.warn_of(versions);
        Ok(Some(slice))
    }

    fn inbox(&self) -> Result<Inbox, Error> {
        self.read("the inbox", |conn| Ok(inbox::report(conn)?))
    }
}
