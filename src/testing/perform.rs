//! Tests of programs: one call's body, outside of the queue.

use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::json;
use crate::outcome::{Outcome, Report};
use crate::state::Reason;
use crate::task::{IntoCall, Signature};

/// Why [`perform`] has no return value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPerformed {
    /// The call was refused, and the body was not called.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The attempt failed, and another would follow while attempts are left. A panic is one of these.
    #[error("to be tried again ({reason}): {report}")]
    #[non_exhaustive]
    Retry {
        /// What is stored as the reason when no attempt is left.
        reason: Reason,
        /// The error.
        report: Box<Report>,
        /// The delay that the body asked for; none where the policy decides.
        after: Option<Duration>,
    },
    /// The task would have failed for good.
    #[error("failed ({reason}): {report}")]
    #[non_exhaustive]
    Failed {
        /// Why it is final.
        reason: Reason,
        /// The error.
        report: Box<Report>,
    },
    /// The body asked to be run again later: it snoozed, slept, or was refused for doing too much.
    #[error("to be run again after {} ms", .after.as_millis())]
    #[non_exhaustive]
    Snoozed {
        /// How much later.
        after: Duration,
    },
    /// The body said that it was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl NotPerformed {
    /// The error of the body, where it had one.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Retry { report, .. } | Self::Failed { report, .. } => Some(report),
            Self::Refused(_) | Self::Snoozed { .. } | Self::Cancelled => None,
        }
    }
}

/// Runs the body of one call in this thread, as a first attempt would be, and stores nothing: the call is
/// checked, its arguments and its return value go through JSON and its limits, the client's layers are around
/// the body, and its state is in the context.
///
/// The context has no id. Its steps are run and not stored, and it has no finishing transaction
/// (`unsupported`); what it enqueues is stored.
///
/// ```
/// use litework::testing::{NotPerformed, perform};
/// use litework::{Client, Failure, Result, task};
///
/// #[task(attempts = 3)]
/// fn divide(a: i64, b: i64) -> Result<i64> {
///     a.checked_div(b).ok_or_else(|| Failure::give_up("it cannot be divided").code("zero"))
/// }
///
/// let tasks = Client::dummy().register(divide).open()?;
/// assert_eq!(perform(&tasks, divide::with(6, 3))?, 2);
/// let failed = perform(&tasks, divide::with(6, 0)).unwrap_err();
/// assert!(matches!(failed, NotPerformed::Failed { .. }));
/// assert_eq!(failed.report().unwrap().code.as_deref(), Some("zero"));
/// # Ok::<(), litework::Failure>(())
/// ```
///
/// # Errors
/// [`NotPerformed::Refused`] with the errors of [`Client::enqueue`] about the call, and `unsupported` for a
/// task whose body is not in this program; the other variants for what the body came to.
pub fn perform<C: IntoCall>(
    client: &Client,
    call: C,
) -> Result<<C::Task as Signature>::Output, NotPerformed> {
    client.check_open()?;
    let hub = &client.hub;
    let task = hub.prepare(&call.into_call(), &hub.calling()?)?;
    let runner = hub.pending.get().ok_or(Error::Closed)?;
    match runner.stepper().rehearse(task)? {
        Outcome::Succeeded { result } => {
            json::decode(&result).map_err(|error| NotPerformed::Refused(error.into()))
        }
        Outcome::Retry { reason, report, after } => {
            Err(NotPerformed::Retry { reason, report, after })
        }
        Outcome::Failed { reason, report } => Err(NotPerformed::Failed { reason, report }),
        Outcome::Snoozed { after } | Outcome::RateLimited { after } => {
            Err(NotPerformed::Snoozed { after })
        }
        Outcome::Cancelled { .. } => Err(NotPerformed::Cancelled),
        // Those are made by runners, never by a body.
        Outcome::GivenBack | Outcome::Crashed { .. } => Err(Error::Closed.into()),
    }
}
