//! A program that reads a value: a flat list of operations, compiled once from a writer's schema, or from a writer's and a
//! reader's. Names are the reader's, the order is the writer's.

use super::error::Mismatch;
use super::logical::Moment;
use super::schema::Name;

/// The index of an operation in its program.
pub(super) type OpId = u32;

#[derive(Debug)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    /// The least number of bytes that each operation reads, capped; parallel to `ops`.
    pub(super) least: Vec<u32>,
    pub(super) root: OpId,
}

#[derive(Debug)]
pub(super) enum Op {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// An int or a long that the reader wants as a float, and so on.
    LongAsFloat,
    LongAsDouble,
    FloatAsDouble,
    Moment(Moment),
    Bytes,
    String,
    Fixed(usize),
    /// A decimal with a fixed size, or with a length in the data.
    Decimal {
        size: Option<usize>,
        scale: u32,
    },
    /// A UUID of 16 bytes.
    Uuid,
    Duration,
    Enum(Symbols),
    Array(OpId),
    Map(OpId),
    Record(Fields),
    /// The writer's union, with one operation for each of its branches.
    Union(Vec<OpId>),
    /// The following value is this branch of the reader's union.
    Branch {
        name: Name,
        op: OpId,
    },
    /// The writer may write this, but the reader's schema has no place for it.
    Never(Box<Mismatch>),
}

#[derive(Debug)]
pub(super) struct Symbols {
    /// The reader's symbol for each of the writer's symbols, or the writer's symbol as an error if the reader lacks it.
    pub(super) symbols: Vec<Result<Box<str>, Box<str>>>,
    /// Set if the writer has symbols that the reader lacks.
    pub(super) gap: Option<Box<Mismatch>>,
}

#[derive(Debug)]
pub(super) struct Fields {
    /// In reading order; defaults come last.
    pub(super) fields: Vec<FieldOp>,
}

#[derive(Debug)]
pub(super) enum FieldOp {
    Read {
        name: Box<str>,
        op: OpId,
    },
    /// A field that the reader does not have.
    Skip(OpId),
    /// A field that the writer does not have: the reader's default, encoded by the reader's schema.
    Default {
        name: Box<str>,
        op: OpId,
        value: Box<[u8]>,
    },
}

/// Stands for an index outside the program. That never occurs, because the compiler issues the indexes.
static NOTHING: Op = Op::Null;

impl Program {
    pub(super) fn get(&self, id: OpId) -> &Op {
        self.ops.get(id as usize).unwrap_or(&NOTHING)
    }

    /// The least number of bytes that a value takes.
    pub(super) fn least(&self, id: OpId) -> u32 {
        self.least.get(id as usize).copied().unwrap_or(0)
    }

    /// The writer's data for which the reader has no place.
    pub(super) fn gaps(&self) -> Vec<&Mismatch> {
        let mut seen = vec![false; self.ops.len()];
        let mut waiting = vec![self.root];
        let mut gaps = Vec::new();
        while let Some(id) = waiting.pop() {
            match seen.get_mut(id as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match self.get(id) {
                Op::Never(mismatch) => gaps.push(&**mismatch),
                Op::Enum(symbols) => gaps.extend(symbols.gap.as_deref()),
                Op::Array(op) | Op::Map(op) | Op::Branch { op, .. } => waiting.push(*op),
                Op::Union(branches) => waiting.extend(branches.iter().rev()),
                Op::Record(fields) => {
                    waiting.extend(fields.fields.iter().rev().filter_map(|field| match field {
                        FieldOp::Read { op, .. } => Some(op),
                        FieldOp::Skip(_) | FieldOp::Default { .. } => None,
                    }))
                }
                _ => {}
            }
        }
        gaps
    }

    pub(super) fn new(ops: Vec<Op>, root: OpId) -> Self {
        let mut least = Least { ops: &ops, known: vec![None; ops.len()] };
        let least = (0..ops.len()).map(|id| least.of(id as OpId, 0)).collect();
        Self { ops, least, root }
    }
}

/// How deep records are searched for the least bytes they take; deeper ones count as zero.
const LOOK: u32 = 32;
/// The count stops here.
const ENOUGH: u32 = 1 << 20;

struct Least<'o> {
    ops: &'o [Op],
    known: Vec<Option<u32>>,
}

impl Least<'_> {
    fn of(&mut self, id: OpId, depth: u32) -> u32 {
        if let Some(Some(known)) = self.known.get(id as usize) {
            return *known;
        }
        if depth > LOOK {
            return 0;
        }
        if let Some(known) = self.known.get_mut(id as usize) {
            *known = Some(0); // a record that contains itself adds nothing
        }
        let least = match self.ops.get(id as usize) {
            None | Some(Op::Null | Op::Never(_)) => 0,
            Some(Op::Float | Op::FloatAsDouble) => 4,
            Some(Op::Double) => 8,
            Some(Op::Fixed(size) | Op::Decimal { size: Some(size), .. }) => {
                u32::try_from(*size).unwrap_or(ENOUGH)
            }
            Some(Op::Uuid) => 16,
            Some(Op::Duration) => 12,
            Some(Op::Branch { op, .. }) => self.of(*op, depth),
            Some(Op::Record(fields)) => fields.fields.iter().fold(0, |sum, field| match field {
                FieldOp::Read { op, .. } | FieldOp::Skip(op) => {
                    self.of(*op, depth + 1).saturating_add(sum).min(ENOUGH)
                }
                FieldOp::Default { .. } => sum,
            }),
            // Numbers, lengths, counts and indexes take at least a byte.
            Some(_) => 1,
        };
        let least = least.min(ENOUGH);
        if let Some(known) = self.known.get_mut(id as usize) {
            *known = Some(least);
        }
        least
    }
}
