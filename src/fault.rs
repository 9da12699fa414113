//! Tests only: places where a process can be stopped, and defects that can be planted.
//!
//! Without the feature `testing` every function here is empty. With it, the environment variable
//! `LITEWORK_FAULT=name:n` makes the n-th pass of a point write `at name` to standard output and
//! wait there to be killed; `LITEWORK_PLANT=name` switches one guarantee off, so that a test can
//! show that its checker sees the difference.

#[cfg(feature = "testing")]
mod on {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

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

    pub(crate) fn point(name: &str) {
        let Some(stop) = stop().filter(|stop| stop.name == name) else { return };
        if stop.passed.fetch_add(1, Ordering::SeqCst) + 1 == stop.pass {
            let mut out = std::io::stdout();
            // The parent is waiting for this line; if it is gone there is nobody to tell.
            let _told = writeln!(out, "at {name}").and_then(|()| out.flush());
            loop {
                std::thread::park();
            }
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn planted(name: &str) -> bool {
        static PLANT: OnceLock<Option<String>> = OnceLock::new();
        PLANT.get_or_init(|| std::env::var("LITEWORK_PLANT").ok()).as_deref() == Some(name)
    }
}

#[cfg(all(feature = "testing", feature = "sqlite"))]
pub(crate) use on::planted;
#[cfg(feature = "testing")]
pub(crate) use on::point;

#[cfg(not(feature = "testing"))]
#[inline]
pub(crate) fn point(_name: &str) {}

#[cfg(all(not(feature = "testing"), feature = "sqlite"))]
#[inline]
pub(crate) fn planted(_name: &str) -> bool {
    false
}
