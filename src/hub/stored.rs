//! Enqueue: what had become of calls when they were stored, and what becomes of them where the caller runs
//! them.

use std::collections::HashMap;

use crate::id::TaskId;
use crate::record::{Finished, Stored};

/// Those that had ended when they were stored, as their lock was held or as one before them had ended so.
pub(crate) fn ended_unrun(stored: &[Stored]) -> Vec<TaskId> {
    let over = stored.iter().filter(|task| task.state.is_final() && !task.existing);
    over.map(|task| task.id).collect()
}

/// Notes what became of tasks that have run since they were stored; two calls may have met in one.
pub(super) fn note_ran(stored: &mut [Stored], ran: Vec<(TaskId, Finished)>) {
    if ran.is_empty() {
        return;
    }
    let ran: HashMap<TaskId, Finished> = ran.into_iter().collect();
    for stored in stored {
        if let Some(finished) = ran.get(&stored.id) {
            stored.state = finished.state;
            stored.due_at = finished.due_at.unwrap_or(stored.due_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::BATCH_MAX;
    use crate::state::{Reason, State};
    use crate::time::Timestamp;
    use std::time::Duration;

    /// A look at each for each would take minutes.
    #[test]
    fn what_the_largest_batch_came_to_is_noted_call_by_call() {
        let rows = 1..=i64::try_from(BATCH_MAX).expect("small");
        let due_at = Timestamp::MIN;
        let one = |row| {
            let id = TaskId::new(row, row);
            Stored { id, state: State::Running, due_at, existing: false, claimed: None }
        };
        let mut stored: Vec<Stored> = rows.clone().map(one).collect();
        stored.push(Stored { existing: true, ..one(7) });
        stored.push(one(0));
        let finished = |row| {
            let (state, later) = match row % 2 {
                0 => (State::Succeeded, None),
                _ => (State::Scheduled, Some(due_at.after(Duration::from_secs(1)))),
            };
            let reason = later.map(|_| Reason::Retry);
            (TaskId::new(row, row), Finished { state, reason, due_at: later })
        };
        note_ran(&mut stored, rows.map(finished).collect());
        let later = due_at.after(Duration::from_secs(1));
        let (own, rest) = stored.split_at(BATCH_MAX);
        assert!(own.iter().all(|stored| match stored.id.row() % 2 {
            0 => stored.state == State::Succeeded && stored.due_at == due_at,
            _ => stored.state == State::Scheduled && stored.due_at == later,
        }));
        assert_eq!((rest[0].state, rest[1].state), (State::Scheduled, State::Running));
    }
}
