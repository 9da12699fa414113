//! Define: what comes of the settings: who decides among builder, configuration and environment, and
//! whether each setting is in its range.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Builder;
use super::served::Served;
use super::store::Store;
use crate::artifact::{ArtifactQuota, BYTES};
use crate::catalog::{Catalog, check_allowed};
use crate::config::{Config, Preset, QueueFor, WEIGHTS};
use crate::error::Error;
use crate::gate::Limits;
use crate::mode::Mode;
use crate::operate::WORKERS;
use crate::options::check_name;
use crate::quota::{FILE_BYTES, WAITING};
use crate::range::{Range, SPAN};
use crate::route::{Glob, Routes};
use crate::rule::Scope;
use crate::worker::places::PoolConfig;

impl Builder {
    /// The configuration over the builder, the environment over both.
    pub(super) fn apply_settings(&mut self) -> Result<(), Error> {
        let config = std::mem::take(&mut self.config);
        config.check(&self.place.path)?;
        self.apply_config(config)?;
        self.check_variables()?;
        if let Some((name, word)) = self.variable("MODE")? {
            let allowed = "pool, inline, enqueue or hold";
            let mode =
                word.parse().map_err(|_| Error::invalid("bad_config", name, &word, allowed))?;
            self.mode = Some(mode);
        }
        if let Some((name, word)) = self.variable("WORKERS")? {
            let allowed = "a whole number from 1 to 1024";
            let threads =
                word.parse().map_err(|_| Error::invalid("bad_config", &name, &word, allowed))?;
            WORKERS.check("out_of_range", || name, &threads)?;
            self.workers = Some(threads);
        }
        if let Some((name, words)) = self.variable("QUEUES")? {
            let names: Vec<String> = words.split(',').map(str::to_owned).collect();
            self.serve_only(Served::read(&name, &names)?);
        }
        if let Some((_, path)) = self.variable("DB")?.filter(|_| !self.place.is_fixed) {
            self.set_path(Path::new(&path));
        }
        #[cfg(feature = "cli")]
        self.check_operated()?;
        Ok(())
    }

    /// The pool serves these queues, whatever was said before.
    pub(super) fn serve_only(&mut self, served: Served) {
        (self.pool.queues, self.pool.exclude) = (served.only, served.except);
    }

    /// What is set takes the place of what the builder says; a table goes key by key.
    fn apply_config(&mut self, config: Config) -> Result<(), Error> {
        match config.preset {
            Some(Preset::Immediate) => self.be_immediate(),
            Some(Preset::Dummy) => self.be_dummy(),
            Some(Preset::Sqlite) => self.be_file()?,
            None => {}
        }
        self.mode = config.mode.or(self.mode);
        self.workers = config.workers.or(self.workers);
        if let Some(db) = config.db.filter(|_| !self.place.is_fixed) {
            self.set_path(&db);
        }
        let set = |list: &mut Vec<String>, set: Option<Vec<String>>| {
            if let Some(set) = set {
                *list = set;
            }
        };
        set(&mut self.allowed_queues, config.allow_queues);
        set(&mut self.pool.queues, config.serve);
        set(&mut self.pool.exclude, config.serve_all_but);
        self.pool.name = config.name.unwrap_or_else(|| std::mem::take(&mut self.pool.name));
        self.pool.threads_for.extend(config.threads_for);
        self.pool.weights.extend(config.weight);
        for (queue, max) in config.max_running {
            self.queue_limits.entry(queue).or_default().max_running = Some(max);
        }
        for (queue, rate) in config.rate {
            self.queue_limits.entry(queue).or_default().rate = Some(rate.rate());
        }
        let queue_for =
            config.queue_for.into_iter().map(|QueueFor { kinds, queue }| (kinds, queue));
        self.queue_for.splice(..0, queue_for);
        self.durability = config.durability.unwrap_or(self.durability);
        self.ageing = config.ageing.or(self.ageing);
        self.retry_in_place = config.retry_in_place.unwrap_or(self.retry_in_place);
        self.prunes.retention =
            config.retention.unwrap_or_else(|| std::mem::take(&mut self.prunes.retention));
        self.prunes.automatic = config.prune.unwrap_or(self.prunes.automatic);
        self.quotas.queues.extend(config.max_waiting);
        self.quotas.each_queue = config.max_waiting_each.or(self.quotas.each_queue);
        self.quotas.file_bytes = config.max_file_bytes.or(self.quotas.file_bytes);
        let ArtifactQuota { each, all, beside } = &mut self.artifacts;
        *each = config.max_artifact_bytes.unwrap_or(*each);
        *all = config.max_artifacts_bytes.unwrap_or(*all);
        *beside = config.artifacts_beside.unwrap_or(*beside);
        #[cfg(feature = "sqlite")]
        {
            let settings = &mut self.settings;
            let set = |flag: &mut bool, set: Option<bool>| *flag = set.unwrap_or(*flag);
            set(&mut settings.application_file, config.application_file);
            set(&mut settings.convert_to_wal, config.convert_to_wal);
            set(&mut settings.any_filesystem, config.allow_network_filesystem);
            set(&mut settings.incremental_vacuum, config.incremental_vacuum);
            set(&mut settings.must_exist, config.must_exist);
            self.prunes.gives_space = settings.incremental_vacuum;
        }
        Ok(())
    }

    /// Checks what concerns the runners, and says which there is.
    pub(super) fn resolve(&mut self) -> Result<Mode, Error> {
        let mode =
            self.mode.unwrap_or(if self.workers.is_some() { Mode::Pool } else { Mode::Inline });
        let default = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.workers.unwrap_or_else(default);
        WORKERS.check("out_of_range", || "workers".to_owned(), &threads)?;
        self.pool.threads = threads;
        if self.pool.name.is_empty() {
            self.pool.name = program_name();
        }
        check_name("bad_name", "worker name", &self.pool.name)?;
        for queue in self.pool_queues() {
            check_name("bad_queue", "queue name", queue)?;
        }
        check_range("threads_for", &self.pool.threads_for, &WORKERS)?;
        check_range("weight", &self.pool.weights, &WEIGHTS)?;
        if let Some(ageing) = &self.ageing {
            SPAN.check("out_of_range", || "ageing".to_owned(), ageing)?;
        }
        self.check_quotas()?;
        self.check_limits()?;
        self.check_retention()?;
        #[cfg(feature = "cli")]
        self.tell_worker();
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
        if self.place.is_operated {
            return Vec::new();
        }
        let queues = self.queue_limits.iter();
        let queues = queues.map(|(queue, limits)| (Scope::queue(queue), *limits));
        let kinds = catalog.kinds().map(|kind| (Scope::kind(&*kind.name), kind.options.limits()));
        queues.chain(kinds).collect()
    }

    fn check_limits(&self) -> Result<(), Error> {
        for (queue, limits) in &self.queue_limits {
            check_name("bad_queue", "queue name", queue)?;
            limits.check(&format!("max_running of queue {queue}"))?;
        }
        Ok(())
    }

    /// The queues of kinds that name none.
    pub(super) fn queue_routes(&mut self) -> Result<Routes<String>, Error> {
        let mut routes = Routes::default();
        for (kinds, queue) in std::mem::take(&mut self.queue_for) {
            let glob = Glob::checked("bad_glob", "kinds of `queue_for`", &kinds)?;
            check_name("bad_queue", "queue name", &queue)?;
            check_allowed(|| "queue name".to_owned(), &queue, &self.allowed_queues)?;
            routes.add(glob, queue);
        }
        Ok(routes)
    }

    fn check_quotas(&self) -> Result<(), Error> {
        let ArtifactQuota { each, all, .. } = &self.artifacts;
        BYTES.check("out_of_range", || "max_artifact_bytes".to_owned(), each)?;
        BYTES.check("out_of_range", || "max_artifacts_bytes".to_owned(), all)?;
        let quotas = &self.quotas;
        for queue in quotas.queues.keys() {
            check_name("bad_queue", "queue name", queue)?;
        }
        check_range("max_waiting", &quotas.queues, &WAITING)?;
        if let Some(tasks) = &quotas.each_queue {
            WAITING.check("out_of_range", || "max_waiting_each".to_owned(), tasks)?;
        }
        let Some(bytes) = &quotas.file_bytes else { return Ok(()) };
        let place = || "max_file_bytes".to_owned();
        if matches!(self.store, Store::Memory) {
            let allowed = "none for a queue in memory, which has no file";
            return Err(Error::invalid("unsupported", place(), bytes, allowed));
        }
        FILE_BYTES.check("out_of_range", place, bytes)
    }
}

fn check_range<N: PartialOrd + std::fmt::Debug>(
    place: &str,
    values: &HashMap<String, N>,
    range: &Range<N>,
) -> Result<(), Error> {
    values.iter().try_for_each(|(queue, value)| {
        range.check("out_of_range", || format!("{place} of queue {queue}"), value)
    })
}

/// The program's file name, with what a name may not hold left out.
pub(super) fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(crate::options::NAME_BYTES_MAX)
        .collect();
    if name.is_empty() { "litework".to_owned() } else { name }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::Client;
    use crate::gate::Rate;
    use crate::options::Durability;
    use crate::retention::{Keep, Retention};

    /// Settings in which no key has its default.
    const ALL: &str = r#"{
        "mode": "hold", "workers": 3, "db": "b.db", "name": "web", "durability": "normal",
        "allow_queues": ["a", "b", "c"], "serve": ["a"], "serve_all_but": ["b"],
        "threads_for": {"a": 2}, "weight": {"a": 3}, "max_running": {"a": 4},
        "rate": {"a": {"count": 60, "per": "1m", "burst": 2}},
        "queue_for": [{"kinds": "x*", "queue": "a"}], "ageing": "10m", "retry_in_place": false,
        "max_waiting": {"a": 5}, "max_waiting_each": 6, "max_file_bytes": 1048576,
        "retention": {"failed": {"age": "90d", "count": 7}, "queues": {"a": {"skipped": {}}}},
        "prune": false, "incremental_vacuum": true,
        "application_file": true, "convert_to_wal": true, "allow_network_filesystem": true,
        "must_exist": true
    }"#;

    fn applied(builder: Builder) -> Builder {
        let config: Config = serde_json::from_str(ALL).expect("every key is known");
        let mut builder = builder.environment([("", ""); 0]).config(config);
        builder.apply_settings().expect("every value is in its range");
        builder
    }

    #[test]
    fn every_key_wins_over_what_the_builder_says_of_the_same() {
        let minute = Duration::from_secs(60);
        let other = Client::builder("a.db").mode(Mode::Pool).workers(9).name("other");
        let other = other.allow_queues(["z"]).serve(["z"]).serve_all_but(["z"]).ageing(minute);
        let other = other.threads_for("a", 9).threads_for("z", 9).weight("a", 9).weight("z", 9);
        let other = other.max_running("a", 9).rate("z", Rate::per(9, minute));
        let other = other.queue_for("*", "z").max_waiting("a", 9).max_waiting("z", 9);
        let other = other.retention(Retention::all(Keep::age(minute))).prune(true);
        let builder = applied(other.max_waiting_each(9).max_file_bytes(9));
        assert_eq!((builder.mode, builder.workers), (Some(Mode::Hold), Some(3)));
        assert!(format!("{:?}", builder.store).contains("b.db"));
        let pool = &builder.pool;
        assert_eq!((pool.name.as_str(), &*pool.queues), ("web", &["a".to_owned()][..]));
        assert_eq!((&*pool.exclude, builder.allowed_queues.len()), (&["b".to_owned()][..], 3));
        assert_eq!((pool.threads_for["a"], pool.threads_for["z"]), (2, 9));
        assert_eq!((pool.weights["a"], pool.weights["z"]), (3, 9));
        let limits = &builder.queue_limits;
        assert_eq!(limits["a"].max_running, Some(4));
        assert_eq!(limits["a"].rate, Some(Rate::per(60, minute).burst(2)));
        assert_eq!(limits["z"].rate, Some(Rate::per(9, minute)));
        let queues = builder.queue_for.iter().map(|(kinds, queue)| (&**kinds, &**queue));
        assert_eq!(queues.collect::<Vec<_>>(), [("x*", "a"), ("*", "z")]);
        assert_eq!(builder.ageing, Some(10 * minute));
        let quotas = &builder.quotas;
        assert_eq!((quotas.queues["a"], quotas.queues["z"]), (5, 9));
        assert_eq!((quotas.each_queue, quotas.file_bytes), (Some(6), Some(1_048_576)));
        assert_eq!((builder.durability, builder.retry_in_place), (Durability::Normal, false));
        let kept = Retention::default().failed(Keep::age(90 * 24 * 60 * minute).count(7));
        let differs = Retention::default().skipped(Keep::forever());
        assert_eq!(builder.prunes.retention, kept.queue("a", differs));
        assert!(!builder.prunes.automatic && builder.prunes.gives_space);
        let settings = &builder.settings;
        assert!(settings.incremental_vacuum && settings.must_exist);
        assert!(settings.application_file && settings.convert_to_wal && settings.any_filesystem);
    }

    #[test]
    fn a_preset_takes_the_place_of_the_builders_store_and_mode() {
        let of = |preset: &str, builder: Builder| {
            let config = serde_json::from_str(&format!(r#"{{"preset": "{preset}"}}"#));
            let mut builder = builder.environment([("", ""); 0]).config(config.expect("a preset"));
            builder.apply_settings().expect("nothing contradicts it");
            (format!("{:?}", builder.store), builder.mode, builder.immediate)
        };
        let file = || Client::builder("a.db").mode(Mode::Pool);
        assert_eq!(of("immediate", file()), ("Memory".into(), Some(Mode::Inline), true));
        assert_eq!(of("dummy", Client::immediate()), ("Memory".into(), Some(Mode::Hold), false));
        assert_eq!(of("sqlite", file()), ("File(\"a.db\")".into(), Some(Mode::Pool), false));
        assert_eq!(of("sqlite", Client::in_memory()), ("Unnamed".into(), None, false));
    }
}
