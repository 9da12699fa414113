//! Run: how one process knows that another is dead, without a clock.
//!
//! Each runner has a seat in `<db>-litework/`: a lock file, held for as long as the process lives,
//! and a slots file, in which each thread notes the task it is about to start. The kernel frees the
//! lock at death, so a free lock means dead, at once. A held lock whose lease has not been renewed
//! for 30 s in which the observer was looking means hung: time in which it did not look itself, as it was
//! stopped, waited for the write lock or slept with the machine, says nothing of others. A missing lock
//! file proves nothing, and the lease decides.
//!
//! The slots say which tasks had started: only those are charged for a crash. After a reboot nobody
//! is, as the crash was not the task's.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;

/// A lease that nobody renewed for this long is lost.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// From one look to the next at most this counts, twice as long as a look is due after the one before:
/// in a longer pause the observer itself was held up, and so may be whoever it looks at.
const LOOK_COUNTS: Duration = Duration::from_secs(1);
/// Bytes of one slot: row, attempt, and room.
const SLOT_BYTES: usize = 16;

/// The folder of seats beside a file.
pub(super) fn folder(db: &Path) -> PathBuf {
    let mut name = db.file_name().unwrap_or_default().to_owned();
    name.push("-litework");
    db.with_file_name(name)
}

/// The file of a seat. None for a name that is not one of ours, as what stands in a row may be of anybody;
/// none also where the folder is a link, as what it leads to is not ours.
fn file_of(folder: &Path, stem: &str, suffix: &str) -> Option<PathBuf> {
    (is_stem(stem) && is_folder(folder)).then(|| folder.join(format!("{stem}.{suffix}")))
}

/// Whether this is a name as [`Seat::take`] draws it.
fn is_stem(stem: &str) -> bool {
    stem.len() == 16 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether it is a folder itself, and no link to one.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// This process's own place: dropping it frees the lock and removes the files.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) stem: String,
    folder: PathBuf,
    slots: File,
    _lock: File,
}

impl Seat {
    /// Takes a seat of a random name. The lock is held before anybody can read of it.
    pub(super) fn take(folder: &Path) -> Result<Self, Error> {
        let stem = format!("{:016x}", fastrand::u64(..));
        let made = again_if_gone(|| {
            make_folder(folder)?;
            let path = folder.join(format!("{stem}.lock"));
            let lock = open(&path, true)?;
            lock.lock()?;
            // A sweep may have held the lock first; then the file is gone, and all begins anew.
            std::fs::metadata(path)?;
            Ok((lock, open(&folder.join(format!("{stem}.slots")), true)?))
        });
        match made {
            Ok((lock, slots)) => Ok(Self { stem, folder: folder.to_owned(), slots, _lock: lock }),
            Err(error) => Err(Error::BadFile {
                code: "cannot_open",
                path: folder.display().to_string(),
                reason: format!("no lock file can be made in it: {error}"),
                source: Some(error.into()),
            }),
        }
    }

    /// Notes, without a sync, that a thread is about to start this attempt.
    pub(super) fn note(&self, slot: usize, row: i64, attempt: u32) {
        let mut bytes = [0_u8; SLOT_BYTES];
        bytes[..8].copy_from_slice(&row.to_le_bytes());
        bytes[8..12].copy_from_slice(&attempt.to_le_bytes());
        let at = (slot * SLOT_BYTES) as u64;
        // A slot that cannot be noted costs the task no attempt if this process dies.
        #[cfg(unix)]
        let _unnoted = std::os::unix::fs::FileExt::write_all_at(&self.slots, &bytes, at);
        #[cfg(windows)]
        let _unnoted = std::os::windows::fs::FileExt::seek_write(&self.slots, &bytes, at);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        remove(&self.folder, &self.stem);
    }
}

/// Another process removes the folder with its last seat, perhaps between two steps of ours.
pub(super) fn again_if_gone<R>(step: impl Fn() -> std::io::Result<R>) -> std::io::Result<R> {
    const TRIES: usize = 100;
    for _ in 1..TRIES {
        match step() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    step()
}

pub(super) fn make_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there is no mode to set"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if std::fs::symlink_metadata(folder)?.is_dir() {
                return Ok(());
            }
            let reason = "it is a link or a file; a folder of litework's own belongs there";
            Err(std::io::Error::new(std::io::ErrorKind::NotADirectory, reason))
        }
        made => made,
    }
}

fn open(path: &Path, create: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Removes the files of a seat; a file that is gone already is as good.
pub(super) fn remove(folder: &Path, stem: &str) {
    for path in ["lock", "slots"].iter().filter_map(|suffix| file_of(folder, stem, suffix)) {
        let _gone = std::fs::remove_file(path);
    }
}

/// Removes what processes left behind that died between their seat and their row, or between the end
/// of their row and the removal of its files. Seats with these stems are left alone: their rows are
/// judged by them. So is what has no name of ours: others may have had the folder before.
pub(super) fn sweep(folder: &Path, known: &HashSet<String>) {
    if !is_folder(folder) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let suffix = path.extension().unwrap_or_default();
        if known.contains(&stem) || !is_stem(&stem) {
            continue;
        }
        if suffix == "lock" {
            // The lock is held until the files are gone, so nobody can take the seat meanwhile.
            let lock = open(&path, false).ok().filter(|lock| lock.try_lock().is_ok());
            if lock.is_some() {
                remove(folder, &stem);
            }
        } else if suffix == "slots" && !folder.join(format!("{stem}.lock")).exists() {
            // It may be gone by now, which is as good.
            let _gone = std::fs::remove_file(&path);
        }
    }
}

/// The seats that dead processes have left in the folder: nobody holds the lock, or there is none beside the slots.
pub(super) fn left_behind(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let dead = paths.filter_map(|path| {
        let stem = path.file_stem()?.to_str()?.to_owned();
        let is_left = match path.extension()?.to_str()? {
            "lock" => look(folder, &stem) == Life::Dead,
            "slots" => is_stem(&stem) && !folder.join(format!("{stem}.lock")).exists(),
            _ => false,
        };
        is_left.then_some(stem)
    });
    let mut dead: Vec<String> = dead.collect();
    dead.sort();
    dead
}

/// What a look at another process's lock file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    Dead,
    /// There is no lock file to look at.
    Unknown,
}

pub(super) fn look(folder: &Path, stem: &str) -> Life {
    let Some(path) = file_of(folder, stem, "lock") else { return Life::Unknown };
    match open(&path, false) {
        Err(_) => Life::Unknown,
        Ok(file) => match file.try_lock() {
            Ok(()) => Life::Dead,
            Err(TryLockError::WouldBlock) => Life::Alive,
            Err(TryLockError::Error(_)) => Life::Unknown,
        },
    }
}

/// The (row, attempt) pairs that the threads of a process had started.
pub(super) fn started(folder: &Path, stem: &str) -> HashSet<(i64, u32)> {
    let Some(path) = file_of(folder, stem, "slots") else { return HashSet::default() };
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes
        .chunks_exact(SLOT_BYTES)
        .filter_map(|slot| {
            let row = i64::from_le_bytes(slot[..8].try_into().ok()?);
            let attempt = u32::from_le_bytes(slot[8..12].try_into().ok()?);
            (row > 0).then_some((row, attempt))
        })
        .collect()
}

/// The machine's boot; empty where it cannot be told.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// What was seen of one lease.
#[derive(Debug)]
struct Seen {
    beat: i64,
    looked_at: Instant,
    /// How long it has not changed under the eyes of this process.
    silent: Duration,
}

/// What was seen of the leases of other processes.
#[derive(Debug, Default)]
pub(super) struct Beats {
    seen: HashMap<i64, Seen>,
}

impl Beats {
    /// Whether this lease, as it was just read, has not changed for [`LEASE`].
    pub(super) fn is_stale(&mut self, worker: i64, beat: i64) -> bool {
        self.is_stale_at(worker, beat, Instant::now())
    }

    fn is_stale_at(&mut self, worker: i64, beat: i64, now: Instant) -> bool {
        let new = || Seen { beat, looked_at: now, silent: Duration::ZERO };
        let seen = self.seen.entry(worker).or_insert_with(new);
        if seen.beat == beat {
            let pause = now.saturating_duration_since(seen.looked_at);
            seen.silent += pause.min(LOOK_COUNTS);
            seen.looked_at = now;
        } else {
            *seen = new();
        }
        seen.silent >= LEASE
    }

    /// What was seen of a process says nothing once it runs nothing: it need not renew then.
    pub(super) fn keep_only(&mut self, running: impl Fn(i64) -> bool) {
        self.seen.retain(|worker, _| running(*worker));
    }

    pub(super) fn forget(&mut self, worker: i64) {
        self.seen.remove(&worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_seat_is_alive_and_a_dropped_one_is_gone() {
        let dir = tempfile::tempdir().expect("temp");
        let folder = folder(&dir.path().join("a.db"));
        let seat = Seat::take(&folder).expect("seat");
        assert_eq!(look(&folder, &seat.stem), Life::Alive);
        seat.note(0, 7, 1);
        seat.note(2, 9, 3);
        assert_eq!(started(&folder, &seat.stem), HashSet::from([(7, 1), (9, 3)]));
        let stem = seat.stem.clone();
        drop(seat);
        assert_eq!(look(&folder, &stem), Life::Unknown);
    }

    #[test]
    fn a_lease_is_stale_after_30_s_of_looks_that_saw_no_change() {
        let (mut beats, mut now) = (Beats::default(), Instant::now());
        let mut looks = 0;
        while !beats.is_stale_at(7, 1, now) {
            now += Duration::from_millis(500);
            looks += 1;
        }
        assert_eq!(looks, 60);
        assert!(!beats.is_stale_at(7, 2, now), "it was renewed");
    }

    #[test]
    fn time_in_which_the_observer_did_not_look_is_no_silence_of_others() {
        let (mut beats, mut now) = (Beats::default(), Instant::now());
        // It was stopped with the others, or waited for the write lock as they did.
        for pause in [0, 45, 45, 3_600] {
            now += Duration::from_secs(pause);
            assert!(!beats.is_stale_at(7, 1, now), "after {pause} s");
        }
        now += Duration::from_millis(500);
        assert!(!beats.is_stale_at(7, 2, now));
    }

    #[test]
    fn a_sweep_removes_what_nobody_holds_and_no_row_names() {
        let dir = tempfile::tempdir().expect("temp");
        let folder = folder(&dir.path().join("a.db"));
        let seat = Seat::take(&folder).expect("seat");
        let [dead, loose, judged] = ["0123456789abcdef", "fedcba9876543210", "00000000000000aa"];
        for (stem, suffix) in [(dead, "lock"), (dead, "slots"), (loose, "slots"), (judged, "lock")]
        {
            std::fs::write(folder.join(format!("{stem}.{suffix}")), "").expect("a file");
        }
        sweep(&folder, &HashSet::from([judged.to_owned()]));
        assert_eq!(look(&folder, &seat.stem), Life::Alive);
        let left = std::fs::read_dir(&folder).expect("the folder").count();
        assert_eq!((left, look(&folder, judged)), (3, Life::Dead));
    }

    #[test]
    fn what_has_no_name_of_ours_is_never_opened_or_removed() {
        let dir = tempfile::tempdir().expect("temp");
        let folder = folder(&dir.path().join("a.db"));
        make_folder(&folder).expect("a folder");
        let names = ["Cargo.lock", "night.slots", "0123456789ABCDEF.lock", "0123456789abcde.lock"];
        for name in names {
            std::fs::write(folder.join(name), "theirs").expect("a file");
        }
        std::fs::write(dir.path().join("other.lock"), "theirs").expect("a file");
        sweep(&folder, &HashSet::new());
        let other = dir.path().join("other").display().to_string();
        for stem in ["Cargo", "night", "../other", other.as_str(), "", "0123456789ABCDEF"] {
            assert_eq!(look(&folder, stem), Life::Unknown, "{stem}");
            assert_eq!(started(&folder, stem), HashSet::new(), "{stem}");
            remove(&folder, stem);
        }
        assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), names.len());
        assert!(dir.path().join("other.lock").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_the_folder_is_not_followed() {
        let dir = tempfile::tempdir().expect("temp");
        let theirs = dir.path().join("theirs");
        std::fs::create_dir(&theirs).expect("a folder");
        let stem = "0123456789abcdef";
        std::fs::write(theirs.join(format!("{stem}.lock")), "theirs").expect("a file");
        let folder = folder(&dir.path().join("a.db"));
        std::os::unix::fs::symlink(&theirs, &folder).expect("a link");
        sweep(&folder, &HashSet::new());
        remove(&folder, stem);
        assert_eq!(look(&folder, stem), Life::Unknown);
        let refused = Seat::take(&folder).expect_err("it is no folder").to_string();
        assert!(refused.contains("it is a link or a file"), "{refused}");
        assert_eq!(std::fs::read_dir(&theirs).expect("their folder").count(), 1);
    }
}
