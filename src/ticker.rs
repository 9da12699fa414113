//! Enqueue: making the tasks of schedules that are due.
//!
//! Slice by slice, each a commit of its own. Where nothing is due it costs a look into an index when a
//! schedule was changed, and nothing otherwise: until the next slot nobody wakes up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::calendar::{self, Fired, Known};
use crate::catalog::Kind;
use crate::error::Error;
use crate::event::About;
use crate::hub::{Calling, Hub};
use crate::record::{NewTask, Stored};
use crate::schedule::{Entry, Overlap, Terms};
use crate::slot::Slot;
use crate::ties::Extra;
use crate::time::Timestamp;
use crate::unique::Held;
use crate::unserved::{Unserved, unserved};

/// After an error it is tried again so much later.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Schedules that are due, of which whoever asks what is unserved is told at most.
const DUE_SHOWN: usize = 1_000;

/// What is known of the next slot from one look to the next.
#[derive(Debug)]
pub(crate) struct Ticker {
    known: Known,
    edition: Option<i64>,
    next: Option<Timestamp>,
    /// Those that are held back are looked at: from which number on.
    held: Option<i64>,
    /// When it was last looked: a clock that shows less was set back.
    looked_at: Timestamp,
}

impl Hub {
    /// The schedules that this program may fire.
    pub(crate) fn known_schedules(&self) -> Known {
        Known { kinds: self.catalog.names().collect(), cron: cfg!(feature = "cron") }
    }

    /// What no live process runs, and which schedules nobody fires.
    pub(crate) fn unserved(&self, now: Timestamp) -> Result<Vec<Unserved>, Error> {
        // Whether this program can read their timing does not matter to whoever asks.
        let known = Known { cron: true, ..self.known_schedules() };
        let due = calendar::look(&*self.backend, |agenda| agenda.due(now, &known, DUE_SHOWN))?;
        let mut schedules = Vec::with_capacity(due.len());
        for entry in due {
            // What cannot be used is told when it fires.
            let Ok(terms) = entry.terms() else { continue };
            let kind = self.schedule_kind(&entry)?;
            let queue = terms.options.named_queue().unwrap_or(&kind.plan.queue).to_owned();
            schedules.push(((queue, kind.name.to_string()), entry.name));
        }
        unserved(&*self.backend, now, schedules)
    }

    fn schedule_kind(&self, entry: &Entry) -> Result<Arc<Kind>, Error> {
        self.catalog.for_call(&entry.kind)
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
        let mut task = self.prepare_encoded(&kind, &with, arguments, &calling)?;
        // It is bounded by what becomes of overlaps, and refusing it would lose its slot.
        task.quota = crate::quota::Quota::default();
        let extra = task.extra.get_or_insert_default();
        check_overlap(terms, extra)?;
        extra.ties.slot = Some(slot);
        let mut listened = [task];
        let _abouts = self.hooks.enqueuing(&mut listened);
        let [task] = listened;
        Ok(task)
    }

    /// Refuses arguments that the parameters of the kind do not take, where its body is in this program;
    /// `known` are parameters that need not be looked for.
    pub(crate) fn check_arguments(
        &self,
        kind: &str,
        terms: &Terms,
        known: &Map<String, Value>,
    ) -> Result<(), Error> {
        let kind = self.catalog.get(kind)?;
        let Some(rewrite) = kind.reads.rewrite else { return Ok(()) };
        let text = terms.arguments_text(self.limits)?;
        let read = rewrite(&text, self.limits).map_err(|error| {
            let place = format!("arguments of {}", kind.name);
            Error::invalid("bad_arguments", place, format_args!("{text}"), error.to_string())
        })?;
        let written: Map<String, Value> = serde_json::from_str(&read).unwrap_or_default();
        let arguments = terms.arguments.iter().flatten();
        for (name, _) in arguments.filter(|(name, _)| !known.contains_key(*name)) {
            let mut others = terms.clone();
            others.arguments.get_or_insert_default().remove(name);
            // Another name of a parameter is not written, but makes a difference.
            let without = rewrite(&others.arguments_text(self.limits)?, self.limits);
            if !written.contains_key(name) && without.as_ref() == Ok(&read) {
                let names: Vec<&str> = written.keys().map(String::as_str).collect();
                let allowed = format!("one of: {}", names.join(", "));
                let place = format!("parameter of {}", kind.name);
                return Err(Error::invalid("bad_arguments", place, name, allowed));
            }
        }
        Ok(())
    }

    /// What a slice has done is told, as of any call and any cancel.
    fn tell_fired(&self, fired: &Fired, now: Timestamp) {
        self.tell_stored(&fired.stored, now);
        // The engine has counted them, and what has ended with them.
        self.hooks.tell_unrun(&*self.backend, &fired.ended);
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

/// A task of the same unique key would be met before the one that is to wait for it is stored.
fn check_overlap(terms: &Terms, extra: &Extra) -> Result<(), Error> {
    let waits = matches!(terms.overlap, Some(Overlap::BufferOne | Overlap::CancelRunning));
    let keeps = extra.claim.as_ref().is_some_and(|claim| claim.held != Held::Start);
    if waits && keeps {
        let allowed = "`Skip` or `Allow` with a unique key, or a key that is let go at the start (`until_start`)";
        let value = "BufferOne or CancelRunning";
        return Err(Error::invalid("contradiction", "overlap of a schedule", value, allowed));
    }
    Ok(())
}

impl Ticker {
    pub(crate) fn new(hub: &Hub) -> Self {
        let known = hub.known_schedules();
        Self { known, edition: None, next: None, held: None, looked_at: Timestamp::MIN }
    }

    /// When the next slot is due, as far as is known.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whether there is nothing more to do now.
    pub(crate) fn is_done(&self, hub: &Hub) -> bool {
        self.next.is_none_or(|next| next > hub.clock.now())
    }

    /// Makes the tasks of what is due, one slice; `changed`: a schedule may have been changed since the last
    /// look. Says how many tasks that were.
    pub(crate) fn tick(&mut self, hub: &Hub, changed: bool) -> Result<usize, Error> {
        let now = hub.clock.now();
        let set_back = now < self.looked_at;
        self.looked_at = now;
        let is_due = self.next.is_some_and(|at| at <= now);
        // After an error nothing is known but when to try again.
        let is_known = self.edition.is_some() || self.next.is_some();
        let is_news = changed && self.edition.is_some() || !is_known;
        if !is_due && !set_back && !is_news {
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
        if seen.held && self.edition != Some(seen.edition) {
            self.held = Some(0);
        }
        self.edition = Some(seen.edition);
        hub.declared.look(&*hub.backend, &hub.program, seen.edition)?;
        self.next = seen.next;
        if self.held.is_none() && seen.next.is_none_or(|at| at > now) {
            return Ok(0);
        }
        let prepare =
            |entry: &Entry, terms: &Terms, slot, now| hub.prepare_slot(entry, terms, slot, now);
        let clock = &*hub.clock;
        let fired = calendar::fire(&*hub.backend, clock, &self.known, self.held, &prepare)?;
        let now = fired.now;
        hub.tell_fired(&fired, now);
        if fired.more {
            self.held = self.held.map(|_| fired.held);
            self.next = Some(now);
        } else {
            self.held = None;
            self.next = calendar::next_due(&*hub.backend, now, &self.known)?.next;
            if fired.stuck > 0 {
                // They stay due.
                self.next = self.next.max(Some(now.after(AGAIN_AFTER)));
            }
        }
        Ok(fired.stored.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use serde::Deserialize;
    use serde::Serialize;

    use super::*;
    use crate::backends::spy::Spy;
    use crate::client::Client;
    use crate::context::Context;
    use crate::filter::Filter;
    use crate::mode::Mode;
    use crate::outcome::Result as TaskResult;
    use crate::registry::{Definition, Task};
    use crate::schedule::{Missed, Schedule};
    use crate::time::Clock;

    #[derive(Serialize, Deserialize)]
    struct Tick {}

    impl Task for Tick {
        const NAME: &'static str = "tick";
        type Output = ();

        fn run(self, _ctx: &Context) -> TaskResult<()> {
            Ok(())
        }
    }

    /// A clock that is moved by hand.
    #[derive(Default)]
    struct Hands(AtomicI64);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(self.0.load(Ordering::SeqCst))
        }
    }

    fn open(schedules: impl IntoIterator<Item = Schedule>) -> (Client, Arc<Spy>, Arc<Hands>) {
        let (spy, clock) = (Arc::new(Spy::default()), Arc::new(Hands::default()));
        let client = Client::in_memory()
            .engine(Arc::clone(&spy) as _)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .environment([("", ""); 0])
            .mode(Mode::Hold)
            .register(Definition::of::<Tick>())
            .schedules(schedules)
            .open()
            .expect("nothing is wrong with it");
        (client, spy, clock)
    }

    /// How many tasks are made in each slice.
    fn slices(client: &Client) -> Vec<usize> {
        let mut ticker = Ticker::new(&client.hub);
        let tick = |ticker: &mut Ticker| ticker.tick(&client.hub, true).expect("it fires");
        let mut made = vec![tick(&mut ticker)];
        while !ticker.is_done(&client.hub) {
            made.push(tick(&mut ticker));
        }
        made
    }

    #[test]
    fn one_slice_makes_so_many_tasks_and_the_next_one_the_rest() {
        let late = Missed::all(1_000, Duration::from_secs(100_000));
        for (slots, made) in [(450, &[200, 200, 50][..]), (401, &[200, 201])] {
            let seconds = Duration::from_secs(10);
            let (client, _, clock) = open([Schedule::every("tick", seconds, Tick {}).missed(late)]);
            clock.0.store(slots * 10_000, Ordering::SeqCst);
            assert_eq!(slices(&client), made);
            let known = client.schedules().get("tick").expect("it is there");
            assert_eq!((known.runs, known.missed_slots), (slots.unsigned_abs(), 0));
            assert_eq!(known.overlapped_slots, 0);
        }
    }

    #[cfg(feature = "cron")]
    #[test]
    fn one_slice_counts_so_many_slots_and_the_next_one_the_rest() {
        let cron = |number: u32| Schedule::cron(format!("tick{number}"), "* * * * *", Tick {});
        let (client, _, clock) = open((0..5).map(cron));
        clock.0.store(10_000_000_000, Ordering::SeqCst);
        assert_eq!(slices(&client), [2, 2, 1]);
        let known = client.schedules().get("tick4").expect("it is there");
        assert_eq!((known.runs, known.missed_slots), (1, 999));
    }

    /// Whoever waits for the lock would else tell of a moment that has passed.
    #[test]
    fn the_clock_is_read_when_the_lock_is_held() {
        let minute = Duration::from_secs(60);
        let (client, spy, clock) = open([Schedule::every("tick", minute, Tick {})]);
        let slot = clock.now().after(Duration::from_secs(60));
        clock.0.store(slot.as_millis(), Ordering::SeqCst);
        let waited = Duration::from_secs(90);
        let others = move || clock.0.store(slot.after(waited).as_millis(), Ordering::SeqCst);
        *spy.on_change.lock().expect("nobody panics") = Some(Box::new(others));
        let mut ticker = Ticker::new(&client.hub);
        assert_eq!(ticker.tick(&client.hub, true).expect("it fires"), 1);
        let tasks = client.list(&Filter::new(), None, 9).expect("it is there").tasks;
        let made = tasks[0].slot.as_ref().expect("a schedule made it");
        assert_eq!((made.at, made.late), (slot.after(Duration::from_secs(60)), waited / 3));
        assert_eq!(tasks[0].enqueued_at, slot.after(waited));
    }

    #[test]
    fn between_two_slots_nobody_looks_into_the_store() {
        let hour = Duration::from_secs(3_600);
        let (client, spy, _) = open([Schedule::every("tick", hour, Tick {})]);
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
