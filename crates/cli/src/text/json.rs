//! A record as a line of JSON, written straight into the output buffer: plain ASCII is neither copied to
//! allocations nor scanned twice.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    number,
    row::{Header, Row},
};

/// A key or a value, decoded by a registry's schemas.
#[derive(Debug, Default)]
pub(crate) enum Field {
    /// Not decoded: not requested, or there is nothing to decode.
    #[default]
    AsItIs,
    /// JSON, by this schema: its id or its GUID, and its type.
    #[cfg_attr(not(feature = "registry"), expect(dead_code, reason = "only a registry's schemas make it"))]
    Decoded { json: String, schema: String, kind: &'static str },
    /// It cannot be decoded.
    #[cfg_attr(not(feature = "registry"), expect(dead_code, reason = "only a registry's schemas make it"))]
    Wrong(String),
}

impl Field {
    /// The JSON, if there is any.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Decoded { json, .. } => Some(json.as_bytes()),
            Self::AsItIs | Self::Wrong(_) => None,
        }
    }
}

/// Appends `row` with its decoded key and value, and a newline.
pub(crate) fn push_decoded_row<'a, H>(out: &mut Vec<u8>, row: Row<'a, H>, key: &Field, value: &Field)
where
    H: Iterator<Item = Header<'a>>,
{
    push_place(out, &row);
    for (name, bytes, field) in [(&b",\"key"[..], row.key, key), (b",\"value", row.value, value)] {
        match field.text() {
            Some(json) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b"\":");
                push_json(out, json);
            }
            None => push_field(out, name, bytes),
        }
    }
    push_headers(out, row.headers);
    for (name, field) in [(&b",\"key_"[..], key), (b",\"value_", value)] {
        match field {
            Field::AsItIs => {}
            Field::Decoded { schema, kind, .. } => {
                out.extend_from_slice(name);
                // An id is a number, a GUID is not.
                let is_number = schema.bytes().all(|byte| byte.is_ascii_digit());
                out.extend_from_slice(if is_number {
                    b"schema\":{\"id\":"
                } else {
                    b"schema\":{\"guid\":\""
                });
                out.extend_from_slice(schema.as_bytes());
                out.extend_from_slice(if is_number { b",\"type\":\"" } else { b"\",\"type\":\"" });
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b"\"}");
            }
            Field::Wrong(why) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b"error\":");
                push_str(out, why);
            }
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Appends JSON unchanged except for DEL, which can only occur in its strings.
fn push_json(out: &mut Vec<u8>, json: &[u8]) {
    for (nth, run) in json.split(|byte| *byte == 0x7f).enumerate() {
        if nth > 0 {
            out.extend_from_slice(b"\\u007f");
        }
        out.extend_from_slice(run);
    }
}

/// Appends `row` as an object without its closing brace, so that more fields can be added.
pub(crate) fn push_open_row<'a, H>(out: &mut Vec<u8>, row: Row<'a, H>)
where
    H: Iterator<Item = Header<'a>>,
{
    push_place(out, &row);
    push_field(out, b",\"key", row.key);
    push_field(out, b",\"value", row.value);
    push_headers(out, row.headers);
}

/// Appends the beginning of an object: the record's partition, offset and timestamp.
pub(crate) fn push_place<H>(out: &mut Vec<u8>, row: &Row<'_, H>) {
    out.extend_from_slice(b"{\"topic\":");
    push_str(out, row.topic);
    push_number(out, b",\"partition\":", i64::from(row.partition));
    push_number(out, b",\"offset\":", row.offset);
    push_number(out, b",\"timestamp\":", row.timestamp);
    out.extend_from_slice(b",\"timestamp_type\":\"");
    out.extend_from_slice(row.timestamp_type.as_bytes());
    out.push(b'"');
}

/// Appends a number after its name, which is given with the comma before and the colon after it.
pub(crate) fn push_number(out: &mut Vec<u8>, name: &[u8], number: i64) {
    out.extend_from_slice(name);
    number::push(out, number);
}

/// `,"headers":[["name","value"],…]`
pub(crate) fn push_headers<'a>(out: &mut Vec<u8>, headers: impl Iterator<Item = Header<'a>>) {
    out.extend_from_slice(b",\"headers\":[");
    for (nth, (key, value)) in headers.enumerate() {
        out.extend_from_slice(if nth == 0 { b"[" } else { b",[" });
        push_str(out, &String::from_utf8_lossy(key));
        out.push(b',');
        match value.map(|value| (value, std::str::from_utf8(value))) {
            None => out.extend_from_slice(b"null"),
            Some((_, Ok(text))) => push_str(out, text),
            Some((bytes, Err(_))) => {
                out.extend_from_slice(b"{\"base64\":");
                push_base64(out, bytes);
                out.push(b'}');
            }
        }
        out.push(b']');
    }
    out.push(b']');
}

/// `,"key":"text"`, `,"key":null` or `,"key_base64":"…"`; `name` is without its closing quote.
fn push_field(out: &mut Vec<u8>, name: &[u8], bytes: Option<&[u8]>) {
    out.extend_from_slice(name);
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"\":null"),
        Some((_, Ok(text))) => {
            out.extend_from_slice(b"\":");
            push_str(out, text);
        }
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"_base64\":");
            push_base64(out, bytes);
        }
    }
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes()); // rare: binary payloads
    out.push(b'"');
}

/// Appends `text` as a JSON string.
pub(crate) fn push_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Bytes that need an escape are ASCII, so a run up to one is a whole number of characters.
    for run in text.as_bytes().split_inclusive(|byte| needs_escape(*byte)) {
        match run.split_last() {
            Some((last, plain)) if needs_escape(*last) => {
                out.extend_from_slice(plain);
                push_escaped(out, *last);
            }
            _ => out.extend_from_slice(run),
        }
    }
    out.push(b'"');
}

/// The bytes that JSON forbids in a string, and DEL, which a terminal may act upon.
#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[hex(other >> 4), hex(other & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    type Pairs<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

    fn line<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: Pairs<'a>) -> String {
        let mut out = Vec::new();
        let row = Row {
            topic: "orders",
            partition: 0,
            offset: 7,
            timestamp: 1_790_000_000_000,
            timestamp_type: "create",
            key,
            value,
            headers: headers.into_iter(),
        };
        push_decoded_row(&mut out, row, &Field::AsItIs, &Field::AsItIs);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_has_the_documented_shape() {
        assert_eq!(
            line(Some(b"k"), Some(b"v"), vec![(b"h", Some(b"x"))]),
            "{\"topic\":\"orders\",\"partition\":0,\"offset\":7,\"timestamp\":1790000000000,\"timestamp_type\":\"create\",\
             \"key\":\"k\",\"value\":\"v\",\"headers\":[[\"h\",\"x\"]]}\n"
        );
    }

    fn decoded(key: &Field, value: &Field) -> Value {
        let mut out = Vec::new();
        let (timestamp, timestamp_type) = (-1, "none");
        let (key_bytes, value_bytes): (Option<&[u8]>, Option<&[u8]>) = (Some(b"k"), Some(b"\0\xff"));
        let row = Row {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp,
            timestamp_type,
            key: key_bytes,
            value: value_bytes,
            headers: Pairs::new().into_iter(),
        };
        push_decoded_row(&mut out, row, key, value);
        assert!(!out.contains(&0x7f) && out.ends_with(b"}\n"));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn decoded_fields_are_json_with_their_schema_and_others_are_raw_with_the_reason() {
        let by = |schema: &str| Field::Decoded {
            json: "{\"a\":\"\u{7f}\"}".to_owned(),
            schema: schema.to_owned(),
            kind: "AVRO",
        };
        let row = decoded(&Field::AsItIs, &by("7"));
        assert_eq!((&row["key"], &row["value"]), (&json!("k"), &json!({"a": "\u{7f}"})));
        assert_eq!(row["value_schema"], json!({"id": 7, "type": "AVRO"}));
        assert!(row.get("key_schema").is_none() && row.get("value_error").is_none());
        let row = decoded(&by("0011-22"), &Field::Wrong("it \"ends\"".to_owned()));
        assert_eq!(row["key_schema"], json!({"guid": "0011-22", "type": "AVRO"}));
        assert_eq!((&row["value_base64"], &row["value_error"]), (&json!("AP8="), &json!("it \"ends\"")));
    }

    #[test]
    fn null_and_empty_are_told_apart() {
        let parsed: Value = serde_json::from_str(&line(None, Some(b""), Vec::new())).unwrap();
        assert_eq!((&parsed["key"], &parsed["value"]), (&Value::Null, &json!("")));
        assert_eq!(parsed["headers"], json!([]));
    }

    #[test]
    fn bytes_that_are_no_text_come_as_base64() {
        let headers: Pairs<'_> = vec![(b"a", Some(b"\xff")), (b"a", None), (b"", Some("é".as_bytes()))];
        let parsed: Value = serde_json::from_str(&line(Some(b"\xff\x00"), Some(b"\x80"), headers)).unwrap();
        assert_eq!((&parsed["key_base64"], &parsed["value_base64"]), (&json!("/wA="), &json!("gA==")));
        assert!(parsed.get("key").is_none() && parsed.get("value").is_none());
        assert_eq!(parsed["headers"], json!([["a", {"base64": "/w=="}], ["a", null], ["", "é"]]));
    }

    #[test]
    fn any_text_survives_the_way_through_json() {
        let all: String =
            (0..0x300).filter_map(char::from_u32).chain("\u{2028}😀\u{10ffff}".chars()).collect();
        for text in [all.as_str(), "", "\"", "\\", "a\"b\\c\n", "\u{7f}\u{1b}[2J"] {
            let mut out = Vec::new();
            push_str(&mut out, text);
            let written = String::from_utf8(out).unwrap();
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            assert!(!written.contains(|c: char| c.is_ascii_control()), "{written:?}");
        }
    }
}
