//! Values as JSON, in both forms.

use serde_json::{Value, json};

use super::super::{Budget, JsonForm};
use super::{parse, plain, record, schema};

/// Converts the value to both forms, and back from each.
fn both(of: &Value, bytes: &[u8], plainly: &Value, avro: &Value) {
    let schema = schema(of);
    let budget = Budget::default();
    assert_eq!(&schema.to_json(bytes, JsonForm::Plain, &budget).unwrap(), plainly, "{of}");
    assert_eq!(&schema.to_json(bytes, JsonForm::Avro, &budget).unwrap(), avro, "{of}");
    assert_eq!(schema.encode_json(plainly).unwrap(), bytes, "{of} from {plainly}");
    assert_eq!(schema.encode_json_as(avro, JsonForm::Avro).unwrap(), bytes, "{of} from {avro}");
}

#[test]
fn every_type_in_both_forms_and_back() {
    let fixed = |size: usize, logical: &str| json!({"type": "fixed", "name": "F", "size": size, "logicalType": logical});
    let int = |logical: &str| json!({"type": "int", "logicalType": logical});
    let long = |logical: &str| json!({"type": "long", "logicalType": logical});
    both(&json!("null"), &[], &json!(null), &json!(null));
    both(&json!("boolean"), &[1], &json!(true), &json!(true));
    both(&json!("int"), &[0x80, 1], &json!(64), &json!(64));
    both(
        &json!("long"),
        &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        &json!(i64::MIN),
        &json!(i64::MIN),
    );
    both(&json!("float"), &0.1_f32.to_le_bytes(), &json!(0.1), &json!(0.1));
    both(&json!("float"), &f32::NEG_INFINITY.to_le_bytes(), &json!("-Infinity"), &json!("-Infinity"));
    both(&json!("double"), &f64::NAN.to_le_bytes(), &json!("NaN"), &json!("NaN"));
    both(&json!("string"), &[6, 0xe2, 0x82, 0xac], &json!("€"), &json!("€"));
    both(&json!("bytes"), &[4, 0, 0xff], &json!("AP8="), &json!("\u{0}\u{ff}"));
    both(&fixed(2, "none"), &[0, 0xff], &json!("AP8="), &json!("\u{0}\u{ff}"));
    both(&json!({"type": "enum", "name": "E", "symbols": ["A", "B"]}), &[2], &json!("B"), &json!("B"));
    both(&json!({"type": "array", "items": "int"}), &[4, 2, 4, 0], &json!([1, 2]), &json!([1, 2]));
    both(&json!({"type": "array", "items": "int"}), &[0], &json!([]), &json!([]));
    both(&json!({"type": "map", "values": "int"}), &[2, 2, b'k', 2, 0], &json!({"k": 1}), &json!({"k": 1}));
    both(&json!(["null", "string"]), &[2, 2, b'a'], &json!("a"), &json!({"string": "a"}));
    both(&json!(["null", "string"]), &[0], &json!(null), &json!(null));
    both(
        &record(json!([{"name": "a", "type": ["null", {"type": "fixed", "name": "x.F", "size": 1}]}])),
        &[2, 7],
        &json!({"a": "Bw=="}),
        &json!({"a": {"x.F": "\u{7}"}}),
    );
    both(&int("date"), &[2], &json!("1970-01-02"), &json!(1));
    both(&int("time-millis"), &[2], &json!("00:00:00.001"), &json!(1));
    both(&int("time-millis"), &[1], &json!(-1), &json!(-1)); // no time of day
    both(&long("time-micros"), &[2], &json!("00:00:00.000001"), &json!(1));
    both(&long("timestamp-millis"), &[2], &json!("1970-01-01T00:00:00.001Z"), &json!(1));
    both(&long("timestamp-micros"), &[1], &json!("1969-12-31T23:59:59.999999Z"), &json!(-1));
    both(&long("timestamp-nanos"), &[2], &json!("1970-01-01T00:00:00.000000001Z"), &json!(1));
    both(&long("local-timestamp-millis"), &[2], &json!("1970-01-01T00:00:00.001"), &json!(1));
    both(&long("local-timestamp-micros"), &[2], &json!("1970-01-01T00:00:00.000001"), &json!(1));
    both(&long("local-timestamp-nanos"), &[2], &json!("1970-01-01T00:00:00.000000001"), &json!(1));
    both(
        &json!({"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}),
        &[4, 4, 0xd2],
        &json!("12.34"),
        &json!("\u{4}\u{d2}"),
    );
    both(
        &json!({"type": "fixed", "name": "F", "size": 3, "logicalType": "decimal", "precision": 5, "scale": 2}),
        &[0xff, 0xff, 0xfe],
        &json!("-0.02"),
        &json!("\u{ff}\u{ff}\u{fe}"),
    );
    both(&json!({"type": "string", "logicalType": "uuid"}), &[2, b'u'], &json!("u"), &json!("u"));
    both(
        &fixed(16, "uuid"),
        &[1; 16],
        &json!("01010101-0101-0101-0101-010101010101"),
        &json!("\u{1}".repeat(16)),
    );
    both(
        &fixed(12, "duration"),
        &[1, 0, 0, 0, 2, 0, 0, 0, 0xf4, 1, 0, 0],
        &json!("P1M2DT0.500S"),
        &json!("\u{1}\u{0}\u{0}\u{0}\u{2}\u{0}\u{0}\u{0}\u{f4}\u{1}\u{0}\u{0}"),
    );
}

#[test]
fn fields_keep_the_order_of_the_schema() {
    let schema = schema(&record(json!([{"name": "z", "type": "int"}, {"name": "a", "type": "int"}])));
    assert_eq!(plain(&schema, &[2, 4]).to_string(), r#"{"z":1,"a":2}"#);
}

#[test]
fn arrays_and_maps_may_come_in_blocks_with_and_without_their_size() {
    let array = parse(r#"{"type": "array", "items": "long"}"#);
    assert_eq!(plain(&array, &[2, 2, 3, 4, 4, 6, 2, 8, 0]), json!([1, 2, 3, 4]));
    let map = parse(r#"{"type": "map", "values": "long"}"#);
    assert_eq!(plain(&map, &[1, 6, 2, b'a', 2, 2, 2, b'b', 4, 0]), json!({"a": 1, "b": 2}));
}

#[test]
fn an_error_says_where_in_the_value_it_is() {
    let schema =
        schema(&record(json!([{"name": "rows", "type": {"type": "array", "items": {"type": "map", "values":
        {"type": "record", "name": "S", "fields": [{"name": "ok", "type": "boolean"}]}}}}])));
    let error =
        schema.to_json(&[4, 0, 2, 2, b'k', 9, 0, 0], JsonForm::Plain, &Budget::default()).unwrap_err();
    assert_eq!(error.to_string(), "`rows[1][\"k\"].ok`: a boolean is 9");
    let typed = schema
        .decode::<std::collections::HashMap<String, Vec<std::collections::HashMap<String, Value>>>>(
            &[4, 0, 2, 2, b'k', 9, 0, 0],
            &Budget::default(),
        );
    assert_eq!(typed.unwrap_err(), error);
}

/// A time beyond the day has no text. As a number it must not become a date, which would have been a text.
#[test]
fn a_number_goes_to_the_branch_that_would_have_written_a_number() {
    let of = json!([{"type": "int", "logicalType": "date"}, {"type": "long", "logicalType": "time-micros"}]);
    both(&of, &[2, 1], &json!(-1), &json!({"long": -1}));
    both(&of, &[0, 2], &json!("1970-01-02"), &json!({"int": 1}));
}
