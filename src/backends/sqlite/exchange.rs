//! Finish, claim: the one commit with which a runner goes on: it records what has ended, lets go on what waited,
//! and claims.

use super::core::Core;
use super::{Sqlite, claim, due, ends, finish, promote, writer};
use crate::backend::{self, Exchanged, Offer};
use crate::error::Error;
use crate::options::Durability;
use crate::record::Finish;
use crate::time::Timestamp;

impl Sqlite {
    /// Records the finishes, promotes what is due and claims, in one commit.
    pub(super) fn exchange_now(
        &self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Result<Exchanged, Error> {
        let level = self.exchange_level(finishes);
        let mut turn = self.inner.writer.turn()?;
        // Outside of the transaction, so that what it has claimed is known if its commit fails.
        let mut done = Exchanged::default();
        // A panic takes nothing with it either: what it had claimed is given back.
        let exchange = |core: &mut Core| {
            done.finished = finish::finish_all(core, now, finishes)?;
            let told = core.effects.changed.len();
            done.ended = backend::ended_with(&core.effects.changed, finishes, &done.finished);
            if !finishes.is_empty() {
                crate::fault::point("finished_uncommitted");
            }
            if let Some(offer) = offer {
                // What waits for a batch, or at a gate, may be claimed at once.
                let mut unwritten = ends::settle_for_claim(core, offer)?;
                promote::promote(core, now, offer, &mut unwritten)?;
                (done.claimed, done.more) = claim::claim(core, now, unwritten, offer)?;
                core.effects.looked = (!done.more).then(|| offer.owner());
                let due_at = due::next_due(core)?;
                done.next_due = due_at.into_iter().chain(core.rules.opens_at()).min();
            } else {
                // A claim has done so at its end.
                ends::settle(core)?;
            }
            done.ended.extend_from_slice(&core.effects.changed[told..]);
            core.effects.hear(&done.ended);
            Ok(())
        };
        let answer = Error::caught(|| turn.transaction(level, exchange));
        if let (Err(error), Some(offer)) = (&answer, offer) {
            turn.doubt(error, claim::doubts(&done.claimed));
            claim::undo(offer, &done.claimed);
        }
        answer?;
        if let Some(offer) = offer.filter(|_| level < Durability::Full) {
            writer::flush_at_most_once(&mut turn, &mut done, offer);
        }
        Ok(done)
    }

    /// The level of an exchange: that of its strictest finish. A claim alone needs no sync, as a
    /// claim that a power loss takes back is simply ready again.
    fn exchange_level(&self, finishes: &[Finish]) -> Durability {
        let levels = finishes.iter().map(|finish| finish.durability.unwrap_or(self.durability));
        levels.max().unwrap_or(Durability::Normal)
    }
}
