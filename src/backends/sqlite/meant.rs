//! Watch: a filter in the words of SQL.

use rusqlite::ToSql;

use crate::filter::{Filter, args};

/// Whether a task has a tag; damaged ones are none.
const TAGGED: &str = "EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(t.tags) THEN t.tags END) \
     WHERE value = ?)";

/// Whether a text is in that of the newest error; in a damaged one is none.
const FAILED_WITH: &str = "instr((SELECT CASE WHEN json_valid(report) THEN report ->> '$.message' END \
     FROM litework_error WHERE task = t.id AND report IS NOT NULL ORDER BY id DESC LIMIT 1), ?) > 0";

/// What stands at a path in the arguments, where it is no list and no object; what another program has damaged holds
/// nothing.
const HOLDS: &str = "CASE WHEN json_valid(t.arguments) THEN CASE json_type(t.arguments, ?) \
     WHEN 'text' THEN t.arguments ->> ? WHEN 'object' THEN NULL WHEN 'array' THEN NULL \
     ELSE t.arguments -> ? END END = ?";

/// The conditions of a filter: texts with parameters, never with values in them.
pub(super) fn conditions(filter: &Filter) -> (Vec<String>, Vec<Box<dyn ToSql>>) {
    // But for the newest, where it was emptied in the place of being deleted.
    let mut clauses = vec!["NOT (t.lane = 0 AND t.finished_at IS 0)".to_owned()];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    if !filter.states.is_empty() {
        // Literal words, so that the partial index of a single state can be used.
        let words: Vec<String> = filter.states.iter().map(|state| format!("'{state}'")).collect();
        clauses.push(match words.as_slice() {
            [word] => format!("t.state = {word}"),
            words => format!("t.state IN ({})", words.join(", ")),
        });
    }
    for (column, names) in [("l.kind", &filter.kinds), ("l.queue", &filter.queues)] {
        if !names.is_empty() {
            let marks = vec!["?"; names.len()].join(", ");
            clauses.push(format!("{column} IN ({marks})"));
            values.extend(names.iter().map(|name| Box::new(name.clone()) as Box<dyn ToSql>));
        }
    }
    if let Some(tag) = &filter.tag {
        clauses.push(TAGGED.to_owned());
        values.push(Box::new(tag.clone()));
    }
    if let Some(dismissed) = filter.dismissed {
        clauses.push("t.dismissed = ?".to_owned());
        values.push(Box::new(dismissed));
    }
    if let Some(owner) = &filter.owner {
        clauses.push("t.owner = ?".to_owned());
        values.push(Box::new(owner.clone()));
    }
    if !filter.ids.is_empty() {
        // Each number with its own tag; a list of numbers always encodes.
        let ids: Vec<(i64, i64)> = filter.ids.iter().map(|id| (id.row(), id.tag())).collect();
        let ids = serde_json::to_string(&ids).unwrap_or_default();
        clauses.push("t.id IN (SELECT value ->> 0 FROM json_each(?))".to_owned());
        clauses.push(
            "EXISTS (SELECT 1 FROM json_each(?) \
             WHERE value ->> 0 = t.id AND value ->> 1 = t.tag)"
                .to_owned(),
        );
        values.extend([Box::new(ids.clone()) as Box<dyn ToSql>, Box::new(ids)]);
    }
    add_moments(filter, &mut clauses, &mut values);
    if let Some(text) = &filter.error {
        clauses.push(FAILED_WITH.to_owned());
        values.push(Box::new(text.clone()));
    }
    for (path, value) in &filter.args {
        let path = args::json_path(path);
        clauses.push(HOLDS.to_owned());
        let all = [path.clone(), path.clone(), path, value.clone()];
        values.extend(all.map(|text| Box::new(text) as Box<dyn ToSql>));
    }
    if let Some(batch) = filter.batch {
        clauses.push("t.batch = ?".to_owned());
        clauses.push("(SELECT tag FROM litework_task WHERE id = t.batch) = ?".to_owned());
        values.extend([batch.row(), batch.tag()].map(|number| Box::new(number) as Box<dyn ToSql>));
    }
    (clauses, values)
}

fn add_moments(filter: &Filter, clauses: &mut Vec<String>, values: &mut Vec<Box<dyn ToSql>>) {
    let moments = [
        ("t.enqueued_at >= ?", filter.created_after),
        ("t.enqueued_at < ?", filter.created_before),
        ("t.finished_at >= ?", filter.finished_after),
        ("t.finished_at < ?", filter.finished_before),
    ];
    for (clause, moment) in moments {
        if let Some(moment) = moment {
            clauses.push(clause.to_owned());
            values.push(Box::new(moment.as_millis()));
        }
    }
}
