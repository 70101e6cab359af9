//! A parsed schema: its types in one list, which name one another by their places in it.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use serde_json::Value;

use super::logical::Logical;
use super::program::Program;

/// The place of a type in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(pub(super) u32);

/// A parsed Avro schema. Cloning it is cheap.
///
/// Values are decoded by it as they were written; a [`Resolver`](super::Resolver) decodes what another schema wrote.
#[derive(Clone)]
pub struct Schema(pub(super) Arc<Parsed>);

pub(super) struct Parsed {
    pub(super) types: Types,
    /// Reads values as they were written.
    pub(super) program: Program,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.0.types.describe(self.0.types.root))
    }
}

impl Schema {
    /// The full name of the type, if it is a record, an enum or a fixed: what subject strategies name a schema by.
    pub fn name(&self) -> Option<&str> {
        self.0.types.get(self.0.types.root).name().map(|name| &*name.full)
    }

    /// Whether there is a decimal anywhere in it.
    pub(crate) fn has_decimals(&self) -> bool {
        let is_decimal = |node: &Node| matches!(node.logical, Some(Logical::Decimal { .. }));
        self.0.types.nodes.iter().any(is_decimal)
    }
}

/// All types of a schema.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) logical: Option<Logical>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(Fixed),
    Enum(Enum),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Record),
}

/// The name of a record, an enum or a fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) full: Arc<str>,
}

impl Name {
    /// The name without its namespace.
    pub(super) fn simple(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }

    /// The namespace, empty if there is none.
    pub(super) fn namespace(&self) -> &str {
        self.full.rsplit_once('.').map_or("", |(namespace, _)| namespace)
    }
}

#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) name: Name,
    /// As they are written: those without a dot are of the name's namespace.
    pub(super) aliases: Vec<Box<str>>,
    pub(super) size: usize,
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: Name,
    pub(super) aliases: Vec<Box<str>>,
    pub(super) symbols: Vec<Box<str>>,
    pub(super) default: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) aliases: Vec<Box<str>>,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    pub(super) aliases: Vec<Box<str>>,
    pub(super) node: NodeId,
    /// As the schema has it. Whether it is of the field's type shows when it is used: schemas in use have defaults that
    /// are not, and what was written by them can be read all the same.
    pub(super) default: Option<Value>,
}

/// What a place that is not in the list stands for; there is none, as the parser gives them out.
static NOWHERE: Node = Node { kind: Kind::Null, logical: None };

impl Types {
    pub(super) fn get(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&NOWHERE)
    }

    /// The type in a few words, for messages.
    pub(super) fn describe(&self, id: NodeId) -> String {
        let node = self.get(id);
        let logical = node.logical.map(|logical| format!(" ({logical})")).unwrap_or_default();
        match &node.kind {
            Kind::Array(items) => format!("array of {}", self.get(*items).word()),
            Kind::Map(values) => format!("map of {}", self.get(*values).word()),
            Kind::Union(branches) => {
                let mut words: Vec<String> =
                    branches.iter().take(5).map(|&branch| self.get(branch).word()).collect();
                if branches.len() > words.len() {
                    words.push("…".to_owned());
                }
                format!("union of {}", words.join(", "))
            }
            _ => node.word() + &logical,
        }
    }
}

impl Node {
    /// The name of a type that has one.
    pub(super) fn name(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Fixed(fixed) => Some(&fixed.name),
            Kind::Enum(symbols) => Some(&symbols.name),
            Kind::Record(record) => Some(&record.name),
            _ => None,
        }
    }

    /// The names by which it was known, as they are written.
    pub(super) fn aliases(&self) -> &[Box<str>] {
        match &self.kind {
            Kind::Fixed(fixed) => &fixed.aliases,
            Kind::Enum(symbols) => &symbols.aliases,
            Kind::Record(record) => &record.aliases,
            _ => &[],
        }
    }

    /// Avro's word for the kind of type.
    pub(super) fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Fixed(_) => "fixed",
            Kind::Enum(_) => "enum",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Record(_) => "record",
        }
    }

    /// How a union names this branch: its full name, or its type's.
    pub(super) fn branch_name(&self) -> &str {
        self.name().map_or_else(|| self.type_name(), |name| &name.full)
    }

    fn word(&self) -> String {
        match &self.kind {
            Kind::Fixed(fixed) => format!("fixed {} of {} bytes", fixed.name.full, fixed.size),
            _ => match self.name() {
                Some(name) => format!("{} {}", self.type_name(), name.full),
                None => self.type_name().to_owned(),
            },
        }
    }
}
