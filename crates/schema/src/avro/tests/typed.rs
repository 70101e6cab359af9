//! Values in user types.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::super::{Budget, DecodeErrorKind, Resolver};
use super::{parse, record, schema};

fn decode<T: DeserializeOwned>(of: &Value, value: &Value) -> Result<T, String> {
    let schema = schema(of);
    let bytes = schema.encode_json(value).unwrap();
    schema.decode(&bytes, &Budget::default()).map_err(|error| error.to_string())
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Borrowed<'a> {
    text: &'a str,
    #[serde(borrow)]
    bytes: &'a [u8],
    #[serde(borrow)]
    either: Cow<'a, str>,
    #[serde(borrow)]
    map: BTreeMap<&'a str, Option<&'a str>>,
}

#[test]
fn texts_and_bytes_are_borrowed_from_the_record() {
    let schema = schema(&record(json!([
        {"name": "text", "type": "string"}, {"name": "bytes", "type": "bytes"}, {"name": "either", "type": "string"},
        {"name": "map", "type": {"type": "map", "values": ["null", "string"]}}
    ])));
    let bytes = schema
        .encode_json(&json!({"text": "t", "bytes": "AQ==", "either": "e", "map": {"k": "v", "l": null}}))
        .unwrap();
    let value: Borrowed<'_> = {
        let gone = schema.clone();
        gone.decode(&bytes, &Budget::default()).unwrap() // the value outlives the schema
    };
    let map = BTreeMap::from([("k", Some("v")), ("l", None)]);
    assert_eq!(value, Borrowed { text: "t", bytes: &[1], either: Cow::Borrowed("e"), map });
    assert!(bytes.as_ptr_range().contains(&value.text.as_ptr()));
}

#[test]
fn a_default_cannot_be_borrowed_but_owned() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Owned<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
        list: Vec<String>,
    }
    let writer = schema(&record(json!([])));
    let reader = schema(&record(json!([{"name": "text", "type": "string", "default": "d"},
        {"name": "list", "type": {"type": "array", "items": "string"}, "default": ["a", "b"]}])));
    let resolver = Resolver::new(&writer, &reader).unwrap();
    let value: Owned<'_> = resolver.decode(&[], &Budget::default()).unwrap();
    assert_eq!(value, Owned { text: "d".into(), list: vec!["a".into(), "b".into()] });
    #[derive(Debug, Deserialize)]
    struct Refused<'a> {
        #[serde(rename = "text")]
        _text: &'a str,
    }
    let error = resolver.decode::<Refused<'_>>(&[], &Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "`text`: invalid type: string \"d\", expected a borrowed string");
    assert_eq!(error.kind(), DecodeErrorKind::Target);
}

#[test]
fn fields_that_the_struct_leaves_out_are_skipped_anywhere() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Part {
        b: i64,
        #[serde(default)]
        absent: u8,
        optional: Option<String>,
    }
    let of = record(json!([
        {"name": "a", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "b", "type": "int"},
        {"name": "c", "type": {"type": "map", "values": {"type": "record", "name": "S", "fields": [{"name": "x", "type": "double"}]}}}
    ]));
    let value = json!({"a": ["x", null], "b": 7, "c": {"k": {"x": 1.5}}});
    assert_eq!(decode::<Part>(&of, &value), Ok(Part { b: 7, absent: 0, optional: None }));
    assert!(decode::<IgnoredAny>(&of, &value).is_ok());
    assert_eq!(
        decode::<Vec<Part>>(&json!({"type": "array", "items": of}), &json!([value, value])).unwrap().len(),
        2
    );
}

#[derive(Debug, PartialEq, Deserialize)]
enum Payment {
    Card(Card),
    #[serde(rename = "x.Cash")]
    Cash {
        coins: u8,
    },
    Long(i64),
    Array(Vec<String>),
    Color(Color),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Card {
    number: String,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Color {
    #[serde(rename = "RED")]
    Red,
    #[serde(rename = "GREEN")]
    Green,
}

#[test]
fn unions_are_enums_or_options_or_what_fits() {
    let color = json!({"type": "enum", "name": "Color", "symbols": ["RED", "GREEN"]});
    let of = json!(["null",
        {"type": "record", "name": "Card", "fields": [{"name": "number", "type": "string"}]},
        {"type": "record", "name": "x.Cash", "fields": [{"name": "coins", "type": "int"}]},
        "long", {"type": "array", "items": "string"}, "double", color]);
    for (value, expected) in [
        (json!(null), None),
        (json!({"number": "1"}), Some(Payment::Card(Card { number: "1".into() }))),
        (json!({"coins": 3}), Some(Payment::Cash { coins: 3 })),
        (json!(5), Some(Payment::Long(5))),
        (json!(["a"]), Some(Payment::Array(vec!["a".into()]))),
        (json!("RED"), Some(Payment::Color(Color::Red))),
    ] {
        assert_eq!(decode::<Option<Payment>>(&of, &value), Ok(expected));
    }
    assert_eq!(
        decode::<Option<Payment>>(&of, &json!(1.5)).unwrap_err(),
        "the union's branch double is not among the variants Card, x.Cash, Long, Array, Color"
    );
    assert_eq!(decode::<Option<Color>>(&json!(["null", color]), &json!("GREEN")), Ok(Some(Color::Green)));
    assert_eq!(decode::<Color>(&color, &json!("GREEN")), Ok(Color::Green));
    assert_eq!(decode::<Color>(&json!("string"), &json!("GREEN")), Ok(Color::Green));
    assert_eq!(decode::<Option<i32>>(&json!("int"), &json!(1)), Ok(Some(1)));
    assert_eq!(decode::<i32>(&json!(["null", "int"]), &json!(1)), Ok(1));
    assert_eq!(
        decode::<i32>(&json!(["null", "int"]), &json!(null)).unwrap_err(),
        "invalid type: unit value, expected i32"
    );

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Fits {
        Number(i64),
        Text(String),
    }
    assert_eq!(decode::<Fits>(&json!(["string", "long"]), &json!(5)), Ok(Fits::Number(5)));
    assert_eq!(decode::<Fits>(&json!(["string", "long"]), &json!("5")), Ok(Fits::Text("5".into())));
}

#[test]
fn logical_types_are_what_is_asked_for() {
    let timestamp = json!({"type": "long", "logicalType": "timestamp-millis"});
    let text = json!("2023-11-14T22:13:20.123Z");
    assert_eq!(decode::<i64>(&timestamp, &text), Ok(1_700_000_000_123));
    assert_eq!(decode::<String>(&timestamp, &text).as_deref(), Ok("2023-11-14T22:13:20.123Z"));
    assert_eq!(decode::<Value>(&timestamp, &text), Ok(text.clone()));
    assert_eq!(decode::<Option<i64>>(&json!(["null", timestamp]), &text), Ok(Some(1_700_000_000_123)));

    let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2});
    assert_eq!(decode::<String>(&decimal, &json!("-12.5")).as_deref(), Ok("-12.50"));
    assert_eq!(decode::<f64>(&decimal, &json!("-12.5")), Ok(-12.5));
    assert_eq!(decode::<Vec<u8>>(&decimal, &json!("-12.5")), Ok(vec![0xfb, 0x1e]));
    let whole = json!({"type": "bytes", "logicalType": "decimal", "precision": 30});
    assert_eq!(decode::<u64>(&whole, &json!("18446744073709551615")), Ok(u64::MAX));
    assert_eq!(
        decode::<i128>(&whole, &json!("-170141183460469231731687303")),
        Ok(-170_141_183_460_469_231_731_687_303)
    );

    let uuid = json!({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"});
    let text = json!("01234567-89ab-cdef-0123-456789abcdef");
    assert_eq!(decode::<String>(&uuid, &text).map(Value::from), Ok(text.clone()));
    assert_eq!(
        decode::<[u8; 16]>(&uuid, &text).map(u128::from_be_bytes),
        Ok(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
    );

    #[derive(Debug, PartialEq, Deserialize)]
    struct Span {
        months: u32,
        days: u32,
        millis: u32,
    }
    let duration = json!({"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"});
    let text = json!("P1M2DT3S");
    assert_eq!(decode::<Span>(&duration, &text), Ok(Span { months: 1, days: 2, millis: 3_000 }));
    assert_eq!(decode::<(u32, u32, u32)>(&duration, &text), Ok((1, 2, 3_000)));
    assert_eq!(decode::<HashMap<String, u32>>(&duration, &text).map(|parts| parts.len()), Ok(3));
    assert_eq!(decode::<String>(&duration, &text).as_deref(), Ok("P1M2DT3S"));
}

#[test]
fn bytes_and_lists_in_every_rust_form() {
    assert_eq!(decode::<Vec<u8>>(&json!("bytes"), &json!("AQI=")), Ok(vec![1, 2]));
    assert_eq!(
        decode::<[u8; 2]>(&json!({"type": "fixed", "name": "F", "size": 2}), &json!("AQI=")),
        Ok([1, 2])
    );
    assert_eq!(decode::<String>(&json!("bytes"), &json!("YWI=")).as_deref(), Ok("ab"));
    assert_eq!(decode::<char>(&json!("string"), &json!("€")), Ok('€'));
    let array = json!({"type": "array", "items": "int"});
    assert_eq!(decode::<(i32, i64)>(&array, &json!([1, 2])), Ok((1, 2)));
    assert_eq!(
        decode::<(i32, i64)>(&array, &json!([1, 2, 3])).unwrap_err(),
        "the array has more than the 2 items that the type takes"
    );
    assert_eq!(
        decode::<(i32, i64)>(&array, &json!([1])).unwrap_err(),
        "invalid length 1, expected a tuple of size 2"
    );
    assert_eq!(
        decode::<[u8; 2]>(&json!("bytes"), &json!("AQID")).unwrap_err(),
        "invalid length 3, expected 2 elements in sequence"
    );
    assert_eq!(
        decode::<u8>(&json!("int"), &json!(300)).unwrap_err(),
        "invalid value: integer `300`, expected u8"
    );
    assert_eq!(decode::<()>(&json!("null"), &json!(null)), Ok(()));
}

#[test]
fn flattened_and_generic_structs_work() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        id: i32,
        #[serde(flatten)]
        rest: HashMap<String, Value>,
    }
    let of = record(
        json!([{"name": "id", "type": "int"}, {"name": "x", "type": "string"}, {"name": "y", "type": {"type": "int", "logicalType": "date"}}]),
    );
    let value = decode::<Outer>(&of, &json!({"id": 1, "x": "a", "y": "1970-01-02"})).unwrap();
    assert_eq!(
        value,
        Outer { id: 1, rest: HashMap::from([("x".into(), json!("a")), ("y".into(), json!("1970-01-02"))]) }
    );
}

#[test]
fn bytes_that_are_left_over_are_an_error() {
    let error = parse("\"int\"").decode::<i32>(&[2, 2, 2], &Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "2 bytes are left over after the value");
    assert_eq!(error.kind(), DecodeErrorKind::Malformed);
}
