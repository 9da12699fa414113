//! Watch: how many tasks there are of each queue and state, what has failed with what, and lists for people.

use std::collections::BTreeMap;

use super::Book;
use crate::filter::Filter;
use crate::overview::{
    At, Browsed, COUNT_MAX, Capped, FAILURES_MAX, Failed, Order, Overview, Place, QueueOverview,
};
use crate::record::TaskRecord;
use crate::state::State;

impl Book {
    pub(super) fn overview(&self) -> Overview {
        let names = self.lanes.keys().map(|(queue, _)| queue.to_string());
        let mut queues: BTreeMap<String, QueueOverview> =
            names.map(|name| (name.clone(), QueueOverview::new(name))).collect();
        for task in self.tasks.values().map(|task| &task.record) {
            let Some(queue) = queues.get_mut(&task.queue) else { continue };
            queue.depth_mut(task.state).count += 1;
            if task.state == State::Ready {
                let oldest = queue.oldest_ready.into_iter().chain([task.due_at]).min();
                queue.oldest_ready = oldest;
            }
        }
        for queue in queues.values_mut() {
            for state in State::ALL {
                let depth = queue.depth_mut(*state);
                *depth = Capped::of(depth.count, COUNT_MAX);
            }
        }
        Overview { queues: queues.into_values().collect(), ..Overview::default() }
    }

    /// The newest failed tasks, one more than are grouped.
    pub(super) fn failures(&self) -> Vec<Failed> {
        let newest = self.finished.iter().rev().filter_map(|(_, row)| self.tasks.get(row));
        let failed = newest.map(|task| &task.record).filter(|task| task.state == State::Failed);
        let newest = failed.take(FAILURES_MAX + 1);
        newest.filter_map(|task| Failed::of(task.clone())).collect()
    }

    pub(super) fn browse(
        &self,
        filter: &Filter,
        order: Order,
        from: Option<At>,
        size: usize,
    ) -> Browsed {
        let tasks: Box<dyn Iterator<Item = &TaskRecord>> = match (order, from) {
            (Order::Stored, from) => {
                let end = if let Some(At::Row(row)) = from { row } else { i64::MAX };
                Box::new(self.tasks.range(..end).rev().map(|(_, task)| &task.record))
            }
            (Order::Ended, Some(At::End(at, row))) => {
                let ended = self.finished.range(..(at, row)).rev();
                Box::new(ended.filter_map(|(_, row)| Some(&self.tasks.get(row)?.record)))
            }
            (Order::Ended, _) => {
                let ended = self.finished.iter().rev();
                Box::new(ended.filter_map(|(_, row)| Some(&self.tasks.get(row)?.record)))
            }
        };
        let mut found = tasks.filter(|task| filter.passes(task));
        let tasks: Vec<TaskRecord> = found.by_ref().take(size).cloned().collect();
        let next = found.next().and(tasks.last()).map(|task| Place(At::of(order, task)));
        Browsed { tasks, next, ..Browsed::default() }
    }
}
