//! Define: what comes of the settings: who decides among builder, configuration and environment, and
//! whether each setting is in its range.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Builder, Store};
use crate::catalog::Catalog;
use crate::error::Error;
use crate::gate::{Limits, check_running};
use crate::hub::Mode;
use crate::options::check_name;
use crate::rule::Scope;
use crate::worker::places::{PoolConfig, WORKERS_MAX};

impl Builder {
    /// The configuration over the builder, the environment over both.
    pub(super) fn apply_environment(&mut self) -> Result<(), Error> {
        let config = std::mem::take(&mut self.config);
        self.mode = config.mode.or(self.mode);
        self.workers = config.workers.or(self.workers);
        if let Some(db) = config.db {
            self.set_path(&db);
        }
        if let Some(word) = self.variable("LITEWORK_MODE")? {
            let allowed = "pool, inline, enqueue or hold";
            let mode = word
                .parse()
                .map_err(|_| Error::invalid("bad_config", "LITEWORK_MODE", &word, allowed))?;
            self.mode = Some(mode);
        }
        if let Some(word) = self.variable("LITEWORK_WORKERS")? {
            let allowed = "a whole number from 1 to 1024";
            let threads = word
                .parse()
                .map_err(|_| Error::invalid("bad_config", "LITEWORK_WORKERS", &word, allowed))?;
            self.workers = Some(threads);
        }
        if let Some(path) = self.variable("LITEWORK_DB")? {
            self.set_path(Path::new(&path));
        }
        Ok(())
    }

    fn set_path(&mut self, path: &Path) {
        match &mut self.store {
            Store::Memory => {
                let path = path.display();
                tracing::warn!(%path, "a queue in memory has no file; the path that was set is not used");
            }
            #[cfg(feature = "sqlite")]
            Store::File(known) => path.clone_into(known),
        }
    }

    fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        let value = match &self.environment {
            Some(pairs) => {
                pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            }
            None => match std::env::var(name) {
                Ok(value) => Some(value),
                Err(std::env::VarError::NotPresent) => None,
                Err(std::env::VarError::NotUnicode(raw)) => {
                    return Err(Error::invalid("bad_config", name, raw, "UTF-8 text"));
                }
            },
        };
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// Checks what concerns the runners, and says which there is.
    pub(super) fn resolve(&mut self) -> Result<Mode, Error> {
        let mode =
            self.mode.unwrap_or(if self.workers.is_some() { Mode::Pool } else { Mode::Inline });
        let default = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.workers.unwrap_or_else(default);
        if !(1..=WORKERS_MAX).contains(&threads) {
            return Err(Error::invalid("out_of_range", "workers", threads, "1 to 1024"));
        }
        self.pool.threads = threads;
        if self.pool.name.is_empty() {
            self.pool.name = program_name();
        }
        check_name("bad_name", "worker name", &self.pool.name)?;
        for queue in self.pool_queues() {
            check_name("bad_queue", "queue name", queue)?;
        }
        check_range("threads_for", &self.pool.threads_for, 1..=WORKERS_MAX, "1 to 1024")?;
        check_range("weight", &self.pool.weights, 1..=1_000, "1 to 1000")?;
        self.check_quotas()?;
        self.check_limits()?;
        Ok(mode)
    }

    /// Every queue that is named in what concerns the pool.
    fn pool_queues(&self) -> impl Iterator<Item = &String> {
        let PoolConfig { queues, exclude, threads_for, weights, .. } = &self.pool;
        queues.iter().chain(exclude).chain(threads_for.keys()).chain(weights.keys())
    }

    /// What concerns the pool names only queues that may be used.
    pub(super) fn check_pool_queues(&self, catalog: &Catalog) -> Result<(), Error> {
        self.pool_queues().try_for_each(|queue| catalog.check_queue(queue))
    }

    /// The limits of queues and kinds, as this program has them.
    pub(super) fn declared(&self, catalog: &Catalog) -> Vec<(Scope, Limits)> {
        let queues = self.queue_limits.iter();
        let queues = queues.map(|(queue, limits)| (Scope::queue(queue), *limits));
        let kinds = catalog.kinds().map(|kind| (Scope::kind(&*kind.name), kind.options.limits()));
        queues.chain(kinds).collect()
    }

    fn check_limits(&self) -> Result<(), Error> {
        for (queue, limits) in &self.queue_limits {
            check_name("bad_queue", "queue name", queue)?;
            if let Some(max) = limits.max_running {
                check_running(&format!("max_running of queue {queue}"), max)?;
            }
            limits.rate.map_or(Ok(()), |rate| rate.check().map(drop))?;
        }
        Ok(())
    }

    fn check_quotas(&self) -> Result<(), Error> {
        let quotas = &self.quotas;
        for queue in quotas.queues.keys() {
            check_name("bad_queue", "queue name", queue)?;
        }
        check_range("max_waiting", &quotas.queues, WAITING, "1 to 1000000000")?;
        let out_of_range =
            |place, value: u64, allowed| Err(Error::invalid("out_of_range", place, value, allowed));
        match (quotas.each_queue, quotas.file_bytes) {
            (Some(tasks), _) if !WAITING.contains(&tasks) => {
                out_of_range("max_waiting_each", tasks, "1 to 1000000000")
            }
            (_, Some(bytes)) if !FILE_BYTES.contains(&bytes) => {
                out_of_range("max_file_bytes", bytes, "1048576 to 281474976710656")
            }
            _ => Ok(()),
        }
    }
}

/// Limits of waiting tasks that can be set.
const WAITING: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;
/// Limits of a file that can be set.
const FILE_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 48;

fn check_range<N: PartialOrd + std::fmt::Debug>(
    place: &str,
    values: &HashMap<String, N>,
    range: std::ops::RangeInclusive<N>,
    allowed: &str,
) -> Result<(), Error> {
    match values.iter().find(|(_, value)| !range.contains(value)) {
        None => Ok(()),
        Some((queue, value)) => {
            Err(Error::invalid("out_of_range", format!("{place} of queue {queue}"), value, allowed))
        }
    }
}

/// The program's file name, with what a name may not hold left out.
fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(crate::options::NAME_BYTES_MAX)
        .collect();
    if name.is_empty() { "litework".to_owned() } else { name }
}
