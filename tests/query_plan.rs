//! Every statement of the engine is explained by `SQLite` against the real schema: the index that its
//! comment names is the one that is used, and no statement reads all tasks.
//!
//! The statements are read from the sources, so that this test and the engine cannot drift apart.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use rusqlite::Connection;

const HOME: &str = "src/backends/sqlite";

/// One SQL text in the sources.
#[derive(Debug, Clone)]
struct Statement {
    file: String,
    line: usize,
    /// The name of its constant; empty where it stands inside a function.
    name: String,
    sql: String,
    /// What the comment above it says: `litework_task_ready`, or `the primary key`.
    served_by: Option<String>,
}

impl Statement {
    fn place(&self) -> String {
        format!("{HOME}/{}:{} {}", self.file, self.line + 1, self.name)
    }

    fn touches_tasks(&self) -> bool {
        self.sql.contains("litework_task ") || self.sql.ends_with("litework_task")
    }

    fn finds_tasks(&self) -> bool {
        self.touches_tasks() && !self.sql.starts_with("INSERT")
    }

    /// Whether a filter is still to be put in: which index serves it depends on the filter.
    fn has_filter(&self) -> bool {
        self.sql.contains('{')
    }

    fn with_filter(&self, filter: &str) -> String {
        let (before, rest) = self.sql.split_once('{').unwrap();
        format!("{before}{filter}{}", rest.split_once('}').unwrap().1)
    }
}

/// Reads a string literal from its opening quote on: `\` at the end of a line joins it with the
/// next. Returns the text and the number of lines it spans.
fn read_literal(lines: &[&str], column: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let mut rest = if at == 0 { &line[column + 1..] } else { line.trim_start() };
        while let Some(end) = rest.find(['"', '\\']) {
            text.push_str(&rest[..end]);
            if rest[end..].starts_with('"') {
                return Some((text, at + 1));
            }
            let escaped = rest[end + 1..].chars().next();
            text.extend(escaped);
            rest = &rest[end + 1 + escaped.map_or(0, char::len_utf8)..];
        }
        text.push_str(rest);
    }
    None
}

/// The statements of one source text, in order.
fn extract(file: &str, text: &str) -> Vec<Statement> {
    const VERBS: [&str; 4] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "];
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut at) = (Vec::<Statement>::new(), 0);
    while at < lines.len() {
        let line = lines[at];
        let comment = line.trim_start().starts_with("//");
        let starts = |verb: &&str| line.find(&format!("\"{verb}"));
        let start = if comment { None } else { VERBS.iter().find_map(starts) };
        let Some((sql, taken)) = start.and_then(|column| read_literal(&lines[at..], column)) else {
            at += 1;
            continue;
        };
        let after = found.last().map_or(0, |last| last.line + 1);
        found.push(Statement {
            file: file.to_owned(),
            line: at,
            name: constant_name(&lines, at),
            sql,
            served_by: served_by(&lines[after..at]),
        });
        at += taken;
    }
    found
}

/// The name in `const NAME: &str =` on this line or the one before.
fn constant_name(lines: &[&str], at: usize) -> String {
    let near = [lines[at], at.checked_sub(1).map_or("", |before| lines[before])];
    let name = near.iter().find_map(|line| line.split_once("const ")?.1.split_once(": &str"));
    name.map_or(String::new(), |(name, _)| name.to_owned())
}

/// The nearest `Served by …` above, within the same item.
fn served_by(above: &[&str]) -> Option<String> {
    let item = above.iter().rev().take_while(|line| !matches!(**line, "}" | "};"));
    let said = item.filter(|line| line.trim_start().starts_with("//"));
    let said: Vec<&str> = said.copied().collect();
    let text = said.iter().rev().map(|line| line.trim_start().trim_start_matches('/'));
    let text = text.collect::<String>();
    let by = text.split_once("Served by ")?.1;
    if by.starts_with("the primary key") {
        return Some("the primary key".to_owned());
    }
    by.split('`').nth(1).map(str::to_owned)
}

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(HOME).join(file);
    fs::read_to_string(path).unwrap()
}

/// The text of a string constant that is only a part of statements.
fn part(file: &str, name: &str) -> String {
    let text = source(file);
    let lines: Vec<&str> = text.lines().collect();
    let wanted = format!("const {name}: &str =");
    let at = lines.iter().position(|line| line.contains(&wanted)).unwrap();
    let start = (at..lines.len()).find(|at| lines[*at].contains('"')).unwrap();
    read_literal(&lines[start..], lines[start].find('"').unwrap()).unwrap().0
}

/// Every statement of the engine, with the parts of formatted ones filled in.
fn statements() -> Vec<Statement> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(HOME);
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    files.retain(|name| Path::new(name).extension().is_some_and(|end| end == "rs"));
    // What is built for tests only may have tables of its own.
    let all = source("mod.rs");
    let for_tests: Vec<String> = all
        .split("#[cfg(test)]")
        .skip(1)
        .filter_map(|rest| Some(format!("{}.rs", rest.split_once("mod ")?.1.split_once(';')?.0)))
        .collect();
    files.retain(|name| !for_tests.contains(name));
    files.sort();
    let (columns, from) = (part("row.rs", "COLUMNS"), part("row.rs", "FROM"));
    let mut all: Vec<Statement> =
        files.iter().flat_map(|file| extract(file, &source(file))).collect();
    for statement in &mut all {
        let selects_all = statement.sql.starts_with("SELECT {} FROM {}");
        let parts: &[&String] = if selects_all { &[&columns, &from] } else { &[&from] };
        for part in parts {
            statement.sql = statement.sql.replacen("{}", part, 1);
        }
    }
    all
}

fn hot(name: &str) -> Statement {
    let found = statements().into_iter().find(|statement| statement.name == name);
    found.unwrap_or_else(|| panic!("{HOME} has no constant {name}"))
}

fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&source("schema.sql")).unwrap();
    conn
}

/// The steps of the plan that `SQLite` makes.
fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|error| {
        panic!("{error}: {sql}");
    });
    let mut rows = explain.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>(3).unwrap());
    }
    steps
}

fn uses(steps: &[String], index: &str) -> bool {
    let wanted = match index {
        // Of a table with row numbers, or of one without.
        "the primary key" => {
            vec!["USING INTEGER PRIMARY KEY".to_owned(), "USING PRIMARY KEY".to_owned()]
        }
        index => vec![format!("INDEX {index}")],
    };
    let names = |step: &String, wanted: &String| {
        step.ends_with(wanted) || step.contains(&format!("{wanted} "))
    };
    steps.iter().any(|step| wanted.iter().any(|wanted| names(step, wanted)))
}

/// A step that walks over all tasks, whatever their state.
fn reads_all_tasks(steps: &[String]) -> bool {
    steps.iter().any(|step| matches!(step.as_str(), "SCAN litework_task" | "SCAN t"))
}

#[test]
fn every_statement_uses_the_index_that_its_comment_names() {
    let conn = database();
    let mut wrong = Vec::new();
    for statement in statements().iter().filter(|statement| !statement.has_filter()) {
        let steps = plan(&conn, &statement.sql);
        if let Some(index) = &statement.served_by
            && !uses(&steps, index)
        {
            wrong.push(format!("{} is not served by {index}: {steps:?}", statement.place()));
        }
        if statement.finds_tasks() && reads_all_tasks(&steps) {
            wrong.push(format!("{} reads all tasks: {steps:?}", statement.place()));
        }
        if steps.iter().any(|step| step.contains("TEMP B-TREE")) {
            wrong.push(format!("{} sorts: {steps:?}", statement.place()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_statement_that_finds_tasks_says_what_serves_it() {
    let silent = statements().into_iter().filter(|statement| {
        statement.finds_tasks() && !statement.has_filter() && statement.served_by.is_none()
    });
    let silent: Vec<String> = silent.map(|statement| statement.place()).collect();
    assert!(silent.is_empty(), "no `Served by …` above:\n{}", silent.join("\n"));
}

/// How often `SQLite` prepares a statement anew that is bound and run twice. It does where a value may change
/// the plan: `LIMIT ?1` or `AND ?1`, say. That costs more than most statements take.
fn prepared_anew(conn: &Connection, sql: &str) -> i32 {
    let mut statement = conn.prepare(sql).unwrap();
    for value in 1..3 {
        for parameter in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(parameter, value).unwrap();
        }
        let mut rows = statement.raw_query();
        // What the schema does not admit ends the run, which is all the same here.
        while let Ok(Some(_)) = rows.next() {}
    }
    statement.get_status(rusqlite::StatementStatus::RePrepare)
}

#[test]
fn no_statement_is_prepared_anew_when_values_are_bound() {
    let conn = database();
    let all = statements();
    let anew = all.iter().filter(|one| !one.has_filter() && prepared_anew(&conn, &one.sql) > 0);
    let anew: Vec<String> = anew.map(Statement::place).collect();
    assert!(anew.is_empty(), "prepared anew each time:\n{}", anew.join("\n"));
    let planted = "SELECT id FROM litework_task WHERE state = 'ready' LIMIT ?1";
    assert!(prepared_anew(&conn, planted) > 0, "the planted one is found");
}

#[test]
fn the_hot_statements_are_found_and_indexed() {
    let conn = database();
    let hot_ones = [
        ("HEADS", "litework_task_ready"),
        ("CLAIM", "the primary key"),
        ("SUCCEED", "the primary key"),
        ("SETTLE", "the primary key"),
        ("DUE", "litework_task_scheduled"),
        ("NEXT_DUE", "litework_task_scheduled"),
        ("PROMOTE", "the primary key"),
        ("FIND_KEY", "litework_task_key"),
    ];
    for (name, index) in hot_ones {
        let steps = plan(&conn, &hot(name).sql);
        assert!(uses(&steps, index), "{name} is not served by {index}: {steps:?}");
    }
}

/// The given rows are read once, and each finds its task by its number.
#[test]
fn a_block_of_successes_finds_each_task_by_its_number() {
    let block = hot("SUCCEED_BLOCK").with_filter("(1, 2, 3, 4, NULL), (2, 3, 4, 5, NULL)");
    let steps = plan(&database(), &block);
    assert!(uses(&steps, "the primary key"), "{steps:?}");
    assert!(!reads_all_tasks(&steps), "{steps:?}");
}

#[test]
fn what_a_process_runs_is_found_by_its_number() {
    let conn = database();
    let running = statements().into_iter().filter(|statement| {
        let sql = &statement.sql;
        sql.starts_with("SELECT")
            && sql.contains("state = 'running' AND worker")
            && !sql.contains("WHERE id = ")
    });
    let running: Vec<Statement> = running.collect();
    assert!(running.len() >= 3, "held, others and cancel requests: {running:?}");
    for statement in running {
        let steps = plan(&conn, &statement.sql);
        assert!(uses(&steps, "litework_task_running"), "{}: {steps:?}", statement.place());
    }
}

/// Lists go newest first. Where few tasks are in a state, its page must not walk over all others:
/// sorting by `+t.id` leaves the index of the state to be used (a million finished tasks and none
/// running: 0.2 ms against 72 ms). Where many are, a page is near the end of the table anyway.
#[test]
fn a_list_of_one_state_uses_the_index_of_that_state() {
    let text = source("meant.rs");
    assert!(text.contains("\"t.state = {word}\""), "the filter is written otherwise now");
    let conn = database();
    let list = statements()
        .into_iter()
        .find(|found| found.file == "query.rs" && found.sql.contains(" ORDER BY {order}"))
        .expect("the statement of `list`");
    let all = plan(&conn, &list.with_filter("").replace("{order}", "t.id"));
    assert!(!all.iter().any(|step| step.contains("B-TREE")), "all states: {all:?}");
    for (state, index) in [
        ("scheduled", "litework_task_scheduled"),
        ("waiting", "litework_task_waiting"),
        ("ready", "litework_task_ready"),
        ("running", "litework_task_running"),
        ("failed", "litework_task_failed"),
    ] {
        let few = list.with_filter(&format!("WHERE t.state = '{state}'"));
        let steps = plan(&conn, &few.replace("{order}", "+t.id"));
        assert!(uses(&steps, index), "{state}: {steps:?}");
    }
}

/// The statement of a file that has this in it, with its parts filled in.
fn with_parts(file: &str, has: &str, parts: &[(&str, &str)]) -> String {
    let mut all = statements().into_iter().filter(|found| found.file == file);
    let mut sql = all.find(|found| found.sql.contains(has)).unwrap().sql;
    for (name, part) in parts {
        sql = sql.replace(name, part);
    }
    assert!(!sql.contains('{'), "{sql}");
    sql
}

/// Lists for people: a page of ended tasks goes along the time of their ends and sorts nothing; one of a live
/// state reads numbers from its index, and rows for those of the page alone; any other goes along the numbers of
/// tasks, between two of them.
#[test]
fn a_page_that_people_look_at_is_bound_by_an_index() {
    let conn = database();
    let columns = part("row.rs", "COLUMNS");
    for (index, found) in [
        ("litework_task_finished", "WHERE l.kind IN (?) AND t.state = 'succeeded'"),
        ("litework_task_finished", "WHERE l.queue IN (?) AND t.state IN ('failed', 'skipped')"),
        ("litework_task_failed", "WHERE t.state = 'failed' AND t.owner = ?"),
    ] {
        let found = format!(
            "{found} AND t.finished_at IS NOT NULL AND (t.finished_at, t.id) < (?, ?) \
             AND (t.finished_at, t.id) >= (?, ?)"
        );
        let parts = [("{columns}", columns.as_str()), ("{index}", index), ("{found}", &found)];
        let steps = plan(&conn, &with_parts("query.rs", "INDEXED BY {index}", &parts));
        assert!(uses(&steps, index), "{steps:?}");
        assert!(
            steps[0].contains("finished_at>") && steps[0].contains("finished_at<"),
            "{steps:?}"
        );
        assert!(!steps.iter().any(|step| step.contains("B-TREE")), "{steps:?}");
    }
    let lanes = "t.lane IN (SELECT id FROM litework_lane WHERE kind IN (?))";
    for (state, index) in [
        ("scheduled", "litework_task_scheduled"),
        ("waiting", "litework_task_waiting"),
        ("ready", "litework_task_ready"),
        ("running", "litework_task_running"),
    ] {
        for found in [format!("t.state = '{state}'"), format!("t.state = '{state}' AND {lanes}")] {
            let parts = [("{columns}", columns.as_str()), ("{clauses}", &found)];
            let steps = plan(&conn, &with_parts("query.rs", "AS number", &parts));
            assert!(uses(&steps, index) && !reads_all_tasks(&steps), "{state}: {steps:?}");
            let count =
                with_parts("query.rs", "SELECT 1 FROM litework_task t", &[("{clauses}", &found)]);
            let steps = plan(&conn, &count);
            assert!(uses(&steps, index) && !reads_all_tasks(&steps), "{state}: {steps:?}");
            let newest = with_parts("query.rs", "max(+t.id)", &[("{clauses}", &found)]);
            let steps = plan(&conn, &newest);
            assert!(uses(&steps, index) && !reads_all_tasks(&steps), "{state}: {steps:?}");
        }
    }
    let walk = statements().into_iter().find(|found| {
        found.file == "query.rs" && found.sql.ends_with(" ORDER BY t.id DESC LIMIT ?")
    });
    let window =
        "WHERE l.kind IN (?) AND t.state IN ('ready', 'failed') AND t.id < ? AND t.id >= ?";
    let steps = plan(&conn, &walk.unwrap().with_filter(window));
    assert!(
        steps[0].contains("rowid>? AND rowid<?") && uses(&steps, "the primary key"),
        "{steps:?}"
    );
    assert!(!steps.iter().any(|step| step.contains("B-TREE")), "{steps:?}");
}

/// What is done to many walks over the tasks once, page by page, and sorts none of them.
#[test]
fn a_walk_over_many_goes_on_where_its_page_before_ended() {
    let conn = database();
    let walk = statements().into_iter().find(|found| found.sql.contains("t {along} CROSS JOIN"));
    let walk = walk.expect("the statement of `rows`").sql;
    for (along, filter, index) in [
        ("NOT INDEXED", "t.state = 'failed' AND t.tags IS NULL", "the primary key"),
        ("INDEXED BY litework_task_owner", "t.owner = ?", "litework_task_owner"),
    ] {
        let found = format!("WHERE {filter} AND t.id > ? AND t.id <= ?");
        let sql = walk.replace("{along}", along).replace("{found}", &found);
        let steps = plan(&conn, &sql);
        let ranged = steps[0].contains("rowid>? AND rowid<?") || steps[0].contains("id>? AND id<?");
        assert!(ranged && uses(&steps, index), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("B-TREE")), "{steps:?}");
    }
}

#[test]
fn a_scan_a_sort_and_a_wrong_name_are_caught() {
    let conn = database();
    let scan = plan(&conn, "SELECT id FROM litework_task WHERE attempt = 3");
    assert!(reads_all_tasks(&scan), "{scan:?}");
    let bound = plan(&conn, "SELECT id FROM litework_task WHERE state = ?1 AND lane = ?2");
    assert!(reads_all_tasks(&bound), "a bound state does not match a partial index: {bound:?}");
    assert!(!uses(&plan(&conn, &hot("HEADS").sql), "litework_task_running"));
    let text = "/// Served by\n/// `litework_task_key`; unique.\nconst A: &str = \"SELECT 1 \\\n     \
                FROM x\";\nfn f() {\n    // Served by the primary key.\n    g(\"DELETE FROM y\");\n}\n\
                fn h() {\n    g(\"UPDATE z\");\n}\n";
    let found = extract("a.rs", text);
    let served: Vec<_> = found.iter().map(|statement| statement.served_by.as_deref()).collect();
    assert_eq!(served, [Some("litework_task_key"), Some("the primary key"), None]);
    assert_eq!((found[0].name.as_str(), found[0].sql.as_str()), ("A", "SELECT 1 FROM x"));
}
