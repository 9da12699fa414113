//! Tests only: notes in the file itself each change of a task's state, whoever makes it.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::Sqlite;
use super::errors::not_stored;
use crate::error::Error;
use crate::options::Durability;
use crate::state::State;

/// From where to where; none: a new row.
pub(crate) type Edge = (Option<State>, State);

/// A state that is written again as it was is no step, nor is a row that is emptied in the place of being
/// deleted.
const TRIGGERS: &str = "CREATE TABLE litework_walked (was TEXT, became TEXT, UNIQUE (was, became));
    CREATE TRIGGER litework_born AFTER INSERT ON litework_task BEGIN
        INSERT OR IGNORE INTO litework_walked VALUES ('', new.state); END;
    CREATE TRIGGER litework_moved AFTER UPDATE OF state ON litework_task
        WHEN new.state <> old.state AND NOT (new.lane = 0 AND new.finished_at IS 0) BEGIN
        INSERT OR IGNORE INTO litework_walked VALUES (old.state, new.state); END;";

/// The notes of one file.
pub(crate) struct Recorder {
    conn: Connection,
}

impl Recorder {
    /// Begins to note. The engine itself makes the triggers: it would take them for the commit of another
    /// program, and refuse to open a file that has them.
    pub(crate) fn install(engine: &Sqlite) -> Result<Self, Error> {
        engine.transaction(Durability::Normal, |core| {
            core.conn.execute_batch(TRIGGERS).map_err(not_stored)
        })?;
        let conn = Connection::open(engine.path()).map_err(not_stored)?;
        Ok(Self { conn })
    }

    /// Those that were walked until now.
    pub(crate) fn edges(&self) -> rusqlite::Result<BTreeSet<Edge>> {
        let mut read = self.conn.prepare("SELECT was, became FROM litework_walked")?;
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let edges = rows.map(|row: rusqlite::Result<(String, String)>| {
            let (was, became) = row?;
            let became = State::from_word(&became).ok_or(rusqlite::Error::InvalidQuery)?;
            Ok((State::from_word(&was), became))
        });
        edges.collect()
    }

    /// What another program may do to the file: all end well without having run.
    pub(crate) fn skip_the_attempt(&self) -> rusqlite::Result<usize> {
        let sql = "UPDATE litework_task SET state = 'succeeded', finished_at = 1";
        self.conn.execute(sql, [])
    }
}
