//! A parsed schema: its types in one list, which refer to each other by index.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use serde_json::Value;

use super::logical::Logical;
use super::program::Program;

/// The index of a type in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(pub(super) u32);

/// A parsed Avro schema. Cloning it is cheap.
///
/// It decodes values as they were written; a [`Resolver`](super::Resolver) decodes those written with another schema.
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
    /// The full name of the type, if it is a record, an enum or a fixed; used by subject strategies.
    pub fn name(&self) -> Option<&str> {
        self.0.types.get(self.0.types.root).name().map(|name| &*name.full)
    }

    /// Whether it contains a decimal.
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
    /// As written: those without a dot are in the namespace of the name.
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
    /// As in the schema. Whether its type is right is checked when it is used: schemas in use have wrong defaults, and their data
    /// can be read all the same.
    pub(super) default: Option<Value>,
}

/// Stands for an index outside the list. That never occurs, because the parser issues the indexes.
static NOWHERE: Node = Node { kind: Kind::Null, logical: None };

impl Types {
    pub(super) fn get(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&NOWHERE)
    }

    /// A short description of the type, for messages.
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
    /// The name of a named type.
    pub(super) fn name(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Fixed(fixed) => Some(&fixed.name),
            Kind::Enum(symbols) => Some(&symbols.name),
            Kind::Record(record) => Some(&record.name),
            _ => None,
        }
    }

    /// The aliases, as written.
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

    /// The name of this branch in a union: its full name, or that of its type.
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
