//! Run: when a program that runs tasks now and then is to do so again, though nobody tells it of anything.

use std::sync::atomic::Ordering;
#[cfg(feature = "cli")]
use std::time::Duration;

use super::Inline;
use crate::error::Error;
use crate::hub::Pending;
#[cfg(feature = "cli")]
use crate::ticker::Ticker;
use crate::time::Timestamp;
use crate::worker::book::Ends;
#[cfg(feature = "cli")]
use crate::worker::keeper::{PROBE_EVERY, RENEW_EVERY};

impl Inline {
    /// When something that waits for its time may start next, as far as the engine knows.
    pub(super) fn due_next(&self) -> Result<Option<Timestamp>, Error> {
        let caller = self.pending_caller(&Pending::all())?;
        // Without a place nothing is claimed.
        caller.taken.store(1, Ordering::SeqCst);
        Ok(self.exchange(&mut Ends::default(), Some(&*caller))?.0.next_due)
    }

    /// Until the next task or slot is due, and no longer than a pool goes without a look at other processes.
    #[cfg(feature = "cli")]
    pub(super) fn rest_for(&self) -> Result<Duration, Error> {
        let due = self.due_next()?;
        let slot = match self.hub.upgrade() {
            Some(hub) => {
                let mut ticker = Ticker::new(&hub);
                ticker.tick(&hub, true)?;
                ticker.next()
            }
            None => None,
        };
        let others = self.others_run.load(Ordering::SeqCst);
        let most = if others { PROBE_EVERY } else { RENEW_EVERY };
        let now = self.clock.now();
        let spans = [due, slot].into_iter().flatten().map(|at| now.until(at));
        Ok(spans.min().unwrap_or(most).clamp(Duration::from_millis(1), most))
    }
}
