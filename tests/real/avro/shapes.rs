//! Random schemas, values of them, and schemas that have evolved from them.

use std::collections::{BTreeMap, BTreeSet};

use offtake_tests::Dice;
use serde_json::{Map, Value, json};

/// Generates schemas whose named types have full names that are used once, or referenced.
pub(super) struct Shapes {
    dice: Dice,
    /// The types defined in this schema, by name.
    pub(super) defined: BTreeMap<String, Value>,
    next: u32,
    /// Without types that fastavro reads differently: nanoseconds, durations, UUIDs of 16 bytes.
    common: bool,
}

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

impl Shapes {
    pub(super) fn new(seed: u64, common: bool) -> Self {
        Self { dice: Dice::new(seed), defined: BTreeMap::new(), next: 0, common }
    }

    fn name(&mut self) -> String {
        self.next += 1;
        if self.dice.roll(2) == 0 {
            format!("space.T{}", self.next)
        } else {
            format!("space.of.T{}", self.next)
        }
    }

    /// A type, with up to `depth` levels inside.
    pub(super) fn schema(&mut self, depth: u32) -> Value {
        let sides = if depth == 0 { 12 } else { 20 };
        match self.dice.roll(sides) {
            0..6 => json!(self.dice.pick(&PRIMITIVES)),
            6..9 => self.logical(),
            9 => {
                let (name, size) = (self.name(), self.dice.roll(9));
                self.define(json!({"type": "fixed", "name": name, "size": size}))
            }
            10 => {
                let name = self.name();
                let symbols: Vec<String> = (0..=self.dice.roll(5)).map(|n| format!("S{n}")).collect();
                self.define(json!({"type": "enum", "name": name, "symbols": symbols}))
            }
            11 => {
                let known: Vec<String> = self.defined.keys().cloned().collect();
                if known.is_empty() { json!("string") } else { json!(self.dice.pick(&known)) }
            }
            12 | 13 => json!({"type": "array", "items": self.schema(depth - 1)}),
            14 => json!({"type": "map", "values": self.schema(depth - 1)}),
            15 | 16 => self.union(depth - 1),
            _ => self.record(depth - 1),
        }
    }

    fn define(&mut self, schema: Value) -> Value {
        self.defined.insert(schema["name"].as_str().unwrap().to_owned(), schema.clone());
        schema
    }

    fn logical(&mut self) -> Value {
        let of = |kind: &str, logical: &str| json!({"type": kind, "logicalType": logical});
        let sides = if self.common { 9 } else { 12 };
        match self.dice.roll(sides) {
            0 => of("int", "date"),
            1 => of("int", "time-millis"),
            2 => of("long", "time-micros"),
            3 => of("long", "timestamp-millis"),
            4 => of("long", "timestamp-micros"),
            5 => of("long", "local-timestamp-millis"),
            6 => of("string", "uuid"),
            7 => {
                let scale = self.dice.roll(6);
                json!({"type": "bytes", "logicalType": "decimal", "precision": 6 + self.dice.roll(20), "scale": scale})
            }
            8 => {
                let (name, scale) = (self.name(), self.dice.roll(6));
                self.define(json!({"type": "fixed", "name": name, "size": 8, "logicalType": "decimal", "precision": 18, "scale": scale}))
            }
            9 => of("long", "timestamp-nanos"),
            10 => {
                let name = self.name();
                self.define(json!({"type": "fixed", "name": name, "size": 12, "logicalType": "duration"}))
            }
            _ => {
                let name = self.name();
                self.define(json!({"type": "fixed", "name": name, "size": 16, "logicalType": "uuid"}))
            }
        }
    }

    fn union(&mut self, depth: u32) -> Value {
        let mut branches: Vec<Value> = Vec::new();
        for _ in 0..=self.dice.roll(4) {
            let defined = self.defined.clone();
            let branch = self.schema(depth);
            let taken = branches.iter().any(|other| branch_name(other) == branch_name(&branch));
            if branch.is_array() || taken {
                self.defined = defined; // a type that is left out defines nothing
            } else {
                branches.push(branch);
            }
        }
        if branches.is_empty() { json!(["null"]) } else { Value::from(branches) }
    }

    pub(super) fn record(&mut self, depth: u32) -> Value {
        let name = self.name();
        let mut fields: Vec<Value> = Vec::new();
        for n in 0..self.dice.roll(5) {
            fields.push(json!({"name": format!("f{n}"), "type": self.schema(depth)}));
        }
        if self.dice.roll(4) == 0 {
            fields.push(json!({"name": "again", "type": ["null", name]})); // one that contains itself
        }
        self.define(json!({"type": "record", "name": name, "fields": fields}))
    }

    /// A value in Avro's JSON.
    pub(super) fn value(&mut self, schema: &Value, depth: u32) -> Value {
        let schema = match schema.as_str().and_then(|name| self.defined.get(name)) {
            Some(defined) => defined.clone(),
            None => schema.clone(),
        };
        if let Value::Array(branches) = &schema {
            // Recursive values have to end.
            let end = branches.iter().find(|branch| **branch == json!("null") && depth == 0);
            let branch = end.unwrap_or_else(|| self.dice.pick(branches)).clone();
            let inner = self.value(&branch, depth.saturating_sub(1));
            return if branch == json!("null") { inner } else { json!({ branch_name(&branch): inner }) };
        }
        let logical = schema.get("logicalType").and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = schema.get("type").unwrap_or(&schema).as_str().unwrap().to_owned();
        match (kind.as_str(), logical.as_str()) {
            ("null", _) => Value::Null,
            ("boolean", _) => json!(self.dice.roll(2) == 0),
            ("int", "date") => json!(self.dice.roll(60_000) as i64 - 20_000),
            ("int", "time-millis") => json!(self.dice.roll(86_400_000)),
            ("long", "time-micros") => json!(self.dice.roll(86_400) * 1_000_000 + self.dice.roll(1_000_000)),
            ("long", "timestamp-millis" | "local-timestamp-millis") => {
                json!(self.dice.roll(1 << 31) as i64 * 1_000 - 7)
            }
            ("long", "timestamp-micros") => json!(self.dice.roll(1 << 31) as i64 * 1_000_000 - 7),
            ("int", _) => json!((self.dice.roll(1 << 31) as i32) << self.dice.roll(4)),
            ("long", _) => json!((self.dice.roll(1 << 31) as i64) << self.dice.roll(40)),
            ("float", _) => json!(f64::from(self.dice.roll(1 << 16) as f32 / 4.0)),
            ("double", _) => json!(self.dice.roll(1 << 31) as f64 / 7.0),
            ("string", "uuid") => {
                let part = |dice: &mut Dice| dice.roll(1 << 16);
                let d = &mut self.dice;
                json!(format!(
                    "{:04x}{:04x}-{:04x}-{:04x}-{:04x}-{:012x}",
                    part(d),
                    part(d),
                    part(d),
                    part(d),
                    part(d),
                    part(d)
                ))
            }
            ("string", _) => json!(self.letters(&['a', 'Z', '0', '"', '\n', 'é', '€', '\u{1F600}'])),
            ("bytes", "decimal") => {
                json!(["\u{7f}", "\u{ff}", "\u{1}\u{0}", "\u{80}\u{0}"][self.dice.index(4)])
            }
            ("bytes", _) => json!(self.letters(&['\u{0}', 'a', '\u{7f}', '\u{80}', '\u{ff}'])),
            ("fixed", _) => {
                let size = schema["size"].as_u64().unwrap();
                let letters = ['\u{0}', 'a', '\u{7f}', '\u{80}', '\u{ff}'];
                // A decimal with no more digits than it declares: fastavro rounds it.
                let zeros = u64::from(logical == "decimal").min(size);
                let zero = std::iter::repeat_n('\u{0}', zeros as usize);
                json!(zero.chain((zeros..size).map(|_| *self.dice.pick(&letters))).collect::<String>())
            }
            ("enum", _) => self.dice.pick(schema["symbols"].as_array().unwrap()).clone(),
            ("array", _) => (0..self.dice.roll(4))
                .map(|_| self.value(&schema["items"], depth.saturating_sub(1)))
                .collect(),
            ("map", _) => {
                let entries: Map<String, Value> = (0..self.dice.roll(4))
                    .map(|n| (format!("k{n}"), self.value(&schema["values"], depth.saturating_sub(1))))
                    .collect();
                Value::Object(entries)
            }
            ("record", _) => {
                let fields = schema["fields"].as_array().unwrap().clone();
                let values: Map<String, Value> = fields
                    .iter()
                    .map(|field| {
                        (
                            field["name"].as_str().unwrap().to_owned(),
                            self.value(&field["type"], depth.saturating_sub(1)),
                        )
                    })
                    .collect();
                Value::Object(values)
            }
            (other, _) => panic!("no value of {other}"),
        }
    }

    fn letters(&mut self, of: &[char]) -> String {
        (0..self.dice.roll(12)).map(|_| *self.dice.pick(of)).collect()
    }

    /// A later version of a schema, compatible or not.
    pub(super) fn evolve(&mut self, schema: &Value) -> Value {
        if self.dice.roll(12) == 0 && !schema.is_array() {
            // It becomes optional.
            return match self.evolve(schema) {
                Value::String(null) if null == "null" => json!(["null", "int"]),
                union @ Value::Array(_) => union,
                other => json!(["null", other]),
            };
        }
        match schema {
            Value::String(name) => {
                let promoted: &[&str] = match name.as_str() {
                    "int" => &["long", "float", "double", "int", "int"],
                    "long" => &["double", "float", "int", "long", "long"],
                    "float" => &["double", "float", "float", "float"],
                    "string" => &["bytes", "string", "string", "string"],
                    "bytes" => &["string", "bytes", "bytes", "bytes"],
                    other => &[other],
                };
                json!(self.dice.pick(promoted))
            }
            Value::Array(branches) => {
                let mut names: BTreeSet<String> = branches.iter().map(branch_name).collect();
                let mut evolve = |branch: &Value| {
                    let evolved = self.evolve(branch);
                    let same = branch_name(&evolved) == branch_name(branch);
                    if evolved.is_array() || (!same && !names.insert(branch_name(&evolved))) {
                        return branch.clone();
                    }
                    evolved
                };
                let mut branches: Vec<Value> = branches.iter().map(&mut evolve).collect();
                // fastavro takes the first branch that fits, even if the exact type comes later.
                if !self.common && self.dice.roll(3) == 0 && !branches.iter().any(defines) {
                    self.dice.shuffle(&mut branches);
                }
                if self.dice.roll(4) == 0 && !names.contains("boolean") {
                    branches.push(json!("boolean"));
                }
                if branches.len() == 1 && self.dice.roll(4) == 0 {
                    return branches.remove(0);
                }
                if branches.is_empty() { json!(["null"]) } else { Value::from(branches) }
            }
            Value::Object(object) => self.evolve_object(object),
            other => other.clone(),
        }
    }

    fn evolve_object(&mut self, object: &Map<String, Value>) -> Value {
        let mut object = object.clone();
        for key in ["items", "values"] {
            if let Some(of) = object.get(key).cloned() {
                object.insert(key.to_owned(), self.evolve(&of));
            }
        }
        if let Some(Value::Array(symbols)) = object.get_mut("symbols") {
            match self.dice.roll(4) {
                0 if symbols.len() > 1 => {
                    symbols.pop();
                    if self.dice.roll(2) == 0 {
                        let default = symbols[0].clone();
                        object.insert("default".to_owned(), default);
                    }
                }
                1 => symbols.insert(0, json!("NEW")),
                _ => {}
            }
        }
        if let Some(Value::Array(fields)) = object.get("fields").cloned() {
            let mut evolved = Vec::new();
            for mut field in fields {
                field["type"] = self.evolve(&field["type"]);
                match self.dice.roll(8) {
                    // A type defined in a field is needed later on.
                    0 if !defines(&field["type"]) => continue,
                    1 => {
                        field["aliases"] = json!([field["name"]]);
                        field["name"] = json!(format!("{}_new", field["name"].as_str().unwrap()));
                    }
                    _ => {}
                }
                evolved.push(field);
            }
            if !evolved.iter().any(|field| defines(&field["type"])) {
                self.dice.shuffle(&mut evolved);
            }
            match self.dice.roll(8) {
                0 => evolved.push(json!({"name": "must", "type": "int"})),
                1 => evolved.push(json!({"name": "may", "type": ["string", "null"], "default": "d"})),
                2 => evolved.push(
                    json!({"name": "list", "type": {"type": "array", "items": "double"}, "default": [1.5]}),
                ),
                // fastavro returns the text of such a default.
                3 if !self.common => {
                    evolved.insert(0, json!({"name": "bytes", "type": ["bytes"], "default": "\u{0}\u{ff}"}))
                }
                _ => {}
            }
            object.insert("fields".to_owned(), Value::from(evolved));
        }
        if self.dice.roll(30) == 0 && object.get("size").is_some() && object.get("logicalType").is_none() {
            object.insert("size".to_owned(), json!(3));
        }
        Value::Object(object)
    }
}

/// The name of a branch of a union.
pub(super) fn branch_name(branch: &Value) -> String {
    let name = branch.get("name").or_else(|| branch.get("type")).unwrap_or(branch);
    name.as_str().unwrap_or("union").to_owned()
}

/// Whether it defines names.
fn defines(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.contains_key("name") || object.values().any(defines),
        Value::Array(list) => list.iter().any(defines),
        _ => false,
    }
}
