//! Watch: who reads from a file right now, and so keeps its log from being begun anew.
//!
//! A reader of a database in WAL mode holds one of five locks on its -shm while a transaction of his is open. Linux lists
//! all locks in `/proc/locks`; opening the -shm itself would drop those of this process.

use std::path::Path;

/// The processes that hold a read lock on the log of a file, by number; none where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn readers(_shm: &Path) -> Vec<u32> {
    Vec::new()
}

/// The same.
#[cfg(target_os = "linux")]
pub(super) fn readers(shm: &Path) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let Ok(file) = std::fs::metadata(shm) else { return Vec::new() };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut found: Vec<u32> = locks.lines().filter_map(|line| reader(line, file.ino())).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The process of one line, if that is a reader's lock on this file: `7: POSIX  ADVISORY  READ 1234 08:01:5678 124 124`.
#[cfg(target_os = "linux")]
fn reader(line: &str, inode: u64) -> Option<u32> {
    /// The five marks of readers: bytes 123 to 127 of the -shm.
    const MARKS: std::ops::RangeInclusive<u64> = 123..=127;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "POSIX", _, "READ", pid, file, first, last] = *words.as_slice() else { return None };
    let is_it = file.rsplit(':').next()?.parse() == Ok(inode);
    // One that reaches to the end has no number there.
    let last = last.parse().unwrap_or(u64::MAX);
    let is_mark =
        first.parse().is_ok_and(|first: u64| first <= *MARKS.end()) && last >= *MARKS.start();
    (is_it && is_mark).then(|| pid.parse().ok())?
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_of_a_reader_on_this_file_counts() {
        for (line, pid) in [
            ("7: POSIX  ADVISORY  READ 1234 08:01:5678 124 124", Some(1_234)),
            ("8: POSIX  ADVISORY  READ 1234 08:01:5678 123 127", Some(1_234)),
            ("9: POSIX  ADVISORY  READ 1234 08:01:5678 128 128", None),
            ("10: POSIX  ADVISORY  READ 1234 08:01:567 124 124", None),
            ("11: POSIX  ADVISORY  WRITE 1234 08:01:5678 124 124", None),
            ("11: -> POSIX  ADVISORY  READ 1234 08:01:5678 124 124", None),
            ("12: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF", None),
            ("13: POSIX  ADVISORY  READ 1234 08:01:5678 0 EOF", Some(1_234)),
            ("", None),
        ] {
            assert_eq!(reader(line, 5_678), pid, "{line}");
        }
    }
}
