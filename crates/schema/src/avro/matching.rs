//! Matches parts of a writer's schema with parts of a reader's.

use std::collections::HashMap;

use super::logical::Logical;
use super::parse::full_name;
use super::program::Op;
use super::schema::{Kind, Node, NodeId, Types};

/// The operation for a type without nested types.
pub(super) fn scalar(node: &Node) -> Op {
    match (&node.kind, node.logical) {
        (Kind::Int | Kind::Long, Some(Logical::Moment(moment))) => Op::Moment(moment),
        (Kind::Bytes, Some(Logical::Decimal { scale, .. })) => Op::Decimal { size: None, scale },
        (Kind::Fixed(fixed), Some(Logical::Decimal { scale, .. })) => {
            Op::Decimal { size: Some(fixed.size), scale }
        }
        (Kind::Fixed(_), Some(Logical::Uuid)) => Op::Uuid,
        (Kind::Fixed(_), Some(Logical::Duration)) => Op::Duration,
        (Kind::Fixed(fixed), _) => Op::Fixed(fixed.size),
        (Kind::Boolean, _) => Op::Boolean,
        (Kind::Int, _) => Op::Int,
        (Kind::Long, _) => Op::Long,
        (Kind::Float, _) => Op::Float,
        (Kind::Double, _) => Op::Double,
        (Kind::Bytes, _) => Op::Bytes,
        (Kind::String, _) => Op::String,
        // The others have nested types, and are compiled with them.
        (
            Kind::Null | Kind::Enum(_) | Kind::Array(_) | Kind::Map(_) | Kind::Union(_) | Kind::Record(_),
            _,
        ) => Op::Null,
    }
}

/// Names match without their namespaces; a reader's alias matches a full name.
pub(super) fn same_name(writer: &Node, reader: &Node) -> bool {
    let (Some(from), Some(to)) = (writer.name(), reader.name()) else { return false };
    from.simple() == to.simple() || has_alias(writer, reader)
}

fn has_alias(writer: &Node, reader: &Node) -> bool {
    let (Some(from), Some(to)) = (writer.name(), reader.name()) else { return false };
    reader.aliases().iter().any(|alias| *full_name(alias, to.namespace()) == *from.full)
}

/// How close a branch of the reader's union is to the writer's type: 0 is the closest, `None` is no match.
pub(super) fn closeness(writer: &Node, branch: &Node) -> Option<u8> {
    match (&writer.kind, &branch.kind) {
        (Kind::Int, Kind::Long | Kind::Float | Kind::Double)
        | (Kind::Long, Kind::Float | Kind::Double)
        | (Kind::Float, Kind::Double)
        | (Kind::String, Kind::Bytes)
        | (Kind::Bytes, Kind::String) => Some(2),
        (from, to) if std::mem::discriminant(from) != std::mem::discriminant(to) => None,
        _ => match (writer.name(), branch.name()) {
            (Some(from), Some(to)) if from.full == to.full || has_alias(writer, branch) => Some(0),
            (Some(_), Some(_)) => same_name(writer, branch).then_some(1),
            _ => Some(0),
        },
    }
}

/// Detects two logical types whose numbers have different meanings. Java would read one as the other, a thousand times too large
/// or too small.
pub(super) fn logical_conflict(writer: &Node, reader: &Node) -> Option<String> {
    let (from, to) = (writer.logical?, reader.logical?);
    let differ = match (from, to) {
        (Logical::Decimal { scale: from, .. }, Logical::Decimal { scale: to, .. }) => from != to,
        (from, to) => from != to,
    };
    differ.then(|| "the same bytes would mean another value".to_owned())
}

/// The branches of a union, indexed by the names that a writer may use for them.
pub(super) struct Branches {
    named: HashMap<Box<str>, Vec<NodeId>>,
    unnamed: Vec<NodeId>,
}

impl Branches {
    pub(super) fn new(types: &Types, branches: &[NodeId]) -> Self {
        let mut of = Self { named: HashMap::new(), unnamed: Vec::new() };
        for &branch in branches {
            let node = types.get(branch);
            let Some(name) = node.name() else {
                of.unnamed.push(branch);
                continue;
            };
            let simple = std::iter::once(name.simple());
            let aliases = node.aliases().iter().map(|alias| alias.rsplit('.').next().unwrap_or(alias));
            for key in simple.chain(aliases) {
                let same = of.named.entry(key.into()).or_default();
                if same.last() != Some(&branch) {
                    same.push(branch);
                }
            }
        }
        of
    }

    /// The branches that may match, in order.
    pub(super) fn candidates(&self, writer: &Node) -> impl Iterator<Item = NodeId> {
        let found = match writer.name() {
            Some(name) => self.named.get(name.simple()),
            None => Some(&self.unnamed),
        };
        found.into_iter().flatten().copied()
    }
}
