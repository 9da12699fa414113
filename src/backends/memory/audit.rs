//! Every step: notes with a deed who did it.

use super::Book;
use crate::audit::{self, AuditRecord, KEPT_MS, Times};

impl Book {
    /// Notes what was just done in this call, where it is done in somebody's name.
    pub(super) fn note_deed(&mut self, done: &impl Times) {
        let (Some(entry), times @ 1..) = (audit::current(), done.times()) else { return };
        if let Some((_, noted)) = self.audit.iter_mut().find(|(row, _)| *row == entry.row()) {
            noted.count += times;
            return;
        }
        self.audited += 1;
        entry.stands_at(self.audited);
        let noted = AuditRecord {
            at: entry.at,
            actor: entry.actor.name.to_string(),
            action: entry.action.to_owned(),
            what: entry.what_of(done),
            count: times,
            note: entry.actor.note.as_deref().map(str::to_owned),
        };
        self.audit.push_back((self.audited, noted));
        let oldest = entry.at.as_millis().saturating_sub(KEPT_MS);
        while self.audit.front().is_some_and(|(_, entry)| entry.at.as_millis() < oldest) {
            self.audit.pop_front();
        }
    }

    /// Entries before this number, newest first.
    pub(super) fn audit(&self, before: i64, size: usize) -> Vec<(i64, AuditRecord)> {
        let entries = self.audit.iter().rev().filter(|(row, _)| *row < before);
        entries.take(size).cloned().collect()
    }
}
