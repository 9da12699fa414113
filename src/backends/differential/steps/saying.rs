//! Store: what is said and left by those that are held, in a random history.

use super::super::compare::{Both, check_same, shown_error};
use super::History;
use crate::artifact::{ARTIFACTS_MAX, Artifact, ArtifactKind, ArtifactQuota, NewArtifact};
use crate::backend::Backend;
use crate::error::Error;
use crate::progress::{LogLevel, LogLine, Pace, Progress};
use crate::record::{Claimed, Lease, Said};
use crate::shelf::Author;

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

    /// One of those that are held leaves something, as a whole or in parts, now and then under a lease that does not
    /// hold, or not to its end.
    pub(super) fn leave_something(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = self.held[self.rng.usize(0..self.held.len())].clone();
        let (now, later) = (self.now(), u32::from(self.one_in(8)));
        let rng = &mut self.rng;
        let new = NewArtifact {
            name: format!("a{}", rng.u8(0..3)),
            kind: [ArtifactKind::Text, ArtifactKind::File][rng.usize(0..2)],
            media_type: "text/plain".to_owned(),
            expires_at: rng
                .bool()
                .then(|| now.after(std::time::Duration::from_millis(rng.u64(0..9)))),
            quota: ArtifactQuota { each: 900, all: 1 << 30, beside: rng.bool() },
        };
        let parts: Vec<Vec<u8>> =
            (0..rng.usize(0..4)).map(|_| vec![rng.u8(..); rng.usize(1..400)]).collect();
        let (whole, ends) = (rng.bool(), rng.u8(0..4) > 0);
        self.note(&format!(
            "leave {new:?} of {}, {} parts, whole {whole}, ends {ends}",
            held[0].lease.row,
            parts.len()
        ));
        let left = self.pair.ask(|engine, which| {
            let Claimed { id, lease, .. } = held[which];
            let author = Author { id, lease: Lease { attempt: lease.attempt + later, ..lease } };
            let left = if whole {
                engine.put_artifact(now, author, &new, &parts.concat()).map(Some)
            } else {
                in_parts(engine, author, (now, &new), &parts, ends)
            };
            left.map_err(|error| shown_error(&error))
        });
        check_same("what was left", &left);
        self.check_shelf(&held.map(|task| task.id));
    }

    /// What a task has left, and its bytes.
    fn check_shelf(&self, id: &Both<crate::id::TaskId>) {
        let now = self.now();
        let left = self.pair.agree("artifacts", |engine, which| engine.artifacts(now, id[which]));
        assert!(left.len() <= ARTIFACTS_MAX);
        for Artifact { number, .. } in left {
            self.pair.agree("the bytes of an artifact", |engine, which| {
                let found = engine.find_artifact(now, id[which], number)?;
                let (artifact, _) = found.expect("it is listed");
                let mut bytes = Vec::new();
                for place in 0.. {
                    let Some(part) = engine.artifact_part(artifact, place)? else { break };
                    bytes.extend(part);
                }
                Ok(bytes)
            });
        }
    }
}

fn in_parts(
    engine: &dyn Backend,
    author: Author,
    (now, new): (crate::time::Timestamp, &NewArtifact),
    parts: &[Vec<u8>],
    ends: bool,
) -> Result<Option<Artifact>, Error> {
    let artifact = engine.begin_artifact(now, author, new)?;
    let added = parts.iter().try_for_each(|part| engine.add_part(author, artifact, new, part));
    match (added, ends) {
        (Err(error), _) => {
            engine.give_up_artifact(artifact)?;
            Err(error)
        }
        (Ok(()), true) => engine.end_artifact(now, author, artifact).map(Some),
        (Ok(()), false) => Ok(None),
    }
}
