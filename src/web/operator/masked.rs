//! Watch: JSON that was shown with secrets hidden, and comes back changed: what stayed as it was shown stays as it is
//! stored, so that nobody has to know a secret to change what stands beside it.

use serde_json::{Map, Value};

use crate::redact::HIDDEN;
use crate::web::fault::Fault;

/// The object that is meant by what came back, of what is stored and what was shown of it.
pub(crate) fn meant(sent: &str, shown: &str, stored: &str) -> Result<Map<String, Value>, Fault> {
    let bad = |detail: String| Fault::bad_request("bad_arguments", detail);
    let sent: Value = serde_json::from_str(sent)
        .map_err(|error| bad(format!("the arguments are no JSON: {error}")))?;
    let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let meant = unmasked(sent, &read(shown), &read(stored));
    if holds_mask(&meant) {
        let detail =
            format!("{HIDDEN:?} stands for what is hidden, and can stay only where it was");
        return Err(bad(detail));
    }
    match meant {
        Value::Object(entries) => Ok(entries),
        _ => Err(bad("the arguments are no JSON object, by name of the parameter".to_owned())),
    }
}

fn unmasked(sent: Value, shown: &Value, stored: &Value) -> Value {
    if sent == *shown {
        return stored.clone();
    }
    match (sent, shown, stored) {
        (Value::Object(sent), Value::Object(shown), Value::Object(stored)) => {
            let entries = sent.into_iter().map(|(name, value)| {
                let value = match (shown.get(&name), stored.get(&name)) {
                    (Some(shown), Some(stored)) => unmasked(value, shown, stored),
                    _ => value,
                };
                (name, value)
            });
            Value::Object(entries.collect())
        }
        (Value::Array(sent), Value::Array(shown), Value::Array(stored))
            if sent.len() == shown.len() && shown.len() == stored.len() =>
        {
            let items = sent.into_iter().zip(shown.iter().zip(stored));
            let items = items.map(|(item, (shown, stored))| unmasked(item, shown, stored));
            Value::Array(items.collect())
        }
        (sent, ..) => sent,
    }
}

/// Whether it says anywhere that something is hidden, or was cut: what is not shown as a whole cannot be changed in
/// part.
fn holds_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(HIDDEN) || text.contains("… (cut, "),
        Value::Array(items) => items.iter().any(holds_mask),
        Value::Object(entries) => entries.values().any(holds_mask),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"to":"ada","auth":{"token":"hunter2","user":"shop"},"pages":[1,2]}"#;
    const SHOWN: &str = r#"{"to":"ada","auth":{"token":"[redacted]","user":"shop"},"pages":[1,2]}"#;

    fn came(sent: &str) -> Result<String, &'static str> {
        meant(sent, SHOWN, STORED).map(|it| Value::Object(it).to_string()).map_err(|it| it.code)
    }

    #[test]
    fn what_stayed_as_it_was_shown_stays_as_it_is_stored() {
        let as_stored: Value = serde_json::from_str(STORED).expect("JSON");
        assert_eq!(came(SHOWN), Ok(as_stored.to_string()));
        let beside = SHOWN.replace("shop", "till").replace("\"ada\"", "\"bob\"");
        let stored = STORED.replace("shop", "till").replace("\"ada\"", "\"bob\"");
        let stored: Value = serde_json::from_str(&stored).expect("JSON");
        assert_eq!(came(&beside), Ok(stored.to_string()));
        assert!(came(&SHOWN.replace("[redacted]", "new")).expect("changed").contains("\"new\""));
    }

    #[test]
    fn a_text_that_is_shown_in_part_is_not_changed_in_part() {
        let stored = r#"{"dsn":"user=a password=hunter2"}"#;
        let shown = r#"{"dsn":"user=a password=[redacted]"}"#;
        let came = |sent: &str| meant(sent, shown, stored).map_err(|fault| fault.code);
        assert_eq!(came(&shown.replace("user=a", "user=b")), Err("bad_arguments"));
        assert_eq!(came(shown).map(|it| it["dsn"] == "user=a password=hunter2"), Ok(true));
        assert!(came(r#"{"dsn":"user=b password=new"}"#).is_ok());
    }

    #[test]
    fn a_mask_that_was_moved_is_refused() {
        for sent in
            [r#"{"other":"[redacted]"}"#, r#"{"pages":[1,2,"[redacted]"]}"#, "{", "[]", "7", ""]
        {
            assert_eq!(came(sent), Err("bad_arguments"), "{sent}");
        }
    }
}
