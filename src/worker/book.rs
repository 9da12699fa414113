//! Run: the book of what callers' threads hold: which tasks under which owner number, how far each is,
//! and whether anything more may be claimed or begun.
//!
//! A refunded attempt and the next one of its task have the same lease, and two threads of one client may
//! hold them at once. So the book knows each by a ticket of its own. Where a row is held anew, the
//! older ticket is *overtaken*: its lease has ended, whatever its holder knows of that, and under it
//! nothing more may be sent, as it would end the newer attempt.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::state::Phase;
use crate::context::{StopReason, Token};
use crate::hub::Stopped;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish, Lease};

/// By what the book knows one attempt in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    row: i64,
    number: u64,
}

/// Ends of attempts, each with the ticket of its attempt.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) finishes: Vec<Finish>,
    tickets: Vec<Ticket>,
}

impl Ends {
    pub(super) fn one(finish: Finish, ticket: Ticket) -> Self {
        Self { finishes: vec![finish], tickets: vec![ticket] }
    }

    pub(super) fn push(&mut self, finish: Finish, ticket: Ticket) {
        self.finishes.push(finish);
        self.tickets.push(ticket);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.finishes.is_empty()
    }
}

/// A task that a caller's thread holds, or whose end is still to be stored.
struct Held {
    lease: Lease,
    stage: Stage,
    overtaken: bool,
}

enum Stage {
    /// Its body has not begun, and may have been asked to stop already.
    Waits(Option<StopReason>),
    /// Its body runs, or its end is on the way to the store.
    Runs { token: Arc<Token>, slot: usize },
    /// Its end could not be stored, or is on its way again.
    Ended,
}

impl Held {
    /// Whether a thread has it in hand.
    fn is_in_hand(&self) -> bool {
        !matches!(self.stage, Stage::Ended)
    }

    fn stop(&mut self, reason: StopReason) {
        match &mut self.stage {
            Stage::Waits(asked) => *asked = asked.or(Some(reason)),
            Stage::Runs { token, .. } => token.stop(reason),
            Stage::Ended => {}
        }
    }

    fn is_cancelled(&self) -> bool {
        let asked = match &self.stage {
            Stage::Waits(asked) => *asked,
            Stage::Runs { token, .. } => token.reason(),
            Stage::Ended => None,
        };
        asked == Some(StopReason::Cancelled)
    }
}

pub(super) struct Book {
    pub(super) phase: Phase,
    /// The number under which callers hold tasks, once one was needed.
    pub(super) owner: Option<i64>,
    held: BTreeMap<Ticket, Held>,
    /// Ends that could not be stored and that nobody is sending; a large batch asks for them at each end.
    unkept: BTreeMap<Ticket, Finish>,
    tickets: u64,
    /// Callers that may claim, or that are about to enter what they were handed over, and who sends again
    /// what could not be stored.
    pub(super) callers: usize,
    /// Rows that were asked to stop before a caller could enter them.
    early: HashSet<i64>,
    /// Which slots of the slots file are taken.
    slots: Vec<bool>,
    /// What became of the tasks that were held when the end began.
    pub(super) counts: Stopped,
    /// Somebody may have asked for a stop that no notice named.
    pub(super) look: bool,
    /// The thread waits without a time-out.
    pub(super) asleep: bool,
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Running,
            owner: None,
            held: BTreeMap::new(),
            unkept: BTreeMap::new(),
            tickets: 0,
            callers: 0,
            early: HashSet::new(),
            slots: Vec::new(),
            counts: Stopped::default(),
            // The first body may have been asked to stop before the thread could hear it.
            look: true,
            asleep: false,
        }
    }

    /// How many bodies run.
    #[cfg(feature = "cli")]
    pub(super) fn bodies(&self) -> usize {
        self.held.values().filter(|held| matches!(held.stage, Stage::Runs { .. })).count()
    }

    fn of_row(&mut self, row: i64) -> impl Iterator<Item = (&Ticket, &mut Held)> {
        self.held.range_mut(Ticket { row, number: 0 }..=Ticket { row, number: u64::MAX })
    }

    pub(super) fn hold(&mut self, task: &Claimed) -> Ticket {
        let lease = task.lease;
        let mut asked = self.early.remove(&lease.row);
        let mut tickets = Vec::new();
        for (ticket, older) in self.of_row(lease.row) {
            // The row has left that lease. So an end that could not be stored was stored after all, or
            // would be refused; and a request that came before such an end would have made it the last.
            asked |= !older.overtaken && older.is_cancelled();
            older.overtaken = true;
            tickets.push(*ticket);
        }
        for ticket in tickets {
            if self.unkept.remove(&ticket).is_some() {
                self.held.remove(&ticket);
            }
        }
        self.tickets += 1;
        let ticket = Ticket { row: lease.row, number: self.tickets };
        let stage = Stage::Waits(asked.then_some(StopReason::Cancelled));
        self.held.insert(ticket, Held { lease, stage, overtaken: false });
        ticket
    }

    /// Makes a task that waits the running one of a slot, or says why it must not begin.
    pub(super) fn begin(
        &mut self,
        ticket: Ticket,
        token: &Arc<Token>,
    ) -> Result<usize, StopReason> {
        if self.phase != Phase::Running {
            return Err(StopReason::Shutdown);
        }
        let owner = self.owner;
        match self.held.get(&ticket) {
            Some(held) if !held.overtaken && owner == Some(held.lease.owner) => {
                if let Stage::Waits(Some(asked)) = held.stage {
                    return Err(asked);
                }
            }
            _ => return Err(StopReason::LeaseLost),
        }
        let slot = self.take_slot();
        if let Some(held) = self.held.get_mut(&ticket) {
            held.stage = Stage::Runs { token: Arc::clone(token), slot };
        }
        Ok(slot)
    }

    fn take_slot(&mut self) -> usize {
        let slot = self.slots.iter().position(|taken| !taken).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(true);
        } else {
            self.slots[slot] = true;
        }
        slot
    }

    /// These are held no longer.
    pub(super) fn end(&mut self, ends: &Ends) {
        for (finish, ticket) in ends.finishes.iter().zip(&ends.tickets) {
            if let Some(held) = self.held.remove(ticket) {
                self.let_go(&held.stage, finish);
            }
        }
    }

    /// A thread has no longer in hand what came to this.
    fn let_go(&mut self, stage: &Stage, finish: &Finish) {
        match stage {
            Stage::Runs { slot, .. } => self.slots[*slot] = false,
            Stage::Waits(_) => {}
            Stage::Ended => return,
        }
        if self.phase == Phase::Draining {
            let handed_back = finish.outcome == Outcome::GivenBack;
            self.counts.handed_back += usize::from(handed_back);
            self.counts.finished += usize::from(!handed_back);
        }
    }

    /// These could not be stored; their leases are kept alive until they are.
    pub(super) fn keep(&mut self, ends: Ends) {
        for (finish, ticket) in ends.finishes.into_iter().zip(ends.tickets) {
            let Some(mut held) = self.held.remove(&ticket) else { continue };
            self.let_go(&held.stage, &finish);
            if !held.overtaken {
                held.stage = Stage::Ended;
                self.held.insert(ticket, held);
                self.unkept.insert(ticket, finish);
            }
        }
    }

    /// What could not be stored, for a thread that tries again. Until it is kept once more, or ended, no
    /// other thread finds it.
    pub(super) fn take_unkept(&mut self) -> Ends {
        let (tickets, finishes) = std::mem::take(&mut self.unkept).into_iter().unzip();
        Ends { finishes, tickets }
    }

    /// Whether anything has ended under a lease that still holds, and is not stored yet.
    pub(super) fn has_unstored(&self) -> bool {
        self.held.values().any(|held| !held.is_in_hand() && !held.overtaken)
    }

    pub(super) fn has_unkept(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// Takes those out that were overtaken; says whether there were any.
    pub(super) fn drop_overtaken(&mut self, ends: &mut Ends) -> bool {
        let is_over = |ticket: &Ticket| self.held.get(ticket).is_none_or(|held| held.overtaken);
        if !ends.tickets.iter().any(is_over) {
            return false;
        }
        let all = std::mem::take(ends);
        let mut over = Ends::default();
        for (finish, ticket) in all.finishes.into_iter().zip(all.tickets) {
            let list = if is_over(&ticket) { &mut over } else { &mut *ends };
            list.push(finish, ticket);
        }
        self.end(&over);
        true
    }

    /// Whether a thread has a task of this row in hand.
    pub(super) fn holds(&mut self, row: i64) -> bool {
        self.of_row(row).any(|(_, held)| held.is_in_hand())
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.callers == 0 && !self.held.values().any(Held::is_in_hand)
    }

    /// A caller goes that may have claimed.
    pub(super) fn caller_goes(&mut self) {
        self.callers -= 1;
        if self.callers == 0 {
            self.early.clear();
        }
    }

    pub(super) fn stop_row(&mut self, row: i64) {
        let mut known = false;
        for (_, held) in self.of_row(row).filter(|(_, held)| held.is_in_hand()) {
            held.stop(StopReason::Cancelled);
            known = true;
        }
        if !known && self.callers > 0 {
            self.early.insert(row);
        }
    }

    pub(super) fn stop_all(&mut self, reason: StopReason, which: impl Fn(Lease) -> bool) {
        for held in self.held.values_mut().filter(|held| which(held.lease)) {
            held.stop(reason);
        }
    }

    /// The end: what is still in hand is given up.
    pub(super) fn give_up(&mut self) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            let runs = |held: &&Held| matches!(held.stage, Stage::Runs { .. });
            self.counts.still_running = self.held.values().filter(runs).count();
            self.counts.handed_back += self.held.values().filter(|held| held.is_in_hand()).count();
        }
    }
}
