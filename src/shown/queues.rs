//! Watch: numbers of queues, as people and programs are shown them.

use std::time::Duration;

use serde::Serialize;

use super::text::{grouped, rough};
use crate::client::Client;
use crate::counters::Counts;
use crate::error::Error;
use crate::overview::{Capped, Overview};
use crate::state::State;
use crate::time::Timestamp;

/// The rate is that of these minutes.
const RATE_MINUTES: u32 = 5;

/// A number that may be more, as JSON.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Count {
    pub(crate) count: u64,
    pub(crate) capped: bool,
}

impl From<Capped> for Count {
    fn from(capped: Capped) -> Self {
        Self { count: capped.count, capped: capped.capped }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", grouped(self.count), if self.capped { "+" } else { "" })
    }
}

/// A state of a queue.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Depth {
    pub(crate) state: State,
    #[serde(flatten)]
    pub(crate) count: Count,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueueView {
    pub(crate) name: String,
    pub(crate) depths: Vec<Depth>,
    pub(crate) oldest_ready_at: Option<Timestamp>,
    pub(crate) oldest_ready_ms: Option<u64>,
    /// Tasks that have ended in a minute, of late.
    pub(crate) ended_per_minute: f64,
    pub(crate) paused_at: Option<Timestamp>,
}

impl QueueView {
    pub(crate) fn oldest(&self) -> Option<String> {
        self.oldest_ready_ms.map(|ms| rough(Duration::from_millis(ms)))
    }

    pub(crate) fn depth(&self, state: State) -> Count {
        let found = self.depths.iter().find(|depth| depth.state == state);
        found.map_or(Count { count: 0, capped: false }, |depth| depth.count)
    }

    pub(crate) fn rate(&self) -> String {
        format!("{:.1}", self.ended_per_minute)
    }
}

/// The queues, with how many tasks of each have ended of late.
pub(crate) fn queues(client: &Client, overview: &Overview) -> Result<Vec<QueueView>, Error> {
    let now = overview.at;
    let back = i64::from(RATE_MINUTES) * 60_000;
    let since = Timestamp::clamped(now.as_millis().saturating_sub(back));
    let counted = client.counts_by_queue(since, now.after(Duration::from_millis(1)))?;
    let views = overview.queues.iter().map(|queue| {
        let ended = counted.get(&queue.queue).map_or(0, Counts::finished);
        let age = queue.oldest_ready.map(|due| due.until(now).as_millis());
        QueueView {
            name: queue.queue.clone(),
            depths: State::ALL
                .iter()
                .map(|state| Depth { state: *state, count: queue.depth(*state).into() })
                .collect(),
            oldest_ready_at: queue.oldest_ready,
            oldest_ready_ms: age.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            ended_per_minute: f64::from(u32::try_from(ended).unwrap_or(u32::MAX))
                / f64::from(RATE_MINUTES),
            paused_at: queue.paused_at,
        }
    });
    Ok(views.collect())
}
