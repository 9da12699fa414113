//! How a row is measured: settings, files for each block, and alternating blocks of the two sides.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use litework::{Durability, Mode};
use tempfile::TempDir;

use crate::raw::Raw;
use crate::report::Row;
use crate::stats::{Interval, Pair, Target, bootstrap, median, median_ratio};
use crate::work::{Resize, client};

/// Pairs of blocks to begin with, and at most.
const BLOCKS: usize = 15;
const BLOCKS_MAX: usize = 60;

pub(crate) struct Bench {
    /// A few short blocks: shows that every row works, measures nothing.
    pub(crate) quick: bool,
    /// Also the rows that compile for minutes.
    pub(crate) cold: bool,
    dir: TempDir,
}

/// A queue file in a folder of its own, which goes with it.
pub(crate) struct QueueFile {
    dir: TempDir,
}

impl QueueFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("tasks.db")
    }
}

impl Bench {
    pub(crate) fn new(quick: bool, cold: bool) -> std::io::Result<Self> {
        // Under `target`, as `/tmp` may be memory, where a sync costs nothing.
        let dir =
            tempfile::Builder::new().prefix("limits-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self { quick, cold, dir })
    }

    /// How long a block is at least.
    pub(crate) fn block(&self) -> Duration {
        Duration::from_millis(if self.quick { 60 } else { 330 })
    }

    /// Picks by the kind of run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// An empty queue file, closed.
    pub(crate) fn empty(&self) -> QueueFile {
        let file = self.folder();
        drop(client(&file.path(), Mode::Enqueue, Durability::Normal));
        // Makes the lane that the raw loop uses.
        let conn = rusqlite::Connection::open(file.path()).expect("the file is there");
        let lane = "INSERT INTO litework_lane (id, queue, kind) VALUES (1, 'default', 'resize')";
        conn.execute(lane, []).expect("there is no lane yet");
        file
    }

    /// A closed file with so many tasks ready.
    pub(crate) fn stored(&self, count: usize) -> QueueFile {
        let file = self.empty();
        let raw = Raw::open(&file.path(), Durability::Normal).expect("the file is ours");
        for first in (0..count).step_by(1_000) {
            let batch = (first..count.min(first + 1_000)).map(Resize::sample);
            raw.insert(batch).expect("there is room");
        }
        file
    }

    /// A copy of a closed file, on the disk before it is used.
    pub(crate) fn copy(&self, file: &QueueFile) -> QueueFile {
        let copy = self.folder();
        std::fs::copy(file.path(), copy.path()).expect("there is room");
        let written = std::fs::File::open(copy.path()).and_then(|file| file.sync_all());
        written.expect("it can be synced");
        copy
    }

    fn folder(&self) -> QueueFile {
        QueueFile { dir: self.scratch() }
    }

    /// An empty folder.
    pub(crate) fn scratch(&self) -> TempDir {
        TempDir::new_in(self.dir.path()).expect("a folder can be made")
    }

    /// Measures both sides in alternating blocks until the interval is on one side of the target.
    /// Each block answers with its rate.
    pub(crate) fn compare(
        &self,
        target: Target,
        mut ours: impl FnMut() -> f64,
        mut limit: impl FnMut() -> f64,
    ) -> Compared {
        let (_warm_ours, _warm_limit) = (ours(), limit());
        let mut pairs: Vec<Pair> = Vec::new();
        let mut wanted = self.pick(BLOCKS, 3);
        loop {
            while pairs.len() < wanted {
                // Who is first changes, so that neither side gains from what the other leaves.
                pairs.push(if pairs.len().is_multiple_of(2) {
                    let ours = ours();
                    (ours, limit())
                } else {
                    let limit = limit();
                    (ours(), limit)
                });
            }
            let ratio = bootstrap(&pairs, median_ratio);
            if self.quick || !target.is_open(ratio) || wanted >= BLOCKS_MAX {
                return Compared { pairs, ratio, target };
            }
            wanted *= 2;
        }
    }
}

/// The blocks of a row.
pub(crate) struct Compared {
    pairs: Vec<Pair>,
    ratio: Interval,
    target: Target,
}

impl Compared {
    pub(crate) fn row(&self, name: &str, unit: &str) -> Row {
        let ours = median(self.pairs.iter().map(|pair| pair.0));
        let limit = median(self.pairs.iter().map(|pair| pair.1));
        Row::beside(name, (ours, limit), unit, self.ratio, self.target)
            .note(format!("{} blocks", self.pairs.len()))
    }
}

/// Does `step` again and again for at least `block`; each step answers how much it did. The rate
/// per second.
pub(crate) fn rate(block: Duration, mut step: impl FnMut() -> usize) -> f64 {
    let began = Instant::now();
    let mut done = 0;
    loop {
        done += step();
        let took = began.elapsed();
        if took >= block {
            return done as f64 / took.as_secs_f64();
        }
    }
}

/// The levels that most rows are measured at.
pub(crate) const LEVELS: [Durability; 2] = [Durability::Normal, Durability::Full];
