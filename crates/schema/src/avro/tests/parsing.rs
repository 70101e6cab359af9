//! Schemas: names, references, and errors in invalid ones.

use serde_json::json;

use super::super::{Budget, JsonForm, Resolver, Schema};
use super::{parse, plain, schema};

fn error(text: &str) -> String {
    match Schema::parse(text, &[]) {
        Ok(_) => panic!("{text} was taken for a schema"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_bad_schema_is_told_in_one_sentence_with_its_place() {
    for (text, sentence) in [
        ("{", "the schema is not JSON: EOF while parsing an object at line 1 column 1"),
        ("7", "a type is a name, an object or a list, not 7"),
        ("{}", "a type has no `type`"),
        (r#"{"type": 7}"#, "`type` is 7, not a type"),
        (r#""Order""#, "no type is named Order"),
        (r#"{"type": "array"}"#, "an array has no `items`"),
        (r#"{"type": "map"}"#, "a map has no `values`"),
        (r#"{"type": "record", "fields": []}"#, "the record has no `name`"),
        (r#"{"type": "record", "name": "R"}"#, "the record R has no list of `fields`"),
        (r#"{"type": "record", "name": "a b", "fields": []}"#, r#""a b" is not a name"#),
        (r#"{"type": "record", "name": "x.int", "fields": []}"#, "int is the name of a primitive type"),
        (r#"{"type": "record", "name": "R", "fields": [{"type": "int"}]}"#, "field 0 of R has no `name`"),
        (r#"{"type": "record", "name": "R", "fields": [{"name": "a"}]}"#, "`a`: the field has no `type`"),
        (
            r#"{"type": "record", "name": "R", "fields": [{"name": "a-b", "type": "int"}]}"#,
            r#"`a-b`: "a-b" is not a name"#,
        ),
        (
            r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#,
            "the record R has two fields a",
        ),
        (
            r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": {"type": "map", "values": "Ghost"}}}]}"#,
            "`a[][]`: no type is named Ghost",
        ),
        (r#"["int", "int"]"#, "a union has two branches int"),
        (r#"["int", ["null"]]"#, "a union is a branch of another"),
        ("[]", "a union has no branches"),
        (r#"{"type": "enum", "name": "E"}"#, "the enum E has no `symbols`"),
        (r#"{"type": "enum", "name": "E", "symbols": ["A", "A"]}"#, "the enum E has A twice"),
        (r#"{"type": "enum", "name": "E", "symbols": [1]}"#, "`symbols` is not a list of strings"),
        (
            r#"{"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}"#,
            "the default \"B\" of the enum E is not among its symbols",
        ),
        (r#"{"type": "fixed", "name": "F", "size": -1}"#, "the fixed F has no `size` from 0 to 2147483647"),
        (
            r#"[{"type": "fixed", "name": "F", "size": 1}, {"type": "enum", "name": "F", "symbols": []}]"#,
            "`[1]`: F is defined twice",
        ),
    ] {
        assert_eq!(error(text), sentence, "{text}");
    }
}

#[test]
fn names_are_found_in_their_namespaces() {
    // The specification's example.
    let schema = parse(
        r#"{"type": "record", "name": "Example", "fields": [
            {"name": "inheritNull", "type": {"type": "enum", "name": "Simple", "symbols": ["a", "b"]}},
            {"name": "explicitNamespace", "type": {"type": "fixed", "name": "Simple", "namespace": "explicit", "size": 2}},
            {"name": "fullName", "type": {"type": "record", "name": "a.full.Name", "namespace": "ignored", "fields": [
                {"name": "inheritNamespace", "type": {"type": "enum", "name": "Understanding", "symbols": ["d", "e"]}},
                {"name": "again", "type": "Understanding"},
                {"name": "full", "type": "a.full.Understanding"},
                {"name": "outside", "type": "Simple"}]}},
            {"name": "other", "type": ["null", "explicit.Simple", "Simple"]}]}"#,
    );
    assert_eq!(schema.name(), Some("Example"));
    let value = json!({"inheritNull": "b", "explicitNamespace": "\u{1}\u{2}",
        "fullName": {"inheritNamespace": "d", "again": "e", "full": "d", "outside": "a"}, "other": {"explicit.Simple": "\u{3}\u{4}"}});
    let bytes = schema.encode_json_as(&value, JsonForm::Avro).unwrap();
    assert_eq!(bytes, [2, 1, 2, 0, 2, 0, 0, 2, 3, 4]);
    assert_eq!(schema.to_json(&bytes, JsonForm::Avro, &Budget::default()).unwrap(), value);
    assert!(
        Schema::parse(r#"{"type": "record", "name": "a.R", "fields": [{"name": "x", "type": "b.R"}]}"#, &[])
            .is_err()
    );
}

#[test]
fn types_may_be_written_in_every_form() {
    for text in [
        "\"string\"",
        " string\n",
        r#"{"type": "string"}"#,
        r#"{"type": {"type": "string"}}"#,
        r#"{"type": "string", "avro.java.string": "String", "logicalType": "of-the-future"}"#,
    ] {
        assert_eq!(plain(&parse(text), &[2, b'x']), json!("x"));
    }
    assert_eq!(plain(&parse(r#"{"type": ["null", "string"]}"#), &[2, 2, b'x']), json!("x"));
    assert_eq!(plain(&parse(r#"{"type": "error", "name": "E", "fields": []}"#), &[]), json!({}));
}

#[test]
fn references_are_found_whatever_their_order() {
    let of = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let country = of(
        "shop.Country",
        r#"{"type": "enum", "name": "Country", "namespace": "shop", "symbols": ["FR", "IN"]}"#,
    );
    let address = of(
        "shop.Address",
        r#"{"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "country", "type": "Country"}]}"#,
    );
    let text = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "to", "type": "Address"}, {"name": "from", "type": "shop.Country"}]}"#;
    let twice = of("again", &country.1);
    for references in [
        vec![country.clone(), address.clone()],
        vec![address.clone(), country.clone()],
        vec![address.clone(), country.clone(), twice],
    ] {
        let schema = Schema::parse(text, &references).unwrap();
        assert_eq!(plain(&schema, &[2, 0]), json!({"to": {"country": "IN"}, "from": "FR"}));
    }
    let missing = Schema::parse(text, std::slice::from_ref(&address)).unwrap_err();
    assert_eq!(missing.to_string(), "`reference shop.Address.country`: no type is named shop.Country");
    let circle = Schema::parse("\"a\"", &[of("a", "\"b\""), of("b", "\"a\"")]).unwrap_err();
    assert_eq!(circle.to_string(), "`reference b`: the reference a refers to itself");
    let chain: Vec<_> = (0..100).map(|n| of(&format!("n{n}"), &format!("\"n{}\"", n + 1))).collect();
    assert!(Schema::parse("\"n0\"", &chain).unwrap_err().to_string().contains("more than 32 references"));
}

#[test]
fn recursive_types_are_read() {
    let list = parse(
        r#"{"type": "record", "name": "LongList", "fields": [
            {"name": "value", "type": "long"}, {"name": "next", "type": ["null", "LongList"]}]}"#,
    );
    assert_eq!(plain(&list, &[2, 2, 4, 0]), json!({"value": 1, "next": {"value": 2, "next": null}}));
    assert!(Resolver::new(&list, &list).unwrap().gaps().is_empty());
}

#[test]
fn a_logical_type_that_is_not_valid_is_ignored() {
    for (attributes, bytes, value) in [
        (json!({"type": "int", "logicalType": "timestamp-millis"}), vec![2], json!(1)),
        (json!({"type": "string", "logicalType": "date"}), vec![2, b'x'], json!("x")),
        (
            json!({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}),
            vec![2, 1],
            json!("AQ=="),
        ),
        (json!({"type": "bytes", "logicalType": "decimal"}), vec![2, 1], json!("AQ==")),
        (
            json!({"type": "bytes", "logicalType": "decimal", "precision": 1_000_000}),
            vec![2, 1],
            json!("AQ=="),
        ),
        (
            json!({"type": "fixed", "name": "F", "size": 1, "logicalType": "decimal", "precision": 3}),
            vec![1],
            json!("AQ=="),
        ),
        (
            json!({"type": "fixed", "name": "F", "size": 1, "logicalType": "decimal", "precision": 2}),
            vec![1],
            json!("1"),
        ),
        (json!({"type": "fixed", "name": "F", "size": 1, "logicalType": "uuid"}), vec![1], json!("AQ==")),
        (json!({"type": "fixed", "name": "F", "size": 1, "logicalType": "duration"}), vec![1], json!("AQ==")),
    ] {
        assert_eq!(plain(&schema(&attributes), &bytes), value, "{attributes}");
    }
}
