//! Run: who executes what was claimed.
//!
//! - `pool`: worker threads that claim, run and finish; `places` is what it offers, `part` how it parts
//!   with tasks, `slots` what its threads have before them, `resize` more or fewer of them, `start` its
//!   begin and `stop` its end;
//! - `keeper`: the one thread that keeps the pool's time: due tasks, leases, time-outs, rescues; `clerk` is
//!   what of this may call receivers of events, and `bell` wakes them;
//! - `inline`: the calling thread, in mode `inline` and for `run_pending`; `book` is what such threads hold,
//!   `minder` keeps their lease, `rest` says when to look again, `step` runs one attempt at a time for tests.
//!
//! All three run the same attempts and write through the same contract.

mod bell;
mod book;
mod clerk;
pub(crate) mod inline;
mod keeper;
mod minder;
mod notice;
mod part;
pub(crate) mod places;
pub(crate) mod pool;
mod resize;
mod slots;
mod start;
mod state;
mod stop;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::About;
use crate::outcome::Outcome;
use crate::record::{Claimed, Finish};
use crate::time::Timestamp;

/// A pause that keeps a fault that stays from using up a processor.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A finish whose lease was lost is no error of the runner: somebody else holds the task by now.
pub(crate) fn tell_lost(finish: &Finish, error: &Error) {
    tracing::warn!(id = %finish.id, attempt = finish.lease.attempt, %error, "finish was not kept");
}

/// The finish of a task that is handed back unrun.
fn given_back(task: &Claimed, now: Timestamp) -> Finish {
    let back = Finish::plain(task.id, task.lease, task.started_at, now, Outcome::GivenBack);
    // A request to stop that stands in its row may make it an end.
    Finish { about: Some(Box::new(About::claimed(task))), ..back }
}

/// Under its lease what has ended can still be stored; to leave would take that away.
fn unstored() -> Error {
    let reason = "what has ended could not be stored; shut down again to store it".to_owned();
    Error::NotStored { reason, source: None }
}

/// After a look that panicked, another soon.
fn look_again(error: &Error) -> Instant {
    tracing::error!(%error, "a look of a pool's own thread ended half-way; trying again");
    Instant::now() + LOOK_AGAIN
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    #[cfg(test)]
    tests::check_spawn()?;
    std::thread::Builder::new().name(name).spawn(body).map(|_detached| ()).map_err(|error| {
        Error::Storage {
            reason: format!("a worker thread cannot be started: {error}"),
            source: Some(error.into()),
        }
    })
}
