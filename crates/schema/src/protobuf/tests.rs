use serde_json::json;

use super::*;

const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "common/money.proto";
import "google/protobuf/timestamp.proto";
message Order {
  string order_id = 1;
  map<string, int32> counts = 2;
  message Line { string sku = 1; int64 amount = 2; }
  repeated Line lines = 3;
  common.Money total = 4;
  google.protobuf.Timestamp at = 5;
  bytes raw = 6;
  oneof how { string card = 7; bool cash = 8; }
  repeated int32 packed = 9;
  Order next = 10;
}
message Other { message Deep { message Deeper { int32 x = 1; } } }
"#;

const MONEY: &str =
    r#"syntax = "proto3"; package common; message Money { string currency = 1; int64 units = 2; }"#;

fn schema() -> Schema {
    Schema::parse(ORDER, &[("common/money.proto".to_owned(), MONEY.to_owned())]).unwrap()
}

fn order() -> Value {
    json!({
        "orderId": "7", "counts": {"a": 1}, "lines": [{"sku": "x", "amount": "9007199254740993"}],
        "total": {"currency": "EUR", "units": "3"}, "at": "2026-11-23T19:00:00Z", "raw": "/wA=",
        "card": "visa", "packed": [1, -2, 300], "next": null,
    })
}

#[test]
fn a_message_survives_its_bytes_with_imports_maps_nested_types_and_well_known_ones() {
    let schema = schema();
    let mut value = order();
    value.as_object_mut().unwrap().shift_remove("next");
    let bytes = schema.encode_json(&value).unwrap();
    let read = schema.to_json(&MessageIndexes::default(), &bytes, &Budget::default()).unwrap();
    for (name, expected) in value.as_object().unwrap() {
        assert_eq!(&read[name], expected, "{name}");
    }
    let fields = schema.to_fields(&MessageIndexes::default(), &bytes, &Budget::default()).unwrap();
    assert_eq!(fields["order_id"], "7");
    assert_eq!(fields["lines"][0]["amount"], 9_007_199_254_740_993_i64);
}

#[test]
fn indexes_name_nested_messages_and_do_not_count_those_of_maps() {
    let schema = schema();
    for (indexes, name) in [
        (&[0][..], Some("shop.Order")),
        (&[0, 0], Some("shop.Order.Line")),
        (&[1], Some("shop.Other")),
        (&[1, 0, 0], Some("shop.Other.Deep.Deeper")),
        (&[0, 1], None),
        (&[2], None),
        (&[u32::MAX], None),
    ] {
        let found = schema.message(&MessageIndexes::new(indexes));
        assert_eq!(found.as_ref().map(MessageDescriptor::full_name), name, "{indexes:?}");
    }
}

#[test]
fn texts_that_are_no_schemas_are_refused_in_a_sentence() {
    let deep = "message A {".repeat(100_000);
    let options = format!("message A {{ int32 a = 1 [(x) = {}]; }}", "{".repeat(100_000));
    for text in [
        "",
        "message",
        "syntax = \"proto3\"; import \"missing.proto\";",
        "syntax = \"proto3\"; message A { B b = 1; }",
        &deep,
        &options,
    ] {
        match Schema::parse(text, &[]) {
            Err(reason) => assert!(!reason.contains('\u{1}'), "{reason:?}"),
            Ok(schema) => assert!(schema.message(&MessageIndexes::default()).is_none(), "{text:.50}"),
        }
    }
    let circle = [("a.proto".to_owned(), "syntax = \"proto3\"; import \"a.proto\";".to_owned())];
    assert!(Schema::parse("syntax = \"proto3\"; import \"a.proto\";", &circle).is_err());
}

#[test]
fn few_bytes_cannot_ask_for_much() {
    let schema = schema();
    let budget = Budget { bytes: 1 << 20, ..Budget::default() };
    // A list of empty messages: two bytes each.
    let bombs = [
        [0x1a, 0x00].repeat(100_000),
        [&[0x4a, 0x80, 0x80, 0x40][..], &[1; 1 << 20]].concat(),
        (0..200).fold(Vec::new(), |inside, _| {
            let mut outside = vec![0x52];
            let mut length = inside.len();
            while length >= 0x80 {
                outside.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            outside.push(length as u8);
            outside.extend(inside);
            outside
        }),
        [0x53].repeat(1_000_000), // groups that begin and do not end
    ];
    for (nth, bomb) in bombs.iter().enumerate() {
        let error = schema.to_json(&MessageIndexes::default(), bomb, &budget).unwrap_err();
        assert_eq!(error.kind(), DecodeErrorKind::Budget, "{nth}: {error}");
    }
}

#[test]
fn messages_within_any_are_counted_and_bounded_in_depth() {
    let text = "syntax = \"proto3\"; import \"google/protobuf/any.proto\"; message A { google.protobuf.Any any = 1; }";
    let schema = Schema::parse(text, &[]).unwrap();
    let field = |number: u8, inside: &[u8]| {
        let mut outside = vec![number << 3 | 2];
        let mut length = inside.len();
        while length >= 0x80 {
            outside.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outside.push(length as u8);
        outside.extend(inside);
        outside
    };
    let any = |depth| {
        let inner = (0..depth).fold(Vec::new(), |inside, _| {
            [field(1, b"type.googleapis.com/google.protobuf.Any"), field(2, &inside)].concat()
        });
        field(1, &inner)
    };
    let read = |bytes: &[u8]| schema.to_json(&MessageIndexes::default(), bytes, &Budget::default());
    assert_eq!(read(&any(5000)).unwrap_err().kind(), DecodeErrorKind::Budget);
    // The innermost one is empty and has no type; the decoder decides how to show it.
    assert!(read(&any(3)).is_ok() || read(&any(3)).unwrap_err().kind() == DecodeErrorKind::Malformed);
    let held = [field(1, b"/A"), field(2, &[])].concat();
    assert_eq!(read(&field(1, &held)).unwrap()["any"]["@type"], "/A");
}

#[test]
fn extensions_and_groups_are_counted_by_their_contents() {
    let fields: String = (1..=200).map(|nth| format!("optional int32 f{nth} = {nth};")).collect();
    let text = format!(
        "syntax = \"proto2\"; message Outer {{ optional string s = 2; repeated group G = 1 {{ {fields} repeated Inner deep = 300; }} extensions 100 to 110; }}
         message Inner {{ {fields} }} message Outside {{ repeated Inner inner = 1; }}
         extend Outer {{ optional Outside ext = 100; repeated int32 packed = 101 [packed = true]; }}"
    );
    let schema = Schema::parse(&text, &[]).unwrap();
    let budget = Budget { bytes: 1 << 20, ..Budget::default() };
    let inner = [0x0a, 0x00].repeat(1000);
    let extension = [&[0xa2, 0x06, 0xd0, 0x0f][..], &inner].concat();
    let packed = [&[0xaa, 0x06, 0x80, 0x80, 0x01][..], &[1; 1 << 14]].concat();
    // Field 300 is a message in the group, but unknown in the outer message.
    let group = [&[0x0b][..], &[0xe2, 0x12, 0x00].repeat(1000), &[0x0c]].concat();
    for (nth, bomb) in [extension, packed, [0x0b, 0x0c].repeat(1000), group].iter().enumerate() {
        let read = schema.to_json(&MessageIndexes::default(), bomb, &budget);
        assert_eq!(read.unwrap_err().kind(), DecodeErrorKind::Budget, "{nth}");
    }
    let few =
        [&[0x0b, 0x08, 0x05, 0x0c][..], &[0x12, 1, b'x'], &[0xa2, 0x06, 0x04], &[0x0a, 2, 8, 7]].concat();
    let read = schema.to_json(&MessageIndexes::default(), &few, &budget).unwrap();
    assert_eq!((&read["g"][0]["f1"], &read["s"]), (&json!(5), &json!("x")), "{read}");
    assert_eq!(read["[ext]"]["inner"][0]["f1"], 7, "{read}");
}

#[test]
fn comments_and_quotations_neither_hide_nor_are_depth() {
    let remarks = "// 1 < 2 ( see [a {\n".repeat(100);
    assert!(Schema::parse(&format!("syntax = \"proto3\"; {remarks} message A {{}}"), &[]).is_ok());
    for open in ["message A { // }\n", "message A { /* } */ "] {
        assert!(Schema::parse(&open.repeat(100_000), &[]).unwrap_err().contains("nests deeper"));
    }
    let option = format!("message A {{ int32 a = 1 [(x) = {}]; }}", "{ a # }\n".repeat(100_000));
    assert!(Schema::parse(&option, &[]).unwrap_err().contains("nests deeper"));
}

#[test]
fn a_long_chain_of_imports_is_read() {
    let name = |nth: usize| format!("a{nth}.proto");
    let text = |nth: usize| {
        let next = nth + 1;
        format!("syntax = \"proto3\"; import \"a{next}.proto\"; message M{nth} {{ M{next} next = 1; }}")
    };
    let mut references: Vec<_> = (1..255).map(|nth| (name(nth), text(nth))).collect();
    references.push((name(255), "syntax = \"proto3\"; message M255 {}".to_owned()));
    let parsed =
        std::thread::Builder::new().stack_size(2 << 20).spawn(move || Schema::parse(&text(0), &references));
    assert!(parsed.unwrap().join().unwrap().is_ok());
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let schema = schema();
    for bytes in [
        &[0xff][..],
        &[0x0a, 0x05, b'x'],
        &[0x0a, 0x01, 0xff],
        &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x0f],
    ] {
        let read = schema.to_json(&MessageIndexes::default(), bytes, &Budget::default());
        assert_eq!(read.unwrap_err().kind(), DecodeErrorKind::Malformed, "{bytes:?}");
    }
    let unknown = schema.to_json(&MessageIndexes::default(), &[0xf8, 0x7f, 1], &Budget::default()).unwrap();
    assert_eq!(unknown["orderId"], "", "what the schema does not know is left out");
}

#[test]
fn a_value_that_the_schema_does_not_describe_is_not_written() {
    let schema = schema();
    for value in [json!({"orderID": 1}), json!([]), json!({"packed": "x"}), json!({"at": "soon"})] {
        assert!(schema.encode_json(&value).is_err(), "{value}");
    }
}

#[test]
fn a_float_is_printed_with_the_digits_that_it_needs() {
    let text = "syntax = \"proto3\"; message A { float a = 1; double b = 2; repeated float c = 3; }";
    let schema = Schema::parse(text, &[]).unwrap();
    let value = json!({"a": 3.2857144, "b": 3.2857142857142856, "c": [0.1, "NaN", 1e-45]});
    let bytes = schema.encode_json(&value).unwrap();
    assert_eq!(schema.to_json(&MessageIndexes::default(), &bytes, &Budget::default()).unwrap(), value);
    // A user type gets the float, or its double.
    let fields = schema.to_fields(&MessageIndexes::default(), &bytes, &Budget::default()).unwrap();
    assert_eq!(fields["a"], f64::from(3.2857144_f32));
}
