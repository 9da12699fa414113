//! Define: settings as data, which a program reads with serde from a file of its own.
//!
//! A key that means nothing is an error that names the nearest one, and a value outside its range an error
//! with the key's whole path.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::artifact::BYTES;
use crate::error::Error;
use crate::gate::{RUNNING, Rate};
use crate::mode::Mode;
use crate::operate::WORKERS;
use crate::options::{Durability, check_name};
use crate::quota::{FILE_BYTES, WAITING};
use crate::range::{Range, SPAN};
use crate::retention::Retention;
use crate::route::Glob;
use crate::table::{plain, span, table};

/// A complete client in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Preset {
    /// A queue file; the key `db` says which.
    Sqlite,
    /// [`Client::immediate`](crate::Client::immediate): in memory, run before `enqueue` returns.
    Immediate,
    /// [`Client::dummy`](crate::Client::dummy): in memory, run by nobody.
    Dummy,
}

impl Preset {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Immediate => "immediate",
            Self::Dummy => "dummy",
        }
    }
}

/// Writes a struct of settings and the way it is read: each key once, and none but these.
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* pub $key:ident: $type:ty as $read:ident,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $key: $type,)+
        }

        table! { $name { $($key as $read,)+ } }
    };
}

settings! {
    /// Settings of one client that a program reads from a file of its own. Each key is named as the method of
    /// [`Builder`](crate::Builder) that it overrides; what is a matter of code (state, layers, clocks, limits of
    /// JSON) is no key.
    ///
    /// ```
    /// # use litework::{Config, Keep, Mode, Retention};
    /// # use std::time::Duration;
    /// let config: Config = toml::from_str(
    ///     r#"
    ///     mode = "pool"
    ///     workers = 4
    ///     ageing = "10m"
    ///     threads_for = { images = 2 }
    ///     queue_for = [{ kinds = "mail.*", queue = "mail" }]
    ///
    ///     [retention]
    ///     succeeded = { age = "1h", count = 10_000 }
    ///     failed = { age = "90d" }
    ///     queues.invoices.succeeded = {} # no limit
    ///     "#,
    /// )?;
    /// assert_eq!((config.mode, config.workers), (Some(Mode::Pool), Some(4)));
    /// assert_eq!(config.ageing, Some(Duration::from_secs(600)));
    /// let (hour, day) = (Duration::from_secs(60 * 60), Duration::from_secs(24 * 60 * 60));
    /// let retention = Retention::default()
    ///     .succeeded(Keep::age(hour).count(10_000))
    ///     .failed(Keep::age(90 * day))
    ///     .queue("invoices", Retention::default().succeeded(Keep::forever()));
    /// assert_eq!(config.retention, Some(retention));
    ///
    /// let error = toml::from_str::<Config>("worker = 4").unwrap_err();
    /// assert!(error.message().contains("unknown key `worker`; did you mean `workers`?"));
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub struct Config {
        /// The whole client in one word. `immediate` and `dummy` leave no room for `db`, `mode` and `workers`.
        pub preset: Option<Preset> as plain,
        /// Who runs what is enqueued.
        pub mode: Option<Mode> as plain,
        /// Worker threads of a pool, 1 to 1,024.
        pub workers: Option<usize> as plain,
        /// The queue file.
        pub db: Option<PathBuf> as plain,
        /// The name this process is shown by, 1–64 of `A–Z a–z 0–9 . _ -`.
        pub name: Option<String> as plain,
        /// What an answered call survives: `full` or `normal`.
        pub durability: Option<Durability> as plain,
        /// How long tasks are kept after their end, the whole in the place of the builder's: by outcome and
        /// queue, an `age` as text and a `count`, see [`Retention`].
        pub retention: Option<Retention> as plain,
        /// Whether this program removes what is old by itself.
        pub prune: Option<bool> as plain,
        /// Gives the space of what was removed back to the disk. Only for a queue file.
        pub incremental_vacuum: Option<bool> as plain,
        /// Only these queues may be used.
        pub allow_queues: Option<Vec<String>> as plain,
        /// The pool serves only these queues.
        pub serve: Option<Vec<String>> as plain,
        /// The pool serves all queues but these.
        pub serve_all_but: Option<Vec<String>> as plain,
        /// At most this many threads of the pool run tasks of a queue, 1 to 1,024; beside those that the builder
        /// names.
        pub threads_for: BTreeMap<String, usize> as plain,
        /// Queues share the pool by weight, 1 to 1,000; beside those that the builder names.
        pub weight: BTreeMap<String, u32> as plain,
        /// At most this many tasks of a queue run at once in all processes, 1 to 1,000,000; beside those that the
        /// builder names.
        pub max_running: BTreeMap<String, u32> as plain,
        /// How many tasks of a queue start in a period; beside those that the builder names.
        pub rate: BTreeMap<String, QueueRate> as plain,
        /// The queue of kinds that name none, by pattern. The first that matches decides; those of the builder
        /// come after these.
        pub queue_for: Vec<QueueFor> as plain,
        /// What one point of priority is worth, 1 ms to 100 years, as text: a whole number and a unit (`ms`, `s`,
        /// `m`, `h`, `d`).
        pub ageing: Option<Duration> as span,
        /// In mode `inline`, whether the attempts of a failing task follow each other at once.
        pub retry_in_place: Option<bool> as plain,
        /// At most this many tasks of a queue may wait, 1 to 1,000,000,000; beside those that the builder names.
        pub max_waiting: BTreeMap<String, u64> as plain,
        /// The same for each queue without a limit of its own.
        pub max_waiting_each: Option<u64> as plain,
        /// Bytes of the file, 1 MiB to 256 TiB. Only for a queue file.
        pub max_file_bytes: Option<u64> as plain,
        /// Bytes of one artifact, 1 to 1 TiB.
        pub max_artifact_bytes: Option<u64> as plain,
        /// Bytes of all artifacts together, 1 to 1 TiB.
        pub max_artifacts_bytes: Option<u64> as plain,
        /// Whether files are kept in a folder beside the queue file.
        pub artifacts_beside: Option<bool> as plain,
        /// The file belongs to the application. Only for a queue file.
        pub application_file: Option<bool> as plain,
        /// Switches an application's file to WAL if it is not. Only for a queue file.
        pub convert_to_wal: Option<bool> as plain,
        /// Opens the file though other hosts may share its disk. Only for a queue file.
        pub allow_network_filesystem: Option<bool> as plain,
        /// Opens the file only if it is there. Only for a queue file.
        pub must_exist: Option<bool> as plain,
    }
}

settings! {
    /// One value of [`Config::rate`], as in `rate = { mail = { count = 60, per = "1m", burst = 2 } }`; see
    /// [`Rate`].
    pub struct QueueRate {
        /// So many tasks start in each period, 1 to 1,000,000.
        pub count: u32 as plain,
        /// The period, 1 ms to 100 years, as text.
        pub per: Option<Duration> as span,
        /// So many may start at once after a quiet time, 1 to `count`. Default: 1.
        pub burst: Option<u32> as plain,
    }
}

impl QueueRate {
    pub(crate) fn rate(&self) -> Rate {
        Rate::per(self.count, self.per.unwrap_or_default()).burst(self.burst.unwrap_or(1))
    }
}

settings! {
    /// One entry of [`Config::queue_for`]: tasks of these kinds wait in this queue.
    pub struct QueueFor {
        /// A pattern over names of kinds: `*` for any text, `?` for one character.
        pub kinds: String as plain,
        /// The queue.
        pub queue: String as plain,
    }
}

settings! {
    /// One entry of [`ClientsConfig::routes`]: tasks of these kinds go to this client.
    pub struct Route {
        /// A pattern over names of kinds: `*` for any text, `?` for one character.
        pub kinds: String as plain,
        /// The name of the client.
        pub client: String as plain,
    }
}

settings! {
    /// Settings of a set of clients, for [`Clients::from_config`](crate::Clients::from_config).
    ///
    /// ```
    /// # use litework::ClientsConfig;
    /// let config: ClientsConfig = toml::from_str(
    ///     r#"
    ///     routes = [{ kinds = "mail.*", client = "mail" }]
    ///
    ///     [clients.default]
    ///     db = "tasks.db"
    ///     workers = 4
    ///
    ///     [clients.mail]
    ///     preset = "dummy"
    ///     "#,
    /// )?;
    /// assert_eq!(config.routes[0].client, "mail");
    /// assert_eq!(config.clients["default"].workers, Some(4));
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub struct ClientsConfig {
        /// The clients by name. Where there are any, one is `default`; where there is none, it is
        /// [`Client::immediate`](crate::Client::immediate).
        pub clients: BTreeMap<String, Config> as plain,
        /// Which client takes which kinds; the first pattern that matches decides.
        pub routes: Vec<Route> as plain,
    }
}

/// Weights of queues that can be set.
pub(crate) const WEIGHTS: Range<u32> = Range { least: 1, most: 1_000, text: "1 to 1000" };

/// The code of an error about the value of a key.
const BAD: &str = "bad_config";

fn bad(place: String, value: impl Debug, allowed: impl Into<String>) -> Error {
    Error::invalid(BAD, place, value, allowed)
}

/// The values of a table by queue, each in its range.
fn each_in_range<N: PartialOrd + Debug>(
    place: &str,
    values: &BTreeMap<String, N>,
    range: &Range<N>,
) -> Result<(), Error> {
    values.iter().try_for_each(|(queue, value)| {
        check_name("bad_config", &format!("queue name in {place}"), queue)?;
        range.check(BAD, || format!("{place}.{queue}"), value)
    })
}

fn shown<T: Debug>(value: Option<&T>) -> Option<&dyn Debug> {
    value.map(|value| value as &dyn Debug)
}

impl Config {
    /// Each value in its range; `path` leads to these settings, as `clients.mail.`.
    pub(crate) fn check(&self, path: &str) -> Result<(), Error> {
        let at = |key: &str| format!("{path}{key}");
        self.check_preset(path)?;
        self.check_queues(path)?;
        if let Some(workers) = &self.workers {
            WORKERS.check(BAD, || at("workers"), workers)?;
        }
        if let Some(name) = &self.name {
            check_name("bad_config", &at("name"), name)?;
        }
        if let Some(ageing) = &self.ageing {
            SPAN.check(BAD, || at("ageing"), ageing)?;
        }
        if let Some(retention) = &self.retention {
            retention.check_settings(&at("retention"))?;
        }
        if let Some(tasks) = &self.max_waiting_each {
            WAITING.check(BAD, || at("max_waiting_each"), tasks)?;
        }
        if let Some(bytes) = &self.max_file_bytes {
            FILE_BYTES.check(BAD, || at("max_file_bytes"), bytes)?;
        }
        if let Some(bytes) = &self.max_artifact_bytes {
            BYTES.check(BAD, || at("max_artifact_bytes"), bytes)?;
        }
        if let Some(bytes) = &self.max_artifacts_bytes {
            BYTES.check(BAD, || at("max_artifacts_bytes"), bytes)?;
        }
        Ok(())
    }

    /// What is said of queues.
    fn check_queues(&self, path: &str) -> Result<(), Error> {
        let at = |key: &str| format!("{path}{key}");
        for (key, queues) in [
            ("allow_queues", &self.allow_queues),
            ("serve", &self.serve),
            ("serve_all_but", &self.serve_all_but),
        ] {
            let mut queues = queues.iter().flatten();
            queues.try_for_each(|queue| check_name("bad_config", &at(key), queue))?;
        }
        each_in_range(&at("threads_for"), &self.threads_for, &WORKERS)?;
        each_in_range(&at("weight"), &self.weight, &WEIGHTS)?;
        each_in_range(&at("max_waiting"), &self.max_waiting, &WAITING)?;
        each_in_range(&at("max_running"), &self.max_running, &RUNNING)?;
        for (queue, rate) in &self.rate {
            check_name("bad_config", &format!("queue name in {path}rate"), queue)?;
            let parts = ["count", "per", "burst"];
            let at = |part| move || format!("{path}rate.{queue}.{part}");
            if rate.per.is_none() {
                let allowed = "a period as text, such as `1m`";
                return Err(Error::invalid(BAD, at("per")(), format_args!("missing"), allowed));
            }
            rate.rate().check_parts(BAD, parts.map(at))?;
        }
        for (index, QueueFor { kinds, queue }) in self.queue_for.iter().enumerate() {
            let at = |key: &str| format!("{path}queue_for[{index}].{key}");
            Glob::checked("bad_config", &at("kinds"), kinds)?;
            check_name("bad_config", &at("queue"), queue)?;
        }
        Ok(())
    }

    /// A preset in memory leaves some keys without a meaning.
    fn check_preset(&self, path: &str) -> Result<(), Error> {
        let Some(preset @ (Preset::Immediate | Preset::Dummy)) = self.preset else {
            return Ok(());
        };
        let mode = self.mode.map(Mode::as_str);
        let moot = [
            ("db", shown(self.db.as_ref())),
            ("mode", shown(mode.as_ref())),
            ("workers", shown(self.workers.as_ref())),
            ("durability", shown(self.durability.as_ref())),
            ("max_file_bytes", shown(self.max_file_bytes.as_ref())),
            ("incremental_vacuum", shown(self.incremental_vacuum.as_ref())),
            ("application_file", shown(self.application_file.as_ref())),
            ("convert_to_wal", shown(self.convert_to_wal.as_ref())),
            ("allow_network_filesystem", shown(self.allow_network_filesystem.as_ref())),
            ("must_exist", shown(self.must_exist.as_ref())),
        ];
        match moot.iter().find_map(|(key, value)| value.map(|value| (key, value))) {
            None => Ok(()),
            Some((key, value)) => {
                let preset = preset.as_str();
                let allowed = format!("leave it out: the preset `{preset}` gives it no meaning");
                Err(bad(format!("{path}{key}"), value, allowed))
            }
        }
    }
}
