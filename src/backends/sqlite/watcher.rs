//! Watch: noticing the commits of other processes without polling.
//!
//! On Linux the kernel reports each write to the -wal file. The report precedes the moment the
//! commit can be seen, so it is followed by a few looks at `PRAGMA data_version`, closely spaced at
//! first. Elsewhere that pragma is read twice a second, and a thousand times a second for 2 s after
//! a foreign commit. Never a write, and no wake-up while nobody writes.

use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use super::Inner;
use crate::watch::Notice;

/// Looks after a report: at once, then after these pauses.
#[cfg(target_os = "linux")]
const LOOKS: [Duration; 7] = [
    Duration::from_micros(50),
    Duration::from_micros(150),
    Duration::from_micros(400),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(8),
    Duration::from_millis(25),
];

/// And then after these, unless something new is reported: a flush can take seconds.
#[cfg(target_os = "linux")]
const LATE_LOOKS: [Duration; 5] = [
    Duration::from_millis(60),
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];

/// Starts the watching thread. It ends when the file is closed and `nudge` has been called.
pub(super) fn start(inner: Weak<Inner>, wal: &Path, folder: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Ok(events) = linux::Events::new(wal, folder) {
        std::thread::Builder::new()
            .name("litework-watch".into())
            .spawn(move || linux::run(&inner, events))?;
        return Ok(());
    }
    #[cfg(not(target_os = "linux"))]
    drop((wal.to_owned(), folder.to_owned()));
    std::thread::Builder::new().name("litework-watch".into()).spawn(move || poll(&inner))?;
    Ok(())
}

/// Makes the watching thread look whether the file was closed.
pub(super) fn nudge(folder: &Path) {
    let bell = folder.join(format!("{:016x}.bell", fastrand::u64(..)));
    // Without the folder there is no watch on it either.
    let _no_folder = std::fs::write(&bell, b"").and_then(|()| std::fs::remove_file(&bell));
}

/// One look. `None`: the file was closed.
fn look(inner: &Weak<Inner>) -> Option<bool> {
    let inner = inner.upgrade()?;
    let foreign = inner.writer.take_foreign();
    if foreign {
        inner.signal.ring(Notice::Foreign);
    }
    Some(foreign)
}

/// Where the system reports nothing.
fn poll(inner: &Weak<Inner>) {
    const SLOW: Duration = Duration::from_millis(500);
    const FAST: Duration = Duration::from_millis(1);
    const FAST_LOOKS: u32 = 2_000;
    let mut fast_left = 0;
    while let Some(foreign) = look(inner) {
        fast_left = if foreign { FAST_LOOKS } else { fast_left.saturating_sub(1) };
        std::thread::sleep(if fast_left > 0 { FAST } else { SLOW });
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Inner, LATE_LOOKS, LOOKS, Path, Weak, look};
    use crossbeam_channel::{Receiver, Sender};
    use inotify::{Inotify, WatchMask};

    pub(super) struct Events(Inotify);

    impl Events {
        pub(super) fn new(wal: &Path, folder: &Path) -> std::io::Result<Self> {
            let inotify = Inotify::init()?;
            inotify.watches().add(wal, WatchMask::MODIFY)?;
            inotify.watches().add(folder, WatchMask::CREATE)?;
            Ok(Self(inotify))
        }
    }

    pub(super) fn run(inner: &Weak<Inner>, events: Events) {
        // A commit that was under way when the watch began makes no report either.
        let (report, reports) = crossbeam_channel::bounded(1);
        let _first = report.try_send(());
        let reader = Weak::clone(inner);
        let started = std::thread::Builder::new()
            .name("litework-events".into())
            .spawn(move || read(&reader, events, &report));
        if started.is_err() {
            return super::poll(inner);
        }
        let mut reported = false;
        while reported || reports.recv().is_ok() {
            match looks(inner, &reports) {
                Some(again) => reported = again,
                None => return,
            }
        }
        // The reports have ended, not the file.
        super::poll(inner);
    }

    fn read(inner: &Weak<Inner>, mut events: Events, report: &Sender<()>) {
        let mut buffer = [0; 4096];
        while events.0.read_events_blocking(&mut buffer).is_ok() {
            // While the last report is not taken the kernel holds further ones together.
            if report.send(()).is_err() || inner.strong_count() == 0 {
                return;
            }
        }
    }

    /// Looks closely at first, then now and then for as long as a slow flush may take: a commit can
    /// be seen only after its flush, and nothing reports that moment. True: there is a new report.
    fn looks(inner: &Weak<Inner>, reports: &Receiver<()>) -> Option<bool> {
        let mut found = look(inner)?;
        for pause in LOOKS {
            if found {
                break;
            }
            std::thread::sleep(pause);
            found = look(inner)?;
        }
        for pause in LATE_LOOKS {
            if reports.recv_timeout(pause).is_ok() {
                return Some(true);
            }
            look(inner)?;
        }
        Some(false)
    }
}
