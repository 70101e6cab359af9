//! Random JSON Schemas of each draft, and values that are valid, or nearly.

use offtake_tests::Dice;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Draft {
    Four,
    Six,
    Seven,
    Y2019,
    Y2020,
}

use Draft::*;

impl Draft {
    pub(super) const ALL: [Self; 5] = [Four, Six, Seven, Y2019, Y2020];

    fn uri(self) -> &'static str {
        match self {
            Four => "http://json-schema.org/draft-04/schema#",
            Six => "http://json-schema.org/draft-06/schema#",
            Seven => "http://json-schema.org/draft-07/schema#",
            Y2019 => "https://json-schema.org/draft/2019-09/schema",
            Y2020 => "https://json-schema.org/draft/2020-12/schema",
        }
    }

    fn definitions(self) -> &'static str {
        if self < Y2019 { "definitions" } else { "$defs" }
    }
}

const NAMES: [&str; 5] = ["a", "b", "ab", "é", "x y"];
const TEXTS: [&str; 7] = ["", "a", "ab", "abc", "é€", "2026-11-23", "\u{1F600}"];
const PATTERNS: [&str; 6] = ["^a", "b$", "^[a-c]*$", "^.{2}$", "a|é", "^\\d{4}-\\d{2}"];
const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

pub(super) struct Shapes {
    dice: Dice,
    draft: Draft,
    /// Definitions that may be referenced: an earlier one may refer only to later ones, unless a part of the value is
    /// in between.
    definitions: usize,
    has_common: bool,
}

/// The position of a subschema.
#[derive(Clone, Copy)]
struct Place {
    depth: u32,
    /// The first definition that it may refer to.
    from: usize,
    /// Whether it describes a part of the value: then it may refer to all.
    is_part: bool,
}

impl Place {
    fn same(self) -> Self {
        Self { depth: self.depth.saturating_sub(1), ..self }
    }

    fn part(self) -> Self {
        Self { is_part: true, ..self.same() }
    }
}

impl Shapes {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let draft = *dice.pick(&Draft::ALL);
        let (definitions, has_common) = (dice.index(3), dice.roll(2) == 0);
        Self { dice, draft, definitions, has_common }
    }

    pub(super) fn draft(&self) -> Draft {
        self.draft
    }

    /// The schema that others refer to as `common.json`.
    pub(super) fn common(&self) -> Option<Value> {
        let inner = json!({"type": ["integer", "string"], "minLength": 1});
        self.has_common.then(|| {
            json!({"$schema": self.draft.uri(), "type": ["string", "integer", "null"], self.draft.definitions(): {"one": inner}})
        })
    }

    pub(super) fn schema(&mut self) -> Value {
        let mut root = match self.any(Place { depth: 3, from: 0, is_part: false }) {
            Value::Object(root) => root,
            _ => Map::new(),
        };
        root.insert("$schema".to_owned(), json!(self.draft.uri()));
        if self.dice.roll(3) == 0 {
            let id = if self.draft == Four { "id" } else { "$id" };
            root.insert(id.to_owned(), json!("http://example.com/a/main.json"));
        }
        let mut definitions = Map::new();
        for nth in 0..self.definitions {
            let definition = self.any(Place { depth: 2, from: nth + 1, is_part: false });
            definitions.insert(format!("d{nth}"), definition);
        }
        if !definitions.is_empty() {
            root.insert(self.draft.definitions().to_owned(), Value::Object(definitions));
        }
        Value::Object(root)
    }

    fn any(&mut self, at: Place) -> Value {
        if self.draft > Four && self.dice.roll(14) == 0 {
            return json!(self.dice.roll(3) > 0);
        }
        let mut schema = Map::new();
        if self.dice.roll(6) == 0
            && let Some(target) = self.target(at)
        {
            schema.insert("$ref".to_owned(), json!(target));
        }
        for _ in 0..1 + self.dice.roll(3) {
            self.keywords(&mut schema, at);
        }
        Value::Object(schema)
    }

    fn target(&mut self, at: Place) -> Option<String> {
        let mut targets = Vec::new();
        if self.has_common {
            targets.push("common.json".to_owned());
            targets.push(format!("common.json#/{}/one", self.draft.definitions()));
        }
        let from = if at.is_part { 0 } else { at.from };
        targets.extend((from..self.definitions).map(|nth| format!("#/{}/d{nth}", self.draft.definitions())));
        if at.is_part {
            targets.push("#".to_owned());
        }
        (!targets.is_empty()).then(|| self.dice.pick(&targets).clone())
    }

    fn list(&mut self, at: Place) -> Value {
        (0..1 + self.dice.roll(3)).map(|_| self.any(at)).collect()
    }

    fn object(&mut self, at: Place) -> Value {
        let names: Vec<&str> = (0..self.dice.roll(4)).map(|_| *self.dice.pick(&NAMES)).collect();
        Value::Object(names.into_iter().map(|name| (name.to_owned(), self.any(at))).collect())
    }

    fn names(&mut self) -> Value {
        // Each name once.
        let mut names: Vec<&str> = (0..1 + self.dice.roll(2)).map(|_| *self.dice.pick(&NAMES)).collect();
        names.sort_unstable();
        names.dedup();
        json!(names)
    }

    fn keywords(&mut self, into: &mut Map<String, Value>, at: Place) {
        let draft = self.draft;
        let small = self.dice.roll(4);
        let is_deep = at.depth == 0;
        let mut put = |name: &str, value: Value| drop(into.insert(name.to_owned(), value));
        match self.dice.roll(if is_deep { 12 } else { 26 }) {
            0 | 1 => put("type", json!(self.dice.pick(&TYPES))),
            2 => {
                let (one, other) = (self.dice.index(TYPES.len()), self.dice.index(TYPES.len() - 1) + 1);
                put("type", json!([TYPES[one], TYPES[(one + other) % TYPES.len()]]));
            }
            3 => {
                let mut values: Vec<Value> = Vec::new();
                for _ in 0..1 + self.dice.roll(3) {
                    let value = self.random(1);
                    if !(values.contains(&value) || value.is_f64() && draft == Four) {
                        values.push(value);
                    }
                }
                put("enum", if values.is_empty() { json!([1]) } else { Value::from(values) });
            }
            4 if draft > Four => put("const", self.random(1)),
            5 => put("minLength", json!(small)),
            6 => put("maxLength", json!(small)),
            7 => put("pattern", json!(self.dice.pick(&PATTERNS))),
            8 => {
                let number = self.number();
                put("minimum", number);
                if draft == Four && self.dice.roll(2) == 0 {
                    put("exclusiveMinimum", json!(true));
                }
            }
            9 if draft > Four => put("exclusiveMaximum", self.number()),
            9 => put("maximum", self.number()),
            10 => put(
                "multipleOf",
                json!(self.dice.pick(&[json!(1), json!(2), json!(3), json!(0.5), json!(4)])),
            ),
            11 => put("required", self.names()),
            12 | 13 => put("properties", self.object(at.part())),
            14 => put("additionalProperties", if draft == Four { json!(false) } else { self.any(at.part()) }),
            15 => {
                let (pattern, schema) = (*self.dice.pick(&PATTERNS), self.any(at.part()));
                put("patternProperties", json!({ pattern: schema }));
            }
            16 => put(self.dice.pick::<&str>(&["minProperties", "maxProperties"]), json!(small)),
            17 => put("items", self.any(at.part())),
            18 if draft == Y2020 => put("prefixItems", self.list(at.part())),
            18 => {
                put("items", self.list(at.part()));
                put("additionalItems", if draft == Four { json!(false) } else { self.any(at.part()) });
            }
            19 => {
                put(self.dice.pick::<&str>(&["minItems", "maxItems"]), json!(small));
                put("uniqueItems", json!(true));
            }
            20 if draft > Four => {
                put("contains", self.any(at.part()));
                if draft >= Y2019 {
                    put(self.dice.pick::<&str>(&["minContains", "maxContains"]), json!(small));
                }
            }
            21 if draft > Four => put("propertyNames", json!({"pattern": self.dice.pick(&PATTERNS)})),
            22 => put(self.dice.pick::<&str>(&["allOf", "anyOf", "oneOf"]), self.list(at.same())),
            23 => put("not", self.any(at.same())),
            24 if draft >= Seven => {
                put("if", self.any(at.same()));
                put("then", self.any(at.same()));
                put("else", self.any(at.same()));
            }
            25 if draft >= Y2019 => {
                if self.dice.roll(2) == 0 {
                    put("unevaluatedProperties", json!(false));
                } else {
                    put("unevaluatedItems", json!(false));
                }
                put("dependentRequired", json!({"a": ["b"]}));
                put("dependentSchemas", json!({"b": self.any(at.same())}));
            }
            25 => put("dependencies", json!({"a": ["b"], "b": self.any(at.same())})),
            _ => {}
        }
    }

    fn number(&mut self) -> Value {
        match self.dice.roll(12) {
            0 => json!(1.5),
            1 => json!(2.0),
            2 => json!(-1),
            3 => json!(9_007_199_254_740_993_i64),
            4 => json!(9_007_199_254_740_992_i64),
            // In draft 4 a number with an exponent is not an integer, which only its text shows.
            5 if self.draft > Four => json!(6e22),
            6 => json!(u64::MAX),
            _ => json!(self.dice.roll(5)),
        }
    }

    /// Any value.
    pub(super) fn random(&mut self, depth: u32) -> Value {
        match self.dice.roll(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.dice.roll(2) == 0),
            2 | 3 => self.number(),
            4 => json!(self.dice.pick(&TEXTS)),
            5 => (0..self.dice.roll(4)).map(|_| self.random(depth - 1)).collect(),
            _ => {
                let names: Vec<&str> = (0..self.dice.roll(4)).map(|_| *self.dice.pick(&NAMES)).collect();
                Value::Object(
                    names.into_iter().map(|name| (name.to_owned(), self.random(depth - 1))).collect(),
                )
            }
        }
    }

    /// A value that follows a schema as far as that is easy to construct.
    pub(super) fn following(&mut self, schema: &Value, depth: u32) -> Value {
        let Some(object) = schema.as_object().filter(|_| depth > 0) else { return self.random(1) };
        if let Some(one) = object.get("const") {
            return one.clone();
        }
        if let Some(values) = object.get("enum").and_then(Value::as_array) {
            return self.dice.pick(values).clone();
        }
        if let Some(schemas) =
            ["allOf", "anyOf", "oneOf"].into_iter().find_map(|name| object.get(name)?.as_array())
        {
            let one = self.dice.pick(schemas).clone();
            return self.following(&one, depth - 1);
        }
        let named = match object.get("type") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Array(names)) => self.dice.pick(names).as_str().map(str::to_owned),
            _ if object.contains_key("properties") || object.contains_key("required") => {
                Some("object".to_owned())
            }
            _ if object.contains_key("items") || object.contains_key("contains") => Some("array".to_owned()),
            _ => None,
        };
        match named.as_deref() {
            Some("null") => Value::Null,
            Some("boolean") => json!(self.dice.roll(2) == 0),
            Some("integer") => json!(self.dice.roll(8)),
            Some("number") => self.number(),
            Some("string") => json!(self.dice.pick(&TEXTS)),
            Some("array") => {
                let items =
                    object.get("items").or_else(|| object.get("contains")).cloned().unwrap_or_default();
                (0..self.dice.roll(4)).map(|_| self.following(&items, depth - 1)).collect()
            }
            Some("object") => {
                let mut value = Map::new();
                let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
                for name in required.iter().filter_map(Value::as_str) {
                    value.insert(name.to_owned(), self.random(1));
                }
                for (name, schema) in
                    object.get("properties").and_then(Value::as_object).into_iter().flatten()
                {
                    if self.dice.roll(3) > 0 {
                        value.insert(name.clone(), self.following(schema, depth - 1));
                    }
                }
                Value::Object(value)
            }
            _ => self.random(2),
        }
    }

    /// The same value with one change.
    pub(super) fn changed(&mut self, value: &Value) -> Value {
        match value {
            Value::Array(items) if self.dice.roll(3) > 0 => {
                let mut items = items.clone();
                match self.dice.roll(3) {
                    0 => drop(items.pop()),
                    1 => items.push(self.random(1)),
                    _ if items.is_empty() => {}
                    _ => {
                        let at = self.dice.index(items.len());
                        items[at] = self.changed(&items[at].clone());
                    }
                }
                Value::from(items)
            }
            Value::Object(members) if self.dice.roll(3) > 0 => {
                let mut members = members.clone();
                let name = *self.dice.pick(&NAMES);
                match members.get(name).cloned() {
                    Some(_) if self.dice.roll(2) == 0 => drop(members.remove(name)),
                    Some(member) => drop(members.insert(name.to_owned(), self.changed(&member))),
                    None => drop(members.insert(name.to_owned(), self.random(1))),
                }
                Value::Object(members)
            }
            _ => self.random(1),
        }
    }
}
