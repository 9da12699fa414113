//! Define: keys that are made from the arguments of a call.
//!
//! A pattern is text with the names of arguments in braces, as in `import/{source}`. It is filled where
//! the call is enqueued, so what is stored is plain text that any program can compare.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, shorten};

/// Bytes of a key at most: an idempotency key, a lock, and what is made from a pattern.
pub const KEY_BYTES_MAX: usize = 200;

/// Text with the names of arguments in braces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pattern(Cow<'static, str>);

/// One piece of a pattern.
enum Piece<'a> {
    Text(&'a str),
    Argument(&'a str),
}

impl Pattern {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }

    /// Refuses a pattern that no call could fill.
    pub(crate) fn check(&self, place: &str) -> Result<(), Error> {
        self.pieces(place)?;
        check_key(place, &self.0)
    }

    /// The key of a call with these arguments.
    pub(crate) fn fill(
        &self,
        place: &str,
        arguments: &Map<String, Value>,
    ) -> Result<String, Error> {
        let mut key = String::new();
        for piece in self.pieces(place)? {
            match piece {
                Piece::Text(text) => key.push_str(text),
                Piece::Argument(name) => key.push_str(&text_of(place, name, arguments)?),
            }
        }
        check_key(place, &key)?;
        Ok(key)
    }

    /// Whether it may take the argument of this name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn pieces(&self, place: &str) -> Result<Vec<Piece<'_>>, Error> {
        let bad = |reason: &str| {
            let allowed = format!("{reason}; write `{{name}}` for an argument, `{{{{` for a brace");
            Error::invalid("bad_key", place, &self.0, allowed)
        };
        let (mut pieces, mut rest) = (Vec::new(), &*self.0);
        while let Some(at) = rest.find(['{', '}']) {
            pieces.push(Piece::Text(&rest[..at]));
            let (brace, after) = rest[at..].split_at(1);
            if after.starts_with(brace) {
                pieces.push(Piece::Text(brace));
                rest = &after[1..];
            } else if brace == "}" {
                return Err(bad("it has a `}` without its `{`"));
            } else {
                let (name, after) =
                    after.split_once('}').ok_or_else(|| bad("it has a `{` without its `}`"))?;
                pieces.push(Piece::Argument(name));
                rest = after;
            }
        }
        pieces.push(Piece::Text(rest));
        Ok(pieces)
    }
}

/// Strings as they are, anything else as JSON.
fn text_of<'a>(
    place: &str,
    name: &str,
    arguments: &'a Map<String, Value>,
) -> Result<Cow<'a, str>, Error> {
    match arguments.get(name) {
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(value) => Ok(Cow::Owned(value.to_string())),
        None => Err(no_argument(place, name, arguments)),
    }
}

/// A key that names an argument which the call does not have.
pub(crate) fn no_argument(place: &str, name: &str, arguments: &Map<String, Value>) -> Error {
    let known: Vec<String> = arguments.keys().map(|name| shorten(name)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::invalid("bad_key", format!("argument in the {place}"), name, format!("one of: {known}"))
}

/// 1 to 200 bytes without control characters.
pub(crate) fn check_key(place: &str, key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains(char::is_control) {
        let allowed = "1 to 200 bytes without control characters";
        return Err(Error::invalid("bad_key", place, key, allowed));
    }
    Ok(())
}

/// How the idempotency keys of those begin that follow an end; nobody else's may.
pub(crate) const EVENT_PREFIX: &str = "event/";

/// The idempotency key of a call or a flow, in its range.
pub(crate) fn check_idempotency_key(key: &str) -> Result<(), Error> {
    let place = "idempotency key";
    check_key(place, key)?;
    if key.starts_with(EVENT_PREFIX) {
        let allowed =
            "a key that does not begin with `event/`, as those of tasks that follow others do";
        return Err(Error::invalid("bad_key", place, key, allowed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(pattern: &'static str) -> Result<String, String> {
        let Value::Object(arguments) = json!({"source": "a b", "n": 7, "deep": {"x": [1]}}) else {
            unreachable!("it is an object");
        };
        Pattern::new(pattern).fill("lock", &arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pattern_takes_arguments_by_name() {
        assert_eq!(filled("import/{source}/{n}"), Ok("import/a b/7".to_owned()));
        assert_eq!(filled("{deep}"), Ok(r#"{"x":[1]}"#.to_owned()));
        assert_eq!(filled("{{{n}}}"), Ok("{7}".to_owned()));
        assert_eq!(filled("plain"), Ok("plain".to_owned()));
    }

    #[test]
    fn what_cannot_be_filled_is_told() {
        assert_eq!(
            filled("{sauce}").expect_err("misspelt"),
            "bad_key: argument in the lock is \"sauce\"; one of: deep, n, source"
        );
        for (pattern, told) in [
            ("a{b", "it has a `{` without its `}`"),
            ("a}b", "it has a `}` without its `{`"),
            ("", "1 to 200 bytes without control characters"),
        ] {
            let error = filled(pattern).expect_err(pattern);
            assert!(error.contains(told), "{error}");
        }
    }
}
