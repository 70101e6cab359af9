//! Random `.proto` files, and values of their messages in Protobuf's JSON.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::STANDARD};
use offtake_tests::Dice;
use serde_json::{Map, Value, json};

const SCALARS: [&str; 15] = [
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
    "sfixed32", "sfixed64", "bool", "string", "bytes",
];
const KEYS: [&str; 6] = ["string", "int32", "sint64", "uint64", "fixed32", "bool"];
const WELL_KNOWN: [(&str, &str); 9] = [
    ("Timestamp", "timestamp"),
    ("Duration", "duration"),
    ("Struct", "struct"),
    ("Value", "struct"),
    ("ListValue", "struct"),
    ("FieldMask", "field_mask"),
    ("Empty", "empty"),
    ("StringValue", "wrappers"),
    ("Int64Value", "wrappers"),
];

/// The numbers of extensions begin here.
const EXTENSIONS: u32 = 50_000;

#[derive(Clone)]
enum Type {
    Scalar(&'static str),
    Enum,
    /// A message of this file.
    Message(usize),
    WellKnown(&'static str),
    /// A message of the imported file.
    Common,
    /// One that the field defines: a number, texts and a message of this file.
    Group(usize),
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Single,
    Optional,
    Repeated,
    Map(&'static str),
    Oneof,
}

struct Field {
    name: String,
    json: String,
    number: u32,
    label: Label,
    of: Type,
    options: &'static str,
}

/// A file with some messages; those with a parent are nested in the first one.
pub(super) struct File {
    dice: Dice,
    package: String,
    is_proto3: bool,
    messages: Vec<Vec<Field>>,
    /// The number of nested messages.
    nested: usize,
    imports_common: bool,
    /// Whether there are groups, extensions and `Any`.
    is_rare: bool,
    /// The message that each of them extends.
    extensions: Vec<(usize, Field)>,
}

impl File {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, false)
    }

    /// A file with groups, extensions and `Any`.
    pub(super) fn rare(seed: u64) -> Self {
        Self::with(seed, true)
    }

    fn with(seed: u64, is_rare: bool) -> Self {
        let mut dice = Dice::new(seed);
        // Groups and extensions exist only in proto2.
        let is_proto3 = dice.roll(if is_rare { 6 } else { 3 }) > if is_rare { 4 } else { 0 };
        let count = 1 + dice.index(4);
        let nested = dice.index(count);
        let imports_common = dice.roll(2) == 0;
        let mut file = Self {
            dice,
            package: format!("case{seed}"),
            is_proto3,
            messages: Vec::new(),
            nested,
            imports_common,
            is_rare,
            extensions: Vec::new(),
        };
        for _ in 0..count {
            let fields = file.fields(count);
            file.messages.push(fields);
        }
        if is_rare && !is_proto3 {
            file.extend();
        }
        file
    }

    fn extend(&mut self) {
        let count = self.messages.len();
        for nth in 0..self.dice.roll(5) as usize {
            let of = match self.dice.roll(6) {
                0..3 => Type::Scalar(self.dice.pick::<&str>(&SCALARS)),
                3 => Type::Enum,
                4 => Type::Any,
                _ => Type::Message(self.dice.index(count)),
            };
            let label = if self.dice.roll(2) == 0 { Label::Optional } else { Label::Repeated };
            let name = format!("Ext_{nth}");
            let json = format!("[{}.{name}]", self.package);
            let field = Field { name, json, number: EXTENSIONS + nth as u32, label, of, options: "" };
            let extended = self.dice.index(count);
            self.extensions.push((extended, field));
        }
    }

    fn fields(&mut self, messages: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        let mut number = 0;
        for nth in 0..self.dice.roll(7) {
            number += 1 + if self.dice.roll(5) == 0 { 1 + self.dice.roll(3000) as u32 } else { 0 };
            if (19_000..20_000).contains(&number) {
                number = 20_000; // reserved
            }
            let of = match self.dice.roll(if self.is_rare { 18 } else { 12 }) {
                12..15 if !self.is_proto3 => Type::Group(self.dice.index(messages)),
                12.. => Type::Any,
                0..6 => Type::Scalar(self.dice.pick::<&str>(&SCALARS)),
                6 => Type::Enum,
                7 | 8 => Type::Message(self.dice.index(messages)),
                9 | 10 => Type::WellKnown(self.dice.pick(&WELL_KNOWN).0),
                _ if self.imports_common => Type::Common,
                _ => Type::Scalar("string"),
            };
            let label = match self.dice.roll(7) {
                0 | 1 => Label::Repeated,
                2 => Label::Map(self.dice.pick::<&str>(&KEYS)),
                3 => Label::Oneof,
                4 => Label::Optional,
                _ if self.is_proto3 => Label::Single,
                _ => Label::Optional,
            };
            let label = match (&of, label) {
                (Type::Group(_), Label::Map(_) | Label::Oneof) => Label::Repeated,
                _ => label,
            };
            let is_number = matches!(&of, Type::Scalar(name) if !["string", "bytes"].contains(name));
            let options = match (label, self.dice.roll(4)) {
                (Label::Repeated, 0) if is_number => " [packed = true]",
                (Label::Repeated, 1) if is_number => " [packed = false]",
                (Label::Optional, 0)
                    if !self.is_proto3 && is_number && !matches!(of, Type::Scalar("bool")) =>
                {
                    " [default = 7]"
                }
                _ => "",
            };
            let (name, json) = match self.dice.roll(3) {
                // The field of a group has the group's name in lower case.
                _ if matches!(of, Type::Group(_)) => (format!("Group{nth}"), format!("group{nth}")),
                0 => (format!("f{nth}"), format!("f{nth}")),
                1 => (format!("some_field_{nth}"), format!("someField{nth}")),
                _ => (format!("Odd_nAme{nth}_"), format!("OddNAme{nth}")),
            };
            fields.push(Field { name, json, number, label, of, options });
        }
        fields
    }

    pub(super) fn is_nested(&self, message: usize) -> bool {
        message >= self.messages.len() - self.nested
    }

    /// The message index in a frame. A group's message is nested too, and the fields come before the other messages.
    pub(super) fn indexes(&self, message: usize) -> Vec<u32> {
        let top = self.messages.len() - self.nested;
        let groups = self.messages[0].iter().filter(|field| matches!(field.of, Type::Group(_))).count();
        match message.checked_sub(top) {
            Some(inner) => vec![0, (groups + inner) as u32],
            None => vec![message as u32],
        }
    }

    pub(super) fn full_name(&self, message: usize) -> String {
        let outer = if self.is_nested(message) { "M0." } else { "" };
        format!("{}.{outer}M{message}", self.package)
    }

    pub(super) fn any_message(&mut self) -> usize {
        if self.dice.roll(3) > 0 { 0 } else { self.dice.index(self.messages.len()) }
    }

    pub(super) fn import(&self) -> Option<String> {
        self.imports_common.then(|| format!("{}_common.proto", self.package))
    }

    pub(super) fn common(&self) -> String {
        format!(
            "syntax = \"proto3\"; package common_{}; message Common {{ string a = 1; Common next = 2; }}",
            self.package
        )
    }

    pub(super) fn text(&self) -> String {
        let syntax = if self.is_proto3 { "proto3" } else { "proto2" };
        let mut text = format!("syntax = \"{syntax}\";\npackage {};\n", self.package);
        if let Some(import) = self.import() {
            writeln!(text, "import \"{import}\";").unwrap();
        }
        for import in ["timestamp", "duration", "struct", "field_mask", "empty", "wrappers"] {
            writeln!(text, "import \"google/protobuf/{import}.proto\";").unwrap();
        }
        if self.is_rare {
            text += "import \"google/protobuf/any.proto\";\n";
        }
        text += "enum Kind { KIND_NONE = 0; KIND_ONE = 1; KIND_MINUS = -1; }\n";
        for message in 0..self.messages.len() - self.nested {
            self.write(&mut text, message);
        }
        for (extended, field) in &self.extensions {
            let label = if field.label == Label::Repeated { "repeated" } else { "optional" };
            let (name, number, of) = (&field.name, field.number, self.written(&field.of));
            let extended = self.full_name(*extended);
            writeln!(text, "extend .{extended} {{ {label} {of} {name} = {number}; }}").unwrap();
        }
        text
    }

    /// The type's name in a field.
    fn written(&self, of: &Type) -> String {
        match of {
            Type::Scalar(name) => (*name).to_owned(),
            Type::Enum => "Kind".to_owned(),
            Type::Message(message) => format!(".{}", self.full_name(*message)),
            Type::WellKnown(name) => format!("google.protobuf.{name}"),
            Type::Common => format!("common_{}.Common", self.package),
            Type::Group(_) => "group".to_owned(),
            Type::Any => "google.protobuf.Any".to_owned(),
        }
    }

    fn write(&self, text: &mut String, message: usize) {
        writeln!(text, "message M{message} {{").unwrap();
        for field in self.messages.get(message).unwrap() {
            let (name, number, options) = (&field.name, field.number, field.options);
            let of = self.written(&field.of);
            if let Type::Group(message) = field.of {
                let label = if field.label == Label::Repeated { "repeated" } else { "optional" };
                let inner = self.full_name(message);
                writeln!(
                    text,
                    "  {label} group {name} = {number} {{ optional sint32 small = 1; repeated string texts = 2; optional .{inner} inner = 3; }}"
                )
                .unwrap();
                continue;
            }
            match field.label {
                Label::Single => writeln!(text, "  {of} {name} = {number}{options};"),
                Label::Optional => writeln!(text, "  optional {of} {name} = {number}{options};"),
                Label::Repeated => writeln!(text, "  repeated {of} {name} = {number}{options};"),
                Label::Map(key) => writeln!(text, "  map<{key}, {of}> {name} = {number};"),
                Label::Oneof => writeln!(
                    text,
                    "  oneof one_{number} {{ {of} {name} = {number}; int32 or_{number} = {}; }}",
                    number + 100_000
                ),
            }
            .unwrap();
        }
        if self.is_rare && !self.is_proto3 {
            writeln!(text, "  extensions {EXTENSIONS} to {};", EXTENSIONS + 100).unwrap();
        }
        if message == 0 {
            for nested in self.messages.len() - self.nested..self.messages.len() {
                self.write(text, nested);
            }
        }
        *text += "}\n";
    }

    /// A value of a message.
    pub(super) fn value(&mut self, message: usize, depth: u32) -> Value {
        let mut object = Map::new();
        let extensions = self.extensions.iter().filter(|(extended, _)| *extended == message);
        let fields = self.messages[message].iter().chain(extensions.map(|(_, field)| field));
        let fields: Vec<_> =
            fields.map(|field| (field.json.clone(), field.label, field.of.clone())).collect();
        for (json, label, of) in fields {
            let is_deep =
                depth == 0 && matches!(of, Type::Message(_) | Type::Common | Type::Group(_) | Type::Any);
            if is_deep || self.dice.roll(4) == 0 {
                continue;
            }
            let value = match label {
                Label::Repeated => (0..self.dice.roll(4)).map(|_| self.of(&of, depth)).collect(),
                Label::Map(key) => {
                    let entries = (0..self.dice.roll(3)).map(|nth| (self.key(key, nth), self.of(&of, depth)));
                    Value::Object(entries.collect::<Vec<_>>().into_iter().collect())
                }
                Label::Single | Label::Optional | Label::Oneof => self.of(&of, depth),
            };
            object.insert(json, value);
        }
        Value::Object(object)
    }

    fn key(&mut self, key: &str, nth: u64) -> String {
        match key {
            "bool" => (nth == 0).to_string(),
            "string" => format!("{}é{nth}", self.dice.roll(100)),
            "sint64" => (nth as i64 * -9_007_199_254_740_993).to_string(),
            "uint64" => (u64::MAX - nth).to_string(),
            _ => nth.to_string(),
        }
    }

    fn of(&mut self, of: &Type, depth: u32) -> Value {
        match of {
            Type::Scalar(name) => self.scalar(name),
            Type::Enum if self.is_proto3 && self.dice.roll(6) == 0 => json!(77), // an unknown one
            Type::Enum => json!(self.dice.pick(&["KIND_NONE", "KIND_ONE", "KIND_MINUS"])),
            Type::Message(message) => self.value(*message, depth.saturating_sub(1)),
            Type::WellKnown(name) => self.well_known(name),
            Type::Common => json!({"a": "x", "next": {"a": "y"}}),
            Type::Group(message) => json!({
                "small": self.bits() as i32, "texts": [self.letters()], "inner": self.value(*message, depth.saturating_sub(1)),
            }),
            Type::Any if self.dice.roll(3) == 0 => {
                let kind = self.dice.pick::<&str>(&["Timestamp", "Duration", "Struct", "StringValue"]);
                json!({"@type": format!("type.googleapis.com/google.protobuf.{kind}"), "value": self.well_known(kind)})
            }
            Type::Any => {
                let message = self.dice.index(self.messages.len());
                let mut held = self.value(message, depth.saturating_sub(1));
                held["@type"] = json!(format!("type.googleapis.com/{}", self.full_name(message)));
                held
            }
        }
    }

    fn bits(&mut self) -> u64 {
        let high = self.dice.roll(1 << 31) << 33 | self.dice.roll(1 << 31) << 2;
        // Small ones as well as large ones.
        (high | self.dice.roll(4)) >> self.dice.roll(64)
    }

    fn scalar(&mut self, name: &str) -> Value {
        let bits = self.bits();
        match name {
            "double" if self.dice.roll(8) == 0 => json!(self.dice.pick(&["NaN", "Infinity", "-Infinity"])),
            "double" => json!(f64::from_bits(bits & !(1 << 62)) + bits as f64 / 7.0),
            "float" if self.dice.roll(8) == 0 => json!(self.dice.pick(&["NaN", "Infinity", "-Infinity"])),
            // As few digits as identify the float.
            "float" => serde_json::from_str(&format!("{:?}", (bits >> 40) as f32 / 7.0)).unwrap(),
            "int32" | "sint32" | "sfixed32" => json!(bits as i32),
            "uint32" | "fixed32" => json!(bits as u32),
            "int64" | "sint64" | "sfixed64" => json!((bits as i64).to_string()),
            "uint64" | "fixed64" => json!(bits.to_string()),
            "bool" => json!(bits & 1 == 1),
            "string" => json!(self.letters()),
            _ => json!(STANDARD.encode(self.letters())),
        }
    }

    fn letters(&mut self) -> String {
        (0..self.dice.roll(8))
            .map(|_| self.dice.pick(&['a', '"', '\n', 'é', '€', '\u{1F600}', '\0']))
            .collect()
    }

    fn well_known(&mut self, name: &str) -> Value {
        let fraction = self.dice.pick(&["", ".500", ".000001", ".123456789"]);
        match name {
            "Timestamp" => {
                let (day, hour) = (1 + self.dice.roll(28), self.dice.roll(24));
                let year = self.dice.pick(&["0001", "1969", "1970", "2026", "9999"]);
                json!(format!("{year}-02-{day:02}T{hour:02}:59:07{fraction}Z"))
            }
            "Duration" => {
                let sign = self.dice.pick(&["", "-"]);
                json!(format!("{sign}{}{fraction}s", 1 + self.dice.roll(1 << 31)))
            }
            "Struct" => json!({"a": self.any(2), "b é": self.any(1)}),
            "Value" => self.any(2),
            "ListValue" => json!([self.any(1), self.any(2)]),
            "FieldMask" => json!("a,someField.b"),
            "Empty" => json!({}),
            "StringValue" => json!(self.letters()),
            _ => json!((self.bits() as i64).to_string()),
        }
    }

    fn any(&mut self, depth: u32) -> Value {
        match self.dice.roll(if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => json!(self.dice.roll(2) == 0),
            2 => json!(self.dice.roll(1000) as f64 / 8.0),
            3 => json!(self.letters()),
            4 => json!([self.any(depth - 1)]),
            _ => json!({"k": self.any(depth - 1)}),
        }
    }
}
