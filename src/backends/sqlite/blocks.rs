//! Enqueue: inserts that come together are written in blocks of 32 and 8 rows, which costs little more
//! than half of one statement for each. A task with a key, or of a lane that is new, is written alone, as
//! it may be refused without the others.

use std::sync::{Arc, LazyLock};

use rusqlite::OptionalExtension;

use super::core::Core;
use super::due::next_due;
use super::enqueue::{Fate, INSERT, Insert};
use super::errors::not_stored;
use super::{Sqlite, audit};
use crate::backend::Offer;
use crate::error::Error;
use crate::record::{NewTask, Stored};
use crate::time::Timestamp;

/// Rows of a block, greatest first; few under test, so that random histories meet blocks of all kinds.
const BLOCKS: [usize; 2] = if cfg!(test) { [4, 2] } else { [32, 8] };

/// [`INSERT`] for as many rows as each of [`BLOCKS`] has.
static INSERT_BLOCK: LazyLock<[String; 2]> = LazyLock::new(|| {
    let (_, row) = INSERT.split_once("VALUES ").unwrap_or_default();
    BLOCKS.map(|rows| INSERT.to_owned() + &format!(", {row}").repeat(rows - 1))
});

/// Served by the primary key.
const LAST: &str = "SELECT id FROM litework_task WHERE id <= ?1 ORDER BY id DESC LIMIT 1";

impl Sqlite {
    /// Stores all tasks or none.
    pub(super) fn insert(
        &self,
        now: Timestamp,
        mut tasks: Vec<NewTask>,
        offer: Option<Arc<dyn Offer>>,
    ) -> Result<Vec<Stored>, Error> {
        // What is noted has a commit of its own, on the thread of whoever does it.
        let is_noted = crate::audit::is_noting();
        let is_single = tasks.len() == 1 && !tasks[0].is_batch();
        if is_single && !is_noted {
            let task = tasks.swap_remove(0);
            let insert = Insert::new(task, now, offer, self.durability);
            return self.inner.writer.insert(insert).map(|stored| vec![stored]);
        }
        let mut inserts: Vec<Insert> = tasks
            .into_iter()
            .map(|task| Insert::new(task, now, offer.clone(), self.durability))
            .collect();
        let level = inserts.iter().map(Insert::level).max().unwrap_or_default();
        let mut turn = self.inner.writer.turn()?;
        let stored = turn.transaction(level, |core| {
            store_all(core, &mut inserts)?;
            let new = inserts.iter().filter_map(Insert::new_id);
            if is_noted { audit::note(core, &new.collect::<Vec<_>>()) } else { Ok(()) }
        });
        if let Err(error) = stored {
            turn.doubt(&error, inserts.iter().filter_map(Insert::doubt));
            inserts.iter_mut().for_each(Insert::undo);
            return Err(if is_single { error.of_one() } else { error });
        }
        inserts.iter().for_each(Insert::note_stored);
        drop(turn);
        if inserts.first().is_some_and(Insert::is_existing_batch) {
            inserts.truncate(1);
        }
        inserts.into_iter().map(Insert::into_stored).collect()
    }
}

/// Writes these, each of which keeps what became of it; an error means that the transaction is to be
/// given up.
pub(super) fn store_each(core: &mut Core, inserts: &mut [Insert]) -> Result<(), Error> {
    let mut done = 0;
    while done < inserts.len() {
        let (before, rest) = inserts.split_at_mut(done);
        done += store_next(core, before, rest)?;
    }
    Ok(())
}

/// Writes these, up to the first that is refused.
pub(super) fn store_all(core: &mut Core, inserts: &mut [Insert]) -> Result<(), Error> {
    let mut done = 0;
    while done < inserts.len() {
        let (before, rest) = inserts.split_at_mut(done);
        let written = store_next(core, before, rest)?;
        if inserts[done].is_existing_batch() {
            return Ok(());
        }
        if let Some(refused) = inserts[done].take_refusal() {
            return Err(refused.at(done));
        }
        done += written;
    }
    Ok(())
}

/// Writes the first, or the block that it begins; returns how many those were. Only one that is
/// written alone can be refused.
fn store_next(core: &mut Core, before: &[Insert], inserts: &mut [Insert]) -> Result<usize, Error> {
    if let Some(block) = block_of(core, inserts) {
        let rows = BLOCKS[block];
        if let Some(first) = free_rows(core, rows)? {
            store_block(core, &mut inserts[..rows], first, &INSERT_BLOCK[block])?;
            return Ok(rows);
        }
    }
    inserts[0].store(core, before)?;
    Ok(1)
}

/// The greatest block that those in front can fill.
fn block_of(core: &mut Core, inserts: &[Insert]) -> Option<usize> {
    if inserts.len() < BLOCKS[1] {
        return None;
    }
    let front = inserts.iter().take(BLOCKS[0]);
    let plain = front.take_while(|insert| insert.is_plain(core)).count();
    BLOCKS.iter().position(|rows| *rows <= plain)
}

/// The first of so many new rows, which `SQLite` numbers one after the other; none where somebody has
/// stored a row at the end of all numbers.
fn free_rows(core: &Core, rows: usize) -> Result<Option<i64>, Error> {
    let last: Option<i64> = core
        .conn
        .prepare_cached(LAST)
        .and_then(|mut read| read.query_row([i64::MAX], |row| row.get(0)).optional())
        .map_err(not_stored)?;
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let last = last.unwrap_or(0);
    Ok(last.checked_add(rows).map(|_fits| last + 1))
}

/// One statement for all.
fn store_block(core: &mut Core, block: &mut [Insert], first: i64, sql: &str) -> Result<(), Error> {
    // What is remembered is read before it is added to: once these are placed, and until they are
    // written, the file does not tell of them.
    if block.iter().any(|insert| insert.task.due_at > insert.now) {
        next_due(core)?;
    }
    let mut read_for = None;
    for offer in block.iter().filter_map(|insert| insert.offer.as_ref()) {
        if read_for.replace(offer.view()) != Some(offer.view()) {
            core.lanes.read_open(&core.conn, &**offer).map_err(not_stored)?;
        }
    }
    if read_for.is_some() {
        core.rules.prepare(&core.conn)?;
    }
    let mut next = first;
    for insert in block.iter_mut() {
        let lane = core.lanes.of(&core.conn, &insert.task.queue, &insert.task.kind)?;
        let mut placed = insert.place(core, lane)?;
        placed.row = next;
        next += 1;
        insert.note(core, lane, placed);
        insert.fate = Fate::Placed(placed);
    }
    let mut statement = core.conn.prepare_cached(sql).map_err(not_stored)?;
    for (number, insert) in block.iter().enumerate() {
        if let Fate::Placed(placed) = insert.fate {
            insert.bind(&mut statement, number, placed).map_err(not_stored)?;
        }
    }
    statement.raw_execute().map_err(not_stored)?;
    drop(statement);
    if core.conn.last_insert_rowid() != next - 1 {
        let reason = "bad_file: its tasks are not numbered one after the other".to_owned();
        return Err(Error::NotStored { reason, source: None });
    }
    block.iter().try_for_each(|insert| match insert.fate {
        Fate::Placed(placed) => insert.store_rest(&core.conn, placed.row),
        _ => Ok(()),
    })
}
