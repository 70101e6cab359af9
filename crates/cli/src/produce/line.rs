//! Parses a line into a record.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
#[cfg(feature = "registry")]
use offtake_schema::{Part, framing::is_schema_header};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::args::{Common, Produce};

/// The format of the lines.
#[derive(Debug)]
pub(super) struct Shape {
    kind: Kind,
    /// The key of records that have none.
    key: Option<Vec<u8>>,
    keeps_partition: bool,
    /// `--registry`
    #[cfg(feature = "registry")]
    encoder: Option<offtake_schema::Encoder>,
}

#[derive(Debug)]
enum Kind {
    Value,
    KeyAndValue(Vec<u8>),
    Json,
}

/// A record as parsed from its line.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parsed<'a> {
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
}

impl Shape {
    pub(super) fn of(common: &Common, args: &Produce) -> Self {
        let kind = match &args.key_separator {
            _ if common.json => Kind::Json,
            Some(separator) => Kind::KeyAndValue(separator.0.clone()),
            None => Kind::Value,
        };
        Self {
            kind,
            key: args.key.clone().map(String::into_bytes),
            keeps_partition: args.keep_partition,
            #[cfg(feature = "registry")]
            encoder: None,
        }
    }

    /// Sets the encoder: values are JSON, and encoded by a schema.
    #[cfg(feature = "registry")]
    pub(super) fn encoded_by(self, encoder: Option<offtake_schema::Encoder>) -> Self {
        Self { encoder, ..self }
    }

    /// Whether values are JSON, also within `--json` lines.
    fn has_encoder(&self) -> bool {
        #[cfg(feature = "registry")]
        {
            self.encoder.is_some()
        }
        #[cfg(not(feature = "registry"))]
        {
            false
        }
    }

    /// Parses the record of a line, or returns why it cannot be read.
    pub(super) fn parse<'a>(&'a self, line: &'a [u8]) -> Result<Parsed<'a>, String> {
        let mut parsed = match &self.kind {
            Kind::Value => Parsed { value: Some(line.into()), ..Parsed::default() },
            Kind::KeyAndValue(separator) => {
                let at = line.windows(separator.len()).position(|window| window == separator);
                let split = at.and_then(|at| {
                    let (key, rest) = line.split_at_checked(at)?;
                    Some((key, rest.get(separator.len()..)?))
                });
                match split {
                    Some((key, value)) => {
                        Parsed { key: Some(key.into()), value: Some(value.into()), ..Parsed::default() }
                    }
                    None => Parsed { value: Some(line.into()), ..Parsed::default() },
                }
            }
            Kind::Json => json(line, self.has_encoder())?,
        };
        if parsed.key.is_none() {
            parsed.key = self.key.as_deref().map(Cow::Borrowed);
        }
        if !self.keeps_partition {
            parsed.partition = None;
        }
        #[cfg(feature = "registry")]
        if let (Some(encoder), Some(value)) = (&self.encoder, &parsed.value) {
            let encoded = encoder
                .encode_json_text(value)
                .map_err(|error| format!("its value does not fit the schema: {error}"))?;
            parsed.value = Some(encoded.bytes.into());
            // The schema headers of a record that was read describe how that one was encoded.
            parsed.headers.retain(|(name, _)| !is_schema_header(Part::Value, name));
            let headers = encoded.headers.into_iter();
            parsed.headers.extend(headers.map(|(name, value)| (name.to_owned(), Some(value))));
        }
        Ok(parsed)
    }
}

/// An object printed by `consume --json`; other fields are ignored.
#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    key_base64: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Option<HeaderValue>)>,
    timestamp: Option<i64>,
    partition: Option<i32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderValue {
    Text(String),
    Bytes { base64: String },
}

/// `keeps_json`: a value that is a JSON string stays JSON.
fn json(line: &[u8], keeps_json: bool) -> Result<Parsed<'_>, String> {
    let line: JsonLine<'_> = serde_json::from_slice(line)
        .map_err(|error| format!("it is not a record in the format of `consume --json`: {error}"))?;
    let headers = line.headers.into_iter().map(|(name, value)| {
        let value = match value {
            None => None,
            Some(HeaderValue::Text(text)) => Some(text.into_bytes()),
            Some(HeaderValue::Bytes { base64 }) => Some(decoded("a header", &base64)?),
        };
        Ok((name, value))
    });
    Ok(Parsed {
        key: field("key", line.key, line.key_base64)?,
        value: match line.value {
            Some(raw) if keeps_json => {
                Some(raw.get()).filter(|raw| *raw != "null").map(|raw| raw.as_bytes().into())
            }
            value => field("value", value, line.value_base64)?,
        },
        headers: headers.collect::<Result<_, String>>()?,
        // Records of old formats have no timestamp, which is printed as -1.
        timestamp: line.timestamp.filter(|timestamp| *timestamp >= 0),
        partition: line.partition,
    })
}

/// A field: text, bytes in base64, or any other JSON as its text.
fn field<'a>(
    name: &str,
    text: Option<&'a RawValue>,
    base64: Option<String>,
) -> Result<Option<Cow<'a, [u8]>>, String> {
    if let Some(base64) = base64 {
        return Ok(Some(decoded(name, &base64)?.into()));
    }
    let Some(raw) = text.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
    if !raw.starts_with('"') {
        return Ok(Some(raw.as_bytes().into()));
    }
    let text: String = serde_json::from_str(raw).map_err(|error| format!("`{name}`: {error}"))?;
    Ok(Some(text.into_bytes().into()))
}

fn decoded(name: &str, base64: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(base64).map_err(|error| format!("`{name}_base64` is not valid base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: Kind) -> Shape {
        Shape {
            kind,
            key: None,
            keeps_partition: true,
            #[cfg(feature = "registry")]
            encoder: None,
        }
    }

    #[test]
    fn a_line_is_a_value_or_a_key_and_a_value() {
        let value = shape(Kind::Value);
        assert_eq!(value.parse(b"").unwrap().value.as_deref(), Some(&b""[..]));
        let split = shape(Kind::KeyAndValue(b"::".to_vec()));
        let of = |line: &'static [u8]| {
            let parsed = split.parse(line).unwrap();
            (parsed.key.map(Cow::into_owned), parsed.value.map(Cow::into_owned))
        };
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(of(b"a::b::c"), (bytes("a"), bytes("b::c")));
        assert_eq!(of(b"::c"), (bytes(""), bytes("c")));
        assert_eq!(of(b"a:b"), (None, bytes("a:b")));
        let mut keyed = shape(Kind::KeyAndValue(b":".to_vec()));
        keyed.key = bytes("all");
        assert_eq!(keyed.parse(b"x").unwrap().key.as_deref(), Some(&b"all"[..]));
        assert_eq!(keyed.parse(b"k:x").unwrap().key.as_deref(), Some(&b"k"[..]));
    }

    #[test]
    fn json_printed_by_consume_is_read_back_unchanged() {
        let json = shape(Kind::Json);
        let line = br#"{"topic":"t","partition":3,"offset":7,"timestamp":12,"timestamp_type":"create","key":null,"value_base64":"/w==","headers":[["a","1"],["a",null],["b",{"base64":"/w=="}]]}"#;
        let parsed = json.parse(line).unwrap();
        assert_eq!((parsed.key, parsed.value.as_deref()), (None, Some(&[0xff][..])));
        assert_eq!((parsed.timestamp, parsed.partition), (Some(12), Some(3)));
        let headers: Vec<_> =
            parsed.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        assert_eq!(headers, [("a", Some(&b"1"[..])), ("a", None), ("b", Some(&[0xff][..]))]);
    }

    #[test]
    fn a_value_that_is_no_string_is_its_text() {
        let json = shape(Kind::Json);
        for (line, value) in [
            (r#"{"value":{"a": [1.0, 1e400]}}"#, Some(r#"{"a": [1.0, 1e400]}"#)),
            (r#"{"value":12345678901234567890123}"#, Some("12345678901234567890123")),
            (r#"{"value":"\"\u00e4\n"}"#, Some("\"ä\n")),
            (r#"{"value":null}"#, None),
            ("{}", None),
        ] {
            let parsed = json.parse(line.as_bytes()).unwrap();
            assert_eq!(parsed.value.as_deref(), value.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_record_is_told_why() {
        let json = shape(Kind::Json);
        for line in
            ["", "[]", "{", r#"{"value_base64":"!"}"#, r#"{"headers":[["a",1]]}"#, r#"{"timestamp":"x"}"#]
        {
            assert!(json.parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
