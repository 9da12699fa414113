//! Tests of programs: a clock that is moved by hand.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::due::{next_due, next_slots};
use crate::client::Client;
use crate::error::Error;
use crate::time::{Clock, Timestamp};

/// A clock that stands still until it is moved.
///
/// ```
/// use litework::testing::ManualClock;
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(before.until(clock.now()), Duration::from_secs(60));
/// ```
#[derive(Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    even_ms: AtomicU64,
    look_again: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl ManualClock {
    /// A clock at 2026-01-01T00:00:00Z.
    pub fn new() -> Arc<Self> {
        let clock = Self::default();
        clock.now_ms.store(1_767_225_600_000, Ordering::SeqCst);
        Arc::new(clock)
    }

    /// The moment at which it stands.
    pub fn now(&self) -> Timestamp {
        Timestamp::clamped(self.now_ms.load(Ordering::SeqCst))
    }

    /// Moves the clock on, as time does, and wakes timers that wait for it.
    pub fn advance(&self, span: Duration) {
        let ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.even_ms.fetch_add(ms.unsigned_abs(), Ordering::SeqCst);
        let waiting = self.look_again.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for look_again in &waiting {
            look_again();
        }
    }

    /// Sets the clock to a moment, also an earlier one, as somebody sets a machine's date: its even
    /// clock does not move.
    pub fn set(&self, moment: Timestamp) {
        self.now_ms.store(moment.as_millis(), Ordering::SeqCst);
        self.advance(Duration::ZERO);
    }

    /// Moves the clock on to the moment at which the next task of this client is due, or the next slot of a
    /// schedule whose kind it knows, and says which; none, and the clock stays, when none waits for its time.
    /// What is due already does not count.
    ///
    /// ```
    /// # use litework::{Client, Mode, Pending, task};
    /// # use litework::testing::ManualClock;
    /// # use std::time::Duration;
    /// #[task]
    /// fn remind(who: &str) {}
    ///
    /// let clock = ManualClock::new();
    /// let tasks = Client::in_memory().mode(Mode::Hold).clock(clock.clone()).register(remind).open()?;
    /// let handle = tasks.enqueue(remind::with("Ada").run_after(Duration::from_secs(3_600)))?;
    /// assert_eq!(clock.advance_to_next(&tasks)?, Some(handle.refresh()?.due_at));
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 1);
    /// assert_eq!(clock.advance_to_next(&tasks)?, None);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `other_clock` when the client goes by another clock; `closed`; `storage` and `not_stored` from the
    /// engine.
    pub fn advance_to_next(&self, client: &Client) -> Result<Option<Timestamp>, Error> {
        client.check_open()?;
        self.check_drives(client)?;
        let slots = next_slots(client, |_| true)?.into_iter().map(|(_, at)| at);
        let next = next_due(client, None, |_| true)?.into_iter().chain(slots).min();
        if let Some(next) = next {
            self.advance(self.now().until(next));
        }
        Ok(next)
    }

    /// Refuses a client that would not notice.
    pub(super) fn check_drives(&self, client: &Client) -> Result<(), Error> {
        let theirs = Arc::as_ptr(&client.hub.clock).addr();
        if theirs == std::ptr::from_ref(self).addr() {
            return Ok(());
        }
        let allowed = "the one that was given to `Builder::clock`";
        Err(Error::invalid("other_clock", "clock", self, allowed))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.now()
    }

    fn even(&self) -> Duration {
        Duration::from_millis(self.even_ms.load(Ordering::SeqCst))
    }

    fn on_step(&self, look_again: Arc<dyn Fn() + Send + Sync>) {
        self.look_again.lock().unwrap_or_else(PoisonError::into_inner).push(look_again);
    }
}
