//! What JSON text is made, and what is refused and how it is said.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::*;

const LIMITS: JsonLimits = JsonLimits { size_bytes: 1_048_576, depth: 64, nodes: 100_000 };

fn written<T: Serialize + ?Sized>(value: &T) -> String {
    encode(value, LIMITS).unwrap()
}

fn refused<T: Serialize + ?Sized>(value: &T) -> String {
    encode(value, LIMITS).unwrap_err().to_string()
}

fn checked(text: &str) -> String {
    check(text.as_bytes(), LIMITS).unwrap_err().to_string()
}

fn unread<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
    decode::<T>(text).unwrap_err().to_string()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(i8, u16),
    Box { wide: i32, high: Option<u64> },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Key {
    Number(i64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    text: String,
    letter: char,
    small: f32,
    large: f64,
    signed: i128,
    unsigned: u128,
    shapes: Vec<Shape>,
    pair: (bool, Option<i64>),
    unit: (),
    named: Unit,
    time: Duration,
    by_number: BTreeMap<i32, u8>,
    by_letter: BTreeMap<char, bool>,
    by_truth: BTreeMap<bool, String>,
    by_text: BTreeMap<String, Vec<u16>>,
}

fn any_text(rng: &mut Rng) -> String {
    let letters =
        ['a', 'b', '"', '\\', '/', '\n', '\u{8}', '\u{c}', '\0', '\u{1f}', '\u{7f}', 'é', '🦀'];
    (0..rng.usize(..12))
        .map(|_| if rng.bool() { rng.char(..) } else { *rng.choice(&letters).unwrap() })
        .collect()
}

fn any_float(rng: &mut Rng) -> f64 {
    let float = f64::from_bits(rng.u64(..));
    if float.is_finite() && rng.bool() { float } else { rng.f64() * 1000.0 }
}

/// Comes back exactly even from an inexact reader; `numbers_round_trip` is about the others.
fn coarse(rng: &mut Rng) -> f64 {
    f64::from(rng.i32(..)) / 8.0
}

fn any_value(rng: &mut Rng, depth: usize) -> Value {
    match rng.usize(..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => rng.u64(..).into(),
        3 => rng.i64(..).into(),
        4 => any_float(rng).into(),
        5 => any_text(rng).into(),
        6 => (0..rng.usize(..5)).map(|_| any_value(rng, depth - 1)).collect(),
        _ => (0..rng.usize(..5)).map(|_| (any_text(rng), any_value(rng, depth - 1))).collect(),
    }
}

fn any_shape(rng: &mut Rng) -> Shape {
    match rng.u8(..4) {
        0 => Shape::Dot,
        1 => Shape::Circle(coarse(rng)),
        2 => Shape::Line(rng.i8(..), rng.u16(..)),
        _ => Shape::Box { wide: rng.i32(..), high: rng.bool().then(|| rng.u64(..)) },
    }
}

fn everything(rng: &mut Rng) -> Everything {
    let small = f32::from_bits(rng.u32(..));
    Everything {
        text: any_text(rng),
        letter: rng.char(..),
        small: if small.is_finite() { small } else { 0.1 },
        large: coarse(rng),
        signed: rng.i128(..) >> rng.u32(..127),
        unsigned: rng.u128(..) >> rng.u32(..127),
        shapes: (0..rng.usize(..4)).map(|_| any_shape(rng)).collect(),
        pair: (rng.bool(), rng.bool().then(|| rng.i64(..))),
        unit: (),
        named: Unit,
        time: Duration::new(rng.u64(..), rng.u32(..1_000_000_000)),
        by_number: (0..rng.usize(..4)).map(|_| (rng.i32(..), rng.u8(..))).collect(),
        by_letter: (0..rng.usize(..4)).map(|_| (rng.char(..), rng.bool())).collect(),
        by_truth: (0..rng.usize(..4)).map(|_| (rng.bool(), any_text(rng))).collect(),
        by_text: (0..rng.usize(..4)).map(|_| (any_text(rng), vec![rng.u16(..)])).collect(),
    }
}

fn measure(value: &Value) -> (usize, usize) {
    let inside: Vec<_> = match value {
        Value::Array(items) => items.iter().map(measure).collect(),
        Value::Object(entries) => entries.values().map(measure).collect(),
        _ => return (1, 0),
    };
    inside.iter().fold((1, 1), |(nodes, depth), one| (nodes + one.0, depth.max(one.1 + 1)))
}

#[test]
fn writes_what_serde_json_writes_and_reads_it_back() {
    let mut rng = Rng::with_seed(7);
    for _ in 0..5_000 {
        let value = any_value(&mut rng, 4);
        let text = written(&value);
        assert_eq!(text, serde_json::to_string(&value).unwrap());
        assert_eq!(check(text.as_bytes(), LIMITS), Ok(&*text));

        let value = everything(&mut rng);
        let text = written(&value);
        assert_eq!(text, serde_json::to_string(&value).unwrap());
        assert_eq!(decode::<Everything>(&text).as_ref(), Ok(&value), "{text}");
    }
    assert_eq!(written(&["a", "\u{1}"] as &[_]), r#"["a","\u0001"]"#);
    assert_eq!(written(&format_args!("{}\"{}", 1, 'x')), r#""1\"x""#);
    assert_eq!(written(&serde_json::to_value(Shape::Line(1, 2)).unwrap()), r#"{"Line":[1,2]}"#);
    assert_eq!(written(&BTreeMap::from([(Some(Key::Number(7)), -0.0)])), r#"{"7":-0.0}"#);
}

/// Fails where `serde_json` is built without its `float_roundtrip` feature.
#[test]
fn numbers_round_trip() {
    let mut rng = Rng::with_seed(7);
    for _ in 0..50_000 {
        let float = f64::from_bits(rng.u64(..));
        if float.is_finite() {
            assert_eq!(decode::<f64>(&written(&float)).unwrap().to_bits(), float.to_bits());
        }
        let float = f32::from_bits(rng.u32(..));
        if float.is_finite() {
            assert_eq!(decode::<f32>(&written(&float)).unwrap().to_bits(), float.to_bits());
        }
    }
    assert_eq!(written(&i128::MIN), "-170141183460469231731687303715884105728");
    assert_eq!(decode(&written(&i128::MIN)), Ok(i128::MIN));
    assert_eq!(decode(&written(&u128::MAX)), Ok(u128::MAX));
    assert_eq!(written(&BTreeMap::from([(u128::MAX, 1)])), format!("{{\"{}\":1}}", u128::MAX));
}

#[test]
fn limits_are_exact_on_both_sides() {
    let mut rng = Rng::with_seed(7);
    for _ in 0..2_000 {
        let value = any_value(&mut rng, 5);
        let text = written(&value);
        let (nodes, depth) = measure(&value);
        let exact = JsonLimits { size_bytes: text.len(), depth, nodes };
        let codes = |limits| {
            let own = encode(&value, limits).err().map(|error| error.code());
            (own, check(text.as_bytes(), limits).err().map(|error| error.code()))
        };
        assert_eq!(codes(exact), (None, None));
        let size_bytes = text.len() - 1;
        assert_eq!(codes(JsonLimits { size_bytes, ..exact }), (Some(TOO_LARGE), Some(TOO_LARGE)));
        assert_eq!(
            codes(JsonLimits { nodes: nodes - 1, ..exact }),
            (Some(TOO_MANY), Some(TOO_MANY))
        );
        if let Some(depth) = depth.checked_sub(1) {
            assert_eq!(codes(JsonLimits { depth, ..exact }), (Some(TOO_DEEP), Some(TOO_DEEP)));
        }
    }
}

#[test]
fn nothing_deeper_than_can_be_read_is_written() {
    let unlimited = JsonLimits { size_bytes: usize::MAX, depth: usize::MAX, nodes: usize::MAX };
    let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let text = encode(&nested(127), unlimited).unwrap();
    assert_eq!(check(text.as_bytes(), unlimited), Ok(&*text));
    assert_eq!(decode::<Value>(&text), Ok(nested(127)));
    assert_eq!(encode(&nested(128), unlimited).unwrap_err().code(), TOO_DEEP);
    assert_eq!(check(format!("[{text}]").as_bytes(), unlimited).unwrap_err().code(), TOO_DEEP);
    assert_eq!(check(&vec![b'['; 1_000_000], unlimited).unwrap_err().code(), TOO_DEEP);
}

struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        loop {
            f.write_str("and so on ")?;
        }
    }
}

#[test]
fn writing_stops_at_the_limits() {
    struct Numbers;
    impl Serialize for Numbers {
        fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
            out.collect_seq(std::iter::repeat(1))
        }
    }
    let too_large = "payload_too_large: $ is 1048577 bytes or more; at most 1048576";
    assert_eq!(refused(&vec!["x".repeat(600_000); 2]), too_large);
    assert_eq!(refused(&format_args!("{Endless}")), too_large);
    assert_eq!(refused(&"\u{1}".repeat(200_000)), too_large);
    assert_eq!(refused(&Numbers), "too_many_nodes: $[99999] is value 100001; at most 100000");
    let limits = JsonLimits { depth: 2, ..LIMITS };
    let error = encode(&json!({"a": [0, {}]}), limits).unwrap_err();
    assert_eq!(error.to_string(), "payload_too_deep: $.a[1] is nested 3 deep; at most 2");
}

#[test]
fn refusals_of_values_name_the_path() {
    #[derive(Serialize)]
    struct Point {
        y: f32,
        x: f64,
    }
    let points = |x| BTreeMap::from([("points", [0.0, 1.0, x].map(|x| Point { y: 1.5, x }))]);
    assert_eq!(
        refused(&points(f64::NAN)),
        "number_out_of_range: $.points[2].x is NaN; JSON has no such number"
    );
    assert_eq!(
        refused(&points(f64::NEG_INFINITY)),
        "number_out_of_range: $.points[2].x is -inf; JSON has no such number"
    );
    assert_eq!(
        refused(&(1, f32::INFINITY)),
        "number_out_of_range: $[1] is inf; JSON has no such number"
    );
    assert_eq!(
        refused(&BTreeMap::from([("odd \"key\"", Shape::Circle(f64::NAN))])),
        r#"number_out_of_range: $["odd \"key\""].Circle is NaN; JSON has no such number"#
    );
    let long = format!("[\"{}...\"]", "é".repeat(40));
    assert_eq!(
        refused(&BTreeMap::from([("é".repeat(50), f64::NAN)])),
        format!("number_out_of_range: ${long} is NaN; JSON has no such number")
    );
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
        assert_eq!(
            refused(&[std::path::Path::new("/tmp"), path]),
            "bad_json: $[1]: path contains invalid UTF-8 characters"
        );
    }
}

#[test]
fn refusals_of_keys_name_the_map() {
    struct Map<K>(Vec<(K, u8)>);
    impl<K: Serialize> Serialize for Map<K> {
        fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
            out.collect_map(self.0.iter().map(|(key, value)| (key, value)))
        }
    }
    fn bad_key<K: Serialize>(key: K) -> String {
        refused(&("m", Map(vec![(key, 1)])))
    }
    let allowed = "as a key; text, integers, booleans and characters are allowed";
    assert_eq!(bad_key(1.5), format!("bad_key: $[1] has a float {allowed}"));
    assert_eq!(bad_key([1]), format!("bad_key: $[1] has an array {allowed}"));
    assert_eq!(bad_key(Unit), format!("bad_key: $[1] has null {allowed}"));
    assert_eq!(bad_key(Shape::Circle(1.0)), format!("bad_key: $[1] has an object {allowed}"));
    assert_eq!(written(&Map(vec![(Shape::Dot, 1)])), r#"{"Dot":1}"#);

    let twice = BTreeMap::from([(Key::Number(1), 0), (Key::Text("1".into()), 0)]);
    assert_eq!(refused(&[twice]), r#"duplicate_key: $[0] has the key "1" twice; at most once"#);
    let many = Map((0..1000).map(|key| ((key * 7) % 999, 1)).collect());
    assert_eq!(refused(&many), r#"duplicate_key: $ has the key "0" twice; at most once"#);
    let nested = json!({"b": {"a": {"b": 1}, "c": 2}, "a": {"b": 3}});
    assert_eq!(written(&nested), nested.to_string());
}

/// What `serde_json` does when the program turned on `arbitrary_precision` or `raw_value`.
#[test]
fn ready_made_text_is_checked_and_kept() {
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::Number")]
    struct Number<'a> {
        text: &'a str,
    }
    assert_eq!(written(&[Number { text: "1.50" }, Number { text: "2" }]), "[1.50,2]");
    assert_eq!(
        refused(&[Number { text: "1e400" }]),
        "number_out_of_range: $[0] holds JSON text with a fault in it: \
         $ at byte 0: 1e400 is beyond the largest float; send it as a string"
    );
    let text = &*format!("[{}0]", "\"\",".repeat(80_000));
    let exact = JsonLimits { size_bytes: text.len(), ..LIMITS };
    assert_eq!(encode(&Number { text }, exact).unwrap(), text);
    let one = JsonLimits { nodes: 2, ..LIMITS };
    assert_eq!(encode(&[Number { text: "1" }], one).unwrap(), "[1]");
    let error = encode(&[Number { text: "[1]" }], one).unwrap_err();
    assert_eq!(error.code(), TOO_MANY);
}

#[test]
fn reading_names_the_path_and_what_was_expected() {
    assert_eq!(
        unread::<BTreeMap<String, Vec<u8>>>("{\"a\":\n [1, \"x\"]}"),
        "bad_json: $.a[1] at byte 14: invalid type: string \"x\", expected u8"
    );
    assert_eq!(
        unread::<Vec<(u8, i8)>>("[[1,300]]"),
        "bad_json: $[0][1] at byte 7: invalid value: integer `300`, expected i8"
    );
    assert_eq!(
        unread::<Duration>("[{}]"),
        "bad_json: $[0] at byte 1: invalid type: map, expected u64"
    );
    assert_eq!(unread::<Duration>("{\"secs\":1}"), "bad_json: $ at byte 10: missing field `nanos`");
    assert_eq!(unread::<Value>(""), "bad_json: $ at byte 0: EOF while parsing a value");
    assert_eq!(unread::<u8>("1 2"), "bad_json: $ at byte 3: trailing characters");
}

#[test]
fn refusals_of_text_are_exact() {
    let cases = [
        ("", "$ at byte 0: empty; expected a value"),
        (" \n", "$ at byte 2: empty; expected a value"),
        ("\u{feff}1", "$ at byte 0: byte order mark; expected UTF-8 without one"),
        ("1 x", "$ at byte 2: expected the end, found 'x'"),
        ("[1,]", "$[1] at byte 3: expected a value, found ']'"),
        ("[1", "$ at byte 2: expected ',' or ']', found the end"),
        ("{\"a\":[1}", "$.a at byte 7: expected ',' or ']', found '}'"),
        ("{\"a\":1,}", "$ at byte 7: expected a key, found '}'"),
        ("{\"a\" 1}", "$.a at byte 5: expected ':', found '1'"),
        ("{\"a\":1]", "$ at byte 6: expected ',' or '}', found ']'"),
        ("[\"\\ud800\"]", "$[0] at byte 2: lone surrogate \\ud800; expected a pair"),
        ("\"\\ud800\\u0041\"", "$ at byte 1: lone surrogate \\ud800; expected a pair"),
        ("\"\\udc00\"", "$ at byte 1: lone surrogate \\udc00; expected a pair"),
        ("\"\\u12g4\"", "$ at byte 5: expected a hex digit, found 'g'"),
        ("\"\\é\"", "$ at byte 2: expected an escape, found 'é'"),
        ("\"a\n\"", "$ at byte 2: expected control characters escaped"),
        ("\"a", "$ at byte 2: expected '\"', found the end"),
        ("01", "$ at byte 1: expected the end, found '1'"),
        ("-", "$ at byte 1: expected a digit, found the end"),
        ("[.5]", "$[0] at byte 1: expected a value, found '.'"),
        ("1.e5", "$ at byte 2: expected a digit, found 'e'"),
        ("1e+", "$ at byte 3: expected a digit, found the end"),
        ("nul", "$ at byte 0: expected a value, found 'n'"),
        ("NaN", "$ at byte 0: expected a value, found 'N'"),
    ];
    for (text, message) in cases {
        assert_eq!(checked(text), format!("bad_json: {message}"));
    }
    assert_eq!(
        check(b"[\"\xff\"]", LIMITS).unwrap_err().to_string(),
        "bad_json: $[0] at byte 2: expected UTF-8"
    );
    assert_eq!(
        checked(r#"{"m":{"b":1,"a":2,"\u0062":3}}"#),
        "duplicate_key: $.m at byte 18: \"b\" is there twice; at most once"
    );
    assert_eq!(
        checked(&"1".repeat(1_048_577)),
        "payload_too_large: $ is 1048577 bytes; at most 1048576"
    );
    assert_eq!(
        checked(&format!("{}[[[]]]", " ".repeat(9)).replace("[[[", &"[".repeat(65))),
        format!("payload_too_deep: ${} at byte 73: nested 65 deep; at most 64", "[0]".repeat(64))
    );
    assert_eq!(
        checked(&format!("[{}0]", "0,".repeat(99_999))),
        "too_many_nodes: $[99999] at byte 199999: value 100001; at most 100000"
    );
}

#[test]
fn numbers_that_would_change_are_refused() {
    let outside = "is outside -9223372036854775808 to 18446744073709551615; send it as a string";
    let cases = [
        ("18446744073709551616", outside),
        ("-9223372036854775809", outside),
        ("1e400", "is beyond the largest float; send it as a string"),
        ("-1.8e308", "is beyond the largest float; send it as a string"),
        ("1e-400", "would be rounded to zero; send it as a string"),
        ("0.123456789012345678", "would be rounded; send it as a string"),
        ("123456789012345678.0e1", "would be rounded; send it as a string"),
    ];
    for (text, why) in cases {
        let message = format!("number_out_of_range: $[0] at byte 1: {text} {why}");
        assert_eq!(checked(&format!("[{text}]")), message);
    }
    let kept = [
        "18446744073709551615",
        "-9223372036854775808",
        "-0",
        "0.0e999999999999999999999",
        "0.10000000000000000000000000",
        "0.00000000000000000000000012345678901234567",
        "1.7976931348623157E+308",
        "5e-324",
        r#"{"":"\u0000\ud83e\udd80\/","a":[],"b":{}}"#,
    ];
    for text in kept {
        assert_eq!(check(text.as_bytes(), LIMITS), Ok(text));
        assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
    }
}

#[test]
fn check_agrees_with_serde_json() {
    let mut rng = Rng::with_seed(7);
    let bits: [&[u8]; 34] = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\\u",
        b"\\ud83d",
        b"\\ude00",
        b"\\n",
        b"\"a\":",
        b"\"\"",
        b"true",
        b"false",
        b"null",
        b"0",
        b"1",
        b"-",
        b"+",
        b".",
        b"e",
        b"E9",
        b" ",
        b"\n",
        b"\0",
        b"\xff",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"[]",
        b"{}",
        b"12.5e-3",
        b"/",
    ];
    let mut accepted = 0;
    for round in 0..100_000 {
        let mut bytes = match round % 4 {
            0 => (0..rng.usize(..12)).map(|_| rng.u8(..)).collect(),
            1 => (0..rng.usize(..10)).flat_map(|_| *rng.choice(&bits).unwrap()).copied().collect(),
            _ => serde_json::to_vec(&any_value(&mut rng, 3)).unwrap(),
        };
        if round % 4 == 3 && !bytes.is_empty() {
            let bit = *rng.choice(&bits).unwrap();
            let (from, length) = (rng.usize(..bytes.len()), rng.usize(..3));
            bytes.splice(from..bytes.len().min(from + length), bit.iter().copied());
        }
        let theirs = serde_json::from_slice::<Value>(&bytes);
        match check(&bytes, LIMITS) {
            Ok(text) => {
                accepted += 1;
                assert_eq!(text.as_bytes(), bytes);
                assert!(theirs.is_ok(), "{text}: {theirs:?}");
            }
            Err(error) if error.code() == BAD_JSON => assert!(theirs.is_err(), "{error}"),
            Err(error) => assert!([NUMBER, DUPLICATE].contains(&error.code()), "{error}"),
        }
        if let Ok(text) = str::from_utf8(&bytes) {
            let _ = decode::<Everything>(text);
        }
        path_at(&bytes, Ended::Named);
    }
    assert!(accepted > 20_000, "{accepted}");
}
