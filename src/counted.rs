//! Watch: what was counted, as people read it.

#[cfg(any(feature = "cli", feature = "web"))]
use std::collections::BTreeMap;

use crate::client::Client;
#[cfg(any(feature = "cli", feature = "web"))]
use crate::counters::Counts;
use crate::counters::{Bucket, LaneCounts, Series};
use crate::error::Error;

impl Client {
    /// What has happened to tasks, step by step: how many came, began and ended, and how long that took. A step
    /// in which nothing has happened is there too, with zeros.
    ///
    /// Each process counts what it does itself, in memory, and keeps that in the file every 10 s and when it is
    /// shut down: what this one has counted is there at once, what others have within 10 s. One that is
    /// killed loses what it has not kept. Minutes are kept for 24 hours and hours for 30 days: what is older
    /// than a day is in the step in which its hour begins.
    ///
    /// ```
    /// # use litework::{Client, Series, Timestamp, task};
    /// # use std::time::Duration;
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().register(send).open()?;
    /// tasks.enqueue(send::with("Ada"))?;
    /// let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis()).unwrap();
    /// let since = Timestamp::from_millis(now.as_millis() - 3_600_000).unwrap();
    /// let hour = Series::new(since, now.after(Duration::from_secs(60))).queue("mail");
    /// let sent: u64 = tasks.counters(&hour)?.iter().map(|minute| minute.counts.succeeded).sum();
    /// assert_eq!(sent, 1);
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `out_of_range` for a step that is not 1 minute to 30 days, in whole minutes, and for over 10,000 steps;
    /// `storage` where they cannot be read.
    pub fn counters(&self, series: &Series) -> Result<Vec<Bucket>, Error> {
        let mut buckets = series.buckets()?;
        let Some(first) = buckets.first().map(|bucket| bucket.at) else { return Ok(buckets) };
        let (until, step) = (series.until, series.step.as_millis());
        let backend = &self.hub.backend;
        let _still = backend.meter().still();
        let mut add = |queue: &str, kind: &str, at: crate::Timestamp, counts: &crate::Counts| {
            let passed = first.until(at).as_millis().checked_div(step).unwrap_or_default();
            let bucket = usize::try_from(passed).ok().and_then(|place| buckets.get_mut(place));
            if let Some(bucket) = bucket.filter(|_| series.wants(queue, kind)) {
                bucket.counts.add(counts);
            }
        };
        backend.each_count(first, until, &mut add)?;
        let news = backend.meter().news();
        for one in news.iter().filter(|one| one.at >= first && one.at < until) {
            add(&one.queue, &one.kind, one.at, &one.counts);
        }
        Ok(buckets)
    }

    /// All that was ever counted in this file, by queue and kind, in that order. It never goes back, whoever
    /// restarts, but that a process which is killed takes its last 10 s along.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().register(send).open()?;
    /// tasks.enqueue(send::with("Ada"))?;
    /// let totals = tasks.totals()?;
    /// assert_eq!((totals[0].kind.as_str(), totals[0].counts.enqueued), ("send", 1));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn totals(&self) -> Result<Vec<LaneCounts>, Error> {
        let backend = &self.hub.backend;
        let _still = backend.meter().still();
        let mut totals = backend.totals()?;
        for one in backend.meter().news() {
            let (queue, kind) = (&*one.queue, &*one.kind);
            let known = |lane: &&mut LaneCounts| lane.queue == queue && lane.kind == kind;
            match totals.iter_mut().find(known) {
                Some(lane) => lane.counts.add(&one.counts),
                None => totals.push(LaneCounts {
                    queue: queue.to_owned(),
                    kind: kind.to_owned(),
                    counts: one.counts,
                }),
            }
        }
        totals.sort_by(|one, next| (&one.queue, &one.kind).cmp(&(&next.queue, &next.kind)));
        Ok(totals)
    }

    /// What was counted from one moment until before another, by queue.
    #[cfg(any(feature = "cli", feature = "web"))]
    pub(crate) fn counts_by_queue(
        &self,
        since: crate::Timestamp,
        until: crate::Timestamp,
    ) -> Result<BTreeMap<String, Counts>, Error> {
        let mut queues = BTreeMap::<String, Counts>::new();
        let mut add = |queue: &str, counts: &Counts| match queues.get_mut(queue) {
            Some(known) => known.add(counts),
            None => drop(queues.insert(queue.to_owned(), counts.clone())),
        };
        let backend = &self.hub.backend;
        let _still = backend.meter().still();
        backend.each_count(since, until, &mut |queue, _, _, counts| add(queue, counts))?;
        for one in backend.meter().news() {
            if (since..until).contains(&one.at) {
                add(&one.queue, &one.counts);
            }
        }
        Ok(queues)
    }

    /// Keeps in the file what this process has counted, now and not within 10 s, so that others read it too.
    /// Writes nothing where nothing is new.
    ///
    /// ```
    /// # let tasks = litework::Client::in_memory().open()?;
    /// tasks.flush_counters()?;
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `not_stored` from the engine: it is kept later; `unknown_outcome`: it is not counted again, so some may be
    /// lost; `reentrant` inside a transaction on the file.
    pub fn flush_counters(&self) -> Result<(), Error> {
        self.hub.scribe.keep_counts()
    }
}
