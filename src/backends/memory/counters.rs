//! Watch: what was counted of tasks, by minute and hour and in all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::task::LaneName;
use super::{Book, Memory};
use crate::counters::{
    Counts, HOUR_MS, HOURS_KEPT_MS, LaneCounts, MINUTE_MS, MINUTES_KEPT_MS, begin_of,
};
use crate::error::Error;
use crate::meter::{Counting, EachCount, End, Meter, News};
use crate::time::Timestamp;

/// What is kept of it.
#[derive(Default)]
pub(super) struct Kept {
    /// By span, beginning and lane.
    spans: BTreeMap<(i64, i64, LaneName), Counts>,
    ever: BTreeMap<LaneName, Counts>,
}

impl Counting for Memory {
    fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    fn keep_counts(&self, now: Timestamp, news: &[News]) -> Result<(), Error> {
        self.with(|book| book.counts.keep(now, news));
        Ok(())
    }

    fn each_count(
        &self,
        since: Timestamp,
        until: Timestamp,
        each: EachCount<'_>,
    ) -> Result<(), Error> {
        self.with(|book| {
            for ((_, at, (queue, kind)), counts) in &book.counts.spans {
                if (since.as_millis()..until.as_millis()).contains(at) {
                    each(queue, kind, Timestamp::clamped(*at), counts);
                }
            }
        });
        Ok(())
    }

    fn totals(&self) -> Result<Vec<LaneCounts>, Error> {
        let told = |((queue, kind), counts): (&LaneName, &Counts)| LaneCounts {
            queue: queue.to_string(),
            kind: kind.to_string(),
            counts: counts.clone(),
        };
        Ok(self.with(|book| book.counts.ever.iter().map(told).collect()))
    }

    #[cfg(feature = "sqlite")]
    fn ends(&self, rows: &[i64]) -> Result<Vec<End>, Error> {
        Ok(self.with(|book| book.ends(rows)))
    }
}

impl Book {
    pub(super) fn ends(&self, rows: &[i64]) -> Vec<End> {
        let tasks = rows.iter().filter_map(|row| self.tasks.get(row));
        tasks.filter_map(|task| End::of(&task.record)).collect()
    }
}

impl Kept {
    fn keep(&mut self, now: Timestamp, news: &[News]) {
        for one in news {
            let lane = (Arc::clone(&one.queue), Arc::clone(&one.kind));
            let minute = (MINUTE_MS, one.at.as_millis(), lane.clone());
            self.spans.entry(minute).or_default().add(&one.counts);
            self.ever.entry(lane).or_default().add(&one.counts);
        }
        let hour = begin_of(HOUR_MS, now);
        let (minutes, hours) = (hour - MINUTES_KEPT_MS, hour - HOURS_KEPT_MS);
        let old = |(span, at, _): &(i64, i64, LaneName)| *span == MINUTE_MS && *at < minutes;
        let old: Vec<_> = self.spans.keys().filter(|key| old(key)).cloned().collect();
        for key in old {
            let Some(counts) = self.spans.remove(&key) else { continue };
            let (_, at, lane) = key;
            let hour = (HOUR_MS, begin_of(HOUR_MS, Timestamp::clamped(at)), lane);
            self.spans.entry(hour).or_default().add(&counts);
        }
        self.spans.retain(|(_, at, _), _| *at >= hours);
    }
}
