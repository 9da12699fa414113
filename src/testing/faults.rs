//! Tests of programs: writes that fail, and bodies that panic where they have named a point.

use crate::client::Client;
pub use crate::mishap::{WriteFault, WritePoint};

/// Makes the next writes of one kind fail in this way, this many times: those of this client, and of all
/// others in this process that have the same file open. Writes that are planned to fail come one after the other.
///
/// | Point | The write | Who is told |
/// |---|---|---|
/// | [`WritePoint::Enqueue`] | tasks are stored | the caller, by the error of `enqueue` |
/// | [`WritePoint::Finish`] | the end of an attempt is stored | nobody: it is kept and stored with the next commit; `run_pending` and [`drain`](super::drain()) answer the error |
/// | [`WritePoint::Transaction`] | a transaction with tasks in it is committed | the caller of `write`, the body that calls `complete_in` |
///
/// ```
/// use litework::testing::{WriteFault, WritePoint, fail_writes};
/// use litework::{Client, task};
///
/// #[task]
/// fn mail(to: &str) {}
///
/// let tasks = Client::dummy().register(mail).open()?;
/// let send = || tasks.enqueue(mail::with("ada").key("order-7")); // the key makes it safe to repeat
/// fail_writes(&tasks, WritePoint::Enqueue, WriteFault::UnknownStored, 1);
/// assert_eq!(send().unwrap_err().code(), "unknown_outcome");
/// let again = send()?;
/// assert!(again.is_existing()); // it had been stored after all
/// # Ok::<(), litework::Error>(())
/// ```
pub fn fail_writes(client: &Client, at: WritePoint, with: WriteFault, times: usize) {
    client.hub.backend.mishaps().fail(at, with, times);
}

/// Makes a body panic at the place that it has named by [`fault_point`](crate::Context::fault_point), at the
/// n-th time that any body passes it, counted from 1 and from now on, and once. So its attempt fails, as
/// with any panic, and is tried again: what came before the point happens twice, unless it is in a step or
/// has a key. 0 counts as 1.
///
/// ```
/// use litework::testing::{Drain, ManualClock, drain, panic_at};
/// use litework::{Client, Context, Mode, Result, task};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static CHARGED: AtomicU32 = AtomicU32::new(0);
///
/// #[task]
/// fn pay(ctx: &Context) -> Result<()> {
///     ctx.step("charge", || Ok(CHARGED.fetch_add(1, Ordering::SeqCst)))?;
///     ctx.fault_point("charged");
///     Ok(())
/// }
///
/// let clock = ManualClock::new();
/// let builder = Client::in_memory().mode(Mode::Hold).clock(clock.clone());
/// let tasks = builder.register(pay).open()?;
/// panic_at(&tasks, "charged", 1);
/// let handle = tasks.enqueue(pay::with())?;
/// let drained = drain(&tasks, &Drain::new().delayed(&clock))?;
/// assert_eq!((drained.postponed, drained.succeeded), (1, 1));
/// assert_eq!((handle.refresh()?.attempt, CHARGED.load(Ordering::SeqCst)), (2, 1));
/// # Ok::<(), litework::Error>(())
/// ```
pub fn panic_at(client: &Client, point: &str, nth: u32) {
    client.hub.backend.mishaps().panic_at(point, nth);
}

/// Forgets every fault that was planned and has not happened.
///
/// ```
/// # use litework::testing::{WriteFault, WritePoint, clear_faults, fail_writes};
/// # use litework::{Client, task};
/// # #[task]
/// # fn mail(to: &str) {}
/// let tasks = Client::dummy().register(mail).open()?;
/// fail_writes(&tasks, WritePoint::Enqueue, WriteFault::NotStored, 2);
/// assert_eq!(tasks.enqueue(mail::with("ada")).unwrap_err().code(), "not_stored");
/// clear_faults(&tasks);
/// tasks.enqueue(mail::with("ada"))?;
/// # Ok::<(), litework::Error>(())
/// ```
pub fn clear_faults(client: &Client) {
    client.hub.backend.mishaps().clear();
}
