//! Finish: the states of a task, and the single table of what may follow what.
//!
//! ```text
//!            enqueue                     promote                claim
//!   (new) ───────────► scheduled ───────────────────► ready ───────────► running
//!     │ ╲                  ▲  ▲                        ▲ ▲                 │ │ │
//!     │  ╲ due now         │  └──── retry, snooze ─────┼─┼─────────────────┘ │ │
//!     │   ╲────────────────┼───────────────────────────┘ └── give back ──────┘ │
//!     │    hand-over       │            waiting ◄── lock, limit, parents        │
//!     └──────────────────► running                                              ▼
//!                                              succeeded · failed · cancelled · skipped
//! ```
//!
//! Every write of a state is an edge of [`ALLOWED`], and the end of an attempt goes through
//! `settle`; the schema holds the same pairs of state and reason as a CHECK, and a test compares the
//! two. Nothing here reads a clock, a file or a random number.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of the journey.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a stored word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// Where a task is on its journey.
    State {
        /// Its time has not come.
        Scheduled = "scheduled",
        /// Blocked by a parent, a lock or a limit.
        Waiting = "waiting",
        /// May be claimed.
        Ready = "ready",
        /// An attempt holds it.
        Running = "running",
        /// Ended with a return value.
        Succeeded = "succeeded",
        /// Ended with an error.
        Failed = "failed",
        /// Ended by request.
        Cancelled = "cancelled",
        /// Ended without running, and that is no error.
        Skipped = "skipped",
    }
}

words! {
    /// Why a task is in its state. `ready`, `running` and `succeeded` need no reason.
    Reason {
        /// Scheduled: enqueued to run later.
        Delayed = "delayed",
        /// Scheduled: failed, and will be tried again.
        Retry = "retry",
        /// Scheduled: the task asked to be run later; no attempt was spent.
        Snoozed = "snoozed",
        /// Scheduled: a rate limit admits it later.
        Rate = "rate",
        /// Waiting for its parents.
        Parents = "parents",
        /// Waiting for, or skipped because of, a lock that another task holds.
        Lock = "lock",
        /// Waiting for a place under a limit.
        Limit = "limit",
        /// Failed: its attempts are spent.
        Error = "error",
        /// Failed: the task said that trying again is useless.
        GaveUp = "gave_up",
        /// Failed: it ran longer than its time-out.
        Timeout = "timeout",
        /// Failed: it was not started before it expired.
        Expired = "expired",
        /// Failed: at most once, and its process died.
        Lost = "lost",
        /// Failed: its process crashed three times while it ran.
        Quarantined = "quarantined",
        /// Failed: the stored arguments do not fit the task.
        BadArguments = "bad_arguments",
        /// Failed: the return value does not fit into JSON or its limits.
        ResultTooLarge = "result_too_large",
        /// Failed: the stored row is damaged.
        BadRow = "bad_row",
        /// Failed or cancelled together with its parent.
        Parent = "parent",
        /// Cancelled by request.
        Asked = "asked",
        /// Cancelled: a newer task took its key.
        Superseded = "superseded",
        /// Cancelled or skipped: the slot before it still ran.
        Overlap = "overlap",
        /// Skipped: already running.
        Locked = "locked",
        /// Skipped: throttled by its unique key.
        Throttled = "throttled",
    }
}

impl State {
    /// Whether the task has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// The reasons this state may have; empty means "no reason".
    pub const fn reasons(self) -> &'static [Reason] {
        use Reason as R;
        match self {
            Self::Scheduled => &[R::Delayed, R::Retry, R::Snoozed, R::Rate],
            Self::Waiting => &[R::Parents, R::Lock, R::Limit],
            Self::Ready | Self::Running | Self::Succeeded => &[],
            Self::Failed => &[
                R::Error,
                R::GaveUp,
                R::Timeout,
                R::Expired,
                R::Lost,
                R::Quarantined,
                R::BadArguments,
                R::ResultTooLarge,
                R::BadRow,
                R::Parent,
            ],
            Self::Cancelled => &[R::Asked, R::Parent, R::Superseded, R::Overlap],
            Self::Skipped => &[R::Locked, R::Throttled, R::Overlap],
        }
    }

    /// Whether this pair of state and reason may be stored.
    pub fn admits(self, reason: Option<Reason>) -> bool {
        match reason {
            None => self.reasons().is_empty(),
            Some(reason) => self.reasons().contains(&reason),
        }
    }

    /// Whether a task may go from `self` to `next` in one step.
    pub fn may_become(self, next: Self) -> bool {
        ALLOWED.iter().any(|(from, to)| *from == self && to.contains(&next))
    }
}

/// Every edge of the life of a task. A final state has none, except that `retry` by an operator
/// makes it ready again, or lets it wait for those before it that are run again too. What waits and
/// succeeds without running is a batch, which sums up others. What is skipped finds its lock held as it is about
/// to start: it has not run, and does not wait for it. Tests walk each of them.
pub(crate) const ALLOWED: &[(State, &[State])] = {
    use State::{Cancelled, Failed, Ready, Running, Scheduled, Skipped, Succeeded, Waiting};
    &[
        (Scheduled, &[Ready, Running, Waiting, Failed, Cancelled, Skipped]),
        (Waiting, &[Ready, Scheduled, Running, Succeeded, Failed, Cancelled]),
        (Ready, &[Running, Waiting, Scheduled, Failed, Cancelled, Skipped]),
        (Running, &[Succeeded, Failed, Cancelled, Scheduled, Ready]),
        (Succeeded, &[Ready, Waiting]),
        (Failed, &[Ready, Waiting]),
        (Cancelled, &[Ready, Waiting]),
        (Skipped, &[Ready]),
    ]
};

/// The sort key of ready work: due time less priority. Smaller runs first.
///
/// `step_ms` is how much earlier one point of priority counts; 2^48 makes priority strict.
pub(crate) fn rank(due_at: Timestamp, priority: i8, step_ms: i64) -> i64 {
    due_at.as_millis().saturating_sub(i64::from(priority).saturating_mul(step_ms))
}

/// The due time that a rank was made from.
pub(crate) fn due_of(rank: i64, priority: i8, step_ms: i64) -> Timestamp {
    Timestamp::clamped(rank.saturating_add(i64::from(priority).saturating_mul(step_ms)))
}

/// Strict priority: no wait outweighs one point.
pub(crate) const STEP_STRICT_MS: i64 = 1 << 48;

/// The step for ageing: one point of priority is worth this much waiting.
pub(crate) fn step_for(per_point: Duration) -> i64 {
    i64::try_from(per_point.as_millis()).unwrap_or(i64::MAX).clamp(1, STEP_STRICT_MS)
}
