//! Store: what people say of a schedule over what code says, setting by setting: each option of its calls, each
//! of their arguments, and the expression and the zone of its timing by itself. The rest follows the code.

use serde_json::{Map, Value, json};

use super::{GRACE_DEFAULT, Missed, Overlap};

/// What is said, by key.
pub(super) type Object = Map<String, Value>;

/// Options of the call stand in an object of their own, in which `null` takes back what code says.
pub(super) const OPTIONS: &str = "options";
/// So do its arguments, in which `null` is a value …
const ARGUMENTS: &str = "arguments";
/// … and those parameters stand here that are to be given nothing.
const WITHOUT_ARGUMENTS: &str = "without_arguments";
const TIMING: &str = "timing";
const CRON: &str = "cron";

/// What a person has changed of what code says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Edited {
    /// Of what, such as `name`, `timing`, `queue` or `arguments.folder`.
    pub field: String,
    /// What code says; `null` where it says nothing.
    pub code: Value,
    /// What holds instead; `null` where nothing is to hold.
    pub edited: Value,
}

/// An object within another; an empty one where there is none.
fn inner(of: &Object, key: &str) -> Object {
    of.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The expression and the zone of a timing, as far as they are said.
fn cron(timing: Option<&Value>) -> Option<&Object> {
    timing?.as_object()?.get(CRON)?.as_object()
}

/// Whether its timing is an expression.
pub(super) fn is_cron(said: &Object) -> bool {
    cron(said.get(TIMING)).is_some()
}

/// The names of parameters that are to be given nothing.
fn without(edits: &Object) -> Option<Vec<&str>> {
    edits.get(WITHOUT_ARGUMENTS)?.as_array()?.iter().map(Value::as_str).collect()
}

/// Whether it can be read, though it is no setting by itself.
pub(super) fn is_partial(key: &str, edit: &Value) -> bool {
    match key {
        WITHOUT_ARGUMENTS => {
            edit.as_array().is_some_and(|names| names.iter().all(Value::is_string))
        }
        TIMING => cron(Some(edit)).is_some_and(|said| {
            let is_known = |key: &str| key == "expression" || key == "zone";
            said.iter().all(|(key, text)| is_known(key) && text.is_string())
        }),
        _ => false,
    }
}

/// The timing that holds. An expression without a zone, or the reverse, follows the code where that has the
/// other no more.
fn timing(code: Option<&Value>, edit: &Value) -> Value {
    let Some(edits) = cron(Some(edit)) else { return edit.clone() };
    match (cron(code), code) {
        (Some(code), _) => {
            let mut all = code.clone();
            all.extend(edits.clone());
            json!({ CRON: all })
        }
        (None, Some(code)) if edits.len() < 2 => code.clone(),
        (None, _) => edit.clone(),
    }
}

/// What people say over what code says.
pub(super) fn merged(code: &Object, edits: &Object) -> Object {
    let mut all = code.clone();
    for (key, edit) in edits {
        let value = match (key.as_str(), edit) {
            (OPTIONS, Value::Object(edits)) => {
                let mut options = inner(code, OPTIONS);
                options.extend(edits.clone());
                options.retain(|_, value| !value.is_null());
                Value::Object(options)
            }
            (ARGUMENTS, Value::Object(edits)) => {
                let mut arguments = inner(code, ARGUMENTS);
                arguments.extend(edits.clone());
                Value::Object(arguments)
            }
            (WITHOUT_ARGUMENTS, _) if without(edits).is_some() => continue,
            (TIMING, edit) => timing(code.get(TIMING), edit),
            (_, edit) => edit.clone(),
        };
        if value.is_null() {
            all.remove(key);
        } else {
            all.insert(key.clone(), value);
        }
    }
    if let (Some(names), Some(Value::Object(arguments))) = (without(edits), all.get_mut(ARGUMENTS))
    {
        arguments.retain(|name, _| !names.contains(&name.as_str()));
    }
    all
}

/// What holds where nothing is said of it.
fn usual(key: &str) -> Value {
    match key {
        "enabled" => json!(true),
        "frequent" => json!(false),
        "missed" => json!(Missed::default()),
        "overlap" => json!(Overlap::default()),
        "grace_ms" => json!(u64::try_from(GRACE_DEFAULT.as_millis()).unwrap_or(u64::MAX)),
        "jitter_ms" => json!(0),
        _ => Value::Null,
    }
}

/// Those of the edits that say something else than code does.
pub(super) fn differing(code: &Object, edits: &Object) -> Object {
    let mut kept = Object::new();
    for (key, edit) in edits {
        let value = match (key.as_str(), edit) {
            (OPTIONS, Value::Object(edits)) => {
                let code = inner(code, OPTIONS);
                let mut edits = edits.clone();
                edits.retain(|key, value| code.get(key).unwrap_or(&Value::Null) != value);
                Value::Object(edits)
            }
            (ARGUMENTS, Value::Object(edits)) => {
                let code = inner(code, ARGUMENTS);
                let mut edits = edits.clone();
                edits.retain(|key, value| code.get(key) != Some(value));
                Value::Object(edits)
            }
            (WITHOUT_ARGUMENTS, Value::Array(names)) => {
                let code = inner(code, ARGUMENTS);
                let is_given =
                    |name: &&Value| name.as_str().is_none_or(|name| code.contains_key(name));
                Value::Array(names.iter().filter(is_given).cloned().collect())
            }
            (TIMING, edit) => match (cron(code.get(TIMING)), cron(Some(edit))) {
                (Some(code), Some(edits)) => {
                    let mut edits = edits.clone();
                    edits.retain(|key, value| code.get(key) != Some(value));
                    if edits.is_empty() { json!({}) } else { json!({ CRON: edits }) }
                }
                _ if code.get(TIMING) == Some(edit) => json!({}),
                _ => edit.clone(),
            },
            (key, edit) => {
                let usual = usual(key);
                let said = code.get(key).unwrap_or(&usual);
                if edit == said || edit.is_null() && *said == usual {
                    continue;
                }
                edit.clone()
            }
        };
        let is_empty = value.as_object().is_some_and(Object::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if !is_empty {
            kept.insert(key.clone(), value);
        }
    }
    kept
}

/// The differences, as people see them.
pub(super) fn compare(code: &Object, edits: &Object) -> Vec<Edited> {
    let mut all = Vec::new();
    for (key, edit) in &differing(code, edits) {
        let said = code.get(key).cloned().unwrap_or_default();
        let mut note = |field: String, code: Option<&Value>, edited: &Value| {
            let code = code.cloned().unwrap_or_default();
            all.push(Edited { field, code, edited: edited.clone() });
        };
        match (key.as_str(), edit) {
            (OPTIONS, Value::Object(edits)) => {
                edits.iter().for_each(|(key, edit)| note(key.clone(), said.get(key), edit));
            }
            (ARGUMENTS, Value::Object(edits)) => {
                for (name, edit) in edits {
                    note(format!("{ARGUMENTS}.{name}"), said.get(name), edit);
                }
            }
            (WITHOUT_ARGUMENTS, Value::Array(names)) => {
                let code = inner(code, ARGUMENTS);
                for name in names.iter().filter_map(Value::as_str) {
                    note(format!("{ARGUMENTS}.{name}"), code.get(name), &Value::Null);
                }
            }
            (TIMING, edit) => {
                let holds = timing(Some(&said), edit);
                if holds != said {
                    note(key.clone(), Some(&said), &holds);
                }
            }
            (_, edit) => note(key.clone(), Some(&said), edit),
        }
    }
    all
}

/// Adds what a person says now.
pub(super) fn add(edits: &mut Object, said: Object) {
    for (key, value) in said {
        match (key.as_str(), value, edits.get_mut(&key)) {
            (OPTIONS, Value::Object(more), Some(Value::Object(known))) => known.extend(more),
            (TIMING, value, Some(known)) => {
                let apart = cron(Some(known)).is_some() && cron(Some(&value)).is_some();
                *known = if apart { timing(Some(known), &value) } else { value };
            }
            (_, value, _) => drop(edits.insert(key, value)),
        }
    }
}

/// Adds what a person says now of parameters: their arguments, or that they are given none.
pub(super) fn argue(edits: &mut Object, said: Vec<(String, Option<Value>)>) {
    if said.is_empty() {
        return;
    }
    let mut arguments = inner(edits, ARGUMENTS);
    let names = without(edits).unwrap_or_default();
    let mut without: Vec<String> = names.into_iter().map(str::to_owned).collect();
    for (name, value) in said {
        without.retain(|known| *known != name);
        if let Some(value) = value {
            arguments.insert(name, value);
        } else {
            arguments.remove(&name);
            without.push(name);
        }
    }
    edits.insert(ARGUMENTS.to_owned(), Value::Object(arguments));
    edits.insert(WITHOUT_ARGUMENTS.to_owned(), json!(without));
}

/// The parameters that people have edited.
pub(super) fn parameters(edits: &Object) -> Vec<String> {
    let taken = without(edits).unwrap_or_default();
    inner(edits, ARGUMENTS)
        .into_iter()
        .map(|(name, _)| name)
        .chain(taken.into_iter().map(str::to_owned))
        .collect()
}

/// Takes back what people say of these parameters.
pub(super) fn forget(edits: &mut Object, names: &[String]) {
    if let Some(Value::Object(arguments)) = edits.get_mut(ARGUMENTS) {
        arguments.retain(|name, _| !names.contains(name));
    }
    if let Some(Value::Array(without)) = edits.get_mut(WITHOUT_ARGUMENTS) {
        without.retain(|name| !names.iter().any(|other| name == other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: &Value) -> Object {
        value.as_object().cloned().unwrap_or_default()
    }

    fn said(code: &Value, edits: &Value) -> Vec<(String, Value, Value)> {
        let all = compare(&map(code), &map(edits)).into_iter();
        all.map(|it| (it.field, it.code, it.edited)).collect()
    }

    #[test]
    fn what_people_say_goes_before_what_code_says_key_by_key() {
        let code = json!({"times": 3, "ends_at": "x", "options": {"queue": "a", "priority": 1}});
        let edits = json!({"times": 4, "ends_at": null, "options": {"priority": 2}});
        let all = merged(&map(&code), &map(&edits));
        assert_eq!(all, map(&json!({"times": 4, "options": {"queue": "a", "priority": 2}})));
        let field = |name: &str, code: Value, edited: Value| (name.to_owned(), code, edited);
        let expected = [
            field("ends_at", json!("x"), Value::Null),
            field("priority", json!(1), json!(2)),
            field("times", json!(3), json!(4)),
        ];
        assert_eq!(said(&code, &edits), expected);
    }

    #[test]
    fn each_argument_is_edited_by_itself_and_null_is_a_value() {
        let code = json!({"arguments": {"a": 1, "b": 2, "c": null}});
        let edits = json!({"arguments": {"a": null}, "without_arguments": ["b"]});
        let all = merged(&map(&code), &map(&edits));
        assert_eq!(all, map(&json!({"arguments": {"a": null, "c": null}})));
        let fields: Vec<_> = said(&code, &edits).into_iter().map(|(field, ..)| field).collect();
        assert_eq!(fields, ["arguments.a", "arguments.b"]);
        let mut again = map(&edits);
        argue(&mut again, vec![("a".into(), None), ("b".into(), Some(json!(2)))]);
        let kept = differing(&map(&code), &again);
        assert_eq!(kept, map(&json!({"without_arguments": ["a"]})), "`b` is as in code");
    }

    #[test]
    fn an_expression_and_its_zone_are_edited_apart() {
        let cron = |expression: &str, zone: &str| json!({"timing": {"cron": {"expression": expression, "zone": zone}}});
        let zone = json!({"timing": {"cron": {"zone": "Asia/Tokyo"}}});
        let all = merged(&map(&cron("0 2 * * *", "UTC")), &map(&zone));
        assert_eq!(all, map(&cron("0 2 * * *", "Asia/Tokyo")));
        let every = json!({"timing": {"every": {"interval_ms": 60_000}}});
        assert_eq!(merged(&map(&every), &map(&zone)), map(&every), "code has no expression more");
        assert_eq!(said(&every, &zone), []);
        let mut edits = map(&zone);
        add(&mut edits, map(&json!({"timing": {"cron": {"expression": "@daily"}}})));
        assert_eq!(edits, map(&cron("@daily", "Asia/Tokyo")));
        let kept = differing(&map(&cron("@daily", "UTC")), &edits);
        assert_eq!(kept, map(&zone));
    }

    #[test]
    fn what_is_edited_back_is_no_edit() {
        let code = json!({"overlap": "allow", "times": 3});
        let edits = json!({"overlap": "allow", "enabled": true, "grace_ms": 60_000, "ends_at": null,
            "times": 3, "frequent": null, "missed": "last", "jitter_ms": 0});
        assert_eq!(differing(&map(&code), &map(&edits)), Object::new());
        let edits = json!({"overlap": "skip", "enabled": false, "times": null});
        assert_eq!(differing(&map(&code), &map(&edits)), map(&edits));
    }
}
