//! Writer's and reader's schemas.

use serde_json::{Value, json};

use super::super::Resolver;
use super::{record, resolved, schema};

fn field(name: &str, of: Value) -> Value {
    json!({"name": name, "type": of})
}

fn gaps(writer: &Value, reader: &Value) -> Vec<String> {
    let resolver = Resolver::new(&schema(writer), &schema(reader)).unwrap();
    resolver.gaps().iter().map(ToString::to_string).collect()
}

#[test]
fn numbers_and_texts_are_promoted() {
    for (writer, reader, value, expected) in [
        ("int", "long", json!(7), json!(7)),
        ("int", "float", json!(7), json!(7.0)),
        ("int", "double", json!(7), json!(7.0)),
        ("long", "float", json!(7), json!(7.0)),
        ("long", "double", json!(1_i64 << 60), json!(1.152_921_504_606_847e18)),
        ("float", "double", json!(1.5), json!(1.5)),
        ("string", "bytes", json!("abc"), json!("YWJj")),
        ("bytes", "string", json!("YWJj"), json!("abc")),
    ] {
        assert_eq!(resolved(&json!(writer), &json!(reader), &value), Ok(expected), "{writer} {reader}");
    }
    for (writer, reader) in
        [("long", "int"), ("double", "float"), ("float", "long"), ("string", "int"), ("int", "boolean")]
    {
        let mismatch = Resolver::new(&schema(&json!(writer)), &schema(&json!(reader))).unwrap_err();
        assert_eq!(mismatch.to_string(), format!("the writer has {writer}, the reader {reader}"));
    }
    let error = resolved(&json!("bytes"), &json!("string"), &json!("/w==")).unwrap_err();
    assert_eq!(error, "a string is not UTF-8");
}

#[test]
fn fields_are_matched_by_name_and_alias_and_the_writers_others_are_skipped() {
    let writer = record(json!([
        field("gone", json!({"type": "array", "items": "string"})),
        field("b", json!("int")),
        field("a", json!("string")),
        field("lost", json!({"type": "map", "values": ["null", "double"]}))
    ]));
    let reader = record(json!([
        {"name": "x", "type": "string", "aliases": ["old", "a"]},
        {"name": "b", "type": "long"},
        {"name": "c", "type": {"type": "record", "name": "C", "fields": [
            {"name": "n", "type": "int", "default": 3}, {"name": "m", "type": "bytes"}]}, "default": {"m": "\u{ff}"}},
        {"name": "d", "type": ["null", "string"], "default": null},
        {"name": "e", "type": ["string", "null"], "default": null},
        {"name": "f", "type": {"type": "map", "values": "double"}, "default": {"k": 1}},
    ]));
    let value = json!({"gone": ["1", "2"], "b": 5, "a": "hello", "lost": {"k": 1.5, "l": null}});
    let expected =
        json!({"b": 5, "x": "hello", "c": {"n": 3, "m": "/w=="}, "d": null, "e": null, "f": {"k": 1.0}});
    assert_eq!(resolved(&writer, &reader, &value), Ok(expected));
}

#[test]
fn a_mismatch_says_the_field_and_both_types() {
    let lines = |price: Value| {
        record(json!([field(
            "order",
            json!({"type": "record", "name": "Order", "fields": [
            field("lines", json!({"type": "array", "items": {"type": "record", "name": "Line", "fields": [field("price", price)]}}))]})
        )]))
    };
    let mismatch =
        Resolver::new(&schema(&lines(json!("string"))), &schema(&lines(json!("long")))).unwrap_err();
    assert_eq!(mismatch.to_string(), "`order.lines[].price`: the writer has string, the reader long");
    assert_eq!(
        (mismatch.path(), mismatch.writer(), mismatch.reader()),
        ("order.lines[].price", "string", "long")
    );

    let one = record(json!([field("a", json!("int"))]));
    let two = record(json!([field("a", json!("int")), field("b", json!("int"))]));
    assert_eq!(
        resolved(&one, &two, &json!({"a": 1})).unwrap_err(),
        "`b`: the writer has nothing, the reader int: the field of the reader's record R has no default"
    );
    let bad = record(json!([field("a", json!("int")), {"name": "b", "type": "int", "default": "x"}]));
    assert_eq!(
        resolved(&one, &bad, &json!({"a": 1})).unwrap_err(),
        "`b`: the writer has nothing, the reader int: its default is not of its type: a string is no int"
    );
    // That default does no harm if it is not needed.
    assert_eq!(resolved(&two, &bad, &json!({"a": 1, "b": 2})), Ok(json!({"a": 1, "b": 2})));
}

#[test]
fn named_types_match_without_namespaces_and_by_alias() {
    let fixed = |name: &str, size: usize| json!({"type": "fixed", "name": name, "size": size});
    assert_eq!(resolved(&fixed("a.F", 1), &fixed("b.F", 1), &json!("AQ==")), Ok(json!("AQ==")));
    let aliased = json!({"type": "fixed", "name": "G", "namespace": "a", "size": 1, "aliases": ["F"]});
    assert_eq!(resolved(&fixed("a.F", 1), &aliased, &json!("AQ==")), Ok(json!("AQ==")));
    assert_eq!(
        resolved(&fixed("b.F", 1), &aliased, &json!("AQ==")).unwrap_err(),
        "the writer has fixed b.F of 1 bytes, the reader fixed a.G of 1 bytes: neither the name nor an alias of the reader's is the writer's"
    );
    assert_eq!(
        resolved(&fixed("F", 1), &fixed("F", 2), &json!("AQ==")).unwrap_err(),
        "the writer has fixed F of 1 bytes, the reader fixed F of 2 bytes"
    );
}

#[test]
fn symbols_are_matched_and_what_is_unknown_is_the_default() {
    let of = |symbols: &[&str], default: Option<&str>| {
        let mut value = json!({"type": "enum", "name": "E", "symbols": symbols});
        if let Some(default) = default {
            value["default"] = json!(default);
        }
        value
    };
    let writer = of(&["A", "B", "C"], None);
    assert_eq!(resolved(&writer, &of(&["C", "A", "B"], None), &json!("C")), Ok(json!("C")));
    assert_eq!(resolved(&writer, &of(&["A", "U"], Some("U")), &json!("C")), Ok(json!("U")));
    assert!(gaps(&writer, &of(&["A", "U"], Some("U"))).is_empty());
    assert_eq!(resolved(&writer, &of(&["A"], None), &json!("A")), Ok(json!("A")));
    let error = resolved(&writer, &of(&["A"], None), &json!("C")).unwrap_err();
    assert_eq!(error, "the reader's enum does not have the symbol C, and no default");
    let gap =
        "the writer has enum E, the reader enum E: the reader does not know the symbol B, and has no default";
    assert_eq!(gaps(&writer, &of(&["A"], None)), [gap]);
}

#[test]
fn unions_on_both_sides() {
    // To a union: exactly the same type first, although another comes before it.
    assert_eq!(resolved(&json!("int"), &json!(["double", "int"]), &json!(1)), Ok(json!(1)));
    assert_eq!(resolved(&json!("int"), &json!(["null", "double"]), &json!(1)), Ok(json!(1.0)));
    assert_eq!(resolved(&json!("string"), &json!(["null", "bytes", "string"]), &json!("a")), Ok(json!("a")));
    // From a union: fitting values can be read, the others are errors when they occur.
    let (writer, reader) = (json!(["null", "string", "int"]), json!("string"));
    assert_eq!(resolved(&writer, &reader, &json!("a")), Ok(json!("a")));
    let error = resolved(&writer, &reader, &json!(1)).unwrap_err();
    assert_eq!(error, "the reader's schema cannot take it: the writer has int, the reader string");
    assert_eq!(
        gaps(&writer, &reader),
        ["the writer has null, the reader string", "the writer has int, the reader string"]
    );
    // On both sides.
    assert_eq!(resolved(&json!(["int", "null"]), &json!(["null", "long"]), &json!(3)), Ok(json!(3)));
    assert!(gaps(&json!(["int", "null"]), &json!(["null", "long"])).is_empty());
    assert_eq!(
        resolved(&json!(["int", "boolean"]), &json!(["null", "string"]), &json!(3)).unwrap_err(),
        "the writer has union of int, boolean, the reader union of null, string: none of the writer's branches fits"
    );
}

#[test]
fn a_union_of_records_takes_the_one_of_the_name_or_that_fits() {
    let of = |name: &str, fields: Value| json!({"type": "record", "name": name, "fields": fields});
    let writer = of("a.R", json!([field("x", json!("int"))]));
    let reader = json!([
        of("b.R", json!([field("y", json!("int"))])),
        of("c.R", json!([field("x", json!("long"))])),
        of("a.R", json!([field("x", json!("double"))]))
    ]);
    assert_eq!(resolved(&writer, &reader, &json!({"x": 1})), Ok(json!({"x": 1.0})));
    let reader =
        json!([of("b.R", json!([field("y", json!("int"))])), of("c.R", json!([field("x", json!("long"))]))]);
    assert_eq!(resolved(&writer, &reader, &json!({"x": 1})), Ok(json!({"x": 1})));
}

#[test]
fn logical_types_that_mean_another_value_do_not_match() {
    let long = |logical: &str| json!({"type": "long", "logicalType": logical});
    let decimal = |precision: u32, scale: u32| json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale});
    assert_eq!(
        resolved(&long("timestamp-millis"), &long("timestamp-micros"), &json!(0)).unwrap_err(),
        "the writer has long (timestamp-millis), the reader long (timestamp-micros): the same bytes would mean another value"
    );
    assert!(resolved(&decimal(4, 2), &decimal(4, 3), &json!("1.00")).is_err());
    assert_eq!(resolved(&decimal(4, 2), &decimal(9, 2), &json!("1.00")), Ok(json!("1.00")));
    assert_eq!(
        resolved(&json!("long"), &long("timestamp-millis"), &json!(1)),
        Ok(json!("1970-01-01T00:00:00.001Z"))
    );
    assert_eq!(
        resolved(&long("timestamp-millis"), &json!("long"), &json!("1970-01-01T00:00:00.001Z")),
        Ok(json!(1))
    );
}

#[test]
fn recursive_types_are_resolved_and_a_bad_field_deep_in_them_is_found() {
    let list = |value: &str, more: Value| {
        json!({"type": "record", "name": "L", "fields": [
            {"name": "next", "type": ["null", "L"]}, {"name": "v", "type": value}, more]})
    };
    let extra = |name: &str| json!({"name": name, "type": ["null", "L"], "default": null});
    let value =
        json!({"next": {"next": null, "v": 1, "a": null}, "v": 2, "a": {"next": null, "v": 3, "a": null}});
    assert_eq!(
        resolved(&list("int", extra("a")), &list("double", extra("b")), &value),
        Ok(json!({"next": {"next": null, "v": 1.0, "b": null}, "v": 2.0, "b": null}))
    );
    let error = resolved(&list("int", extra("a")), &list("string", extra("a")), &value).unwrap_err();
    assert_eq!(error, "`v`: the writer has int, the reader string");
}
