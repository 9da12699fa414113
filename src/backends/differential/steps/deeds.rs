//! Store: of a random history, what people do from outside.

use super::super::compare::{check_same, shown_error, shown_over, shown_stored};
use super::super::offer::{KINDS, QUEUES};
use super::History;
use crate::deed::Deed;
use crate::error::Error;
use crate::id::TaskId;
use crate::record::NewTask;
use crate::rule::Scope;
use crate::time::Timestamp;

impl History<'_> {
    fn deed(&mut self) -> Deed {
        match self.rng.u8(0..7) {
            0..2 => Deed::Retry,
            2 => Deed::Cancel,
            3 => Deed::Delete,
            4 => Deed::Reschedule(Timestamp::clamped(self.now_ms + self.rng.i64(-5..5))),
            5 => Deed::Dismiss,
            _ => Deed::Erase,
        }
    }

    pub(super) fn act(&mut self) {
        let Some(id) = self.some_id() else { return };
        let deed = self.deed();
        self.note(&format!("{deed:?} to {}", id[0].row()));
        let now = self.now();
        let done = self.pair.ask(|engine, which| {
            engine
                .act(now, id[which], deed)
                .map(|(done, over)| (done, shown_over(over)))
                .map_err(|error| shown_error(&error))
        });
        check_same("what was done", &done);
    }

    pub(super) fn act_on_many(&mut self) {
        let (filter, deed) = (self.filter(), self.deed());
        let (after, last) = (self.rng.i64(0..10), self.rng.i64(0..40));
        self.note(&format!("{deed:?} to those after {after}, up to {last}, of {filter:?}"));
        let now = self.now();
        let rows = self.pair.agree("rows", |engine, _| engine.rows(&filter, after, last));
        let some: Vec<i64> = rows.into_iter().filter(|_| self.rng.u8(0..3) > 0).collect();
        // Rows that do not pass are among them, as if they had changed meanwhile.
        let rows: Vec<i64> = some.into_iter().chain(1..3).collect();
        let size = self.rng.usize(1..9);
        let slices = self.pair.ask(|engine, _| {
            let act = |slice| engine.act_on(now, deed, &filter, slice).expect("it answers");
            let done = rows.chunks(size).map(act).map(|(mut tally, over)| {
                let ready: Vec<i64> = tally.ready.drain(..).map(TaskId::row).collect();
                (tally, ready, shown_over(over))
            });
            done.collect::<Vec<_>>()
        });
        check_same("what was done to many", &slices);
    }

    pub(super) fn replace(&mut self) {
        let Some(id) = self.some_id() else { return };
        self.note(&format!("replace {}", id[0].row()));
        let now = self.now();
        let stored = self.pair.ask(|engine, which| {
            let Some(copy) = engine.template(id[which]).expect("it answers") else {
                return Err(Error::not_found("it"));
            };
            engine.replace(now, id[which], copy).map(|(stored, _)| vec![stored])
        });
        check_same("what was stored instead", &stored.each_ref().map(shown_stored));
        if let [Ok(file), Ok(model)] = stored {
            self.ids.extend(file.iter().zip(&model).map(|(file, model)| [file.id, model.id]));
        }
    }

    pub(super) fn replace_many(&mut self) {
        let filter = self.filter();
        self.note(&format!("replace all of {filter:?}"));
        let (now, priority, size) = (self.now(), self.rng.i8(-1..=1), self.rng.usize(1..9));
        let rows = self.pair.agree("rows", |engine, _| engine.rows(&filter, 0, i64::MAX));
        // A row that is gone is among them, and one that nobody could read.
        let rows: Vec<i64> = rows.into_iter().filter(|_| self.rng.bool()).chain(1..3).collect();
        let stored = self.pair.ask(|engine, _| {
            let copy = |row: &i64| {
                // The newest row stays without its lane when it is deleted.
                let task = engine.by_row(*row).ok().flatten().filter(|_| *row != 2);
                let copy = task.and_then(|task| engine.template(task.id).expect("it answers"));
                (*row, copy.map(|copy| NewTask { priority, ..copy }))
            };
            let copies: Vec<_> = rows.iter().map(copy).collect();
            let replace = |slice| engine.replace_each(now, &filter, slice).expect("it answers");
            let mut stored = Vec::new();
            let done = copies.chunks(size).map(replace).map(|(mut tally, over)| {
                stored.append(&mut tally.ready);
                (tally, shown_over(over))
            });
            (done.collect::<Vec<_>>(), stored)
        });
        let shown = stored.each_ref().map(|(done, stored)| {
            (done.clone(), stored.iter().map(|id| id.row()).collect::<Vec<_>>())
        });
        check_same("what was stored instead of many", &shown);
        let [(_, file), (_, model)] = stored;
        self.ids.extend(file.into_iter().zip(model).map(|(file, model)| [file, model]));
    }

    pub(super) fn pause(&mut self) {
        let queue = self.rng.bool();
        let name = if queue { QUEUES } else { KINDS }[self.rng.usize(0..2)];
        let scope = if queue { Scope::queue(name) } else { Scope::kind(name) };
        let since = self.one_in(4).then(|| self.now());
        self.note(&format!("pause {scope} since {since:?}"));
        self.pair.agree("whether it changed", |engine, _| engine.pause(&scope, since));
        self.pair.agree("what is paused", |engine, _| engine.paused());
        let now = self.now();
        self.pair.agree("lanes with work", |engine, _| engine.lanes_with_work(now));
    }
}
