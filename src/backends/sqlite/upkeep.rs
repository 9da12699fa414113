//! Every step of the journey: what only a file can do to be kept in good order.

use std::path::Path;

use super::exam::Bounds;
use super::{Sqlite, backup, examine, export, import, presence, vacuum};
use crate::backend::Backend;
use crate::error::Error;
use crate::finding::Finding;
use crate::portable::Portable;
use crate::time::Timestamp;
use crate::upkeep::{BackedUp, Carried, TakenIn, Tell, Upkeep, Vacuum, Vacuumed};

impl Upkeep for Sqlite {
    fn back_up(
        &self,
        now: &dyn Fn() -> Timestamp,
        to: &Path,
        tell: Tell<'_>,
    ) -> Result<BackedUp, Error> {
        self.check_usable()?;
        backup::back_up(&self.inner, now, to, tell)
    }

    fn examine(&self, now: Timestamp) -> Result<Vec<Finding>, Error> {
        self.inner.check_pid()?;
        examine::examine(&self.inner.path, now, self.durability, Bounds::default())
    }

    fn vacuum(&self, how: Vacuum) -> Result<Vacuumed, Error> {
        self.check_usable()?;
        vacuum::vacuum(self, how)
    }

    fn check_carries(&self) -> Result<(), Error> {
        self.inner.check_pid()
    }

    fn holders(&self) -> Result<Vec<Option<i64>>, Error> {
        self.read("who runs tasks", presence::holders)
    }

    fn carry(&self, rows: &[i64]) -> Result<Vec<Carried>, Error> {
        self.read("tasks to be exported", |conn| export::carry(conn, rows))
    }

    fn take_in(&self, now: Timestamp, tasks: &[Portable], skips: bool) -> Result<TakenIn, Error> {
        self.transaction(self.durability, |core| import::take_in(core, now, tasks, skips))
    }

    fn taken(&self, now: Timestamp, ended: &[i64]) -> Result<(), Error> {
        self.transaction(self.durability, |core| {
            import::taken(core, now, ended);
            Ok(())
        })
    }

    fn absent(&self) -> Result<u64, Error> {
        self.read("what waits for others", import::absent)
    }
}
