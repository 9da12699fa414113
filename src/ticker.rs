//! Enqueue: making the tasks of schedules that are due.
//!
//! Slice by slice, each a commit of its own. Where nothing is due it costs a look into an index when a
//! schedule was changed, and nothing otherwise: until the next slot nobody wakes up.

use std::sync::Arc;
use std::time::Duration;

use crate::calendar::{self, Fired, Known};
use crate::catalog::Kind;
use crate::error::Error;
use crate::event::About;
use crate::hub::{Calling, Hub};
use crate::record::{NewTask, Stored};
use crate::schedule::{Entry, Terms};
use crate::slot::Slot;
use crate::time::Timestamp;

/// After an error it is tried again so much later.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is known of the next slot from one look to the next.
#[derive(Debug)]
pub(crate) struct Ticker {
    known: Known,
    edition: Option<i64>,
    next: Option<Timestamp>,
    /// When it was last looked: a clock that shows less was set back.
    looked_at: Timestamp,
}

impl Hub {
    /// The schedules that this program may fire.
    pub(crate) fn known_schedules(&self) -> Known {
        Known { kinds: self.catalog.names().collect(), cron: cfg!(feature = "cron") }
    }

    fn schedule_kind(&self, entry: &Entry) -> Result<&Arc<Kind>, Error> {
        self.catalog.get(&entry.kind)
    }

    /// The task of a slot, checked like a call of this program.
    pub(crate) fn prepare_slot(
        &self,
        entry: &Entry,
        terms: &Terms,
        slot: Slot,
        now: Timestamp,
    ) -> Result<NewTask, Error> {
        let kind = self.schedule_kind(entry)?;
        let arguments = terms.arguments_text(self.limits)?;
        let with = terms.call_options();
        let calling = Calling::untraced(now);
        let mut task = self.prepare_encoded(kind, &with, arguments, &calling, &[])?;
        // It is bounded by what becomes of overlaps, and refusing it would lose its slot.
        task.quota = crate::quota::Quota::default();
        task.extra.get_or_insert_default().ties.slot = Some(slot);
        let mut listened = [task];
        let _abouts = self.hooks.enqueuing(&mut listened);
        let [task] = listened;
        Ok(task)
    }

    /// What a slot's task has become is told, as of any call.
    pub(crate) fn tell_stored(&self, stored: &[Stored], now: Timestamp) {
        let heard = stored.iter().filter(|_| self.hooks.tells_stored());
        for one in heard {
            // What cannot be read is told to nobody.
            let Ok(Some(task)) = self.backend.get(one.id) else { continue };
            let about = About {
                kind: task.kind.as_str().into(),
                queue: task.queue.as_str().into(),
                trace: None,
            };
            self.hooks.enqueued(&[about], std::slice::from_ref(one), now);
        }
        self.hooks.skipped(&*self.backend, stored);
    }
}

impl Ticker {
    pub(crate) fn new(hub: &Hub) -> Self {
        let known = hub.known_schedules();
        Self { known, edition: None, next: None, looked_at: Timestamp::MIN }
    }

    /// When the next slot is due, as far as is known.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Makes the tasks of what is due; `changed`: a schedule may have been changed since the last look. Says
    /// how many tasks that were.
    pub(crate) fn tick(&mut self, hub: &Hub, changed: bool) -> Result<usize, Error> {
        let now = hub.clock.now();
        let set_back = now < self.looked_at;
        self.looked_at = now;
        let is_due = self.next.is_some_and(|at| at <= now);
        if !is_due && !changed && !set_back && self.edition.is_some() {
            return Ok(0);
        }
        let answer = self.look(hub, now);
        if answer.is_err() {
            (self.edition, self.next) = (None, Some(now.after(AGAIN_AFTER)));
        }
        answer
    }

    fn look(&mut self, hub: &Hub, now: Timestamp) -> Result<usize, Error> {
        let seen = calendar::next_due(&*hub.backend, now, &self.known)?;
        // A pause may have ended, which is an edition too.
        let held = seen.held && self.edition != Some(seen.edition);
        self.next = seen.next;
        let mut made = 0;
        if held || seen.next.is_some_and(|at| at <= now) {
            made = self.fire(hub, now, held)?;
            self.next = calendar::next_due(&*hub.backend, now, &self.known)?.next;
        }
        self.edition = Some(seen.edition);
        Ok(made)
    }

    fn fire(&self, hub: &Hub, now: Timestamp, held: bool) -> Result<usize, Error> {
        let prepare =
            |entry: &Entry, terms: &Terms, slot| hub.prepare_slot(entry, terms, slot, now);
        let mut made = 0;
        let mut held = held.then_some(0);
        loop {
            let Fired { stored, more, held: last } =
                calendar::fire(&*hub.backend, now, &self.known, held, &prepare)?;
            made += stored.len();
            hub.tell_stored(&stored, now);
            if !more {
                return Ok(made);
            }
            held = held.map(|_| last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::backends::spy::Spy;
    use crate::client::Client;
    use crate::context::Context;
    use crate::mode::Mode;
    use crate::outcome::Result as TaskResult;
    use crate::registry::{Definition, Task};
    use crate::schedule::Schedule;

    #[derive(Serialize, Deserialize)]
    struct Tick {}

    impl Task for Tick {
        const NAME: &'static str = "tick";
        type Output = ();

        fn run(self, _ctx: &Context) -> TaskResult<()> {
            Ok(())
        }
    }

    #[test]
    fn between_two_slots_nobody_looks_into_the_store() {
        let spy = Arc::new(Spy::default());
        let hour = Duration::from_secs(3_600);
        let client = Client::in_memory()
            .engine(Arc::clone(&spy) as _)
            .environment([("", ""); 0])
            .mode(Mode::Hold)
            .register(Definition::of::<Tick>())
            .schedule(Schedule::every("tick", hour, Tick {}))
            .open()
            .expect("nothing is wrong with it");
        let mut ticker = Ticker::new(&client.hub);
        let looks = || spy.looks.load(Ordering::SeqCst);
        assert_eq!(ticker.tick(&client.hub, true).expect("it looks"), 0);
        let (before, next) = (looks(), ticker.next());
        assert!(next.is_some_and(|next| next > client.hub.clock.now()));
        for _ in 0..100 {
            assert_eq!(ticker.tick(&client.hub, false).expect("nothing to do"), 0);
        }
        assert_eq!(looks(), before);
        ticker.tick(&client.hub, true).expect("it looks");
        assert_eq!((looks(), ticker.next()), (before + 1, next));
    }
}
