//! Encodes JSON: the plain form, Avro's own JSON, and the defaults of schemas.

use serde_json::{Map, Value};

use super::error::{EncodeError, PathStep};
use super::json::JsonForm;
use super::logical::Logical;
use super::moments;
use super::parse::shown;
use super::scalar::{self, Texts};
use super::schema::{Kind, Node, NodeId, Record, Types};

/// The nesting depth of values.
const MAX_DEPTH: u32 = 200;
/// The number of values that may be tried without success, or encoded for defaults: some unions and defaults multiply.
const MAX_TRIES: u64 = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Plain,
    Avro,
    /// The form of defaults in schemas: like Avro's, except for unions.
    Default,
}

impl Dialect {
    fn texts(self) -> Texts {
        if self == Self::Plain { Texts::Plain } else { Texts::Avro }
    }
}

struct Encoder<'s> {
    types: &'s Types,
    out: Vec<u8>,
    dialect: Dialect,
    depth: u32,
    /// Whether the output may be discarded.
    trying: bool,
    tries: u64,
}

pub(super) fn encode_json(types: &Types, value: &Value, form: JsonForm) -> Result<Vec<u8>, EncodeError> {
    let dialect = match form {
        JsonForm::Plain => Dialect::Plain,
        JsonForm::Avro => Dialect::Avro,
    };
    encode(types, types.root, value, dialect)
}

/// The bytes of a field's default.
pub(super) fn encode_default(types: &Types, id: NodeId, value: &Value) -> Result<Vec<u8>, EncodeError> {
    encode(types, id, value, Dialect::Default)
}

fn encode(types: &Types, id: NodeId, value: &Value, dialect: Dialect) -> Result<Vec<u8>, EncodeError> {
    let trying = dialect == Dialect::Default;
    let mut encoder = Encoder { types, out: Vec::new(), dialect, depth: 0, trying, tries: 0 };
    encoder.value(id, value)?;
    Ok(encoder.out)
}

impl Encoder<'_> {
    fn value(&mut self, id: NodeId, value: &Value) -> Result<(), EncodeError> {
        if self.trying {
            self.tries += 1;
            if self.tries > MAX_TRIES {
                return Err(EncodeError::new("there are too many ways to read it"));
            }
        }
        if self.depth >= MAX_DEPTH {
            return Err(EncodeError::new(format!("values lie more than {MAX_DEPTH} deep in one another")));
        }
        self.depth += 1;
        let done = self.by_kind(self.types.get(id), value);
        self.depth -= 1;
        done
    }

    fn by_kind(&mut self, node: &Node, value: &Value) -> Result<(), EncodeError> {
        let written = match (&node.kind, value) {
            (Kind::Union(branches), _) => return self.union(branches, value),
            (Kind::Record(record), Value::Object(object)) => return self.record(record, object),
            (Kind::Array(items), Value::Array(list)) => {
                self.count(list.len());
                for (index, item) in list.iter().enumerate() {
                    self.value(*items, item).map_err(|error| error.at(PathStep::Item(index as u64)))?;
                }
                self.out.push(0);
                return Ok(());
            }
            (Kind::Map(values), Value::Object(object)) => {
                self.count(object.len());
                for (key, value) in object {
                    scalar::write_bytes(&mut self.out, key.as_bytes());
                    self.value(*values, value)
                        .map_err(|error| error.at(PathStep::Key(key.as_str().into())))?;
                }
                self.out.push(0);
                return Ok(());
            }
            (Kind::Null, Value::Null) => Ok(()),
            (_, Value::Bool(value)) => scalar::boolean(&mut self.out, node, *value),
            (_, Value::Number(number)) => match (integer(number), number.as_f64()) {
                (Some(value), _) => scalar::integer(&mut self.out, node, value),
                // Converted as text, to avoid a binary fraction.
                _ if matches!(node.logical, Some(Logical::Decimal { .. })) => {
                    scalar::decimal_text(&mut self.out, node, &number.to_string())
                }
                (None, Some(value)) => scalar::float(&mut self.out, node, value),
                (None, None) => Err(format!("{number} is too large a number")),
            },
            (_, Value::String(text)) => scalar::text(&mut self.out, node, text, self.dialect.texts()),
            _ => Err(format!("{} is no {}", shown(value), node.type_name())),
        };
        written.map_err(EncodeError::new)
    }

    fn count(&mut self, count: usize) {
        if count > 0 {
            scalar::write_long(&mut self.out, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn record(&mut self, record: &Record, object: &Map<String, Value>) -> Result<(), EncodeError> {
        let mut used = 0;
        for field in &record.fields {
            match (object.get(&*field.name), &field.default) {
                (Some(value), _) => {
                    used += 1;
                    self.value(field.node, value)
                }
                (None, Some(default)) => self.default(field.node, default),
                (None, None) => Err(EncodeError::new("the field is missing, and has no default")),
            }
            .map_err(|error| error.in_field(&field.name))?;
        }
        if used < object.len() && self.dialect != Dialect::Default {
            let known = |name: &str| record.fields.iter().any(|field| *field.name == *name);
            if let Some(unknown) = object.keys().find(|name| !known(name)) {
                let error = EncodeError::new(format!("{} has no such field", record.name.full));
                return Err(error.in_field(unknown));
            }
        }
        Ok(())
    }

    fn default(&mut self, id: NodeId, value: &Value) -> Result<(), EncodeError> {
        let before = (self.dialect, self.trying);
        (self.dialect, self.trying) = (Dialect::Default, true);
        let done = self.value(id, value);
        (self.dialect, self.trying) = before;
        done
    }

    fn branch(&mut self, index: usize, id: NodeId, value: &Value) -> Result<(), EncodeError> {
        scalar::write_long(&mut self.out, i64::try_from(index).unwrap_or(i64::MAX));
        self.value(id, value)
    }

    fn union(&mut self, branches: &[NodeId], value: &Value) -> Result<(), EncodeError> {
        let types = self.types;
        let named = |name: &str| {
            let by = |full: bool| {
                branches.iter().position(|&branch| {
                    let node = types.get(branch);
                    let simple = node.name().map(|name| name.simple()).filter(|_| !full);
                    simple.unwrap_or_else(|| node.branch_name()) == name
                })
            };
            by(true).or_else(|| by(false))
        };
        let tagged = match value {
            Value::Object(object) if object.len() == 1 => object.iter().next().and_then(|(name, value)| {
                let index = named(name)?;
                Some((index, *branches.get(index)?, name, value))
            }),
            _ => None,
        };
        if self.dialect == Dialect::Avro {
            return match (value, tagged, named("null")) {
                (Value::Null, _, Some(index)) => self.branch(index, NodeId(0), value),
                (_, Some((index, id, name, value)), _) => self
                    .branch(index, id, value)
                    .map_err(|error| error.at(PathStep::Key(name.as_str().into()))),
                _ => {
                    let form = "null, or an object with the name of its branch and its value";
                    Err(EncodeError::new(format!("{} is no value of a union: {form}", shown(value))))
                }
            };
        }
        let mut ranked: Vec<(u8, usize, NodeId)> = Vec::new();
        for (index, &branch) in branches.iter().enumerate() {
            let rank = match self.dialect {
                Dialect::Default => Some(0), // the first branch that accepts it
                _ => rank(types.get(branch), value),
            };
            ranked.extend(rank.map(|rank| (rank, index, branch)));
        }
        ranked.sort_by_key(|(rank, ..)| *rank);
        let (start, was_trying) = (self.out.len(), self.trying);
        let mut first = None;
        let last = ranked.len().saturating_sub(1);
        for (nth, (_, index, branch)) in ranked.into_iter().enumerate() {
            self.trying = was_trying || nth < last || tagged.is_some();
            let done = self.branch(index, branch, value);
            self.trying = was_trying;
            match done {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.out.truncate(start);
                    first = first.or(Some(error));
                }
            }
        }
        if let Some((index, branch, name, value)) = tagged {
            let done = self.branch(index, branch, value);
            return done.map_err(|error| error.at(PathStep::Key(name.as_str().into())));
        }
        Err(first.unwrap_or_else(|| {
            let names: Vec<&str> = branches.iter().map(|&branch| types.get(branch).branch_name()).collect();
            EncodeError::new(format!("{} matches none of {}", shown(value), names.join(", ")))
        }))
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// The plain form writes dates and times as text. Only a moment without a text (a time beyond the day, for example) is written as a
/// number, so a number fits such a branch better than one that would have written a text.
fn integer_rank(node: &Node, value: i128) -> Option<u8> {
    let rank = scalar::integer_rank(node, value, false)?;
    let text = match (node.logical, i64::try_from(value)) {
        (Some(Logical::Moment(moment)), Ok(value)) => moments::format(moment, value),
        _ => None,
    };
    Some(if text.is_some() { rank * 2 + 3 } else { rank * 2 })
}

/// How well a branch of a union fits a value that does not name its branch: 0 is best.
fn rank(node: &Node, value: &Value) -> Option<u8> {
    match (value, &node.kind) {
        (Value::Null, Kind::Null)
        | (Value::Bool(_), Kind::Boolean)
        | (Value::Array(_), Kind::Array(_))
        | (Value::Object(_), Kind::Record(_)) => Some(0),
        (Value::Object(_), Kind::Map(_)) => Some(1),
        (Value::Number(number), _) => match (integer(number), number.as_f64()) {
            (Some(value), _) => integer_rank(node, value),
            (None, Some(value)) => scalar::float_rank(node, value, false),
            (None, None) => None,
        },
        (Value::String(text), _) => scalar::text_rank(node, text, Texts::Plain),
        _ => None,
    }
}
