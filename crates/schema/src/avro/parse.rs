//! Parses the JSON text of a schema. Names and namespaces follow the specification; where Java accepts more or less than that,
//! this follows Java, which registries use for their checks.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::SchemaError;
use super::logical::Logical;
use super::schema::{Enum, Field, Fixed, Kind, Name, Node, NodeId, Record, Types};

const PRIMITIVES: [(&str, Kind); 8] = [
    ("null", Kind::Null),
    ("boolean", Kind::Boolean),
    ("int", Kind::Int),
    ("long", Kind::Long),
    ("float", Kind::Float),
    ("double", Kind::Double),
    ("bytes", Kind::Bytes),
    ("string", Kind::String),
];

/// The maximum length of a type's full name, because a short text can repeat a long name many times.
const MAX_NAME: usize = 512;
/// The nesting depth of types, including those of references.
const MAX_DEPTH: usize = 160;
/// The most references that may wait for each other. References are listed in order, so that normally none has to wait.
const MAX_OPEN_REFERENCES: usize = 32;

/// Parses a schema, and those of `references` (names and texts) that it needs.
pub(super) fn parse(text: &str, references: &[(String, String)]) -> Result<Types, SchemaError> {
    let mut parser = Parser {
        types: Types { nodes: Vec::new(), root: NodeId(0) },
        names: HashMap::new(),
        references,
        states: vec![State::Waiting; references.len()],
        path: String::new(),
        depth: 0,
    };
    for (_, kind) in PRIMITIVES {
        parser.add(kind, None)?;
    }
    for index in 0..references.len() {
        parser.reference(index)?;
    }
    parser.types.root = parser.text(text)?;
    Ok(parser.types)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Open,
    Done,
}

struct Parser<'r> {
    types: Types,
    names: HashMap<Arc<str>, NodeId>,
    references: &'r [(String, String)],
    states: Vec<State>,
    path: String,
    depth: usize,
}

type Object = Map<String, Value>;

impl Parser<'_> {
    fn text(&mut self, text: &str) -> Result<NodeId, SchemaError> {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            // Some registries and files contain a bare name without quotes.
            Err(_) if primitive(text.trim()).is_some() => Value::String(text.trim().to_owned()),
            Err(error) => return Err(self.wrong(format!("the schema is not JSON: {error}"))),
        };
        self.schema(&value, "")
    }

    /// Parses a reference, unless it was parsed before.
    fn reference(&mut self, index: usize) -> Result<(), SchemaError> {
        let (Some((name, text)), Some(state)) = (self.references.get(index), self.states.get(index)) else {
            return Ok(());
        };
        match state {
            State::Done => return Ok(()),
            State::Open => return Err(self.wrong(format!("the reference {name} refers to itself"))),
            State::Waiting => {}
        }
        let known = self.references.iter().zip(&self.states);
        if known.clone().any(|((_, other), state)| *state == State::Done && other == text) {
            return Ok(()); // the same text under another name
        }
        if known.filter(|(_, state)| **state == State::Open).count() >= MAX_OPEN_REFERENCES {
            return Err(
                self.wrong(format!("more than {MAX_OPEN_REFERENCES} references wait for one another"))
            );
        }
        self.set_state(index, State::Open);
        let path = std::mem::replace(&mut self.path, format!("reference {name}"));
        self.text(text)?;
        self.path = path;
        self.set_state(index, State::Done);
        Ok(())
    }

    fn set_state(&mut self, index: usize, to: State) {
        if let Some(state) = self.states.get_mut(index) {
            *state = to;
        }
    }

    fn wrong(&self, reason: impl Into<String>) -> SchemaError {
        SchemaError::new(&self.path, reason)
    }

    fn add(&mut self, kind: Kind, logical: Option<Logical>) -> Result<NodeId, SchemaError> {
        let id =
            u32::try_from(self.types.nodes.len()).map_err(|_| self.wrong("the schema has too many types"))?;
        self.types.nodes.push(Node { kind, logical });
        Ok(NodeId(id))
    }

    /// Descends one level.
    fn within<T>(
        &mut self,
        step: &str,
        parse: impl FnOnce(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<T, SchemaError> {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let parsed = parse(self)?;
        self.path.truncate(length);
        Ok(parsed)
    }

    fn schema(&mut self, value: &Value, namespace: &str) -> Result<NodeId, SchemaError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.wrong(format!("types lie more than {MAX_DEPTH} deep in one another")));
        }
        self.depth += 1;
        let parsed = self.by_form(value, namespace)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn by_form(&mut self, value: &Value, namespace: &str) -> Result<NodeId, SchemaError> {
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            other => Err(self.wrong(format!("a type is a name, an object or a list, not {}", shown(other)))),
        }
    }

    /// A type by its name: a primitive one, or one that was defined before.
    fn named(&mut self, name: &str, namespace: &str) -> Result<NodeId, SchemaError> {
        if let Some(id) = primitive(name) {
            return Ok(id);
        }
        let full = full_name(name, namespace);
        if let Some(&id) = self.names.get(&*full).or_else(|| self.names.get(name)) {
            return Ok(id);
        }
        let refers = |(reference, _): &(String, String)| *reference == *full || reference == name;
        if let Some(index) = self.references.iter().position(refers) {
            self.reference(index)?;
        }
        let id = self.names.get(&*full).or_else(|| self.names.get(name));
        id.copied().ok_or_else(|| self.wrong(format!("no type is named {full}")))
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Result<NodeId, SchemaError> {
        if branches.is_empty() {
            return Err(self.wrong("a union has no branches"));
        }
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = std::collections::HashSet::new();
        for (index, branch) in branches.iter().enumerate() {
            let id = self.within(&format!("[{index}]"), |parser| parser.schema(branch, namespace))?;
            let node = self.types.get(id);
            if matches!(node.kind, Kind::Union(_)) {
                return Err(self.wrong("a union is a branch of another"));
            }
            if !seen.insert(node.branch_name().to_owned()) {
                return Err(self.wrong(format!("a union has two branches {}", node.branch_name())));
            }
            ids.push(id);
        }
        self.add(Kind::Union(ids), None)
    }

    fn object(&mut self, object: &Object, namespace: &str) -> Result<NodeId, SchemaError> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested @ (Value::Object(_) | Value::Array(_))) => return self.schema(nested, namespace),
            Some(other) => return Err(self.wrong(format!("`type` is {}, not a type", shown(other)))),
            None => return Err(self.wrong("a type has no `type`")),
        };
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => self.symbols(object, namespace),
            "fixed" => self.fixed(object, namespace),
            "array" => {
                let items = object.get("items").ok_or_else(|| self.wrong("an array has no `items`"))?;
                let items = self.within("[]", |parser| parser.schema(items, namespace))?;
                self.add(Kind::Array(items), None)
            }
            "map" => {
                let values = object.get("values").ok_or_else(|| self.wrong("a map has no `values`"))?;
                let values = self.within("[]", |parser| parser.schema(values, namespace))?;
                self.add(Kind::Map(values), None)
            }
            _ => match (primitive(kind), PRIMITIVES.into_iter().find(|(name, _)| *name == kind)) {
                (Some(_), Some((_, primitive))) if object.contains_key("logicalType") => {
                    let logical = Logical::parse(object, &primitive);
                    self.add(primitive, logical)
                }
                _ => self.named(kind, namespace),
            },
        }
    }

    fn record(&mut self, object: &Object, namespace: &str) -> Result<NodeId, SchemaError> {
        let (name, aliases) = self.name(object, namespace, "record")?;
        let namespace = name.namespace().to_owned();
        let record = Record { name: name.clone(), aliases: aliases.clone(), fields: Vec::new() };
        let id = self.define(Kind::Record(record), None)?; // its fields may refer to it
        let Some(Value::Array(declared)) = object.get("fields") else {
            return Err(self.wrong(format!("the record {} has no list of `fields`", name.full)));
        };
        let mut fields = Vec::with_capacity(declared.len());
        let mut seen = std::collections::HashSet::new();
        for (index, field) in declared.iter().enumerate() {
            let Value::Object(field) = field else {
                return Err(self.wrong(format!("field {index} of {} is no object", name.full)));
            };
            let Some(Value::String(field_name)) = field.get("name") else {
                return Err(self.wrong(format!("field {index} of {} has no `name`", name.full)));
            };
            let field = self.within(field_name, |parser| parser.field(field, field_name, &namespace))?;
            if !seen.insert(field_name) {
                return Err(self.wrong(format!("the record {} has two fields {field_name}", name.full)));
            }
            fields.push(field);
        }
        if let Some(node) = self.types.nodes.get_mut(id.0 as usize) {
            node.kind = Kind::Record(Record { name, aliases, fields });
        }
        Ok(id)
    }

    fn field(&mut self, field: &Object, name: &str, namespace: &str) -> Result<Field, SchemaError> {
        self.check_name(name)?;
        let Some(declared) = field.get("type") else {
            return Err(self.wrong("the field has no `type`"));
        };
        let node = self.schema(declared, namespace)?;
        let aliases = self.strings(field, "aliases")?.into_iter().map(Into::into).collect();
        Ok(Field { name: name.into(), aliases, node, default: field.get("default").cloned() })
    }

    fn symbols(&mut self, object: &Object, namespace: &str) -> Result<NodeId, SchemaError> {
        let (name, aliases) = self.name(object, namespace, "enum")?;
        if !object.contains_key("symbols") {
            return Err(self.wrong(format!("the enum {} has no `symbols`", name.full)));
        }
        let symbols: Vec<Box<str>> = self.strings(object, "symbols")?.into_iter().map(Into::into).collect();
        let mut seen = std::collections::HashSet::new();
        for symbol in &symbols {
            self.check_name(symbol)?;
            if !seen.insert(symbol) {
                return Err(self.wrong(format!("the enum {} has {symbol} twice", name.full)));
            }
        }
        let default = match object.get("default") {
            None | Some(Value::Null) => None,
            Some(Value::String(default)) if symbols.iter().any(|symbol| **symbol == **default) => {
                Some(default.as_str().into())
            }
            Some(other) => {
                let other = shown(other);
                return Err(self.wrong(format!(
                    "the default {other} of the enum {} is not among its symbols",
                    name.full
                )));
            }
        };
        self.define(Kind::Enum(Enum { name, aliases, symbols, default }), None)
    }

    fn fixed(&mut self, object: &Object, namespace: &str) -> Result<NodeId, SchemaError> {
        let (name, aliases) = self.name(object, namespace, "fixed")?;
        let size = object.get("size").and_then(Value::as_u64);
        let Some(size) =
            size.and_then(|size| i32::try_from(size).ok()).and_then(|size| usize::try_from(size).ok())
        else {
            return Err(self.wrong(format!("the fixed {} has no `size` from 0 to {}", name.full, i32::MAX)));
        };
        let kind = Kind::Fixed(Fixed { name, aliases, size });
        let logical = Logical::parse(object, &kind);
        self.define(kind, logical)
    }

    /// Adds a named type.
    fn define(&mut self, kind: Kind, logical: Option<Logical>) -> Result<NodeId, SchemaError> {
        let id = self.add(kind, logical)?;
        let Some(name) = self.types.get(id).name().map(|name| name.full.clone()) else {
            return Ok(id);
        };
        if self.names.contains_key(&name) {
            return Err(self.wrong(format!("{name} is defined twice")));
        }
        self.names.insert(name, id);
        Ok(id)
    }

    /// The full name of a definition, and its aliases.
    fn name(
        &self,
        object: &Object,
        namespace: &str,
        kind: &str,
    ) -> Result<(Name, Vec<Box<str>>), SchemaError> {
        let Some(Value::String(name)) = object.get("name") else {
            return Err(self.wrong(format!("the {kind} has no `name`")));
        };
        let namespace = match object.get("namespace") {
            None | Some(Value::Null) => namespace,
            Some(Value::String(own)) => own,
            Some(other) => {
                return Err(self.wrong(format!("the namespace of {name} is {}, not a string", shown(other))));
            }
        };
        if name.len() + namespace.len() > MAX_NAME {
            return Err(self.wrong(format!("the name of a type is longer than {MAX_NAME} bytes")));
        }
        let full = Name { full: full_name(name, namespace).into() };
        self.check_name(full.simple())?;
        if primitive(full.simple()).is_some() {
            return Err(self.wrong(format!("{} is the name of a primitive type", full.simple())));
        }
        let aliases = self.strings(object, "aliases")?;
        Ok((full, aliases.into_iter().map(Into::into).collect()))
    }

    fn strings<'v>(&self, object: &'v Object, key: &str) -> Result<Vec<&'v str>, SchemaError> {
        let wrong = || self.wrong(format!("`{key}` is not a list of strings"));
        match object.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|item| item.as_str().ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// Accepts letters and digits of any script, as Java does since 1.12.
    fn check_name(&self, name: &str) -> Result<(), SchemaError> {
        let begins = name.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
        if begins && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
            return Ok(());
        }
        Err(self.wrong(format!("{} is not a name", shown(&Value::String(name.to_owned())))))
    }
}

/// The index of a primitive type.
fn primitive(name: &str) -> Option<NodeId> {
    let index = PRIMITIVES.iter().position(|(primitive, _)| *primitive == name)?;
    u32::try_from(index).ok().map(NodeId)
}

pub(super) fn full_name(name: &str, namespace: &str) -> Box<str> {
    match name.strip_prefix('.') {
        Some(name) if !name.contains('.') => name.into(),
        _ if name.contains('.') || namespace.is_empty() => name.into(),
        _ => format!("{namespace}.{name}").into(),
    }
}

/// A piece of JSON for a message.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(60) {
                Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
                None => text,
            }
        }
    }
}
