//! Watch: what machines ask: numbers for Prometheus, and whether all is well.
//!
//! Written by hand, as the text format is a few lines. All of it is read from the file, so each process tells the
//! same, and a restart sets nothing back.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::client::Client;
use crate::counters::{Counts, HISTOGRAM_BOUNDS, Histogram, LaneCounts};
use crate::error::Error;
use crate::overview::Overview;
use crate::presence::WorkerRecord;
use crate::schedule::ScheduleRecord;
use crate::state::State;
use crate::time::Timestamp;

/// Schedules of one page that are read.
const SCHEDULES_PAGE: usize = 1_000;
/// The keeper of a pool looks at least every 10 s.
const BEAT_MAX: Duration = Duration::from_secs(30);

/// Whether a client works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// It is open.
    pub live: bool,
    /// It is open, its file can be read, and the pool that it has, if any, keeps time.
    pub ready: bool,
    /// Why it is not ready, for those who look after it.
    pub reason: Option<String>,
}

impl Client {
    /// Numbers for Prometheus, in its text format 0.0.4: to be served as `text/plain; version=0.0.4`.
    ///
    /// Counters and histograms are those of all processes that use the file, as far as they are kept there: at most
    /// 10 s old. They go on over restarts, also after a kill. Only `litework_db_busy_total` is counted by each process
    /// since it has opened the file: a write that found it locked by another program, and waited. Numbers of tasks by state are counted up to
    /// 10,000 for each queue. Labels are queues, kinds, schedules and a few words; never ids, owners or texts of
    /// errors.
    ///
    /// | Name | Type | Labels |
    /// |---|---|---|
    /// | `litework_tasks_enqueued_total` | counter | `queue`, `kind` |
    /// | `litework_tasks_finished_total` | counter | `queue`, `kind`, `outcome`: succeeded, failed, cancelled, skipped |
    /// | `litework_task_attempts_total` | counter | `queue`, `kind`, `result`: ok, error, timeout, panic, interrupted |
    /// | `litework_task_run_seconds` | histogram | `queue`, `kind` |
    /// | `litework_task_wait_seconds` | histogram | `queue` |
    /// | `litework_tasks` | gauge | `queue`, `state`: scheduled, waiting, ready, running, failed |
    /// | `litework_queue_oldest_age_seconds` | gauge | `queue` |
    /// | `litework_queue_paused` | gauge | `queue` |
    /// | `litework_workers` | gauge | `state`: busy, idle |
    /// | `litework_worker_slots`, `litework_worker_slots_busy` | gauge | |
    /// | `litework_schedule_last_run_timestamp_seconds` | gauge | `schedule` |
    /// | `litework_schedule_missed_total` | counter | |
    /// | `litework_db_size_bytes`, `litework_db_wal_size_bytes` | gauge | |
    /// | `litework_db_busy_total` | counter, of this process alone | |
    /// | `litework_build_info` | gauge | `version` |
    ///
    /// `examples/monitoring` has five alerts for Prometheus and a dashboard for Grafana that go with them.
    ///
    /// ```
    /// # use litework::{Client, task};
    /// #[task(queue = "mail")]
    /// fn send(to: &str) {}
    ///
    /// let tasks = Client::in_memory().register(send).open()?;
    /// tasks.enqueue(send::with("Ada"))?;
    /// tasks.flush_counters()?; // or 10 s later
    /// let line = r#"litework_tasks_enqueued_total{queue="mail",kind="send"} 1"#;
    /// assert!(tasks.metrics()?.lines().any(|found| found == line));
    /// # Ok::<(), litework::Error>(())
    /// ```
    ///
    /// # Errors
    /// `storage` where they cannot be read.
    pub fn metrics(&self) -> Result<String, Error> {
        let mut totals = self.hub.backend.totals()?;
        totals.sort_by(|one, next| (&one.queue, &one.kind).cmp(&(&next.queue, &next.kind)));
        let mut page = Exposition::default();
        page.counted(&totals);
        page.overview(&self.overview()?);
        page.busy(self.hub.backend.busy_waits());
        page.workers(&self.workers()?);
        page.schedules(&self.all_schedules()?);
        page.family("litework_build_info", "gauge", "The version of litework that tells this.");
        page.sample("litework_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        Ok(page.text)
    }

    fn all_schedules(&self) -> Result<Vec<ScheduleRecord>, Error> {
        let mut all: Vec<ScheduleRecord> = Vec::new();
        loop {
            let after = all.last().map(|schedule| schedule.name.clone()).unwrap_or_default();
            let page = self.schedules().list(&after, SCHEDULES_PAGE)?;
            let is_last = page.len() < SCHEDULES_PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Whether it works, for a page that a load balancer or a supervisor asks: `live` where it is open;
    /// `ready` where its file can be read and its pool, where it has one, has looked after its tasks within the last 30
    /// s. Reads one row.
    ///
    /// ```
    /// # use litework::Client;
    /// # use std::time::Duration;
    /// let tasks = Client::in_memory().workers(1).open()?;
    /// assert!(tasks.health().ready);
    /// tasks.shutdown(Duration::from_secs(1))?;
    /// assert_eq!(tasks.health().reason.as_deref(), Some("the client is shut down"));
    /// # Ok::<(), litework::Error>(())
    /// ```
    pub fn health(&self) -> Health {
        if self.check_open().is_err() {
            return Health {
                reason: Some("the client is shut down".to_owned()),
                ..Health::default()
            };
        }
        let beat = self.hub.runner.get().and_then(|runner| runner.beat());
        let read = self.hub.backend.newest_moment();
        let reason = match read {
            Err(error) => Some(format!("the file cannot be read: {error}")),
            Ok(_) => late(beat),
        };
        Health { live: true, ready: reason.is_none(), reason }
    }
}

/// Why a pool that has looked after its tasks so long ago is not ready.
fn late(beat: Option<Duration>) -> Option<String> {
    let late = beat.filter(|beat| *beat > BEAT_MAX)?;
    Some(format!("the pool has not looked after its tasks for {} s", late.as_secs()))
}

/// A page of metrics that is being written.
#[derive(Default)]
struct Exposition {
    text: String,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // A text takes whatever is written to it.
        let _always = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if at == 0 { '{' } else { ',' };
            let _always = write!(self.text, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _always = writeln!(self.text, "{close} {value}");
    }

    fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut up_to = 0_u64;
        for (bound, class) in HISTOGRAM_BOUNDS.iter().zip(histogram.classes) {
            up_to = up_to.saturating_add(class);
            let bound = bound.as_secs_f64().to_string();
            self.sample(&bucket, &[labels, &[("le", &*bound)]].concat(), up_to);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), histogram.count());
        self.sample(&format!("{name}_sum"), labels, histogram.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }

    /// A counter of each lane, with one more label for each of its numbers.
    fn by_lane(
        &mut self,
        (name, help): (&str, &str),
        totals: &[LaneCounts],
        label: Option<&str>,
        numbers: impl Fn(&Counts) -> Vec<(&'static str, u64)>,
    ) {
        self.family(name, "counter", help);
        for LaneCounts { queue, kind, counts } in totals {
            for (word, number) in numbers(counts) {
                let lane: Labels<'_> = &[("queue", queue), ("kind", kind)];
                let more = label.map(|label| (label, word));
                let labels: Vec<(&str, &str)> = lane.iter().copied().chain(more).collect();
                self.sample(name, &labels, number);
            }
        }
    }

    fn counted(&mut self, totals: &[LaneCounts]) {
        let enqueued = ("litework_tasks_enqueued_total", "Tasks that were stored.");
        self.by_lane(enqueued, totals, None, |counts| vec![("", counts.enqueued)]);
        let finished =
            ("litework_tasks_finished_total", "Tasks that have ended, by how they ended.");
        self.by_lane(finished, totals, Some("outcome"), |counts| {
            vec![
                ("succeeded", counts.succeeded),
                ("failed", counts.failed),
                ("cancelled", counts.cancelled),
                ("skipped", counts.skipped),
            ]
        });
        let attempts =
            ("litework_task_attempts_total", "Attempts that have ended, by what they came to.");
        self.by_lane(attempts, totals, Some("result"), |counts| {
            vec![
                ("ok", counts.ok),
                ("error", counts.errors),
                ("timeout", counts.timeouts),
                ("panic", counts.panics),
                ("interrupted", counts.interrupted),
            ]
        });
        let name = "litework_task_run_seconds";
        self.family(name, "histogram", "How long the bodies of tasks ran.");
        for LaneCounts { queue, kind, counts } in totals {
            self.histogram(name, &[("queue", queue), ("kind", kind)], &counts.run);
        }
        let mut waits: BTreeMap<&str, Counts> = BTreeMap::new();
        for lane in totals {
            waits.entry(&lane.queue).or_default().add(&lane.counts);
        }
        let name = "litework_task_wait_seconds";
        self.family(name, "histogram", "How long tasks were ready before their bodies began.");
        for (queue, counts) in waits {
            self.histogram(name, &[("queue", queue)], &counts.wait);
        }
    }

    fn overview(&mut self, overview: &Overview) {
        let name = "litework_tasks";
        self.family(name, "gauge", "Tasks that are in a state, counted up to 10000.");
        for queue in &overview.queues {
            for state in
                [State::Scheduled, State::Waiting, State::Ready, State::Running, State::Failed]
            {
                let labels = [("queue", queue.queue.as_str()), ("state", state.as_str())];
                self.sample(name, &labels, queue.depth(state).count);
            }
        }
        let name = "litework_queue_oldest_age_seconds";
        self.family(name, "gauge", "For how long the oldest ready task is due; 0: none is ready.");
        for queue in &overview.queues {
            let age = queue.oldest_ready.map(|due| due.until(overview.at)).unwrap_or_default();
            self.sample(name, &[("queue", &queue.queue)], age.as_secs_f64());
        }
        let name = "litework_queue_paused";
        self.family(name, "gauge", "1: the queue is paused.");
        for queue in &overview.queues {
            self.sample(name, &[("queue", &queue.queue)], u8::from(queue.paused_at.is_some()));
        }
        for (name, help, bytes) in [
            ("litework_db_size_bytes", "Size of the queue file.", overview.file_bytes),
            ("litework_db_wal_size_bytes", "Size of its write-ahead log.", overview.wal_bytes),
        ] {
            if let Some(bytes) = bytes {
                self.family(name, "gauge", help);
                self.sample(name, &[], bytes);
            }
        }
    }

    fn busy(&mut self, waits: Option<u64>) {
        let name = "litework_db_busy_total";
        if let Some(waits) = waits {
            let help = "Writes of this process that found the file locked by another program.";
            self.family(name, "counter", help);
            self.sample(name, &[], waits);
        }
    }

    fn workers(&mut self, workers: &[WorkerRecord]) {
        let busy = workers.iter().filter(|worker| !worker.running.is_empty()).count();
        let name = "litework_workers";
        self.family(name, "gauge", "Live processes that run tasks.");
        self.sample(name, &[("state", "busy")], busy);
        self.sample(name, &[("state", "idle")], workers.len() - busy);
        let pools = || workers.iter().filter(|worker| worker.serves);
        let slots: usize = pools().map(|pool| pool.threads).sum();
        let taken: usize = pools().map(|pool| pool.running.len().min(pool.threads)).sum();
        self.family("litework_worker_slots", "gauge", "Threads of all pools.");
        self.sample("litework_worker_slots", &[], slots);
        self.family(
            "litework_worker_slots_busy",
            "gauge",
            "Threads of all pools that have a task.",
        );
        self.sample("litework_worker_slots_busy", &[], taken);
    }

    fn schedules(&mut self, schedules: &[ScheduleRecord]) {
        let name = "litework_schedule_last_run_timestamp_seconds";
        self.family(name, "gauge", "When the schedule last made a task.");
        for schedule in schedules {
            if let Some(last) = &schedule.last {
                self.sample(name, &[("schedule", &schedule.name)], seconds(last.fired_at));
            }
        }
        let name = "litework_schedule_missed_total";
        self.family(name, "counter", "Slots that all schedules have missed.");
        let missed: u64 = schedules.iter().map(|schedule| schedule.missed_slots).sum();
        self.sample(name, &[], missed);
    }
}

fn seconds(at: Timestamp) -> f64 {
    Timestamp::MIN.until(at).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut page = Exposition::default();
        page.family("a", "gauge", "one\ntwo \\ \"three\"");
        page.sample("a", &[("b", "x\"y\\z\n"), ("c", "é")], 1.5);
        page.sample("a", &[], u64::MAX);
        let expected = "# HELP a one\\ntwo \\\\ \"three\"\n# TYPE a gauge\n\
                        a{b=\"x\\\"y\\\\z\\n\",c=\"é\"} 1.5\na 18446744073709551615\n";
        assert_eq!(page.text, expected);
    }

    #[test]
    fn a_histogram_adds_up_to_all() {
        let mut histogram = Histogram::default();
        for ms in [1, 7, 60_000, 9_000_000] {
            histogram.note(Duration::from_millis(ms));
        }
        let mut page = Exposition::default();
        page.histogram("h", &[("q", "x")], &histogram);
        let lines: Vec<&str> = page.text.lines().collect();
        assert_eq!(lines[0], "h_bucket{q=\"x\",le=\"0.005\"} 1");
        assert_eq!(lines[1], "h_bucket{q=\"x\",le=\"0.01\"} 2");
        assert_eq!(lines[12], "h_bucket{q=\"x\",le=\"60\"} 3");
        assert_eq!(lines[16], "h_bucket{q=\"x\",le=\"+Inf\"} 4");
        assert_eq!(lines[17..], ["h_sum{q=\"x\"} 9060.008", "h_count{q=\"x\"} 4"]);
    }

    #[test]
    fn a_pool_that_keeps_no_time_is_not_ready() {
        assert_eq!(late(None), None);
        assert_eq!(late(Some(Duration::from_secs(11))), None);
        let reason = late(Some(Duration::from_secs(61))).expect("it is late");
        assert!(reason.contains("61 s"), "{reason}");
    }
}
