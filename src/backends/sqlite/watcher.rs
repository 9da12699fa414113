//! Watch: noticing the commits of other processes without polling.
//!
//! On Linux the kernel reports each write to the -wal file. The report precedes the moment the
//! commit can be seen, so it is followed by a few looks at `PRAGMA data_version`, closely spaced at
//! first. So is each opening of that file, by which newcomers are known. Elsewhere that pragma is read twice a second, or
//! as often as the program says, and a thousand times a second for 2 s after a foreign commit. Never a write, and on
//! Linux no wake-up while nobody writes.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Inner;
use super::newcomer::Newcomers;
use crate::watch::Notice;

/// Between two looks where nothing is reported, if the program says nothing else …
const SLOW: Duration = Duration::from_millis(500);
/// … and while others commit; also the least that it may say.
const FAST: Duration = Duration::from_millis(1);

/// Starts the watching thread, which ends when the file is closed; the bell makes it look at once. `every` is how often it
/// looks where nothing is reported.
pub(super) fn start(
    inner: Weak<Inner>,
    wal: &Path,
    newcomers: &Arc<Newcomers>,
    every: Option<Duration>,
) -> std::io::Result<Option<Bell>> {
    let slow = every.unwrap_or(SLOW).max(FAST);
    #[cfg(target_os = "linux")]
    if !crate::fault::planted("no_reports")
        && let Ok(events) = linux::Events::new(wal, Arc::clone(newcomers))
    {
        let bell = events.bell()?;
        spawn(move || linux::run(&inner, &events, slow))?;
        return Ok(Some(bell));
    }
    #[cfg(not(target_os = "linux"))]
    let _unused = (wal, newcomers);
    spawn(move || poll(&inner, slow))?;
    Ok(None)
}

fn spawn(body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("litework-watch".into()).spawn(body).map(drop)
}

/// Wakes the watching thread, so that it sees that the file was closed.
#[cfg(target_os = "linux")]
pub(super) use linux::Bell;

/// Where the thread wakes by itself, nobody has to.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) enum Bell {}

#[cfg(not(target_os = "linux"))]
impl Bell {
    pub(super) fn ring(&self) {
        match *self {}
    }
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Another process has committed.
    Foreign,
    /// This process commits, or has committed since the last look.
    Own,
    Nothing,
}

/// One look. `None`: the file was closed. `own` counts the transactions of this process.
fn look(inner: &Weak<Inner>, own: &mut u64) -> Option<Look> {
    let inner = inner.upgrade()?;
    let before = std::mem::replace(own, inner.writer.transactions());
    Some(match inner.writer.take_foreign() {
        Some(true) => {
            inner.signal.ring(Notice::Foreign);
            Look::Foreign
        }
        Some(false) if *own == before => Look::Nothing,
        Some(false) | None => Look::Own,
    })
}

/// Where the system reports nothing.
fn poll(inner: &Weak<Inner>, slow: Duration) {
    const FAST_LOOKS: u32 = 2_000;
    let (mut fast_left, mut own) = (0, 0);
    while let Some(found) = look(inner, &mut own) {
        fast_left =
            if found == Look::Foreign { FAST_LOOKS } else { u32::saturating_sub(fast_left, 1) };
        std::thread::sleep(if fast_left > 0 { FAST } else { slow });
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::fs::inotify;

    use super::{Arc, Inner, Look, Newcomers, Path, Weak, look};

    /// How to spend the time until the next look.
    #[derive(Debug, Clone, Copy)]
    enum Pause {
        /// Reports that come meanwhile are one report.
        Deaf(Duration),
        /// A report ends it.
        Listening(Duration),
    }

    const fn deaf(micros: u64) -> Pause {
        Pause::Deaf(Duration::from_micros(micros))
    }

    const fn listening(millis: u64) -> Pause {
        Pause::Listening(Duration::from_millis(millis))
    }

    /// Looks after a report that may announce a commit of another process: it can be seen only after
    /// its flush, and nothing reports that moment.
    const CLOSE: [Pause; 9] = [
        deaf(50),
        deaf(100),
        deaf(150),
        deaf(250),
        deaf(400),
        deaf(1_000),
        listening(2),
        listening(8),
        listening(25),
    ];

    /// Looks after a report that was most likely of this process's own commit; wider apart each time
    /// that the next is of the same kind. Its own transactions see what others have committed.
    const OWN: [[Pause; 3]; 4] = [
        [deaf(1_000), listening(8), listening(25)],
        [deaf(2_000), listening(8), listening(25)],
        [deaf(4_000), listening(8), listening(25)],
        [deaf(8_000), listening(8), listening(25)],
    ];

    /// And then after these, unless something new is reported: a flush can take seconds.
    const LATE: [Pause; 5] =
        [listening(60), listening(150), listening(500), listening(2_000), listening(8_000)];

    /// The reports of the system, and the bell.
    pub(super) struct Events {
        reports: OwnedFd,
        bell: OwnedFd,
        newcomers: Arc<Newcomers>,
    }

    /// Wakes the watching thread.
    #[derive(Debug)]
    pub(in super::super) struct Bell(OwnedFd);

    impl Bell {
        pub(in super::super) fn ring(&self) {
            // It is full only if it was rung often, and then it rings still.
            let _rings = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
        }
    }

    impl Events {
        pub(super) fn new(wal: &Path, newcomers: Arc<Newcomers>) -> std::io::Result<Self> {
            let reports =
                inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
            let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::OPEN;
            inotify::add_watch(&reports, wal, what)?;
            let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            Ok(Self { reports, bell, newcomers })
        }

        pub(super) fn bell(&self) -> std::io::Result<Bell> {
            self.bell.try_clone().map(Bell)
        }

        /// Spends the pause, or waits for a report without end; whether there was one. An error if it is
        /// no use to wait.
        fn pause(&self, pause: Option<Pause>) -> rustix::io::Result<bool> {
            let patience = match pause {
                Some(Pause::Deaf(pause)) => {
                    std::thread::sleep(pause);
                    return Ok(false);
                }
                Some(Pause::Listening(pause)) => Some(pause),
                None => None,
            };
            let patience = patience.map(|patience| Timespec {
                tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: patience.subsec_nanos().into(),
            });
            let mut both = [&self.reports, &self.bell].map(|fd| PollFd::new(fd, PollFlags::IN));
            match poll(&mut both, patience.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => Ok(self.take()),
                Err(error) => Err(error),
            }
        }

        /// Whether a write was reported, or the bell rung, since this was last asked. Openings are noted.
        pub(super) fn take(&self) -> bool {
            let mut any = rustix::io::read(&self.bell, &mut [0; 8]).is_ok_and(|read| read > 0);
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reports = inotify::Reader::new(&self.reports, &mut buffer);
            while let Ok(report) = reports.next() {
                if report.events().contains(inotify::ReadFlags::OPEN) {
                    self.newcomers.note_opening();
                } else {
                    any = true;
                }
            }
            any
        }
    }

    pub(super) fn run(inner: &Weak<Inner>, events: &Events, slow: Duration) {
        let (mut own, mut streak) = (0, 0);
        // A commit that was under way when the watch began makes no report either.
        let mut pauses = CLOSE[..].iter().chain(&LATE);
        loop {
            let Ok(reported) = events.pause(pauses.next().copied()) else {
                return super::poll(inner, slow);
            };
            let Some(found) = look(inner, &mut own) else { return };
            if found != Look::Foreign && !reported {
                continue;
            }
            let next: &[Pause] = match found {
                Look::Foreign => &[],
                Look::Nothing => &CLOSE,
                Look::Own => &OWN[streak],
            };
            streak = if found == Look::Own { (streak + 1).min(OWN.len() - 1) } else { 0 };
            pauses = next.iter().chain(&LATE);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rusqlite::Connection;

    use super::{Arc, Newcomers, linux};

    #[test]
    fn whoever_opens_the_file_is_noticed_before_a_commit_and_this_engine_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tasks.db");
        let open = || {
            let conn = Connection::open(&path).expect("it opens");
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
                .expect("it is read");
            conn
        };
        let first = open();
        let logged = "PRAGMA journal_mode = WAL; PRAGMA user_version = 1";
        first.execute_batch(logged).expect("it is written");
        let newcomers = Arc::new(Newcomers::default());
        let wal = folder.path().join("tasks.db-wal");
        let events = linux::Events::new(&wal, Arc::clone(&newcomers)).expect("it is watched");
        let _theirs = open();
        assert!(!events.take(), "nothing was written");
        assert!(newcomers.take());
        newcomers.announce_own();
        let _ours = open();
        assert!(!events.take() && !newcomers.take());
        first.execute_batch("PRAGMA user_version = 2").expect("it is written");
        assert!(events.take() && !newcomers.take());
    }
}
