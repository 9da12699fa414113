//! Finish: the table of states has no edge that no task goes along, and tasks are born in no other states.

use std::collections::BTreeSet;

use super::compare::Pair;
use super::offer::{KINDS, Terms};
use super::{PLOTS, at, claim, end, get, is_default, locked, report, store, task, told};
use crate::backend::Backend;
use crate::backends::sqlite::recorder::Edge;
use crate::deed::Deed;
use crate::gate::Gate;
use crate::outcome::Outcome;
use crate::record::NewTask;
use crate::state::{ALLOWED, Reason, State};
use crate::ties::{Extra, Ties};

/// The states in which tasks are stored at first. Those that end with others, or give way to others, have
/// ended by then.
const BORN: [State; 7] = [
    State::Scheduled,
    State::Waiting,
    State::Ready,
    State::Running,
    State::Failed,
    State::Cancelled,
    State::Skipped,
];

type Story = fn(&dyn Backend);

/// Edges that random histories seldom or never walk, each with the story that does.
const BY_STORIES: &[(Edge, Story)] = &[
    ((Some(State::Skipped), State::Ready), one_that_was_skipped_is_retried),
    ((Some(State::Succeeded), State::Waiting), a_batch_that_succeeded_waits_for_a_member_again),
    ((None, State::Skipped), one_gives_way_to_the_task_of_an_earlier_slot),
];

fn one_that_was_skipped_is_retried(engine: &dyn Backend) {
    let holder = store(engine, vec![locked(KINDS[0])])[0];
    assert_eq!(claim(engine, 5, Terms::open(1))[0].id, holder);
    let ties = Ties { gate: Some(Gate::Lock { wait: false, expires_ms: None }), ..Ties::default() };
    let extra = Extra { wait_key: Some("lock:a".to_owned()), ties, ..Extra::default() };
    let id = store(engine, vec![NewTask { extra: Some(Box::new(extra)), ..task(KINDS[0]) }])[0];
    assert!(claim(engine, 6, Terms::open(1)).is_empty());
    assert_eq!(get(engine, id).state, State::Skipped);
    engine.act(at(8), id, Deed::Retry).expect("it has ended");
    assert_eq!(get(engine, id).state, State::Ready);
}

fn a_batch_that_succeeded_waits_for_a_member_again(engine: &dyn Backend) {
    let tied = |member_of, ties| {
        let extra = Extra { member_of, ties, ..Extra::default() };
        NewTask { extra: Some(Box::new(extra)), ..task(KINDS[0]) }
    };
    let sums = Ties { sums: true, awaited: true, ..Ties::default() };
    let ignored = Ties { ignored: true, awaited: true, ..Ties::default() };
    let ids = store(engine, vec![tied(None, sums), tied(Some(0), ignored)]);
    let member = &claim(engine, 5, Terms::open(1))[0];
    end(engine, member, Outcome::Failed { reason: Reason::GaveUp, report: report() });
    assert_eq!(get(engine, ids[0]).state, State::Succeeded, "its failure does not count");
    assert_eq!(engine.retry_batch(at(8), ids[0]).expect("it has ended"), 1);
    assert_eq!(get(engine, ids[0]).state, State::Waiting);
}

fn one_gives_way_to_the_task_of_an_earlier_slot(engine: &dyn Backend) {
    let overlaps = Some(store(engine, vec![task(KINDS[0])])[0]);
    let extra = Some(Box::new(Extra { overlaps, ..Extra::default() }));
    let id = store(engine, vec![NewTask { extra, ..task(KINDS[0]) }])[0];
    assert_eq!(get(engine, id).state, State::Skipped);
}

/// What one look at a file's notes says of a story that both engines have told.
fn walked_by(story: fn(&dyn Backend)) -> BTreeSet<Edge> {
    let pair = Pair::open();
    pair.ask(|engine, _| story(engine));
    pair.check_edges()
}

#[test]
fn each_story_walks_the_edge_that_it_is_named_for() {
    for (edge, story) in BY_STORIES {
        let walked = walked_by(*story);
        assert!(walked.contains(edge), "{edge:?} is not among {walked:?}");
    }
}

/// The histories walk only edges of the table (`check_edges`), and all of them.
#[test]
fn every_edge_of_the_table_of_states_is_walked() {
    if !is_default() {
        return;
    }
    let walked: BTreeSet<Edge> = (0..PLOTS.len()).flat_map(told).copied().collect();
    let allowed = ALLOWED.iter().flat_map(|(was, to)| to.iter().map(|to| (Some(*was), *to)));
    let wanted: BTreeSet<Edge> = allowed.chain(BORN.map(|born| (None, born))).collect();
    let strange: Vec<_> = walked.difference(&wanted).collect();
    assert!(strange.is_empty(), "walked, and no edge: {strange:?}");
    let by_stories = BY_STORIES.iter().map(|(edge, _)| *edge).collect();
    let left = &(&wanted - &walked) - &by_stories;
    assert!(left.is_empty(), "neither a history nor a story walks {left:?}");
}
