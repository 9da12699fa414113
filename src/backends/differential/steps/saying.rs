//! Store: what is said by those that are held, in a random history.

use super::History;
use crate::progress::{LogLevel, LogLine, Pace, Progress};
use crate::record::{Claimed, Lease, Said};

impl History<'_> {
    /// What one of those that are held says, and is told of at its end, or before.
    pub(super) fn words(&mut self, task: &Claimed) -> Said {
        let (now, attempt) = (self.now(), task.lease.attempt);
        let rng = &mut self.rng;
        let some = |rng: &mut fastrand::Rng, word: &str| rng.bool().then(|| word.to_owned());
        let progress = rng.bool().then(|| Progress {
            revision: 0,
            attempt,
            done: rng.u64(0..20),
            total: rng.bool().then(|| rng.u64(0..20)),
            unit: some(rng, "pages"),
            stage: some(rng, "reading"),
            message: some(rng, "All is well."),
            told_at: now,
            pace: Pace {
                since: rng.bool().then_some(now),
                from: rng.u64(0..3),
                samples: rng.u32(0..9),
            },
        });
        let first = rng.u64(1..5);
        let lines = (first..first + rng.u64(0..3)).map(|number| {
            let level = [LogLevel::Info, LogLevel::Error][rng.usize(0..2)];
            LogLine { attempt, number, at: now, level, text: format!("line {number}") }
        });
        let lines = lines.collect();
        Said { id: task.id, lease: task.lease, progress, lines }
    }

    /// Some of those that are held say something, now and then under a lease that does not hold.
    pub(super) fn say(&mut self) {
        let mut said = Vec::new();
        for _ in 0..self.rng.usize(0..3).min(self.held.len()) {
            let held = self.held[self.rng.usize(0..self.held.len())].clone();
            let later = u32::from(self.one_in(8));
            let words = self.words(&held[1]);
            said.push(held.map(|task| {
                let lease = Lease { attempt: task.lease.attempt + later, ..task.lease };
                Said { id: task.id, lease, ..words.clone() }
            }));
        }
        self.note(&format!("say {said:?}"));
        let now = self.now();
        self.pair.agree("what was said", |engine, which| {
            let said: Vec<Said> = said.iter().map(|both| both[which].clone()).collect();
            engine.tell(now, &said)
        });
    }
}
