//! Run: parts of a task that are done once, however often the task is tried, and sleeps without a thread.
//!
//! A step is stored under the lease of its attempt before its value is passed on; each attempt sees the
//! value as it was stored.

use std::any::type_name;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Context, Hold, StopReason};
use crate::error::Error;
use crate::json;
use crate::options::check_name;
use crate::outcome::{Failure, Result};
use crate::record::NewStep;
use crate::retry::RETRY_DELAY_MAX;

impl Context {
    /// Runs a part of the task once, however often the task is tried: the first time `run` is called
    /// and what it returns is stored under `name`; from then on, in later attempts too, that value is
    /// returned and `run` is not called. A `run` that fails stores nothing.
    ///
    /// It is stored before this returns, at the task's durability. A process that is killed after that
    /// does not run the step again; one that is killed between the end of `run` and the commit does.
    /// What must not be repeated even then belongs into the transaction of
    /// `litework::sqlite::ContextExt::complete_in`, or carries the task's id as the key by which
    /// the other side knows a repetition.
    ///
    /// `name` is 1–64 of `A–Z a–z 0–9 . _ -` and stands for one step of the task, so in a loop put the
    /// number into it. At most [`STEPS_MAX`](crate::STEPS_MAX) (1,000) steps of a task, each value within
    /// the limits of a result. In a detached context nothing is stored: `run` is called.
    ///
    /// ```
    /// # use litework::{Client, Context, Result, task};
    /// # use std::sync::atomic::{AtomicU32, Ordering};
    /// static RESERVED: AtomicU32 = AtomicU32::new(0);
    ///
    /// #[task]
    /// fn order(ctx: &Context) -> Result<u32> {
    ///     let seat = ctx.step("reserve", || Ok(17 + RESERVED.fetch_add(1, Ordering::SeqCst)))?;
    ///     for number in 0..3 {
    ///         ctx.step(&format!("mail-{number}"), || Ok(()))?;
    ///     }
    ///     if ctx.attempt() == 1 {
    ///         Err("the printer is busy")?; // tried again; the steps are not
    ///     }
    ///     Ok(seat)
    /// }
    ///
    /// let tasks = Client::in_memory().register(order).open()?;
    /// let handle = tasks.enqueue(order::with())?;
    /// assert_eq!((handle.value()?, handle.refresh()?.attempt), (17, 2));
    /// assert_eq!((RESERVED.load(Ordering::SeqCst), tasks.steps(handle.id())?.len()), (1, 4));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// The failure of `run`. Failures that give up, as no attempt can do better: `bad_name`;
    /// `duplicate_step` when this attempt has made a step of that name; `too_many_steps`; the codes of a
    /// [`JsonError`](crate::JsonError) for a value that does not fit; `bad_step` when what is stored is
    /// not of this type; `reentrant` inside a transaction of this thread, and inside or after the finishing
    /// transaction. Failures that mean "try again", as from the engine: `lease_lost`, `not_stored`,
    /// `unknown_outcome`, `closed`, `storage`.
    pub fn step<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let step = self.begin_step(name).map_err(failed)?;
        if let Some(stored) = step.stored().map_err(failed)? {
            let value = step.read(&stored).map_err(failed)?;
            step.made();
            return Ok(value);
        }
        let text = json::encode(&run()?, self.limits()).map_err(|error| failed(error.into()))?;
        // What later attempts will see, so that none sees anything else.
        let value = step.read(&text).map_err(failed)?;
        step.keep(&text).map_err(failed)?;
        step.made();
        Ok(value)
    }

    /// Sleeps without holding a thread: the first time it stores when to wake, under `name` as a
    /// [step](Self::step), and ends the attempt with a snooze, which does not count. The body runs again
    /// from its beginning when the time has come, by the client's clock, and passes here at once. Woken
    /// earlier, it sleeps the rest.
    ///
    /// From zero, which does not sleep, to [`RETRY_DELAY_MAX`] (365 days). In mode `inline` the caller is
    /// told that the task is due later; a pool or `run_pending` goes on with it. A detached context
    /// does not sleep.
    ///
    /// ```
    /// # use litework::{Client, Context, Mode, Pending, Result, State, task};
    /// # use litework::{Clock, Timestamp};
    /// # use std::sync::{Arc, Mutex};
    /// use std::time::Duration;
    ///
    /// #[task]
    /// fn remind(ctx: &Context, who: String) -> Result<String> {
    ///     ctx.step("invite", || Ok(()))?;
    ///     ctx.sleep("a-day", Duration::from_secs(24 * 60 * 60))?;
    ///     Ok(format!("a day later: {who}"))
    /// }
    ///
    /// # struct Hands(Mutex<Timestamp>);
    /// # impl Clock for Hands {
    /// #     fn now(&self) -> Timestamp { *self.0.lock().unwrap() }
    /// # }
    /// # let noon = Timestamp::from_millis(1_800_000_000_000).unwrap();
    /// # let midnight = Timestamp::from_millis(1_800_086_400_000).unwrap();
    /// # let clock = Arc::new(Hands(Mutex::new(noon)));
    /// # let ours = Arc::clone(&clock);
    /// let tasks = Client::in_memory().register(remind).mode(Mode::Hold).clock(clock).open()?;
    /// let handle = tasks.enqueue(remind::with("Ada"))?;
    /// assert_eq!(tasks.run_pending(&Pending::all())?.postponed, 1);
    /// assert_eq!(handle.refresh()?.state, State::Scheduled);
    /// # *ours.0.lock().unwrap() = midnight;
    /// // … a day later …
    /// assert_eq!(tasks.run_pending(&Pending::all())?.succeeded, 1);
    /// assert_eq!((handle.value()?, handle.refresh()?.attempt), ("a day later: Ada".to_owned(), 1));
    /// # Ok::<(), litework::Failure>(())
    /// ```
    ///
    /// # Errors
    /// A [`Failure::snooze`] while there is time left: pass it on with `?`. `out_of_range` for a
    /// longer span; otherwise those of [`Context::step`].
    pub fn sleep(&self, name: &str, span: Duration) -> Result<()> {
        if span > RETRY_DELAY_MAX {
            let place = format!("span of the sleep {name:?}");
            let allowed = "0 to 365 days; for longer, sleep several times";
            return Err(failed(Error::invalid("out_of_range", place, span, allowed)));
        }
        let step = self.begin_step(name).map_err(failed)?;
        let Some(client) = &self.client else {
            step.made();
            return Ok(());
        };
        let now = client.hub.clock.now();
        let wakes_at = if let Some(stored) = step.stored().map_err(failed)? {
            step.read(&stored).map_err(failed)?
        } else {
            let wakes_at = now.after(span);
            step.keep(&format!("\"{wakes_at}\"")).map_err(failed)?;
            wakes_at
        };
        let left = now.until(wakes_at);
        if !left.is_zero() {
            return Err(Failure::snooze(left));
        }
        step.made();
        Ok(())
    }

    fn begin_step<'a>(&'a self, name: &'a str) -> Result<Step<'a>, Error> {
        check_name("bad_name", "step", name)?;
        let mut kept = self.kept();
        self.check_goes_on(&kept)?;
        if let (Some(StopReason::LeaseLost), Some(hold)) = (self.stop_reason(), self.hold) {
            return Err(Error::LeaseLost { id: hold.id, attempt: hold.lease.attempt });
        }
        if !kept.steps.insert(name.to_owned()) {
            let allowed = "a name that this attempt has not used; in a loop put the number into it";
            return Err(Error::invalid("duplicate_step", "step", name, allowed));
        }
        Ok(Step { ctx: self, name, made: false })
    }
}

/// What is wrong with the call stays wrong in later attempts; what stood in its way may not.
pub(super) fn failed(error: Error) -> Failure {
    let code = error.code();
    let useless = matches!(error, Error::Invalid { .. } | Error::Json(_) | Error::Reentrant { .. });
    let failure = if useless { Failure::give_up(error) } else { Failure::from(error) };
    failure.code(code)
}

/// A step under way. Dropped before it is made, its name may be used again.
struct Step<'a> {
    ctx: &'a Context,
    name: &'a str,
    made: bool,
}

impl Step<'_> {
    fn stored(&self) -> Result<Option<String>, Error> {
        let (Some(client), Some(hold)) = (&self.ctx.client, self.ctx.hold) else {
            return Ok(None);
        };
        client.hub.backend.step(hold.id, hold.lease, self.name)
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, Error> {
        json::decode(text).map_err(|error| {
            let allowed = format!(
                "{} as it was stored; a step that returns another type needs another name",
                type_name::<T>()
            );
            let place = format!("value of step {:?} ({error})", self.name);
            Error::invalid("bad_step", place, text, allowed)
        })
    }

    fn keep(&self, value: &str) -> Result<(), Error> {
        let (Some(client), Some(hold)) = (&self.ctx.client, self.ctx.hold) else { return Ok(()) };
        let Hold { id, lease, durability, .. } = hold;
        let step = NewStep { id, lease, name: self.name, value, durability };
        let hub = &client.hub;
        match hub.backend.keep_step(hub.clock.now(), &step) {
            // Under the same lease it is the same step, so it may be sent again.
            Err(Error::Unknown { .. }) => hub.backend.keep_step(hub.clock.now(), &step),
            answer => answer,
        }
    }

    fn made(mut self) {
        self.made = true;
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.ctx.kept().steps.remove(self.name);
        }
    }
}
