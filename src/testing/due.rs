//! Tests of programs: what has not ended, and when the next of it is due.

use crate::calendar;
use crate::client::Client;
use crate::error::Error;
use crate::filter::Filter;
use crate::record::{BadRow, TaskRecord};
use crate::state::State;
use crate::time::Timestamp;

/// The states of what has not ended.
pub(super) const LIVE: [State; 4] =
    [State::Scheduled, State::Waiting, State::Ready, State::Running];

/// What is read at once.
const PAGE: usize = 1_000;

/// Every task that passes the filter, oldest first, and the rows that cannot be read.
pub(super) fn every(
    client: &Client,
    filter: &Filter,
) -> Result<(Vec<TaskRecord>, Vec<BadRow>), Error> {
    let (mut tasks, mut bad, mut from) = (Vec::new(), Vec::new(), None);
    loop {
        let page = client.list(filter, from, PAGE)?;
        tasks.extend(page.tasks);
        bad.extend(page.bad);
        from = page.next;
        if from.is_none() {
            tasks.reverse();
            bad.reverse();
            return Ok((tasks, bad));
        }
    }
}

pub(super) fn live() -> Filter {
    LIVE.into_iter().fold(Filter::new(), Filter::state)
}

/// When the next of these tasks is due that waits for its time, or for its queue's rate.
pub(super) fn next_due(
    client: &Client,
    ids: Option<&[crate::id::TaskId]>,
    chosen: impl Fn(&TaskRecord) -> bool,
) -> Result<Option<Timestamp>, Error> {
    let now = client.hub.clock.now();
    let (tasks, _bad) = every(client, &Filter::new().state(State::Scheduled).state(State::Ready))?;
    let asked = |task: &&TaskRecord| ids.is_none_or(|ids| ids.contains(&task.id)) && chosen(task);
    let (mut next, mut held_up) = (None::<Timestamp>, false);
    for task in tasks.iter().filter(asked) {
        match task.state {
            State::Scheduled if task.due_at > now => {
                next = Some(next.map_or(task.due_at, |next| next.min(task.due_at)));
            }
            _ => held_up = true,
        }
    }
    // What is due and was not started may stand behind a rate, which only the engine knows.
    let engine = if held_up { opens_at(client)? } else { None };
    Ok(next.into_iter().chain(engine.filter(|at| *at > now)).min())
}

fn opens_at(client: &Client) -> Result<Option<Timestamp>, Error> {
    client.hub.pending.get().map_or(Ok(None), |runner| runner.stepper().next_due())
}

/// When the next slots of schedules are due whose kinds are known here: each schedule with its number, those
/// not named that do not fire or have passed.
pub(super) fn next_slots(
    client: &Client,
    chosen: impl Fn(&str) -> bool,
) -> Result<Vec<(i64, Timestamp)>, Error> {
    let hub = &client.hub;
    let now = hub.clock.now();
    calendar::look(&*hub.backend, |agenda| {
        let (mut slots, mut after) = (Vec::new(), String::new());
        loop {
            let page = agenda.list(&after, PAGE)?;
            let is_last = page.len() < PAGE;
            for entry in page {
                let can_fire = hub.catalog.get(&entry.kind).is_ok() && chosen(&entry.kind);
                let due = entry.standing.due_at.filter(|at| *at > now && can_fire);
                slots.extend(due.map(|at| (entry.id, at)));
                after = entry.name;
            }
            if is_last {
                return Ok(slots);
            }
        }
    })
}
