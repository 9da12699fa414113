//! Tests only: places where a process can be stopped, and defects that can be planted.
//!
//! Without the hidden feature `__fault` every function here is empty, so no program that uses this
//! library has them. With it, the environment variable `LITEWORK_FAULT=name:n` makes the n-th pass of
//! a point write `at name` to standard output and wait there to be killed. `LITEWORK_MARK=name` makes
//! each passage of a place write `enters name` and `leaves name` and go on. `LITEWORK_PLANT=name`
//! switches one guarantee off, so that a test can show that its checker sees the difference; several
//! are separated by commas, and `name:n` does so at the n-th time only. `LITEWORK_MOUNTS` names a file
//! that is read instead of the system's table of mounts. `LITEWORK_BUSY_MS` is how long a writer waits for
//! its turn and for another process's lock, instead of 30 s.

#[cfg(feature = "__fault")]
mod on {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    #[cfg(feature = "sqlite")]
    use std::time::Duration;

    struct Stop {
        name: String,
        pass: u64,
        passed: AtomicU64,
    }

    fn stop() -> Option<&'static Stop> {
        static STOP: OnceLock<Option<Stop>> = OnceLock::new();
        STOP.get_or_init(|| {
            let text = std::env::var("LITEWORK_FAULT").ok()?;
            let (name, pass) = text.split_once(':')?;
            Some(Stop {
                name: name.to_owned(),
                pass: pass.parse().ok()?,
                passed: AtomicU64::new(0),
            })
        })
        .as_ref()
    }

    /// The parent is waiting for this line; if it is gone there is nobody to tell.
    fn say(what: &str, name: &str) {
        let mut out = std::io::stdout();
        let _told = writeln!(out, "{what} {name}").and_then(|()| out.flush());
    }

    pub(crate) fn point(name: &str) {
        let Some(stop) = stop().filter(|stop| stop.name == name) else { return };
        if stop.passed.fetch_add(1, Ordering::SeqCst) + 1 == stop.pass {
            say("at", name);
            loop {
                std::thread::park();
            }
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn passage<R>(name: &str, body: impl FnOnce() -> R) -> R {
        static MARK: OnceLock<Option<String>> = OnceLock::new();
        let mark = MARK.get_or_init(|| std::env::var("LITEWORK_MARK").ok());
        if mark.as_deref() != Some(name) {
            return body();
        }
        say("enters", name);
        let answer = body();
        say("leaves", name);
        answer
    }

    struct Plant {
        name: String,
        /// At which time it takes effect; none: each time.
        time: Option<u64>,
        asked: AtomicU64,
    }

    fn plants() -> &'static [Plant] {
        static PLANTS: OnceLock<Vec<Plant>> = OnceLock::new();
        PLANTS.get_or_init(|| {
            let text = std::env::var("LITEWORK_PLANT").unwrap_or_default();
            let plants = text.split(',').map(|plant| {
                let (name, time) = plant.split_once(':').unwrap_or((plant, ""));
                Plant { name: name.to_owned(), time: time.parse().ok(), asked: AtomicU64::new(0) }
            });
            plants.collect()
        })
    }

    pub(crate) fn planted(name: &str) -> bool {
        plants().iter().filter(|plant| plant.name == name).fold(false, |hit, plant| {
            let time = plant.asked.fetch_add(1, Ordering::SeqCst) + 1;
            hit | plant.time.is_none_or(|wanted| wanted == time)
        })
    }

    /// `LITEWORK_BUSY_MS`, instead of what is usual.
    #[cfg(feature = "sqlite")]
    pub(crate) fn busy_deadline(usual: Duration) -> Duration {
        static ASKED: OnceLock<Option<u64>> = OnceLock::new();
        let asked = ASKED.get_or_init(|| std::env::var("LITEWORK_BUSY_MS").ok()?.parse().ok());
        asked.map_or(usual, Duration::from_millis)
    }

    /// `LITEWORK_MOUNTS`: the file that stands in for the system's table of mounts.
    #[cfg(all(feature = "sqlite", target_os = "linux"))]
    pub(crate) fn mount_table() -> Option<std::path::PathBuf> {
        std::env::var_os("LITEWORK_MOUNTS").map(Into::into)
    }
}

#[cfg(all(feature = "__fault", feature = "sqlite", target_os = "linux"))]
pub(crate) use on::mount_table;
#[cfg(all(feature = "__fault", feature = "sqlite"))]
pub(crate) use on::{busy_deadline, passage};
#[cfg(feature = "__fault")]
pub(crate) use on::{planted, point};

#[cfg(not(feature = "__fault"))]
#[inline]
pub(crate) fn point(_name: &str) {}

#[cfg(all(not(feature = "__fault"), feature = "sqlite", target_os = "linux"))]
pub(crate) fn mount_table() -> Option<std::path::PathBuf> {
    None
}

#[cfg(all(not(feature = "__fault"), feature = "sqlite"))]
#[inline]
pub(crate) fn passage<R>(_name: &str, body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(all(not(feature = "__fault"), feature = "sqlite"))]
#[inline]
pub(crate) fn busy_deadline(usual: std::time::Duration) -> std::time::Duration {
    usual
}

#[cfg(not(feature = "__fault"))]
#[inline]
pub(crate) fn planted(_name: &str) -> bool {
    false
}
