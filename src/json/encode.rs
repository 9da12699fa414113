//! The serializer behind `json::encode`. It differs from `serde_json`'s in what it refuses, not in
//! what it writes.

use std::fmt::{self, Display};
use std::io;

use serde::ser::{self, Serialize, Serializer};
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter};

use super::{
    BAD_JSON, BAD_KEY, DUPLICATE, Ended, JsonError, JsonLimits, NUMBER, TOO_DEEP, TOO_LARGE,
    TOO_MANY, check, path_at, shorten,
};

/// Enough for the arguments of most tasks without growing.
const USUAL_BYTES: usize = 128;

/// With these struct names `serde_json` hands over JSON text: a number when the program turned on
/// `arbitrary_precision`, a `RawValue` when it turned on `raw_value`.
const READY_MADE: [&str; 2] = ["$serde_json::private::Number", "$serde_json::private::RawValue"];

#[inline]
pub(super) fn encode<T: Serialize + ?Sized>(
    value: &T,
    limits: JsonLimits,
) -> Result<String, JsonError> {
    let mut encoder = Encoder {
        out: Vec::with_capacity(USUAL_BYTES),
        keys: Vec::new(),
        depth: 0,
        nodes: 0,
        limits: limits.readable(),
    };
    let written = value.serialize(Slot::<false>(&mut encoder)).and_then(|()| encoder.room(0));
    match written {
        Ok(()) => Ok(String::from_utf8(encoder.out).expect("only text and ASCII were written")),
        Err(fault) => Err(fault.locate(&encoder.out)),
    }
}

/// What follows the backslash for each byte that needs one, else 0.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x0c] = b'f';
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

type Done = Result<(), Fault>;

/// An error on its way out. Its message follows the path, which is read from the output so far.
#[derive(Debug)]
struct Fault(Box<JsonError>);

impl Fault {
    #[cold]
    fn new(code: &'static str, message: String) -> Self {
        Self(Box::new(JsonError::new(code, message)))
    }

    fn locate(self, out: &[u8]) -> JsonError {
        let Self(mut error) = self;
        let path = if error.code == TOO_LARGE { "$".into() } else { path_at(out, Ended::Left) };
        error.message.insert_str(0, &path);
        *error
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl ser::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(BAD_JSON, format!(": {message}"))
    }
}

struct Encoder {
    out: Vec<u8>,
    /// Where the keys of the open maps stand in `out`; each map owns the tail from its start.
    keys: Vec<(usize, usize)>,
    depth: usize,
    nodes: usize,
    limits: JsonLimits,
}

impl Encoder {
    /// Refuses before `bytes` more are written past the limit.
    #[inline]
    fn room(&self, bytes: usize) -> Done {
        let limit = self.limits.size_bytes;
        if self.out.len().saturating_add(bytes) <= limit {
            return Ok(());
        }
        let least = limit.saturating_add(1);
        Err(Fault::new(TOO_LARGE, format!(" is {least} bytes or more; at most {limit}")))
    }

    /// Counts a value that is about to be written.
    #[inline]
    fn node(&mut self) -> Done {
        let limit = self.limits.nodes;
        if self.nodes < limit {
            self.nodes += 1;
            return Ok(());
        }
        Err(Fault::new(TOO_MANY, format!(" is value {}; at most {limit}", limit.saturating_add(1))))
    }

    #[inline]
    fn open(&mut self, bracket: u8) -> Done {
        self.node()?;
        self.room(2)?;
        if self.depth >= self.limits.depth {
            let (depth, limit) = (self.depth + 1, self.limits.depth);
            return Err(Fault::new(TOO_DEEP, format!(" is nested {depth} deep; at most {limit}")));
        }
        self.depth += 1;
        self.out.push(bracket);
        Ok(())
    }

    #[inline]
    fn close(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_sub(1);
        self.out.push(bracket);
    }

    /// Writes the inside of a string.
    #[inline]
    fn escape(&mut self, text: &str) -> Done {
        self.room(text.len())?;
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| ESCAPES[usize::from(byte)] != 0) {
            self.out.extend_from_slice(&rest[..at]);
            self.escape_byte(rest[at]);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
        Ok(())
    }

    fn escape_byte(&mut self, byte: u8) {
        let letter = ESCAPES[usize::from(byte)];
        self.out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            let hex = b"0123456789abcdef";
            let digits = [b'0', b'0', hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]];
            self.out.extend_from_slice(&digits);
        }
    }

    #[inline]
    fn string(&mut self, text: &str) -> Done {
        self.out.push(b'"');
        self.escape(text)?;
        self.out.push(b'"');
        Ok(())
    }

    /// Opens `{"variant":`, the outside of an enum variant that carries data.
    fn variant(&mut self, name: &str) -> Done {
        self.open(b'{')?;
        self.string(name)?;
        self.out.push(b':');
        Ok(())
    }

    /// Refuses equal keys among those from `first` on. The escaped text of a key is unique, so it
    /// stands for the key. Maps that come sorted cost one comparison per key.
    fn distinct_keys(&mut self, first: usize) -> Done {
        let text = |&(start, end): &(usize, usize)| &self.out[start..end];
        let keys = &mut self.keys[first..];
        if !keys.is_sorted_by(|a, b| text(a) < text(b)) {
            keys.sort_unstable_by(|a, b| text(a).cmp(text(b)));
            if let Some([key, ..]) = keys.windows(2).find(|pair| text(&pair[0]) == text(&pair[1])) {
                let key = shorten(&String::from_utf8_lossy(text(key)));
                return Err(Fault::new(
                    DUPLICATE,
                    format!(" has the key {key} twice; at most once"),
                ));
            }
        }
        self.keys.truncate(first);
        Ok(())
    }

    /// Writes a value whose text is ready made, after checking that text.
    fn ready_made<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        let Value::String(text) = serde_json::to_value(value).map_err(ser::Error::custom)? else {
            return Err(ser::Error::custom("expected JSON text"));
        };
        self.room(text.len())?;
        let nodes = check::check_inside(&text, self.limits, self.depth, self.nodes);
        self.nodes = nodes.map_err(|error| {
            Fault::new(
                error.code,
                format!(" holds JSON text with a fault in it: {}", error.message),
            )
        })?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The place of one value, or of one map key: keys are quoted, not counted, and never composite.
struct Slot<'a, const KEY: bool>(&'a mut Encoder);

impl<'a, const KEY: bool> Slot<'a, KEY> {
    #[inline]
    fn scalar(self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Done {
        let Self(encoder) = self;
        encoder.room(1)?;
        if KEY {
            encoder.out.push(b'"');
        } else {
            encoder.node()?;
        }
        write(&mut encoder.out).map_err(ser::Error::custom)?;
        if KEY {
            encoder.out.push(b'"');
        }
        Ok(())
    }

    #[inline]
    fn float(self, value: f64, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Done {
        Self::not_key("a float")?;
        if value.is_finite() {
            return self.scalar(write);
        }
        Err(Fault::new(NUMBER, format!(" is {value}; JSON has no such number")))
    }

    #[inline]
    fn null(self) -> Done {
        Self::not_key("null")?;
        self.scalar(|out| CompactFormatter.write_null(out))
    }

    #[inline]
    fn not_key(what: &str) -> Done {
        if !KEY {
            return Ok(());
        }
        let allowed = "text, integers, booleans and characters are allowed";
        Err(Fault::new(BAD_KEY, format!(" has {what} as a key; {allowed}")))
    }

    #[inline]
    fn compound(self, bracket: u8, variant: Option<&str>) -> Result<Compound<'a>, Fault> {
        Self::not_key(if bracket == b'[' { "an array" } else { "an object" })?;
        let Self(encoder) = self;
        if let Some(name) = variant {
            encoder.variant(name)?;
        }
        encoder.open(bracket)?;
        let first_key = encoder.keys.len();
        // In ASCII a closing bracket stands two after its opening one.
        Ok(Compound {
            encoder,
            close: bracket + 2,
            in_variant: variant.is_some(),
            empty: true,
            first_key,
        })
    }
}

macro_rules! scalars {
    ($($method:ident $kind:ty, $write:ident;)*) => {$(
        #[inline]
        fn $method(self, value: $kind) -> Done {
            self.scalar(|out| CompactFormatter.$write(out, value))
        }
    )*};
}

impl<'a, const KEY: bool> Serializer for Slot<'a, KEY> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    scalars! {
        serialize_bool bool, write_bool;
        serialize_i8 i8, write_i8;
        serialize_i16 i16, write_i16;
        serialize_i32 i32, write_i32;
        serialize_i64 i64, write_i64;
        serialize_i128 i128, write_i128;
        serialize_u8 u8, write_u8;
        serialize_u16 u16, write_u16;
        serialize_u32 u32, write_u32;
        serialize_u64 u64, write_u64;
        serialize_u128 u128, write_u128;
    }

    fn serialize_f32(self, value: f32) -> Done {
        self.float(value.into(), |out| CompactFormatter.write_f32(out, value))
    }

    fn serialize_f64(self, value: f64) -> Done {
        self.float(value, |out| CompactFormatter.write_f64(out, value))
    }

    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Done {
        if !KEY {
            self.0.node()?;
        }
        self.0.string(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        Self::not_key("bytes")?;
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Done {
        self.null()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        self.null()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Done {
        self.null()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        Self::not_key("an object")?;
        self.0.variant(variant)?;
        value.serialize(Slot::<false>(self.0))?;
        self.0.close(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, Fault> {
        self.compound(b'[', None)
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, Fault> {
        self.compound(b'[', None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Fault> {
        self.compound(b'[', None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Fault> {
        self.compound(b'[', Some(variant))
    }

    fn serialize_map(self, entries: Option<usize>) -> Result<Compound<'a>, Fault> {
        let map = self.compound(b'{', None)?;
        // Bounded, because the number is only what the value says of itself.
        map.encoder.keys.reserve(entries.unwrap_or(0).min(1024));
        Ok(map)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Compound<'a>, Fault> {
        if !READY_MADE.contains(&name) {
            return self.compound(b'{', None);
        }
        Self::not_key("a number or raw JSON")?;
        Ok(Compound { encoder: self.0, close: 0, in_variant: false, empty: true, first_key: 0 })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, Fault> {
        self.compound(b'{', Some(variant))
    }

    /// Escapes piece by piece, so that the size is checked while `Display` still writes.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Done {
        if !KEY {
            self.0.node()?;
        }
        self.0.out.push(b'"');
        let mut pieces = Pieces { encoder: self.0, fault: None };
        let written = fmt::write(&mut pieces, format_args!("{value}"));
        if let Some(fault) = pieces.fault {
            return Err(fault);
        }
        written.map_err(ser::Error::custom)?;
        self.0.out.push(b'"');
        Ok(())
    }
}

struct Pieces<'a> {
    encoder: &'a mut Encoder,
    fault: Option<Fault>,
}

impl fmt::Write for Pieces<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.encoder.escape(text).map_err(|fault| {
            self.fault = Some(fault);
            fmt::Error
        })
    }
}

/// An open array or object, inside the object of its enum variant if it has one.
struct Compound<'a> {
    encoder: &'a mut Encoder,
    /// The closing bracket; 0 for text that is ready made, which has none.
    close: u8,
    in_variant: bool,
    empty: bool,
    first_key: usize,
}

impl Compound<'_> {
    #[inline]
    fn comma(&mut self) {
        if !self.empty {
            self.encoder.out.push(b',');
        }
        self.empty = false;
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.comma();
        value.serialize(Slot::<false>(self.encoder))
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Done {
        if self.close == 0 {
            return self.encoder.ready_made(value);
        }
        self.comma();
        self.encoder.string(name)?;
        self.encoder.out.push(b':');
        value.serialize(Slot::<false>(self.encoder))
    }

    #[inline]
    fn finish(self) {
        if self.close == 0 {
            return;
        }
        self.encoder.close(self.close);
        if self.in_variant {
            self.encoder.close(b'}');
        }
    }
}

macro_rules! arrays {
    ($($kind:ident $method:ident)*) => {$(
        impl ser::$kind for Compound<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                self.element(value)
            }

            #[inline]
            fn end(self) -> Done {
                self.finish();
                Ok(())
            }
        }
    )*};
}

arrays! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! structs {
    ($($kind:ident)*) => {$(
        impl ser::$kind for Compound<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Done {
                self.field(name, value)
            }

            #[inline]
            fn end(self) -> Done {
                self.finish();
                Ok(())
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        self.comma();
        let start = self.encoder.out.len();
        key.serialize(Slot::<true>(self.encoder))?;
        self.encoder.keys.push((start, self.encoder.out.len()));
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.encoder.out.push(b':');
        value.serialize(Slot::<false>(self.encoder))
    }

    #[inline]
    fn end(self) -> Done {
        self.encoder.distinct_keys(self.first_key)?;
        self.finish();
        Ok(())
    }
}
