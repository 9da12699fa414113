//! How a row is measured: settings, files for each block, and alternating blocks of the two sides.

use std::path::Path;
use std::time::Duration;

use litework::Durability;

use crate::files::Folder;
pub(crate) use crate::files::QueueFile;
use crate::measure::{Measured, Pace, alternate};
use crate::report::Row;
use crate::stats::{Interval, Pair, bootstrap, median, median_ratio};
use crate::target::Target;

/// Pairs of blocks to begin with, and at most.
const BLOCKS: usize = 15;
const BLOCKS_MAX: usize = 60;

pub(crate) struct Bench {
    pub(crate) pace: Pace,
    /// Also the rows that compile for minutes.
    pub(crate) cold: bool,
    /// Where all files of this run are.
    pub(crate) folder: Folder,
}

impl Bench {
    pub(crate) fn new(quick: bool, cold: bool) -> std::io::Result<Self> {
        // Under `target`, as `/tmp` may be memory, where a sync costs nothing.
        let folder = Folder::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")), "limits-")?;
        Ok(Self { pace: Pace { quick }, cold, folder })
    }

    /// How long a block is at least.
    pub(crate) fn block(&self) -> Duration {
        self.pace.block()
    }

    /// Picks by the kind of run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        self.pace.pick(full, quick)
    }

    /// An empty queue file, closed.
    pub(crate) fn empty(&self) -> QueueFile {
        self.folder.empty().expect("there is room")
    }

    /// A closed file with so many tasks ready.
    pub(crate) fn stored(&self, count: usize) -> QueueFile {
        self.folder.stored(count).expect("there is room")
    }

    /// A copy of a closed file, on the disk before it is used.
    pub(crate) fn copy(&self, file: &QueueFile) -> QueueFile {
        self.folder.copy(file).expect("there is room")
    }

    /// An empty folder.
    pub(crate) fn scratch(&self) -> Folder {
        Folder::new_in(self.folder.path(), "scratch-").expect("a folder can be made")
    }

    /// Measures both sides in alternating blocks until the interval is on one side of the target.
    /// Each block answers with its rate.
    pub(crate) fn compare(
        &self,
        target: Target,
        mut ours: impl FnMut() -> f64,
        mut limit: impl FnMut() -> f64,
    ) -> Compared {
        self.try_compare(target, || Ok(ours()), || Ok(limit())).expect("no side fails")
    }

    /// The same of sides that can fail.
    pub(crate) fn try_compare(
        &self,
        target: Target,
        mut ours: impl FnMut() -> Measured<f64>,
        mut limit: impl FnMut() -> Measured<f64>,
    ) -> Measured<Compared> {
        let (_warm_ours, _warm_limit) = (ours()?, limit()?);
        let mut pairs: Vec<Pair> = Vec::new();
        let mut wanted = self.pick(BLOCKS, 3);
        loop {
            alternate(&mut pairs, wanted, &mut ours, &mut limit)?;
            let ratio = bootstrap(&pairs, median_ratio);
            if self.pace.quick || !target.is_open(ratio) || wanted >= BLOCKS_MAX {
                return Ok(Compared { pairs, ratio, target });
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
    crate::measure::rate(block, || Ok(step())).expect("no step fails")
}

/// The levels that most rows are measured at.
pub(crate) const LEVELS: [Durability; 2] = [Durability::Normal, Durability::Full];
