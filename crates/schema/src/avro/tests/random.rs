//! Random schemas and values.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::logical::Logical;
use super::super::scalar::{self, write_bytes, write_long};
use super::super::schema::{Kind, Node, NodeId, Types};
use super::super::{Budget, JsonForm, Resolver, Schema};
use super::schema;

/// Names a type that has no name yet.
fn name(value: &mut Value, next: &mut usize) {
    match value {
        Value::Object(object) => {
            if let Some(name) = object.get_mut("name").filter(|name| **name == json!("?")) {
                *name = json!(format!("n{next}.T{next}"));
                *next += 1;
            }
            object.values_mut().for_each(|value| self::name(value, next));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| self::name(value, next)),
        _ => {}
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["null", "boolean", "int", "long", "float", "double", "bytes", "string"]).prop_map(Value::from),
        prop::sample::select(vec!["date", "time-millis"]).prop_map(|logical| json!({"type": "int", "logicalType": logical})),
        prop::sample::select(vec!["time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos", "local-timestamp-micros"])
            .prop_map(|logical| json!({"type": "long", "logicalType": logical})),
        (1_u32..40, 0_u32..10).prop_map(|(precision, scale)| {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale.min(precision)})
        }),
        (0_usize..20).prop_map(|size| json!({"type": "fixed", "name": "?", "size": size})),
        Just(json!({"type": "fixed", "name": "?", "size": 16, "logicalType": "uuid"})),
        Just(json!({"type": "fixed", "name": "?", "size": 12, "logicalType": "duration"})),
        (1_usize..5).prop_map(|count| {
            let symbols: Vec<String> = (0..count).map(|n| format!("S{n}")).collect();
            json!({"type": "enum", "name": "?", "symbols": symbols})
        }),
    ]
}

/// A schema without names, which are added by `name`.
fn shape() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items})),
            inner.clone().prop_map(|values| json!({"type": "map", "values": values})),
            vec(inner.clone(), 0..5).prop_map(|types| {
                let fields: Vec<Value> = types
                    .into_iter()
                    .enumerate()
                    .map(|(n, of)| json!({"name": format!("f{n}"), "type": of}))
                    .collect();
                json!({"type": "record", "name": "?", "fields": fields})
            }),
            vec(inner, 1..4).prop_map(|types| {
                let mut kinds = Vec::new();
                let mut branches = Vec::new();
                for of in types {
                    let kind = of.get("type").unwrap_or(&of).clone();
                    let named = of.get("name").is_some();
                    if !of.is_array() && (named || !kinds.contains(&kind)) {
                        kinds.push(kind);
                        branches.push(of);
                    }
                }
                if branches.is_empty() { json!("null") } else { Value::from(branches) }
            }),
        ]
    })
}

fn any_schema() -> impl Strategy<Value = Value> {
    shape().prop_map(|mut shape| {
        name(&mut shape, &mut 0);
        shape
    })
}

/// Pseudo-random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % end.max(1)
    }

    /// Small and large numbers, and the limits.
    fn long(&mut self, bits: u32) -> i64 {
        let shift = self.below(bits as usize);
        let value = (self.roll() as i64) >> (64 - bits);
        match self.below(8) {
            0 => 0,
            1 => (1_i64 << (bits - 1)).wrapping_neg(),
            _ => value >> shift,
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll() as u8).collect()
    }
}

/// Writes a value of a type. Arrays and maps are split into several blocks, with and without their size.
fn write(types: &Types, id: NodeId, dice: &mut Dice, out: &mut Vec<u8>, one_block: bool) {
    let node = types.get(id);
    match (&node.kind, node.logical) {
        (Kind::Null, _) => {}
        (Kind::Boolean, _) => out.push(dice.below(2) as u8),
        (Kind::Int, _) => write_long(out, dice.long(32)),
        (Kind::Long, _) => write_long(out, dice.long(64)),
        (Kind::Float, _) => out.extend((dice.roll() as f32 / 7.0).to_le_bytes()),
        (Kind::Double, _) => out.extend((dice.roll() as f64 / 7.0).to_le_bytes()),
        (_, Some(Logical::Decimal { precision, .. })) => {
            let count = dice.below(precision as usize) + 1;
            let text: String = (0..count).map(|_| char::from(b'0' + dice.below(10) as u8)).collect();
            decimal_text_of(node, &text, out);
        }
        (Kind::Bytes, _) => {
            let count = dice.below(20);
            write_bytes(out, &dice.bytes(count));
        }
        (Kind::String, _) => {
            let text: String =
                (0..dice.below(10)).map(|_| ['a', '€', '0', '"', '\u{1F600}'][dice.below(5)]).collect();
            write_bytes(out, text.as_bytes());
        }
        (Kind::Fixed(fixed), _) => out.extend(dice.bytes(fixed.size)),
        (Kind::Enum(symbols), _) => write_long(out, dice.below(symbols.symbols.len()) as i64),
        (Kind::Array(_) | Kind::Map(_), _) => {
            let (Kind::Array(of) | Kind::Map(of)) = node.kind else { unreachable!() };
            let mut key = 0;
            for _ in 0..if one_block { dice.below(2) } else { dice.below(4) } {
                let count = 1 + dice.below(3);
                let mut items = Vec::new();
                for _ in 0..count {
                    if matches!(node.kind, Kind::Map(_)) {
                        write_bytes(&mut items, format!("k{key}").as_bytes());
                        key += 1;
                    }
                    write(types, of, dice, &mut items, one_block);
                }
                if !one_block && dice.below(2) == 0 {
                    write_long(out, -(count as i64));
                    write_long(out, items.len() as i64);
                } else {
                    write_long(out, count as i64);
                }
                out.extend(items);
            }
            out.push(0);
        }
        (Kind::Union(branches), _) => {
            let index = dice.below(branches.len());
            write_long(out, index as i64);
            write(types, branches[index], dice, out, one_block);
        }
        (Kind::Record(record), _) => {
            for field in &record.fields {
                write(types, field.node, dice, out, one_block);
            }
        }
    }
}

/// A decimal of these digits, with the point where the type requires it.
fn decimal_text_of(node: &Node, digits: &str, out: &mut Vec<u8>) {
    let Some(Logical::Decimal { scale, .. }) = node.logical else { unreachable!() };
    scalar::decimal_text(out, node, &format!("{digits}e-{scale}")).unwrap();
}

fn written(schema: &Schema, seed: u64, one_block: bool) -> Vec<u8> {
    let mut out = Vec::new();
    write(&schema.0.types, schema.0.types.root, &mut Dice(seed | 1), &mut out, one_block);
    out
}

/// The reader's version of a schema: fields in a different order, and one more.
fn evolved(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut object: serde_json::Map<String, Value> =
                object.iter().map(|(key, value)| (key.clone(), evolved(value))).collect();
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                fields.reverse();
                fields.insert(0, json!({"name": "added", "type": ["string", "null"], "default": "d"}));
            }
            Value::Object(object)
        }
        Value::Array(list) => list.iter().map(evolved).collect(),
        other => other.clone(),
    }
}

/// The reader's view of a value.
fn with_added(of: &Value, value: &Value) -> Value {
    let kind = of.get("type").unwrap_or(of);
    match (kind.as_str(), value) {
        (Some("array"), Value::Array(items)) => {
            items.iter().map(|item| with_added(&of["items"], item)).collect()
        }
        (Some("map"), Value::Object(object)) => {
            object.iter().map(|(key, value)| (key.clone(), with_added(&of["values"], value))).collect()
        }
        (Some("record"), Value::Object(object)) => {
            let fields = of["fields"].as_array().unwrap();
            let seen = fields.iter().map(|field| {
                let name = field["name"].as_str().unwrap();
                (name.to_owned(), with_added(&field["type"], &object[name]))
            });
            seen.chain([("added".to_owned(), json!({"string": "d"}))]).collect()
        }
        // For a union in Avro's form: an object with the branch's name.
        (None, Value::Object(object)) => {
            let (name, inner) = object.iter().next().unwrap();
            let branches = of.as_array().unwrap();
            let named = |branch: &&Value| {
                let own = branch.get("name").or_else(|| branch.get("type")).unwrap_or(branch);
                own == name
            };
            json!({ name.as_str(): with_added(branches.iter().find(named).unwrap(), inner) })
        }
        _ => value.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn values_come_back_from_both_forms(of in any_schema(), seed: u64) {
        let (schema, budget) = (schema(&of), Budget::default());
        let bytes = written(&schema, seed, true);
        let avro = schema.to_json(&bytes, JsonForm::Avro, &budget).unwrap();
        prop_assert_eq!(&schema.encode_json_as(&avro, JsonForm::Avro).unwrap(), &bytes);
        let plain = schema.to_json(&bytes, JsonForm::Plain, &budget).unwrap();
        let again = schema.encode_json(&plain).unwrap();
        prop_assert_eq!(schema.to_json(&again, JsonForm::Plain, &budget).unwrap(), plain);
    }

    #[test]
    fn blocks_make_no_difference_and_skipping_reads_as_much(of in any_schema(), seed: u64) {
        let (schema, budget) = (schema(&of), Budget::default());
        let bytes = written(&schema, seed, false);
        let avro = schema.to_json(&bytes, JsonForm::Avro, &budget).unwrap();
        let one_block = schema.encode_json_as(&avro, JsonForm::Avro).unwrap();
        prop_assert_eq!(schema.to_json(&one_block, JsonForm::Avro, &budget).unwrap(), avro);
        schema.decode::<IgnoredAny>(&bytes, &budget).unwrap();
        // Fields that the reader lacks are skipped.
        let [with, without] = [json!([{"name": "x", "type": of}, {"name": "n", "type": "int"}]), json!([{"name": "n", "type": "int"}])]
            .map(|fields| super::schema(&super::record(fields)));
        let bytes = [&bytes[..], &[14]].concat();
        let resolver = Resolver::new(&with, &without).unwrap();
        prop_assert_eq!(resolver.to_json(&bytes, JsonForm::Plain, &budget).unwrap(), json!({"n": 7}));
    }

    #[test]
    fn a_reader_with_other_fields_sees_the_same_values(of in any_schema(), seed: u64) {
        let (writer, budget) = (schema(&of), Budget::default());
        let reader = schema(&evolved(&of));
        let bytes = written(&writer, seed, false);
        let avro = writer.to_json(&bytes, JsonForm::Avro, &budget).unwrap();
        let same = Resolver::new(&writer, &writer).unwrap();
        prop_assert!(same.gaps().is_empty());
        prop_assert_eq!(&same.to_json(&bytes, JsonForm::Avro, &budget).unwrap(), &avro);
        let resolver = Resolver::new(&writer, &reader).unwrap();
        prop_assert!(resolver.gaps().is_empty());
        prop_assert_eq!(resolver.to_json(&bytes, JsonForm::Avro, &budget).unwrap(), with_added(&of, &avro));
    }

    #[test]
    fn truncated_values_are_errors_and_changed_ones_do_no_harm(of in any_schema(), seed: u64, at: u16, to: u8) {
        let (schema, budget) = (schema(&of), Budget::default());
        let mut bytes = written(&schema, seed, false);
        for end in 0..bytes.len() {
            prop_assert!(schema.to_json(&bytes[..end], JsonForm::Plain, &budget).is_err());
            prop_assert!(schema.decode::<IgnoredAny>(&bytes[..end], &budget).is_err());
        }
        if let Some(byte) = { let length = bytes.len().max(1); bytes.get_mut(usize::from(at) % length) } {
            *byte = to;
        }
        let _ = schema.decode::<IgnoredAny>(&bytes, &budget);
        if let Ok(avro) = schema.to_json(&bytes, JsonForm::Avro, &budget) {
            prop_assert!(schema.encode_json_as(&avro, JsonForm::Avro).is_ok(), "{avro}");
        }
    }
}
