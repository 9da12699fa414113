//! Words: how a table of settings is read, in JSON, TOML or the like.
//!
//! A key that means nothing is an error that names the nearest one; a key is given once; a time span is text.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess};

use crate::error::shorten;
use crate::near::{did_you_mean, nearest};
use crate::written::span_of;

/// The error for a key that is none of these.
pub(crate) fn unknown_key<E: serde::de::Error>(key: &str, known: &[&str]) -> E {
    let hint = match nearest(key, known.iter().copied()) {
        near if near.is_empty() => format!("; the keys are {}", known.join(", ")),
        near => did_you_mean(&near.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>()),
    };
    E::custom(format_args!("unknown key `{}`{hint}", shorten(key)))
}

/// One value, by its own type.
pub(crate) fn plain<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<T, A::Error> {
    map.next_value()
}

/// A time span as text: a whole number and a unit.
pub(crate) fn span<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Duration>, A::Error> {
    let Some(text) = map.next_value::<Option<String>>()? else { return Ok(None) };
    span_of(&text).map(Some).map_err(|_| {
        let text = shorten(&text);
        A::Error::custom(format_args!(
            "{text:?} is no time span: a whole number and a unit (ms, s, m, h or d), such as \"10m\""
        ))
    })
}

/// Writes the way a struct is read: each key once, and none but these.
macro_rules! table {
    ($name:ident { $($key:ident as $read:ident,)+ }) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                const KEYS: &[&str] = &[$(stringify!($key)),+];
                struct Reader;

                impl<'de> serde::de::Visitor<'de> for Reader {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "a table with the keys {}", KEYS.join(", "))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<Self::Value, A::Error> {
                        let mut settings = $name::default();
                        let mut seen: Vec<String> = Vec::new();
                        while let Some(key) = map.next_key::<String>()? {
                            if seen.contains(&key) {
                                let text = format_args!("the key `{key}` is given twice");
                                return Err(serde::de::Error::custom(text));
                            }
                            match key.as_str() {
                                $(stringify!($key) => settings.$key = $read(&mut map)?,)+
                                other => return Err($crate::table::unknown_key(other, KEYS)),
                            }
                            seen.push(key);
                        }
                        Ok(settings)
                    }
                }

                from.deserialize_struct(stringify!($name), KEYS, Reader)
            }
        }
    };
}
pub(crate) use table;
