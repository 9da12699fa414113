//! Store: whether a file is as this program makes it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rusqlite::Connection;

/// All that is made in a new file.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// What stands in a schema: by type and name, its text without comments and blanks.
type Objects = BTreeMap<(String, String), String>;

/// Ours, and whatever hangs on ours.
fn objects(conn: &Connection) -> rusqlite::Result<Objects> {
    let mut read = conn.prepare(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema \
         WHERE tbl_name LIKE 'litework\\_%' ESCAPE '\\' OR name LIKE 'litework\\_%' ESCAPE '\\'",
    )?;
    let rows = read.query_map([], |row| {
        let sql: String = row.get(2)?;
        let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
        let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        Ok(((row.get(0)?, row.get(1)?), words.join(" ")))
    })?;
    rows.collect()
}

/// The objects that this program makes.
fn own_objects() -> rusqlite::Result<&'static Objects> {
    static OWN: OnceLock<Objects> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    let conn = Connection::open_in_memory()?;
    conn.execute_batch(SCHEMA)?;
    let own = objects(&conn)?;
    Ok(OWN.get_or_init(|| own))
}

/// What is not in a file as this program makes it.
pub(super) struct Difference {
    pub(super) kind: String,
    pub(super) name: String,
    /// Such as `is missing`.
    pub(super) what: &'static str,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, name, what } = self;
        write!(f, "{} {} {what}", kind.escape_debug(), name.escape_debug())
    }
}

/// What is missing of ours or another than we made it, and what hangs on our tables: a trigger would run inside of
/// our transactions.
pub(super) fn differences(conn: &Connection) -> rusqlite::Result<Vec<Difference>> {
    let (own, found) = (own_objects()?, objects(conn)?);
    let of = |(kind, name): &(String, String), what| Difference {
        kind: kind.clone(),
        name: name.clone(),
        what,
    };
    let missing = own.keys().filter(|name| !found.contains_key(*name));
    let missing = missing.map(|name| of(name, "is missing"));
    let others = found.iter().filter_map(|(name, sql)| match own.get(name) {
        None => Some(of(name, "is not of litework")),
        Some(known) => (known != sql).then(|| of(name, "is not as litework made it")),
    });
    Ok(missing.chain(others).collect())
}

/// The statement that makes an index of ours.
pub(super) fn index_sql(name: &str) -> Option<String> {
    let own = own_objects().ok()?;
    own.get(&("index".to_owned(), name.to_owned())).filter(|sql| !sql.is_empty()).cloned()
}
