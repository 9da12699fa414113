//! Store: which right is missing where a file cannot be opened, so that the error says which part failed.

use std::path::Path;

/// Why a file cannot be opened, or cannot be written to where it could be opened.
pub(super) fn why_not(path: &Path, is_open: bool) -> String {
    let (what, usual) = if is_open {
        ("written", "this program has no right to, or its disk is mounted read-only")
    } else {
        ("opened", "it was just removed, or a right is missing")
    };
    format!("it cannot be {what}: {}", missing(path).unwrap_or(usual))
}

/// What stands in the way of reading and writing a file and what `SQLite` keeps beside it, as far as the system tells.
#[cfg(target_os = "linux")]
fn missing(path: &Path) -> Option<&'static str> {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let rights = [
        (path, Access::READ_OK, "this user may not read it"),
        (path, Access::WRITE_OK, "this user may not write it"),
        (
            folder,
            Access::WRITE_OK | Access::EXEC_OK,
            "this user may not write to its folder, where SQLite keeps its -wal and -shm",
        ),
    ];
    rights.into_iter().find_map(|(at, right, told)| match access(at, right) {
        Err(Errno::ROFS) => Some("its disk is mounted read-only"),
        Err(Errno::ACCESS | Errno::PERM) => Some(told),
        _ => None,
    })
}

#[cfg(not(target_os = "linux"))]
fn missing(_path: &Path) -> Option<&'static str> {
    None
}
