//! Claim: the best ready tasks of the lanes that are open, until the offer has no room.
//!
//! The heads of the open lanes are merged by (rank, id), which is (priority, due, sequence). Each
//! row is read before it is written, in the same transaction, so what cannot be run is never marked
//! as running: a task past its expiry is failed on the spot and costs no attempt, a row that cannot
//! be decoded is failed as `bad_row`, and the claim goes on.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::core::{Core, Doubt, NextDue};
use super::damaged;
use super::ends;
use super::errors::{is_decode_error, not_stored};
use super::gates::{self, Fences, Pass};
use super::lanes::{Head, LIST, Lanes, Unwritten};
use super::promote::make_ready;
use super::row::read_ties;
use super::rules::Rules;
use super::skip::skip;
use super::unique;
use crate::backend::{Offer, Picked, Room};
use crate::error::Error;
use crate::gate::Gate;
use crate::id::TaskId;
use crate::record::{Claimed, Lease};
use crate::rule::Admits;
use crate::state::State;
use crate::ties::Extra;
use crate::time::Timestamp;
use crate::unique::Held;

/// Served by the primary key. Read apart from the update: RETURNING would build a table of its own
/// for each row, which costs more than the second look-up.
pub(super) const READ: &str = "SELECT tag, priority, attempt + 1, attempts_max, crashes, \
     at_most_once, expires_at, options, arguments, \
     finished_at IS NULL AND (reason IS NULL OR state <> 'ready'), ties, trace, owner, name, wait_key \
     FROM litework_task WHERE id = ?1 AND state = ?2";

/// Served by the primary key. One statement for all rows of a claim, which costs a third less than
/// one for each.
pub(super) const CLAIM: &str = "UPDATE litework_task \
     SET state = 'running', reason = NULL, worker = ?2, attempt = attempt + 1, started_at = ?3, \
     stuck = 0 \
     WHERE (state = 'ready' OR state = 'scheduled' OR state = 'waiting') AND id IN (SELECT value FROM json_each(?1))";

/// The same for one of a few: opening the list costs more than some rows. Served by the primary key.
pub(super) const CLAIM_ONE: &str = "UPDATE litework_task \
     SET state = 'running', reason = NULL, worker = ?2, attempt = attempt + 1, started_at = ?3, \
     stuck = 0 WHERE id = ?1 AND (state = 'ready' OR state = 'scheduled' OR state = 'waiting')";

/// Served by the primary key.
const EXPIRE: &str = "UPDATE litework_task SET state = 'failed', reason = 'expired', finished_at = ?2 \
     WHERE id = ?1 AND (state = 'ready' OR state = 'scheduled' OR state = 'waiting')";

/// Served by the primary key.
const PROMOTE_ONE: &str = "UPDATE litework_task SET state = 'ready', reason = NULL \
     WHERE id = ?1 AND tag = ?2 AND state = 'scheduled' AND due_at <= ?3";

/// Served by the primary key.
const PLACE: &str =
    "SELECT lane, rank FROM litework_task WHERE id = ?1 AND tag = ?2 AND state = 'ready'";

/// Served by the primary key.
const PAYLOAD: &str = "SELECT body FROM litework_payload WHERE id = ?1 * 2";

/// What a ready row turned out to be.
enum Found {
    Task(Box<Claimed>),
    /// Not ready any more: the heads were out of date.
    Gone,
    /// Ended without running.
    Ended,
    /// Went back to its gate, or to the moment that its rate admits.
    HeldBack,
    /// It may pass its gate, but no thread is free.
    Crowded,
    /// It must not start twice, so it is not held ahead, and no thread is free.
    NoThread,
    /// Has crashed a process before, and another such task runs here.
    Suspect,
}

/// Claims what there is room for, and makes ready what is left of the due ones. The second value says
/// whether ready work was left behind.
pub(super) fn claim(
    core: &mut Core,
    now: Timestamp,
    unwritten: Unwritten,
    offer: &dyn Offer,
) -> Result<(Vec<Claimed>, bool), Error> {
    let Core { conn, lanes, rules, fences, step_ms, .. } = core;
    let mut claimed = Vec::new();
    rules.prepare(conn)?;
    let mut taking = Claimer::new(conn, fences, now, unwritten, offer, *step_ms)?;
    let answer = taking.take_best(lanes, rules, &mut claimed);
    let answer = answer.and_then(|more| {
        taking.write(&claimed)?;
        rules.write(conn)?;
        Ok(more)
    });
    let Aside { passed_over, ended, left, damaged, postponed, left_ready } = taking.aside();
    for lane in passed_over {
        lanes.forget_heads(lane);
    }
    let answer = answer.and_then(|more| {
        for moment in postponed {
            core.note_due(moment);
        }
        core.may_start = false;
        core.effects.work |= left_ready;
        core.effects.changed.extend(ended);
        damaged.into_iter().try_for_each(|row| damaged::left(core, row, now))?;
        left.into_iter().try_for_each(|row| ends::left(core, now, row))?;
        ends::settle(core)?;
        // What has been let go on by these ends has not been looked at.
        Ok(more || core.may_start)
    });
    let more = answer.inspect_err(|_| undo(offer, &claimed))?;
    Ok((claimed, more))
}

/// Claims one task by name, if it is due and the offer has room.
pub(super) fn claim_one(
    core: &mut Core,
    now: Timestamp,
    id: TaskId,
    offer: &dyn Offer,
) -> Result<Picked, Error> {
    let Core { conn, lanes, rules, fences, effects, next_due, step_ms, .. } = core;
    let promoted = conn
        .prepare_cached(PROMOTE_ONE)
        .and_then(|mut promote| promote.execute((id.row(), id.tag(), now.as_millis())))
        .map_err(not_stored)?;
    if promoted > 0 {
        *next_due = NextDue::Unknown;
    }
    let found = conn
        .prepare_cached(PLACE)
        .and_then(|mut read| {
            read.query_row((id.row(), id.tag()), |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(not_stored)?;
    let Some((lane, rank)) = found else { return Ok(Picked::NotNow) };
    let Some(lane) = lanes.by_id(conn, lane).map_err(not_stored)? else {
        return Ok(Picked::NotNow);
    };
    let (queue, kind) = lanes.get(lane).name();
    lanes.forget_heads(lane);
    rules.prepare(conn)?;
    if !offer.serves(&queue, &kind) || rules.admit(&queue, &kind, now) != Admits::Yes {
        return Ok(Picked::NotNow);
    }
    let place = Place { head: (rank, id.row()), queue: &queue, kind: &kind };
    if offer.reserve(&queue, &kind, 0) != Room::Taken {
        return Ok(Picked::NotNow);
    }
    let mut taking = Claimer::new(conn, fences, now, Unwritten::new(), offer, *step_ms)?;
    let picked = match taking.take_reserved(&place)? {
        Found::Task(task) => {
            let marked = taking.mark_running(std::slice::from_ref(&*task));
            let started = marked.and_then(|()| {
                rules.started(&queue, &kind, now);
                rules.write(conn)
            });
            started.inspect_err(|_| undo(offer, std::slice::from_ref(&*task)))?;
            Picked::Task(task)
        }
        Found::Ended => {
            effects.changed.push(id.row());
            Picked::Ended(Vec::new())
        }
        Found::HeldBack | Found::Gone | Found::Suspect | Found::Crowded | Found::NoThread => {
            Picked::NotNow
        }
    };
    let Aside { left, damaged, postponed, .. } = taking.aside();
    for moment in postponed {
        core.note_due(moment);
    }
    let left = damaged
        .into_iter()
        .try_for_each(|row| damaged::left(core, row, now))
        .and_then(|()| left.into_iter().try_for_each(|row| ends::left(core, now, row)));
    left.inspect_err(|_| {
        if let Picked::Task(task) = &picked {
            undo(offer, std::slice::from_ref(&**task));
        }
    })?;
    Ok(picked)
}

/// After a rollback: the places are free again.
pub(super) fn undo(offer: &dyn Offer, claimed: &[Claimed]) {
    for task in claimed {
        offer.release(&task.queue, task.arguments.len());
        if task.crashes > 0 {
            offer.release_suspect();
        }
    }
}

/// What these would run under if their commit happened after all.
pub(super) fn doubts(claimed: &[Claimed]) -> impl Iterator<Item = Doubt> {
    claimed.iter().map(|task| Doubt { id: task.id, lease: task.lease, claimed_at: task.started_at })
}

/// Where a ready task stands.
struct Place<'a> {
    head: Head,
    queue: &'a Arc<str>,
    kind: &'a Arc<str>,
}

/// What a claim has met beside what it took.
#[derive(Default)]
struct Aside {
    /// Lanes with a row that was left where it is.
    passed_over: Vec<usize>,
    /// Rows that it has ended.
    ended: Vec<i64>,
    /// Rows whose start or end concerns others.
    left: Vec<i64>,
    /// Those of the ended that could not be read.
    damaged: Vec<i64>,
    /// Moments to which rates have put tasks off.
    postponed: Vec<Timestamp>,
    /// Whether one that has come from its gate is left for others.
    left_ready: bool,
}

/// The statements of one claim.
struct Claimer<'a> {
    conn: &'a Connection,
    fences: &'a mut Fences,
    now: Timestamp,
    offer: &'a dyn Offer,
    read: CachedStatement<'a>,
    /// Those of the heads that are not written as ready.
    unwritten: Unwritten,
    /// Gates that a task has passed without a place that was kept for it.
    overtaken: BTreeSet<String>,
    aside: Aside,
    /// How many of the claimed are marked as running.
    marked: usize,
    /// Whether a thread is free for the next.
    free: bool,
    step_ms: i64,
}

impl<'a> Claimer<'a> {
    fn new(
        conn: &'a Connection,
        fences: &'a mut Fences,
        now: Timestamp,
        unwritten: Unwritten,
        offer: &'a dyn Offer,
        step_ms: i64,
    ) -> Result<Self, Error> {
        let read = conn.prepare_cached(READ).map_err(not_stored)?;
        Ok(Self {
            conn,
            fences,
            now,
            offer,
            read,
            unwritten,
            overtaken: BTreeSet::new(),
            aside: Aside::default(),
            marked: 0,
            free: true,
            step_ms,
        })
    }

    /// Gives back the connection.
    fn aside(self) -> Aside {
        self.aside
    }

    /// Writes what is only remembered yet, so that the file can be read.
    fn write(&mut self, claimed: &[Claimed]) -> Result<(), Error> {
        self.mark_running(claimed)?;
        let unwritten = std::mem::take(&mut self.unwritten);
        self.aside.left_ready |= unwritten.values().any(|state| *state == State::Waiting);
        let refused = make_ready(self.conn, self.now, &unwritten)?;
        self.aside.damaged.extend(&refused);
        self.aside.ended.extend(refused);
        Ok(())
    }

    /// Marks those that are not marked yet.
    fn mark_running(&mut self, claimed: &[Claimed]) -> Result<(), Error> {
        let new = &claimed[self.marked..];
        if new.is_empty() {
            return Ok(());
        }
        self.marked = claimed.len();
        let (owner, now) = (self.offer.owner(), self.now.as_millis());
        let rows = new.iter().map(|task| task.lease.row);
        let marked = if new.len() < LIST {
            self.conn.prepare_cached(CLAIM_ONE).and_then(|mut claim| {
                rows.map(|row| claim.execute((row, owner, now))).sum::<rusqlite::Result<usize>>()
            })
        } else {
            let rows = serde_json::to_string(&rows.collect::<Vec<i64>>()).unwrap_or_default();
            let claim = self.conn.prepare_cached(CLAIM);
            claim.and_then(|mut claim| claim.execute((rows, owner, now)))
        };
        let marked = marked.map_err(not_stored)?;
        if marked == new.len() {
            return Ok(());
        }
        let reason = format!("{marked} of {} ready tasks could be claimed", new.len());
        Err(Error::NotStored { reason, source: None })
    }

    /// Merges the heads of the open lanes; true when ready work was left for want of room.
    fn take_best(
        &mut self,
        lanes: &mut Lanes,
        rules: &mut Rules,
        claimed: &mut Vec<Claimed>,
    ) -> Result<bool, Error> {
        let mut best = BinaryHeap::new();
        let mut crowded = false;
        for (head, lane) in lanes.open_heads(self.conn, self.offer).map_err(not_stored)? {
            best.push(Reverse((self.offer.turn_of(&lanes.get(lane).queue), head, lane)));
        }
        while let Some(Reverse((turn, head, lane))) = best.pop() {
            let (queue, kind) = lanes.get(lane).name();
            let turn_now = self.offer.turn_of(&queue);
            if turn_now != turn {
                best.push(Reverse((turn_now, head, lane)));
                continue;
            }
            if rules.admit(&queue, &kind, self.now) != Admits::Yes {
                continue;
            }
            self.free = self.offer.is_free();
            if !self.free && rules.are_scarce(&queue, &kind) {
                crowded = true;
                continue;
            }
            match self.offer.reserve(&queue, &kind, 0) {
                Room::Taken => {}
                Room::QueueFull => continue,
                Room::Full => return Ok(true),
            }
            lanes.pop(lane);
            match self.take_reserved(&Place { head, queue: &queue, kind: &kind })? {
                Found::Task(task) => {
                    self.offer.charge(&queue);
                    rules.started(&queue, &kind, self.now);
                    let gated = task.extra.as_ref().is_some_and(|extra| extra.gate().is_some());
                    claimed.push(*task);
                    if gated {
                        // The next of its gate is to find it running.
                        self.mark_running(claimed)?;
                    }
                }
                Found::Ended => self.aside.ended.push(head.1),
                Found::HeldBack => {}
                Found::Crowded => {
                    lanes.put_back(lane, head);
                    crowded = true;
                    continue;
                }
                Found::NoThread => {
                    lanes.put_back(lane, head);
                    return Ok(true);
                }
                Found::Gone | Found::Suspect => self.aside.passed_over.push(lane),
            }
            if let Some(next) = self.next_head(lanes, lane, head, claimed)? {
                best.push(Reverse((self.offer.turn_of(&queue), next, lane)));
            }
        }
        Ok(crowded)
    }

    /// A lane with a row left behind is read on from there: the same row would come back.
    fn next_head(
        &mut self,
        lanes: &mut Lanes,
        lane: usize,
        head: Head,
        claimed: &[Claimed],
    ) -> Result<Option<Head>, Error> {
        if lanes.must_be_read(lane) {
            // What was taken must not be found again, and what is due must be found.
            self.write(claimed)?;
        }
        if self.aside.passed_over.contains(&lane) {
            return lanes.head_after(self.conn, lane, head).map_err(not_stored);
        }
        lanes.head(self.conn, lane).map_err(not_stored)
    }

    /// Claims one row whose place is reserved; whatever it turns out not to be frees the place.
    fn take_reserved(&mut self, place: &Place<'_>) -> Result<Found, Error> {
        let found = self.take(place);
        match &found {
            Ok(Found::Task(task)) => self.offer.weigh(task.arguments.len()),
            Ok(_) | Err(_) => self.offer.release(place.queue, 0),
        }
        found
    }

    fn take(&mut self, place: &Place<'_>) -> Result<Found, Error> {
        let (_, row) = place.head;
        let state = self.unwritten.get(&row).map_or("ready", |state| state.as_str());
        let owner = self.offer.owner();
        let now = self.now;
        let mut expires_at = None;
        let mut admitted = true;
        let mut readable = true;
        let decoded = self.read.query_row((row, state), |found| {
            expires_at = found.get::<_, Option<i64>>(6)?;
            admitted = found.get(9)?;
            let mut task = decode(found, owner, now, place)?;
            if let Some(ties) = found.get::<_, Option<String>>(10)? {
                task.extra = extra(found, &ties)?;
                readable = task.extra.is_some();
            }
            Ok(task)
        });
        let mut task = match decoded.optional() {
            Ok(None) => return Ok(Found::Gone),
            Ok(Some(task)) if readable => task,
            Ok(Some(_)) => return self.fail_damaged(row),
            Err(error) if is_decode_error(&error) => return self.fail_damaged(row),
            Err(error) => return Err(not_stored(error)),
        };
        // Another program has stored what the schema does not admit, so that marking it would fail, or
        // attempts that cannot be.
        let attempts = 1..=task.attempts_max.saturating_add(1);
        if !admitted || !attempts.contains(&task.lease.attempt) {
            return self.fail_damaged(row);
        }
        if expires_at.is_some_and(|at| at <= now.as_millis()) {
            return self.expire(row, task.extra.is_some());
        }
        if task.arguments.is_empty() {
            match self.payload(row)? {
                Some(body) => task.arguments = body,
                None => return self.fail_damaged(row),
            }
        }
        if let Some(stopped) = self.stop_at_gate(row, &task)? {
            return Ok(stopped);
        }
        if task.at_most_once && !self.free {
            return Ok(Found::NoThread);
        }
        if task.crashes > 0 && !self.offer.reserve_suspect() {
            return Ok(Found::Suspect);
        }
        if let Err(error) = self.pass_gate(row, &mut task) {
            if task.crashes > 0 {
                self.offer.release_suspect();
            }
            return Err(error);
        }
        Ok(Found::Task(Box::new(task)))
    }

    /// Notes that a task has passed its gate, and lets its unique key go where its start does.
    fn pass_gate(&mut self, row: i64, task: &mut Claimed) -> Result<(), Error> {
        self.unwritten.remove(&row);
        task.extra.as_mut().map_or(Ok(()), |extra| self.start(row, extra))
    }

    /// What the start of a task means to others.
    fn start(&mut self, row: i64, extra: &mut Extra) -> Result<(), Error> {
        if let Some((key, gate)) = extra.gate() {
            extra.fence = gates::passed(self.conn, self.fences, self.now, key, gate)?;
            if matches!(gate, Gate::Rate(_)) {
                // The next of its rate is to be scheduled.
                self.aside.left.push(row);
            }
        }
        if extra.ties.unique.as_ref().is_some_and(|unique| unique.held == Held::Start) {
            unique::let_go(self.conn, row)?;
        }
        Ok(())
    }

    /// What becomes of a task that may not pass its gate now; none where it may.
    fn stop_at_gate(&mut self, row: i64, task: &Claimed) -> Result<Option<Found>, Error> {
        let Some((key, gate)) = task.extra.as_ref().and_then(|extra| extra.gate()) else {
            return Ok(None);
        };
        // One that has come from its gate in this transaction has a place there, unless another was asked
        // and let through before it: he has seen only those who run.
        let has_place = self.unwritten.get(&row) == Some(&State::Waiting);
        let has_place = has_place && !self.overtaken.contains(key);
        let pass =
            if has_place { Pass::Open } else { gates::pass(self.conn, self.now, key, gate)? };
        if pass == Pass::Open && self.free && !has_place {
            self.overtaken.insert(key.to_owned());
        }
        match pass {
            Pass::Open if self.free => Ok(None),
            Pass::Open => Ok(Some(Found::Crowded)),
            Pass::Held(holder) if gate.skips() => {
                self.unwritten.remove(&row);
                self.aside.left.push(row);
                skip(self.conn, row, holder, self.now)?;
                Ok(Some(Found::Ended))
            }
            Pass::Held(_) => {
                self.unwritten.remove(&row);
                gates::hold_back(self.conn, row, gate)?;
                Ok(Some(Found::HeldBack))
            }
            Pass::Later(opens_at) => {
                self.unwritten.remove(&row);
                gates::postpone(self.conn, row, opens_at, task.priority, self.step_ms)?;
                self.aside.postponed.push(opens_at);
                Ok(Some(Found::HeldBack))
            }
        }
    }

    fn payload(&self, row: i64) -> Result<Option<String>, Error> {
        self.conn
            .prepare_cached(PAYLOAD)
            .and_then(|mut read| read.query_row([row], |found| found.get(0)).optional())
            .map_err(not_stored)
    }

    fn expire(&mut self, row: i64, tied: bool) -> Result<Found, Error> {
        self.unwritten.remove(&row);
        if tied {
            self.aside.left.push(row);
        }
        self.conn
            .prepare_cached(EXPIRE)
            .and_then(|mut expire| expire.execute((row, self.now.as_millis())))
            .map(|_| Found::Ended)
            .map_err(not_stored)
    }

    fn fail_damaged(&mut self, row: i64) -> Result<Found, Error> {
        self.unwritten.remove(&row);
        // Also what ties it to others may not have been read.
        self.aside.damaged.push(row);
        damaged::end_row(self.conn, row, self.now).map(|()| Found::Ended).map_err(not_stored)
    }
}

/// What is known of a task that is not plain; none where another program has damaged its ties.
fn extra(row: &Row<'_>, ties: &str) -> rusqlite::Result<Option<Box<Extra>>> {
    let Some(ties) = read_ties(ties) else { return Ok(None) };
    let (owner, name, wait_key) = (row.get(12)?, row.get(13)?, row.get(14)?);
    Ok(Some(Box::new(Extra { owner, name, wait_key, ties, ..Extra::default() })))
}

fn decode(
    row: &Row<'_>,
    owner: i64,
    now: Timestamp,
    place: &Place<'_>,
) -> rusqlite::Result<Claimed> {
    let (rank, number) = place.head;
    Ok(Claimed {
        lease: Lease { row: number, attempt: row.get(2)?, owner },
        id: TaskId::new(number, row.get(0)?),
        kind: Arc::clone(place.kind),
        queue: Arc::clone(place.queue),
        rank,
        priority: row.get(1)?,
        attempts_max: row.get(3)?,
        crashes: row.get(4)?,
        at_most_once: row.get(5)?,
        started_at: now,
        trace: row.get(11)?,
        options: row.get(7)?,
        arguments: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
        extra: None,
    })
}
