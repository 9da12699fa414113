//! Store: on what kind of file system a path lies.
//!
//! The locks and the shared memory of WAL hold on one host only. On a disk that several hosts or
//! virtual machines share, two of them would each believe that they are alone, and damage the file
//! without an error. So such a disk is refused unless the program allows it by name. Linux tells the
//! kind in `/proc/self/mountinfo`; elsewhere nothing is refused.

use std::path::Path;

/// Kinds whose files live on another host, or are shared with one.
const SHARED: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "drvfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.grpcfuse",
    "fuse.osxfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.smbnetfs",
    "fuse.sshfs",
    "fuse.vmhgfs-fuse",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "prl_fs",
    "smb2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
];

/// Kinds that lie in memory, and are empty after power loss.
const MEMORY: [&str; 2] = ["ramfs", "tmpfs"];

/// The kind of disk that a path lies on, where other hosts may share it.
pub(super) fn shared_kind(path: &Path) -> Option<String> {
    kind_of(path).filter(|kind| is_shared(kind))
}

/// Whether other hosts may share disks of this kind.
pub(super) fn is_shared(kind: &str) -> bool {
    SHARED.contains(&kind)
}

/// Whether disks of this kind lie in memory.
pub(super) fn is_memory(kind: &str) -> bool {
    MEMORY.contains(&kind)
}

/// The kind of disk that a path lies on, where the system tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kind_of(_path: &Path) -> Option<String> {
    None
}

/// The kind of disk that a path lies on: none where the system does not tell, or the folder is not there; opening
/// says why then.
#[cfg(target_os = "linux")]
pub(crate) fn kind_of(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
    let table = crate::fault::mount_table().unwrap_or_else(|| "/proc/self/mountinfo".into());
    table::kind_at(&std::fs::read(table).ok()?, &folder)
}

#[cfg(target_os = "linux")]
mod table {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::{Path, PathBuf};

    /// The type of the file system that an absolute path lies on: that of the deepest mount point
    /// above it, and of two at one place that of the later, which hides the other.
    pub(super) fn kind_at(table: &[u8], path: &Path) -> Option<String> {
        let mounts = table.split(|byte| *byte == b'\n').filter_map(mount);
        let above = mounts.filter(|(point, _)| path.starts_with(point));
        // `max_by_key` gives the last of equals.
        let deepest = above.max_by_key(|(point, _)| point.components().count());
        deepest.map(|(_, kind)| kind)
    }

    /// Mount point and type of one line: `36 35 98:0 /root /point rw,… shared:1 - ext4 /dev/x rw`.
    fn mount(line: &[u8]) -> Option<(PathBuf, String)> {
        let mut words = line.split(|byte| *byte == b' ');
        let point = words.nth(4)?;
        // Any number of optional fields stands before the dash.
        words.find(|word| *word == b"-")?;
        let kind = String::from_utf8_lossy(words.next()?).into_owned();
        Some((PathBuf::from(OsString::from_vec(unescaped(point))), kind))
    }

    /// Blanks and the like are written as `\` and three octal digits.
    fn unescaped(word: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(word.len());
        let mut rest = word;
        while let Some((byte, after)) = rest.split_first() {
            let escape = after.split_at_checked(3).filter(|_| *byte == b'\\');
            let escape = escape.and_then(|(digits, after)| Some((octal(digits)?, after)));
            let (byte, after) = escape.unwrap_or((*byte, after));
            plain.push(byte);
            rest = after;
        }
        plain
    }

    fn octal(digits: &[u8]) -> Option<u8> {
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const TABLE: &str = r"22 27 0:21 / /proc rw,relatime shared:12 - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
31 27 0:45 / /users rw,relatime shared:20 master:3 - nfs4 server:/export rw,vers=4.2,hard
32 31 0:46 / /users/ann/local rw - xfs /dev/sdb1 rw
33 27 0:47 /photos /srv/photos rw,relatime - cifs //nas/photos rw
34 27 254:0 /var/queue /mnt/bound\040queue rw,relatime - ext4 /dev/vda rw,discard
35 27 0:48 / /mnt/a\134b\011c rw - fuse.sshfs ann@host: rw,user_id=0
36 27 0:49 / /data rw - tmpfs tmpfs rw
37 36 0:50 / /data rw - virtiofs data rw
38 27 0:51 / /plain\0 rw - 9p share rw,trans=virtio
short line";

        fn kind(path: &str) -> String {
            kind_at(TABLE.as_bytes(), Path::new(path)).expect("every path lies on the root")
        }

        #[test]
        fn a_path_lies_on_the_deepest_mount_point_above_it() {
            assert_eq!(kind("/"), "ext4");
            assert_eq!(kind("/var/lib/tasks"), "ext4");
            assert_eq!(kind("/users"), "nfs4");
            assert_eq!(kind("/users/bob"), "nfs4");
            assert_eq!(kind("/users/ann/local/deep/down"), "xfs");
            assert_eq!(kind("/userspace"), "ext4", "a name that begins alike is another folder");
        }

        #[test]
        fn a_bound_folder_is_of_the_kind_it_comes_from() {
            assert_eq!(kind("/srv/photos/2026"), "cifs");
            assert_eq!(kind("/mnt/bound queue/a"), "ext4");
        }

        #[test]
        fn escapes_stand_for_the_bytes_of_a_name() {
            assert_eq!(kind("/mnt/a\\b\tc"), "fuse.sshfs");
            assert_eq!(kind("/plain\\0"), "9p", "what is no escape stands for itself");
        }

        #[test]
        fn of_two_mounts_at_one_place_the_later_hides_the_other() {
            assert_eq!(kind("/data/x"), "virtiofs");
        }

        #[test]
        fn a_table_that_tells_nothing_refuses_nothing() {
            assert_eq!(kind_at(b"", Path::new("/a")), None);
            assert_eq!(kind_at(b"- - - - -\n\n1 2 3", Path::new("/a")), None);
        }

        #[test]
        fn kinds_stand_in_order_so_that_each_is_there_once() {
            assert!(super::super::SHARED.is_sorted_by(|a, b| a < b));
        }
    }
}
