//! Malicious bytes and schemas: they cause errors, but no panic, no excessive memory use, no stack overflow.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::{Budget, DecodeErrorKind, JsonForm, Resolver, Schema};
use super::{parse, record, schema};

/// The kinds of errors of all ways to decode.
fn kinds(schema: &Schema, bytes: &[u8]) -> [DecodeErrorKind; 3] {
    let budget = Budget::default();
    [
        schema.to_json(bytes, JsonForm::Plain, &budget).unwrap_err().kind(),
        schema.decode::<Value>(bytes, &budget).unwrap_err().kind(),
        schema.decode::<IgnoredAny>(bytes, &budget).unwrap_err().kind(),
    ]
}

/// A number in Avro's encoding.
fn long(value: i64) -> Vec<u8> {
    parse("\"long\"").encode(&value).unwrap()
}

#[test]
fn numbers_and_lengths_that_cannot_be_are_malformed() {
    let long_number = [&[0xff; 10][..], &[1]].concat();
    for (of, bytes) in [
        ("\"int\"", &[][..]),
        ("\"long\"", &[0x80; 3]),
        ("\"long\"", &long_number),
        ("\"long\"", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        ("\"double\"", &[0; 7]),
        ("\"string\"", &long(-1)),
        ("\"string\"", &long(i64::MAX)),
        ("\"bytes\"", &long(1 << 40)),
        (r#"["null"]"#, &[2]),
        (r#"["null"]"#, &[1]),
        (r#"{"type": "array", "items": "int"}"#, &long(1 << 40)),
        (r#"{"type": "array", "items": "int"}"#, &long(i64::MIN)),
        (r#"{"type": "map", "values": "null"}"#, &long(1 << 61)),
        (r#"{"type": "fixed", "name": "F", "size": 2147483647}"#, &[0]),
    ] {
        assert_eq!(kinds(&parse(of), bytes), [DecodeErrorKind::Malformed; 3], "{of} {bytes:?}");
    }
    let budget = Budget::default();
    for (of, bytes) in [("\"int\"", long(1 << 40)), ("\"boolean\"", vec![2]), ("\"string\"", vec![2, 0xff])] {
        assert_eq!(
            parse(of).decode::<Value>(&bytes, &budget).unwrap_err().kind(),
            DecodeErrorKind::Malformed
        );
    }
    let symbols = parse(r#"{"type": "enum", "name": "E", "symbols": ["A"]}"#);
    assert_eq!(symbols.decode::<String>(&[2], &budget).unwrap_err().to_string(), "symbol 1 of an enum of 1");
}

#[test]
fn items_that_take_no_bytes_cost_all_the_same() {
    let empty = json!({"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]});
    for items in [json!("null"), empty, json!({"type": "fixed", "name": "F", "size": 0})] {
        let array = schema(&json!({"type": "array", "items": items}));
        for count in [i64::MAX, -i64::MAX, 1 << 62, 1 << 20] {
            let mut bytes = long(count);
            if count < 0 {
                bytes.extend(long(0));
            }
            bytes.push(0);
            let budget = Budget::default();
            assert_eq!(
                array.to_json(&bytes, JsonForm::Plain, &budget).unwrap_err().kind(),
                DecodeErrorKind::Budget
            );
            assert_eq!(
                array.decode::<Vec<Value>>(&bytes, &budget).unwrap_err().kind(),
                DecodeErrorKind::Budget
            );
            // With its size given, a skipped array is passed over at once.
            let skipped = array.decode::<IgnoredAny>(&bytes, &budget).map_err(|error| error.kind());
            assert_eq!(skipped.err(), (count > 0).then_some(DecodeErrorKind::Budget));
        }
        let mut few = long(1_000);
        few.push(0);
        assert!(array.to_json(&few, JsonForm::Plain, &Budget::default()).is_ok());
    }
}

#[test]
fn recursion_ends_at_the_budgets_depth_in_a_small_stack() {
    #[derive(Debug, Deserialize)]
    struct List {
        next: Option<Box<Self>>,
    }
    fn length(mut list: &List) -> usize {
        let mut length = 1;
        while let Some(next) = &list.next {
            (list, length) = (next, length + 1);
        }
        length
    }
    let list =
        parse(r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#);
    let endless = parse(r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": "L"}]}"#);
    let nested = parse(
        r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": {"type": "array", "items": "L"}}]}"#,
    );
    let run = move || {
        let deep = |depth: usize| [vec![2; depth - 1], vec![0]].concat();
        assert_eq!(length(&list.decode(&deep(128), &Budget::default()).unwrap()), 128);
        assert!(list.to_json(&deep(128), JsonForm::Avro, &Budget::default()).is_ok());
        assert_eq!(kinds(&list, &deep(129)), [DecodeErrorKind::Budget; 3]);
        assert_eq!(kinds(&list, &deep(1_000_000)), [DecodeErrorKind::Budget; 3]);
        assert_eq!(kinds(&endless, &[]), [DecodeErrorKind::Budget; 3]);
        assert_eq!(kinds(&nested, &[2; 100_000]), [DecodeErrorKind::Budget; 3]);
        let small = Budget { depth: 1, ..Budget::default() };
        assert!(list.decode::<List>(&deep(1), &small).is_ok());
        assert!(list.decode::<List>(&deep(2), &small).is_err());
        assert!(list.decode::<List>(&deep(1), &Budget { depth: 0, ..small }).is_err());
    };
    // The default stack size of a thread, without optimization.
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, run).unwrap().join().unwrap()
    });
}

#[test]
fn records_that_multiply_without_bytes_are_counted() {
    // 2^40 empty records.
    let mut types = json!("null");
    for level in 0..40 {
        let again = if level == 0 { json!("null") } else { json!(format!("R{}", level - 1)) };
        types = json!({"type": "record", "name": format!("R{level}"), "fields": [{"name": "a", "type": types}, {"name": "b", "type": again}]});
    }
    let bomb = schema(&types);
    assert_eq!(kinds(&bomb, &[]), [DecodeErrorKind::Budget; 3]);
    // Resolution compares each pair once.
    assert!(Resolver::new(&bomb, &bomb).unwrap().gaps().is_empty());
}

#[test]
fn large_defaults_symbols_and_names_are_charged() {
    let text = "x".repeat(1 << 16);
    let writer =
        schema(&json!({"type": "array", "items": record(json!([{"name": "a", "type": "boolean"}]))}));
    let reader = schema(
        &json!({"type": "array", "items": record(json!([{"name": "d", "type": "string", "default": text}]))}),
    );
    let mut bytes = long(100_000);
    bytes.extend(vec![0; 100_000]);
    bytes.push(0);
    let resolver = Resolver::new(&writer, &reader).unwrap();
    let budget = Budget::default();
    assert_eq!(
        resolver.to_json(&bytes, JsonForm::Plain, &budget).unwrap_err().kind(),
        DecodeErrorKind::Budget
    );
    assert_eq!(resolver.decode::<Value>(&bytes, &budget).unwrap_err().kind(), DecodeErrorKind::Budget);
    for items in [
        json!({"type": "enum", "name": "E", "symbols": [text]}),
        record(json!([{"name": text, "type": "boolean"}])),
    ] {
        let array = schema(&json!({"type": "array", "items": items}));
        assert_eq!(
            array.to_json(&bytes, JsonForm::Plain, &budget).unwrap_err().kind(),
            DecodeErrorKind::Budget
        );
        assert_eq!(array.decode::<Value>(&bytes, &budget).unwrap_err().kind(), DecodeErrorKind::Budget);
        assert!(array.decode::<IgnoredAny>(&bytes, &budget).is_ok());
    }
}

#[test]
fn a_decimal_of_a_megabyte_is_malformed() {
    let decimal = parse(r#"{"type": "bytes", "logicalType": "decimal", "precision": 9}"#);
    let mut bytes = long(1 << 20);
    bytes.extend(vec![1; 1 << 20]);
    let budget = Budget::default();
    assert_eq!(
        decimal.to_json(&bytes, JsonForm::Plain, &budget).unwrap_err().kind(),
        DecodeErrorKind::Malformed
    );
    assert_eq!(decimal.decode::<String>(&bytes, &budget).unwrap_err().kind(), DecodeErrorKind::Malformed);
    assert_eq!(decimal.decode::<Vec<u8>>(&bytes, &budget).unwrap().len(), 1 << 20);
}

#[test]
fn schemas_that_are_bombs_are_refused_or_read() {
    // JSON that is nested too deeply.
    let deep = format!("{}\"int\"{}", r#"{"type": "array", "items": "#.repeat(10_000), "}".repeat(10_000));
    assert!(Schema::parse(&deep, &[]).unwrap_err().to_string().contains("recursion limit"));
    // A chain of 4,000 records, each containing the previous one.
    let mut records: Vec<Value> = vec![json!({"type": "record", "name": "R0", "fields": []})];
    for n in 1..4_000 {
        records.push(json!({"type": "record", "name": format!("R{n}"), "fields": [{"name": "f", "type": format!("R{}", n - 1)}]}));
    }
    let chain = schema(&Value::from(records.clone()));
    let last = long(3_999);
    assert_eq!(kinds(&chain, &last), [DecodeErrorKind::Budget; 3]);
    assert!(Resolver::new(&chain, &chain).unwrap().gaps().is_empty());
    // The same when only the last of them is compared.
    let last = |name: &str, records: &[Value]| {
        let records = [&[json!("null")], records].concat();
        schema(&super::record(
            json!([{"name": name, "type": records, "default": null}, {"name": "last", "type": format!("R{}", records.len() - 2)}]),
        ))
    };
    let mismatch = Resolver::new(&last("one", &records), &last("other", &records)).unwrap_err();
    assert!(mismatch.to_string().contains("more than 128 deep"), "{mismatch}");
    // The same with arrays and unions between them.
    let mut records: Vec<Value> = vec![json!({"type": "record", "name": "R0", "fields": []})];
    for n in 1..500 {
        let mut of = json!(["null", format!("R{}", n - 1)]);
        for _ in 0..n % 50 {
            of = json!({"type": "array", "items": of});
        }
        records
            .push(json!({"type": "record", "name": format!("R{n}"), "fields": [{"name": "f", "type": of}]}));
    }
    let resolved = Resolver::new(&last("one", &records), &last("other", &records));
    assert!(resolved.is_ok_and(|resolver| !resolver.gaps().is_empty()));
    // Defaults that contain themselves twice.
    let looped = json!({"type": "record", "name": "L", "fields": [
        {"name": "a", "type": ["L", "null"], "default": {}}, {"name": "b", "type": ["L", "null"], "default": {}}]});
    let mismatch =
        Resolver::new(&schema(&json!({"type": "record", "name": "L", "fields": []})), &schema(&looped))
            .unwrap_err();
    assert!(mismatch.to_string().contains("its default is not of its type"), "{mismatch}");
    assert!(schema(&looped).encode_json(&json!({})).is_err());
}

#[test]
fn short_texts_do_not_stand_for_long_names_many_times() {
    let long = "n".repeat(1 << 20);
    let error =
        Schema::parse(&json!({"type": "fixed", "name": "F", "namespace": long, "size": 1}).to_string(), &[])
            .unwrap_err();
    assert_eq!(error.to_string(), "the name of a type is longer than 512 bytes");
    // References that nest, each as deep as JSON allows.
    let reference = |n: usize| {
        let (before, after) = (r#"{"type": "array", "items": "#.repeat(100), "}".repeat(100));
        (
            format!("R{n}"),
            format!(
                r#"{{"type": "record", "name": "R{n}", "fields": [{{"name": "f", "type": {before}"R{}"{after}}}]}}"#,
                n + 1
            ),
        )
    };
    let references: Vec<_> = (0..30).map(reference).collect();
    let error = Schema::parse("\"R0\"", &references).unwrap_err();
    assert!(error.to_string().ends_with("types lie more than 160 deep in one another"), "{error}");
}

#[test]
fn a_union_that_can_be_read_in_countless_ways_is_given_up() {
    // Each level is tried as both records, and only the innermost shows that neither fits.
    let of = |name: &str| json!({"type": "record", "name": name, "fields": [{"name": "x", "type": ["A", "B", "int"]}]});
    let schema = parse(
        &json!([{"type": "record", "name": "A", "fields": [{"name": "x", "type": ["A", of("B"), "int"]}]}])
            .to_string(),
    );
    let mut value = json!("no int");
    for _ in 0..60 {
        value = json!({"x": value});
    }
    assert!(schema.encode_json(&value).is_err());
}
