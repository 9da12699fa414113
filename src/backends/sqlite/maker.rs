//! Enqueue: schedules make their tasks, within one transaction.

use rusqlite::Connection;

use super::audit;
use super::calendar::{Look, OnConnection};
use super::core::Core;
use super::enqueue::Insert;
use super::errors::{is_refused_by_row, not_stored};
use super::{Sqlite, cancel};
use crate::backend::{Backend, Cancelled};
use crate::calendar::{self, Agenda, Apart, Calendar, Maker};
use crate::error::Error;
use crate::id::TaskId;
use crate::options::Durability;
use crate::record::{NewTask, Stored};
use crate::state::Reason;
use crate::time::Timestamp;

const MARK: &str = "SAVEPOINT litework_apart";
const TAKE_BACK: &str = "ROLLBACK TO litework_apart";
const KEEP: &str = "RELEASE litework_apart";

/// Schedules within a transaction that may also store tasks.
struct AtWork<'a> {
    core: &'a mut Core,
    durability: Durability,
    /// To be told after the commit.
    stored: &'a mut Vec<Insert>,
}

impl OnConnection for AtWork<'_> {
    fn conn(&self) -> &Connection {
        &self.core.conn
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        not_stored(error)
    }

    fn note_edited(&mut self) {
        self.core.effects.schedules = true;
    }
}

impl Maker for AtWork<'_> {
    fn store(&mut self, now: Timestamp, task: NewTask) -> Result<Stored, Error> {
        let mut insert = Insert::new(task, now, None, self.durability);
        insert.store(self.core, &[])?;
        let stored = insert.as_stored()?;
        self.stored.push(insert);
        Ok(stored)
    }

    fn store_all(&mut self, now: Timestamp, tasks: Vec<NewTask>) -> Result<Vec<Stored>, Error> {
        // An error takes the whole transaction back.
        tasks.into_iter().map(|task| self.store(now, task)).collect()
    }

    fn cancel(&mut self, now: Timestamp, task: TaskId) -> Result<bool, Error> {
        let answer = cancel::cancel_for(self.core, now, task, Reason::Overlap)?;
        Ok(answer == Cancelled::Now)
    }

    fn apart(&mut self, work: Apart<'_>) -> Result<Option<Error>, Error> {
        let effects = std::mem::take(&mut self.core.effects);
        let (stored, stillborn) = (self.stored.len(), self.core.stillborn.len());
        self.run(MARK, [])?;
        let answer = work(self);
        let own = std::mem::replace(&mut self.core.effects, effects);
        match answer {
            Ok(()) => {
                self.core.effects.add(own);
                self.run(KEEP, []).map(|()| None)
            }
            Err(error) if !self.is_lost() && is_refused_by_row(&error) => {
                self.run(TAKE_BACK, [])?;
                self.run(KEEP, [])?;
                self.core.wrote_around();
                self.stored.truncate(stored);
                self.core.stillborn.truncate(stillborn);
                Ok(Some(error))
            }
            Err(error) => Err(error),
        }
    }

    fn is_lost(&self) -> bool {
        self.core.lost_transaction()
    }

    fn agenda(&mut self) -> &mut dyn Agenda {
        self
    }
}

impl Calendar for Sqlite {
    fn change(
        &self,
        work: &mut dyn FnMut(&mut dyn Maker) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check_usable()?;
        let mut turn = self.inner.writer.turn()?;
        let (durability, mut stored) = (self.durability, Vec::new());
        turn.transaction(durability, |core| {
            work(&mut AtWork { core, durability, stored: &mut stored })?;
            audit::note(core, &())
        })?;
        stored.iter().for_each(Insert::note_stored);
        Ok(())
    }

    fn look(&self, look: calendar::Look<'_>) -> Result<(), Error> {
        self.read("schedules", |conn| Ok(look(&mut Look { conn })?))
    }

    fn glance(&self, look: calendar::Look<'_>) -> Result<(), Error> {
        self.check_usable()?;
        let turn = self.inner.writer.turn()?;
        turn.look(|conn| Ok(look(&mut Look { conn })))?
    }
}
