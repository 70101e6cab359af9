//! Correct and incorrect input of users.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use super::super::Budget;
use super::{parse, plain, record, schema};

fn error(of: &Value, value: &Value) -> String {
    schema(of).encode_json(value).unwrap_err().to_string()
}

#[test]
fn a_wrong_value_is_told_with_its_place() {
    let of = record(json!([
        {"name": "id", "type": "int"},
        {"name": "tags", "type": {"type": "array", "items": {"type": "enum", "name": "Tag", "symbols": ["A"]}}, "default": []},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
        {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "default": "\u{0}"},
        {"name": "maybe", "type": ["null", "int"], "default": null},
    ]));
    for (value, sentence) in [
        (json!({}), "`id`: the field is missing, and has no default"),
        (json!({"id": 1, "Id": 2}), "`Id`: R has no such field"),
        (json!({"id": "1"}), "`id`: a string is no int"),
        (json!({"id": 1.5}), "`id`: a number with a fraction is no int"),
        (json!({"id": 3_000_000_000_u32}), "`id`: 3000000000 does not fit an int"),
        (json!({"id": null}), "`id`: null is no int"),
        (json!({"id": 1, "tags": ["A", "B"]}), "`tags[1]`: \"B\" is no symbol of Tag"),
        (json!({"id": 1, "at": "today"}), "`at`: \"today\": it is not a time like 2026-01-31T12:00:00Z"),
        (json!({"id": 1, "at": 1.5}), "`at`: a number with a fraction is no timestamp-millis"),
        (json!({"id": 1, "sum": 1.255}), "`sum`: \"1.255\": it has more than 2 digits after the point"),
        (json!({"id": 1, "sum": "123.45"}), "`sum`: \"123.45\": it has more than 4 digits"),
        (json!({"id": 1, "maybe": "x"}), "`maybe`: \"x\" matches none of null, int"),
        (json!([]), "a list is no record"),
    ] {
        assert_eq!(error(&of, &value), sentence);
    }
    let defaults = schema(&of).encode_json(&json!({"id": 1})).unwrap();
    assert_eq!(
        plain(&schema(&of), &defaults),
        json!({"id": 1, "tags": [], "at": "1970-01-01T00:00:00.000Z", "sum": "0.00", "maybe": null})
    );
}

#[test]
fn the_fitting_branch_of_a_union_is_taken() {
    let of = json!([
        "null", "bytes", "string", "long", "double", "boolean",
        {"type": "int", "logicalType": "date"},
        {"type": "enum", "name": "E", "symbols": ["RED"]},
        {"type": "array", "items": "int"},
        {"type": "map", "values": "int"},
        {"type": "record", "name": "P", "fields": [{"name": "x", "type": "int"}]},
        {"type": "record", "name": "Q", "fields": [{"name": "y", "type": "int"}, {"name": "z", "type": "int", "default": 0}]},
    ]);
    let schema = schema(&of);
    for (value, branch) in [
        (json!(null), 0),
        (json!("text"), 2), // also base64, but text comes first
        (json!(7), 3),
        (json!(7.0), 4),
        (json!(true), 5),
        (json!("2026-01-31"), 6),
        (json!("RED"), 7),
        (json!([1]), 8),
        (json!({"k": 1}), 9),
        (json!({"x": 1}), 10),
        (json!({"y": 1}), 11),
        (json!({"bytes": "AAAA"}), 1), // a branch name, because no record or map accepts it
    ] {
        let bytes = schema.encode_json(&value).unwrap();
        assert_eq!(bytes.first(), Some(&(branch * 2)), "{value}");
    }
    assert_eq!(
        schema.encode_json(&json!({"k": "v"})).unwrap_err().to_string(),
        "`x`: the field is missing, and has no default"
    );
}

#[derive(Serialize)]
struct Order<'a> {
    // not in the schema's order
    total: &'a str,
    id: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    raw: Vec<u8>,
    key: [u8; 2],
    counts: BTreeMap<&'a str, i64>,
    payment: Payment,
    color: Color,
    at: i64,
}

#[derive(Serialize)]
enum Payment {
    Card {
        number: String,
    },
    #[serde(rename = "Cash")]
    Notes(HashMap<String, i32>),
    Null,
    String(String),
}

#[derive(Serialize)]
enum Color {
    Red,
}

fn order_schema() -> Value {
    record(json!([
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "raw", "type": "bytes"},
        {"name": "key", "type": {"type": "fixed", "name": "Key", "size": 2}},
        {"name": "counts", "type": {"type": "map", "values": ["null", "int", "long"]}},
        {"name": "payment", "type": ["null", "string",
            {"type": "record", "name": "Card", "fields": [{"name": "number", "type": "string"}]},
            {"type": "record", "name": "x.Cash", "fields": [{"name": "coins", "type": "int"}]}]},
        {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["Green", "Red"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ]))
}

#[test]
fn the_users_types_are_written_in_the_schemas_order() {
    let schema = schema(&order_schema());
    let order = |payment: Payment| Order {
        total: "12.5",
        id: 7,
        note: None,
        raw: vec![0, 200],
        key: [1, 255],
        counts: BTreeMap::from([("a", 1), ("b", -1)]),
        payment,
        color: Color::Red,
        at: 1,
    };
    let cash = HashMap::from([("coins".to_owned(), 3)]);
    for (payment, shown) in [
        (Payment::Card { number: "1".to_owned() }, json!({"number": "1"})),
        (Payment::Notes(cash), json!({"coins": 3})),
        (Payment::Null, json!(null)),
        (Payment::String("s".to_owned()), json!("s")),
    ] {
        let bytes = schema.encode(&order(payment)).unwrap();
        let expected = json!({"id": 7, "note": null, "total": "12.50", "raw": "AMg=", "key": "Af8=", "counts": {"a": 1, "b": -1},
            "payment": shown, "color": "Red", "at": "1970-01-01T00:00:00.001Z"});
        assert_eq!(plain(&schema, &bytes), expected);
    }
}

#[test]
fn a_failed_encoding_leaves_the_buffer_as_it_was() {
    #[derive(Serialize)]
    struct Wrong {
        a: Vec<&'static str>,
        b: i64,
    }
    let of = schema(&record(
        json!([{"name": "a", "type": {"type": "array", "items": "string"}}, {"name": "b", "type": "int"}]),
    ));
    let mut out = vec![9];
    let error = of.encode_to(&Wrong { a: vec!["x"], b: i64::MAX }, &mut out).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.path().as_str()),
        ("`b`: 9223372036854775807 does not fit an int", "b")
    );
    assert_eq!(out, [9]);
    of.encode_to(&Wrong { a: vec!["x"], b: 1 }, &mut out).unwrap();
    assert_eq!(out, [9, 2, 2, b'x', 0, 2]);
    assert_eq!(of.encode(&json!({"a": [], "c": 1})).unwrap_err().to_string(), "`c`: R has no such field");
    assert_eq!(
        of.encode(&json!({"a": []})).unwrap_err().to_string(),
        "`b`: the field is missing, and has no default"
    );
    assert_eq!(
        of.encode(&json!({"a": [1], "b": 1})).unwrap_err().to_string(),
        "`a[0]`: an integer is no string"
    );
    assert_eq!(
        parse("\"bytes\"").encode(&[1, 256]).unwrap_err().to_string(),
        "an item of the list is not a byte"
    );
    assert_eq!(
        parse("\"bytes\"").encode(&[-1]).unwrap_err().to_string(),
        "an item of the list is not a byte"
    );
    assert_eq!(parse("\"null\"").encode(&Some(1)).unwrap_err().to_string(), "an integer is no null");
}

#[test]
fn lists_of_unknown_length_are_one_block() {
    struct Unsized;
    impl Serialize for Unsized {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq((0..100).filter(|n| n % 2 == 0))
        }
    }
    struct Liar;
    impl Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serde::ser::SerializeSeq::end(serializer.serialize_seq(Some(3))?)
        }
    }
    let of = parse(r#"{"type": "array", "items": "int"}"#);
    let bytes = of.encode(&Unsized).unwrap();
    let evens: Vec<i32> = (0..50).map(|n| n * 2).collect();
    assert_eq!(of.decode::<Vec<i32>>(&bytes, &Budget::default()).unwrap(), evens);
    assert_eq!(bytes, of.encode(&evens).unwrap());
    assert_eq!(of.encode(&Liar).unwrap_err().to_string(), "3 items were announced, and 0 came");
}
