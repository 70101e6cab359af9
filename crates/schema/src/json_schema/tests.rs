use serde_json::json;

use super::*;

fn validator(schema: &Value) -> Result<Validator, String> {
    Validator::parse(&schema.to_string(), &[])
}

#[test]
fn a_value_that_does_not_follow_its_schema_is_refused_with_the_place_and_without_itself() {
    let schema = json!({
        "type": "object", "required": ["id"],
        "properties": {"id": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}}},
    });
    let validator = validator(&schema).unwrap();
    let read = |text: &str| validator.to_json(text.as_bytes(), &Budget::default());
    assert_eq!(read(r#"{"id":1,"tags":["a"]}"#).unwrap(), json!({"id": 1, "tags": ["a"]}));
    let error = read(r#"{"id":1,"tags":["a","secret"]}"#).unwrap_err();
    assert_eq!(error.kind(), DecodeErrorKind::Invalid);
    assert!(error.to_string().contains("`/tags/1`") && !error.to_string().contains("secret"), "{error}");
    assert!(read("{}").unwrap_err().to_string().contains("id"));
    assert_eq!(read("{").unwrap_err().kind(), DecodeErrorKind::Malformed);
    assert!(validator.encode_json(&json!({"id": "1"})).is_err());
    assert_eq!(validator.encode_json(&json!({"id": 1})).unwrap(), br#"{"id":1}"#);
}

#[test]
fn references_are_found_by_name_and_nowhere_else() {
    let common = ("common.json".to_owned(), r#"{"type":"integer"}"#.to_owned());
    let bare = json!({"properties": {"n": {"$ref": "common.json"}}});
    let mut with_id = bare.clone();
    with_id["$id"] = json!("http://example.com/a/order.json");
    for schema in [bare, with_id] {
        let validator = Validator::parse(&schema.to_string(), std::slice::from_ref(&common)).unwrap();
        assert!(validator.to_json(br#"{"n":1}"#, &Budget::default()).is_ok());
        assert!(validator.to_json(br#"{"n":"x"}"#, &Budget::default()).is_err());
    }
    for elsewhere in ["http://127.0.0.1:1/x.json", "file:///etc/passwd", "other.json"] {
        let error = Validator::parse(&json!({"$ref": elsewhere}).to_string(), &[]).unwrap_err();
        assert!(error.contains("not among its references"), "{error}");
    }
}

#[test]
fn a_reference_is_resolved_by_its_whole_name_though_another_ends_alike() {
    let text = |kind: &str| json!({"type": kind}).to_string();
    let schema = json!({"properties": {
        "a": {"$ref": "order.json"}, "b": {"$ref": "common/order.json"}, "c": {"$ref": "other/common/order.json"},
    }});
    let references =
        [("order.json", "integer"), ("common/order.json", "string"), ("other/common/order.json", "array")];
    let references = references.map(|(name, kind)| (name.to_owned(), text(kind)));
    // Maps have a different order each time.
    for _ in 0..20 {
        let validator = Validator::parse(&schema.to_string(), &references).unwrap();
        let read = |text: &str| validator.to_json(text.as_bytes(), &Budget::default());
        assert!(read(r#"{"a":1,"b":"x","c":[]}"#).is_ok());
        for wrong in [r#"{"a":"x"}"#, r#"{"b":1}"#, r#"{"c":1}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

#[test]
fn a_schema_that_refers_to_itself_twice_takes_no_longer_for_each_level() {
    let a = json!({"$ref": "#/$defs/a"});
    let nested = |depth: usize, innermost: &str| {
        format!("{}{innermost}{}", "{\"x\":".repeat(depth), "}".repeat(depth))
    };
    for (twice, is_strict) in [
        (json!({"allOf": [a, a]}), true),
        (json!({"anyOf": [a, a]}), true),
        (json!({"oneOf": [{"not": a}, a]}), false),
        (json!({"if": a, "then": a, "else": a}), true),
        (json!({"allOf": [a], "dependentSchemas": {"x": a}}), true),
        (json!({"allOf": [a, a], "unevaluatedProperties": false}), true),
    ] {
        let schema =
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"x": twice}}}});
        let validator = validator(&schema).unwrap();
        let read = |text: String| validator.to_json(text.as_bytes(), &Budget::default());
        assert!(read(nested(60, "{}")).is_ok(), "{twice}");
        if is_strict {
            assert!(read(nested(60, "1")).unwrap_err().to_string().contains("too intricate"), "{twice}");
            assert!(read(nested(3, "1")).unwrap_err().to_string().contains("`/x"), "{twice}");
        }
    }
}

#[test]
fn schemas_that_would_take_for_ever_are_refused() {
    let mut bomb = json!({"$ref": "#/definitions/a0", "definitions": {"a40": {"type": "string"}}});
    for nth in 0..40 {
        let next = format!("#/definitions/a{}", nth + 1);
        bomb["definitions"][format!("a{nth}")] = json!({"allOf": [{"$ref": next}, {"$ref": next}]});
    }
    assert!(validator(&bomb).unwrap_err().contains("multiply"));
    // The same for properties whose names are keywords.
    for name in ["default", "const", "enum", "examples", "definitions", "$defs", "$ref"] {
        for keyword in ["properties", "patternProperties", "dependentSchemas"] {
            let mut bomb = json!({"$ref": "#/definitions/a0", "definitions": {"a30": {"type": "string"}}});
            for nth in 0..30 {
                let next = json!({"$ref": format!("#/definitions/a{}", nth + 1)});
                bomb["definitions"][format!("a{nth}")] = json!({keyword: {name: {"allOf": [next, next]}}});
            }
            assert!(validator(&bomb).unwrap_err().contains("multiply"), "{keyword}: {name}");
        }
    }
    let harmless = json!({"properties": {"default": {"type": "string"}, "$ref": {"type": "integer"}}, "default": {"$ref": "nowhere"}});
    assert!(validator(&harmless).is_ok());
    // The same by anchors, by escapes, and by identifiers.
    type Target = fn(usize) -> String;
    let forms: [(&str, Target); 3] = [
        ("$anchor", |nth| format!("#a{nth}")),
        ("", |nth| format!("#/%24defs/a{nth}")),
        ("$id", |nth| format!("a{nth}")),
    ];
    for (keyword, target) in forms {
        let mut bomb = json!({"$ref": target(0), "$defs": {}});
        for nth in 0..=40 {
            let next = target(nth + 1);
            let mut one = match nth {
                40 => json!({"type": "string"}),
                _ => json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
            };
            if !keyword.is_empty() {
                one[keyword] = json!(format!("a{nth}"));
            }
            bomb["$defs"][format!("a{nth}")] = one;
        }
        assert!(validator(&bomb).unwrap_err().contains("multiply"), "{keyword}");
    }
    let anchored = json!({"$ref": "#name", "$defs": {"a": {"$anchor": "name", "type": "string"}}});
    let anchored = validator(&anchored).unwrap();
    assert!(anchored.to_json(b"\"x\"", &Budget::default()).is_ok());
    assert!(anchored.to_json(b"1", &Budget::default()).is_err());
    let mut deep = json!({});
    for _ in 0..5000 {
        deep = Value::Object([("not".to_owned(), deep)].into_iter().collect());
    }
    assert!(Validator::parse(&"{\"not\":".repeat(5000), &[]).is_err());
    assert!(work::check(&deep, &HashMap::new()).is_err());
    std::mem::forget(deep); // dropping it would need as deep a recursion
    // A recursive tree is a normal use of schemas.
    let tree = json!({"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
    let tree = validator(&tree).unwrap();
    assert!(tree.to_json(br#"{"children":[{"children":[]}]}"#, &Budget::default()).is_ok());
    assert!(tree.to_json(br#"{"children":[{"children":1}]}"#, &Budget::default()).is_err());
}

#[test]
fn a_pattern_that_goes_back_without_end_ends() {
    let validator = validator(&json!({"pattern": "^(?=a)(a|a)*(?<!a)$"})).unwrap();
    let text = format!("\"{}b\"", "a".repeat(60));
    assert!(validator.to_json(text.as_bytes(), &Budget::default()).is_err());
}

#[test]
fn few_bytes_cannot_ask_for_much() {
    let validator = validator(&json!({})).unwrap();
    let budget = Budget { bytes: 1 << 20, ..Budget::default() };
    let many = format!("[{}1]", "1,".repeat(100_000));
    assert_eq!(validator.to_json(many.as_bytes(), &budget).unwrap_err().kind(), DecodeErrorKind::Budget);
    let deep = "[".repeat(5000);
    assert_eq!(validator.to_json(deep.as_bytes(), &budget).unwrap_err().kind(), DecodeErrorKind::Malformed);
}

#[test]
fn a_number_that_cannot_be_kept_is_refused_and_not_rounded() {
    let validator = validator(&json!({"type": "integer"})).unwrap();
    let read = |text: &str| validator.to_json(text.as_bytes(), &Budget::default());
    assert_eq!(read("18446744073709551615").unwrap(), json!(u64::MAX));
    for text in ["12345678901234567890123", "0.9999999999999999999999", "1e400"] {
        let error = read(text).unwrap_err();
        assert!(error.kind() == DecodeErrorKind::Malformed && error.to_string().contains(text), "{error}");
    }
    let bound = r#"{"maximum": 0.99999999999999999999}"#;
    assert!(Validator::parse(bound, &[]).unwrap_err().contains("0.99999999999999999999"));
}

#[test]
fn multiples_are_counted_in_decimal_digits() {
    for (step, multiples, others) in [
        (
            "1.5",
            &["0", "-3", "9007199254740993", "18446744073709551615", "4.5", "1.5e300"][..],
            &["1", "9007199254740992", "0.5"][..],
        ),
        ("0.1", &["0.3", "-1.1", "7", "1e22"], &["0.35", "1e-9"]),
        ("2", &["4.0", "1e300", "-18"], &["3", "2.5", "9007199254740993"]),
        ("1e300", &["1e300", "3e300", "0"], &["1", "1e299"]),
        ("5e-324", &["1", "5e-324"], &[]),
    ] {
        let validator = Validator::parse(&format!("{{\"multipleOf\":{step}}}"), &[]).unwrap();
        let is_valid = |text: &&str| validator.to_json(text.as_bytes(), &Budget::default()).is_ok();
        assert!(multiples.iter().all(is_valid), "{step}");
        assert!(!others.iter().any(is_valid), "{step}");
    }
    let validator = Validator::parse(r#"{"multipleOf":7}"#, &[]).unwrap();
    let error = validator.to_json(b"123456", &Budget::default()).unwrap_err().to_string();
    assert!(error.contains("not a multiple of 7") && !error.contains("123456"), "{error}");
    assert!(validator.to_json(b"\"text\"", &Budget::default()).is_ok(), "it is no number");
    for wrong in ["0", "-1", "\"x\""] {
        assert!(Validator::parse(&format!("{{\"multipleOf\":{wrong}}}"), &[]).is_err(), "{wrong}");
    }
}
