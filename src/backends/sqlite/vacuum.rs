//! Store: gives the space of what was removed back to the disk: all of it while nobody works, or the free pages slice by
//! slice while all do.

use std::path::Path;
use std::time::Duration;

use super::errors::{is_busy, not_stored};
use super::inspect::{beside, bytes};
use super::prune::{free_pages, give_space};
use super::schema::{self, INCREMENTAL, bad_file, pragma};
use super::{Sqlite, wipe};
use crate::backend::Operate;
use crate::error::Error;
use crate::fault;
use crate::options::Durability;
use crate::upkeep::{Vacuum, Vacuumed};

/// How long others are waited for that write.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn vacuum(engine: &Sqlite, how: Vacuum) -> Result<Vacuumed, Error> {
    let path = &engine.inner.path;
    engine.inner.writer.turn()?.check_path()?;
    let before = size(path);
    match how {
        Vacuum::Full => {
            check_idle(engine)?;
            rewrite(path)?;
        }
        Vacuum::Incremental => give_all(engine)?,
    }
    // The file is cut only once its log is in it.
    let log_emptied = wipe::empty_log(path)?;
    Ok(Vacuumed::new(before, size(path), log_emptied))
}

/// Bytes of the file and of its log.
fn size(path: &Path) -> u64 {
    bytes(path) + bytes(&beside(path, "-wal"))
}

/// Nobody who runs tasks could store an end meanwhile, and would lose his leases.
fn check_idle(engine: &Sqlite) -> Result<(), Error> {
    let workers = engine.workers()?;
    let Some(busy) = workers.iter().find(|one| one.serves || !one.running.is_empty()) else {
        return Ok(());
    };
    let reason = format!(
        "process {} ({}) runs tasks, and nothing can be stored while all of the file is written anew; end it \
         first, or give back free pages only (incremental)",
        busy.name, busy.pid
    );
    Err(bad_file("file_in_use", &engine.inner.path, reason, None))
}

fn rewrite(path: &Path) -> Result<(), Error> {
    let done = schema::connect(path, false).and_then(|conn| {
        conn.busy_timeout(PATIENCE)?;
        // The new file is built there before it takes the place of the old, and may be large.
        conn.execute_batch("PRAGMA temp_store = FILE;")?;
        schema::set_synchronous(&conn, Durability::Full)?;
        fault::point("in_vacuum");
        conn.execute_batch("VACUUM")
    });
    done.map_err(|error| match error {
        error if is_busy(&error) => {
            let reason = "another program wrote to it for 5 s";
            bad_file("file_busy", path, reason, Some(error.into()))
        }
        error => not_stored(error),
    })
}

/// Gives back free pages, each slice in a commit of its own.
fn give_all(engine: &Sqlite) -> Result<(), Error> {
    let kind: i64 = engine.read("the kind of the file", |conn| Ok(pragma(conn, "auto_vacuum")?))?;
    if kind != INCREMENTAL {
        return Err(schema::needs_vacuum(&engine.inner.path));
    }
    while engine.read("free pages", |conn| Ok(free_pages(conn)?))? > 0 {
        engine.transaction(Durability::Normal, give_space)?;
    }
    Ok(())
}
