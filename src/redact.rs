//! Words: what nobody is to read of arguments, results, errors and logs. All that shows them to people takes them from
//! here, whether a page, an answer of the API or a line of a terminal.
//!
//! A value is hidden by the name it goes by, at any depth and in any notation, or because it looks like a secret:
//! a key in PEM, a JSON web token, a long random text, the user of an address. It errs on the side of hiding; a program
//! names what may be shown all the same.

mod shapes;

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::outcome::{Report, cut_characters};

/// A word that was cut, and is shorter, may be half a secret.
const HALF_MAX: usize = 64;
/// What stands in the place of what is hidden.
pub(crate) const HIDDEN: &str = "[redacted]";
/// Characters of one text at most; longer ones are cut, with a mark that says so.
const TEXT_MAX: usize = 2_000;
/// So many of it are looked at, as much of them may be hidden.
const LOOKED_MAX: usize = 8 * TEXT_MAX;

/// A name that has one of these in it is that of a secret.
const SECRETS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "apikey",
    "privatekey",
    "accesskey",
    "credential",
    "connectionstring",
];
/// The same for short words, which others have in their midst.
const SHORT: [&str; 4] = ["dsn", "pwd", "creds", "jwt"];
/// The same for words that many others begin or end with: they are a word of the name by themselves, as in `db_pass`
/// and `dbPass`, and not in `bypass`.
const WORDS: [&str; 3] = ["pass", "sig", "signature"];
/// JSON is looked into so deep; what lies deeper is shown as a text.
const DEPTH_MAX: usize = 128;
/// An entry of such a name says what the entry beside it is called …
const NAMES: [&str; 4] = ["name", "key", "header", "field"];
/// … which is this.
const VALUES: [&str; 2] = ["value", "val"];

/// Which names are those of secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Redaction {
    hidden: Vec<String>,
    shown: Vec<String>,
}

impl Redaction {
    /// Hides what goes by a name with this in it, besides what is hidden anyway.
    pub(crate) fn hide(&mut self, name: &str) {
        self.hidden.extend(Some(plain(name)).filter(|name| !name.is_empty()));
    }

    /// Hides no more what goes by exactly this name, unless it looks like a secret.
    pub(crate) fn show(&mut self, name: &str) {
        self.shown.extend(Some(plain(name)).filter(|name| !name.is_empty()));
    }

    /// These names, and those of another.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.hidden.extend_from_slice(&other.hidden);
        self.shown.extend_from_slice(&other.shown);
        self
    }

    pub(crate) fn is_secret(&self, given: &str) -> bool {
        let name = plain(given);
        if self.shown.contains(&name) {
            return false;
        }
        let is_short = |word: &&str| name.starts_with(*word) || name.ends_with(*word);
        SECRETS.iter().any(|word| name.contains(word))
            || SHORT.iter().any(is_short)
            || WORDS.iter().any(|word| name.contains(word) && has_word(given, word))
            || self.hidden.iter().any(|word| name.contains(word))
    }

    /// A text as it may be read: at most 2,000 characters.
    pub(crate) fn text(&self, text: &str) -> String {
        if let Some((end, _)) = text.char_indices().nth(LOOKED_MAX) {
            let mut shown = self.uncut(&text[..end]);
            if shown.chars().count() <= TEXT_MAX {
                // Its last word may be half a secret.
                shown.truncate(shown.rfind(char::is_whitespace).unwrap_or(0));
            }
            let shown: String = shown.chars().take(TEXT_MAX).collect();
            return format!("{shown}… (cut, {} characters)", text.chars().count());
        }
        cut_characters(&self.uncut(text), TEXT_MAX)
    }

    /// The same, however long it is. Where it was cut before, its last word may be half a secret, which nothing shows.
    pub(crate) fn whole(&self, text: &str) -> String {
        let Some(at) = text.rfind("… (cut, ").filter(|at| is_mark(&text[*at..])) else {
            return self.uncut(text);
        };
        let (told, mark) = text.split_at(at);
        let mut shown = self.uncut(told);
        let last = shown.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        if shown.len() - last < HALF_MAX || shown[last..].contains("://") {
            shown.truncate(last);
        }
        shown + mark
    }

    /// An error as it may be read.
    pub(crate) fn report(&self, report: &Report) -> Report {
        let whole = |text: &String| self.whole(text);
        let data = report.data.as_ref().map(|data| self.json(&data.to_string()));
        Report {
            kind: report.kind.clone(),
            code: report.code.as_ref().map(whole),
            message: self.whole(&report.message),
            user_message: report.user_message.as_ref().map(whole),
            causes: report.causes.iter().map(whole).collect(),
            data: data.and_then(|data| serde_json::from_str(&data).ok()),
            backtrace: report.backtrace.as_ref().map(whole),
            expected: report.expected,
        }
    }

    /// What is logged of an error.
    pub(crate) fn told<'a>(&'a self, report: &'a Report) -> Told<'a> {
        Told { redaction: self, report }
    }

    fn uncut(&self, text: &str) -> String {
        let mut spans = shapes::find(text, &|name| self.is_secret(name));
        spans.sort_unstable_by_key(|span| span.start);
        let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
        for span in spans {
            if span.start >= at {
                shown.push_str(&text[at..span.start]);
                shown.push_str(HIDDEN);
            }
            at = at.max(span.end);
        }
        shown.push_str(&text[at..]);
        shown
    }

    /// JSON as it may be read, as JSON: its numbers and the order of its entries are those of the text. What is no
    /// JSON comes as a text.
    pub(crate) fn json(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let written =
            serde_json::from_str::<&RawValue>(text).and_then(|raw| self.write(raw, 0, &mut shown));
        match written {
            Ok(()) => shown,
            Err(_) => quoted(&self.text(text)),
        }
    }

    fn write(
        &self,
        raw: &RawValue,
        depth: usize,
        to: &mut String,
    ) -> Result<(), serde_json::Error> {
        let text = raw.get().trim();
        match text.bytes().next() {
            // Each level is read once more, so that there must be an end of them.
            Some(b'{' | b'[') if depth == DEPTH_MAX => to.push_str(&quoted(&self.text(text))),
            Some(b'{') => {
                let entries = serde_json::from_str::<Entries<'_>>(text)?.0;
                return self.write_object(&entries, depth + 1, to);
            }
            Some(b'[') => {
                let items = serde_json::from_str::<Vec<&RawValue>>(text)?;
                return self.write_array(&items, depth + 1, to);
            }
            Some(b'"') => {
                to.push_str(&quoted(&self.text(&serde_json::from_str::<String>(text)?)));
            }
            _ => to.push_str(text),
        }
        Ok(())
    }

    fn write_object(
        &self,
        entries: &[(String, &RawValue)],
        depth: usize,
        to: &mut String,
    ) -> Result<(), serde_json::Error> {
        let names = entries.iter().filter(|(name, _)| NAMES.contains(&plain(name).as_str()));
        let is_named = names.filter_map(|(_, raw)| string(raw)).any(|name| self.is_secret(&name));
        to.push('{');
        for (at, (name, raw)) in entries.iter().enumerate() {
            if at > 0 {
                to.push(',');
            }
            to.push_str(&quoted(&self.text(name)));
            to.push(':');
            let is_value = is_named && VALUES.contains(&plain(name).as_str());
            self.write_named(is_value || self.is_secret(name), raw, depth, to)?;
        }
        to.push('}');
        Ok(())
    }

    /// Items, of which the second of a pair goes by the first, and what follows an option of a command by that.
    fn write_array(
        &self,
        items: &[&RawValue],
        depth: usize,
        to: &mut String,
    ) -> Result<(), serde_json::Error> {
        let mut is_hidden = false;
        to.push('[');
        for (at, raw) in items.iter().enumerate() {
            if at > 0 {
                to.push(',');
            }
            self.write_named(is_hidden, raw, depth, to)?;
            is_hidden = string(raw).is_some_and(|name| {
                let is_name = items.len() == 2 && at == 0;
                let is_option = name.starts_with('-') && !name.contains('=');
                (is_name || is_option) && self.is_secret(&name)
            });
        }
        to.push(']');
        Ok(())
    }

    /// A value; where it is a secret, only whether there is one. `true` and `false` are none.
    fn write_named(
        &self,
        is_secret: bool,
        raw: &RawValue,
        depth: usize,
        to: &mut String,
    ) -> Result<(), serde_json::Error> {
        if is_secret && !matches!(raw.get().trim(), "null" | "true" | "false") {
            to.push_str(&quoted(HIDDEN));
            return Ok(());
        }
        self.write(raw, depth, to)
    }
}

/// Whether a name has this word in it, which begins and ends where words do: at other letters, at a capital, at a
/// digit.
fn has_word(name: &str, word: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    let begins = |at: usize| match (at.checked_sub(1).map(|at| letters[at]), letters.get(at)) {
        (Some(before), Some(letter)) if before.is_alphabetic() && letter.is_alphabetic() => {
            // The last capital of several begins a word, as in `HMACSignature`.
            let leads = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
            letter.is_uppercase() && (before.is_lowercase() || leads)
        }
        _ => true,
    };
    letters.windows(word.len()).enumerate().any(|(at, found)| {
        let is_same =
            found.iter().zip(word.chars()).all(|(one, other)| one.eq_ignore_ascii_case(&other));
        is_same && begins(at) && begins(at + word.len())
    })
}

/// The error of a task without its secrets, which are looked for only where somebody reads it.
pub(crate) struct Told<'a> {
    redaction: &'a Redaction,
    report: &'a Report,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |text: &String| self.redaction.whole(text);
        let causes = self.report.causes.iter().map(whole).collect();
        let message = self.redaction.whole(&self.report.message);
        Report { message, causes, ..Report::default() }.fmt(f)
    }
}

/// The same of something whose kind is not at hand: without what is hidden in any.
pub(crate) struct Veiled<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: fmt::Display + ?Sized> fmt::Display for Veiled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Redaction::default().whole(&self.0.to_string()))
    }
}

/// Whether it is nothing but the mark of a cut, as in `… (cut, 9000 characters)`.
fn is_mark(text: &str) -> bool {
    let inner = text.strip_prefix("… (cut, ").and_then(|text| text.strip_suffix(')'));
    let (count, unit) = inner.and_then(|inner| inner.split_once(' ')).unwrap_or_default();
    count.bytes().all(|byte| byte.is_ascii_digit()) && ["characters", "bytes"].contains(&unit)
}

/// Letters and digits of a name, in lower case, so that `API-Key`, `api_key` and `apiKey` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn string(raw: &RawValue) -> Option<String> {
    raw.get().trim().starts_with('"').then(|| serde_json::from_str(raw.get()).ok())?
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The entries of an object as they stand there.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CANARY: &str = "hunter2";

    fn own() -> Redaction {
        let mut own = Redaction::default();
        own.hide("IBAN");
        own.show("token_count");
        own
    }

    #[test]
    fn a_value_is_hidden_by_its_name_at_any_depth() {
        for name in [
            "password",
            "dbPassword",
            "PASSWD",
            "client-secret",
            "access_token",
            "Authorization",
            "Set-Cookie",
            "api key",
            "apiKey",
            "X-Api-Key",
            "private_key",
            "SENTRY_DSN",
            "credentials",
            "customer_iban",
            "pass",
            "DB_PASS",
            "smtpPass",
            "pwd",
            "userPwd",
            "sig",
            "X-Hub-Signature-256",
            "HMACSignature",
        ] {
            for text in [
                format!(r#"{{"{name}":"{CANARY}"}}"#),
                format!(r#"{{"a":[{{"b":{{"{name}":"{CANARY}"}}}}]}}"#),
                format!(r#"{{"{name}":{{"deep":["{CANARY}"]}}}}"#),
                format!(r#"{{"headers":[["{name}","{CANARY}"]]}}"#),
                format!(r#"{{"env":[{{"name":"{name}","value":"{CANARY}"}}]}}"#),
                format!(r#"["curl","--{name}","{CANARY}"]"#),
                format!(r#"{{"body":"{{\"{name}\":\"{CANARY}\"}}"}}"#),
                format!(r#"{{"note":"{name}={CANARY}"}}"#),
            ] {
                let shown = own().json(&text);
                assert!(!shown.contains(CANARY) && shown.contains(HIDDEN), "{text} {shown}");
                assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok(), "{shown}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            r#"{"to":"ada@example.com","n":340282366920938463463374607431768211455,"b":1.50}"#,
            r#"{"z":1,"a":2,"path":"/srv/export-2026-01-01/x86_64/report.csv"}"#,
            r#"{"id":"550e8400-e29b-41d4-a716-446655440000","task":"7-3k2j1h4g5f6d7"}"#,
            r#"{"token_count":7,"has_token":true,"cookie":null}"#,
            r#"{"url":"https://example.com:8080/a?b=c#d","at":"2026-01-01T00:00:00.000Z"}"#,
            r#"["a","password is asked for",[],{}]"#,
            r#"{"type":"a","passed":3,"bypass":"b","signal":"TERM","compass":"n","passenger":"Ada"}"#,
            r#"{"design":"c","assign":"d","signed":"e","passport_no":"f","pass":true,"keyboard":"g"}"#,
            r#"{"name":"size","value":"7","key":"colour","val":"red"}"#,
        ] {
            assert_eq!(own().json(text), text);
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_wherever_it_stands() {
        for secret in [
            "-----BEGIN PRIVATE KEY-----\nMIIEvQ==\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQ, and cut",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "wJalrXUtnFEMI3K7MDENGbPx/fiCYEXA7PLEKEY+",
        ] {
            for text in [secret.to_owned(), format!("a {secret}"), format!("x: \"{secret}\"")] {
                let shown = own().text(&text);
                assert!(!shown.contains(&secret[..16]), "{text}: {shown}");
                let json = own().json(&quoted(&text));
                assert!(!json.contains(&secret[..16]), "{json}");
            }
        }
        for (address, shown) in [
            ("app:hunter2@db/x", "[redacted]@db/x"),
            (":p@ss@cache:6379, twice", "[redacted]@cache:6379, twice"),
            ("a:b/c@mq/", "[redacted]@mq/"),
            ("db:6379/a@b", "db:6379/a@b"),
        ] {
            let shown = format!("at redis://{shown}");
            assert_eq!(own().text(&format!("at redis://{address}")), shown);
        }
    }

    #[test]
    fn a_text_says_no_secret_in_whichever_notation() {
        for (text, shown) in [
            ("login failed: password=hunter2", "login failed: password=[redacted]"),
            ("?token=hunter2&page=7", "?token=[redacted]&page=7"),
            (r#"{"password": "hun ter2", "n": 1}"#, r#"{"password": [redacted], "n": 1}"#),
            (
                r#"Login { password: Some("hun ter2"), n: 1 }"#,
                "Login { password: [redacted] n: 1 }",
            ),
            (r#"{"secret": {"a": ["hunter2"]}, "n": 1}"#, r#"{"secret": [redacted], "n": 1}"#),
            ("Authorization: Basic aHVudGVyMg==", "Authorization: [redacted]"),
            ("Cookie: a=hunter2; b=hunter2\nHost: x", "Cookie: [redacted]\nHost: x"),
            ("sent Bearer abc123DEF456", "sent Bearer [redacted]"),
            ("mysql --password hunter2 -h db", "mysql --password [redacted] -h db"),
            ("api_key => 'hunter2'", "api_key => [redacted]"),
            (r#"\"password\":\"hunter2\","#, r#"\"password\":[redacted],"#),
            ("the password is wrong", "the password is wrong"),
            (
                r#"sent {"name": "password", "value": "hunter2"} and {"name": "size", "value": "7"}"#,
                r#"sent {"name": "password", "value": [redacted]} and {"name": "size", "value": "7"}"#,
            ),
            (
                r#"Header { name: "x-api-key", value: "hunter2" }, Header { name: "a", value: "b" }"#,
                r#"Header { name: "x-api-key", value: [redacted] }, Header { name: "a", value: "b" }"#,
            ),
            (
                r#"[("password", "hunter2"), ("a", "b")]"#,
                r#"[("password", [redacted]), ("a", "b")]"#,
            ),
            (r#"[["pass","hunter2"],["a","b"]]"#, r#"[["pass",[redacted]],["a","b"]]"#),
            (
                r#"a list: ["password", "email", "name"]"#,
                r#"a list: ["password", "email", "name"]"#,
            ),
            (r#""{\"password\":\"hunter2\"}""#, r#""{\"password\":[redacted]}""#),
            ("passed: 7, bypass: on, signal: TERM", "passed: 7, bypass: on, signal: TERM"),
            ("GET /a?user%5Bpassword%5D=hunter2&n=1", "GET /a?user%5Bpassword%5D=[redacted]&n=1"),
            ("?api%5Fkey=hunter2", "?api%5Fkey=[redacted]"),
            ("?%70%61ss=hunter2", "?%70%61ss=[redacted]"),
            ("?next=%2Flogin%3Ftoken%3Dhunter2&n=1", "?next=[redacted]&n=1"),
            ("?next=%252Flogin%253Fsig%253Dhunter2", "?next=[redacted]"),
            ("?next=%2Flogin%3Fpage%3D2 100% %zz", "?next=%2Flogin%3Fpage%3D2 100% %zz"),
            (
                "Authorization:\r\n Bearer hunter2\r\nHost: x",
                "Authorization:\r\n [redacted]\r\nHost: x",
            ),
            ("Cookie: a=hunter2;\n\tb=hunter2\nHost: x", "Cookie: [redacted]\nHost: x"),
            (r"Authorization:\r\n Basic hunter2", r"Authorization:\r\n [redacted]"),
            ("Authorization:\nHost: x", "Authorization:\nHost: x"),
            (
                r#"bad_json: $.password at byte 12: invalid type: string "hunter2", expected u32"#,
                "bad_json: $.password at byte 12: invalid type: string [redacted], expected u32",
            ),
            (
                r"$.to at byte 3: invalid type: integer `7`, expected a string",
                r"$.to at byte 3: invalid type: integer `7`, expected a string",
            ),
        ] {
            assert_eq!(own().text(text), shown);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_what_is_no_json_is_a_text() {
        let shown = own().text(&"x ".repeat(TEXT_MAX));
        assert!(shown.ends_with("… (cut, 4000 characters)"), "{shown}");
        let secret =
            format!("-----BEGIN KEY-----{}-----END KEY----- ", "x".repeat(LOOKED_MAX - 57));
        let shown = own().text(&format!("{secret}postgres://{}@db/", "app:hunter2"));
        assert_eq!(shown, "[redacted]… (cut, 16006 characters)");
        assert_eq!(own().json(r#"{"password":"hunter2"#), r#""{\"password\":[redacted]""#);
        assert_eq!(own().json(""), "\"\"");
    }

    #[test]
    fn a_text_that_was_cut_ends_with_no_half_of_a_secret() {
        let whole = |text: &str| own().whole(text);
        assert_eq!(whole("at ghp_16C7e42F… (cut, 9000 characters)"), "at … (cut, 9000 characters)");
        let address = format!("postgres://{}:hunter2… (cut, 9 bytes)", "app".repeat(40));
        assert_eq!(whole(&format!("at {address}")), "at … (cut, 9 bytes)");
        let long = format!("{}… (cut, 9000 characters)", "é".repeat(400));
        assert_eq!(whole(&long), long);
        assert_eq!(whole("a… (cut, by hand)"), "a… (cut, by hand)");
        assert_eq!(whole("password=hunter2… (cut, 7 bytes)"), "… (cut, 7 bytes)");
    }

    #[test]
    fn what_an_error_says_is_hidden_in_each_of_its_texts() {
        let say = |text: &str| format!("{text}: password={CANARY}");
        let report = Report {
            code: Some(say("code")),
            user_message: Some(say("user")),
            causes: vec![say("one"), say("two")],
            data: Some(serde_json::json!({ "token": CANARY, "n": 7 })),
            backtrace: Some(say("frames")),
            ..Report::new("io", say("message"))
        };
        let shown = own().report(&report);
        assert!(!format!("{shown:?}").contains(CANARY), "{shown:?}");
        assert_eq!(shown.data, Some(serde_json::json!({ "token": HIDDEN, "n": 7 })));
        let told = own().told(&report).to_string();
        assert!(!told.contains(CANARY) && told.contains("two: password=[redacted]"), "{told}");
        let folded = Report::new("io", format!("Authorization:\r\n Bearer {CANARY}"));
        assert!(!own().told(&folded).to_string().contains(CANARY));
        assert!(!Veiled(&folded).to_string().contains(CANARY), "escaped before");
    }

    #[test]
    fn json_that_is_nested_very_deep_is_shown_as_a_text_from_some_depth_on() {
        let deep = "[".repeat(50_000) + "7" + &"]".repeat(50_000);
        let shown = own().json(&deep);
        assert!(shown.starts_with(&"[".repeat(DEPTH_MAX)) && shown.len() < 3 * TEXT_MAX, "{shown}");
        let secret = format!("{}{{\"password\":\"{CANARY}\"}}{}", "[".repeat(200), "]".repeat(200));
        assert!(!own().json(&secret).contains(CANARY));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>(), pieces in prop::collection::vec(
            prop::sample::select(vec![
                "password", "=", ":", "\"", "'", "\\", "{", "}", "[", "]", "(", " ", "\n", "://", "@", "/", "&",
                "-----BEGIN ", "-----END ", "-----", "eyJ", ".", "bearer ", "--token", "Zürich", "hunter2",
            ]), 0..24,
        )) {
            let woven = pieces.concat();
            for text in [text, woven] {
                own().text(&text);
                let json = own().json(&text);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
                prop_assert!(serde_json::from_str::<String>(&own().json(&quoted(&text))).is_ok());
            }
        }
    }
}
