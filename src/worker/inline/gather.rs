//! Run: what a program that runs tasks now and then does first: what others have left behind or written, what
//! is due by schedule, and what is old.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Inline;
use crate::error::Error;
use crate::intake::{self, Left};
use crate::ticker::Ticker;

/// A call of `run_pending` removes what ended long ago for about this long, and goes on in the next.
const PRUNE_FOR: Duration = Duration::from_millis(20);

impl Inline {
    /// What a pool's keeper does by and by: what could not be stored, what others have left behind, gates that
    /// nobody holds, and what ended long ago.
    pub(super) fn look_after(&self, owner: i64) -> Result<(), Error> {
        self.flush_unkept()?;
        let rescued = self.backend.rescue(self.clock.now(), owner)?;
        self.others_run.store(rescued.others_running, Ordering::SeqCst);
        self.backend.open_gates(self.clock.now())?;
        self.prune();
        Ok(())
    }

    /// Removes a slice of what ended long ago, where that is due. Whatever ended in callers until now
    /// counts: nobody else looks after their file.
    pub(super) fn prune(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.pruner.work_for(PRUNE_FOR);
        }
    }

    /// Makes the tasks of schedules that are due.
    pub(super) fn fire_schedules(&self) -> Result<(), Error> {
        let Some(hub) = self.hub.upgrade().filter(|_| !self.minder.is_draining()) else {
            return Ok(());
        };
        let mut ticker = Ticker::new(&hub);
        ticker.tick(&hub, true)?;
        while !ticker.is_done(&hub) && !self.minder.is_draining() {
            ticker.tick(&hub, true)?;
        }
        Ok(())
    }

    /// Makes tasks of what programs in other languages have written.
    pub(super) fn take_inbox(&self) -> Result<Left, Error> {
        let Some(hub) = self.hub.upgrade() else { return Ok(Left::Nothing) };
        intake::take_all(&hub, || !self.minder.is_draining())
    }
}
