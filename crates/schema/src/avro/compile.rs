//! Compiles schemas to programs.

use std::collections::HashMap;

use super::encode_json::encode_default;
use super::error::Mismatch;
use super::matching::{Branches, closeness, logical_conflict, same_name, scalar};
use super::program::{FieldOp, Fields, Op, OpId, Program, Symbols};
use super::schema::{Enum, Field, Kind, Name, Node, NodeId, Record, Types};

/// The nesting depth of types when two schemas are resolved; a field that is a union on both sides counts three times.
const MAX_NESTING: usize = 128;
/// The most pairs of types that are compared.
const MAX_PAIRS: usize = 500_000;

/// A program that reads values as they were written.
pub(super) fn as_written(types: &Types) -> Program {
    let mut compiler = Compiler::new(types, types);
    let root = compiler.written(types, Side::Writer, types.root);
    compiler.finish_written();
    Program::new(compiler.ops, root)
}

/// A program that reads values written with `writer` in the form of `reader`.
pub(super) fn resolve(writer: &Types, reader: &Types) -> Result<Program, Mismatch> {
    let mut compiler = Compiler::new(writer, reader);
    let root = compiler.resolve(writer.root, reader.root)?;
    compiler.finish_written();
    Ok(Program::new(compiler.ops, root))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Writer,
    Reader,
}

/// The result of resolving two types.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pair {
    /// Being resolved, or resolvable: its operation.
    Good(OpId),
    Bad(Mismatch),
}

struct Compiler<'s> {
    writer: &'s Types,
    reader: &'s Types,
    ops: Vec<Op>,
    /// Operations for data in its written form: data that the reader skips, and defaults.
    written: HashMap<(Side, NodeId), OpId>,
    /// Records among these whose fields are not compiled yet.
    unfinished: Vec<(Side, NodeId, OpId)>,
    /// The resolved pairs of records and enums.
    pairs: HashMap<(NodeId, NodeId), Pair>,
    /// The branches of the reader's unions.
    branches: HashMap<NodeId, Branches>,
    looked_at: usize,
    path: Vec<Box<str>>,
    nesting: usize,
}

impl<'s> Compiler<'s> {
    fn new(writer: &'s Types, reader: &'s Types) -> Self {
        Self {
            writer,
            reader,
            ops: Vec::new(),
            written: HashMap::new(),
            unfinished: Vec::new(),
            pairs: HashMap::new(),
            branches: HashMap::new(),
            looked_at: 0,
            path: Vec::new(),
            nesting: 0,
        }
    }

    fn add(&mut self, op: Op) -> OpId {
        // A program has a few operations for each type or pair of types, whose number is limited.
        let id = u32::try_from(self.ops.len()).unwrap_or(u32::MAX);
        self.ops.push(op);
        id
    }

    fn set(&mut self, id: OpId, op: Op) {
        if let Some(place) = self.ops.get_mut(id as usize) {
            *place = op;
        }
    }

    // ---- In the written form.

    /// The operation for a type in the form of its own schema. Records are completed later, so that a long chain of them needs no
    /// deep recursion.
    fn written(&mut self, types: &Types, side: Side, id: NodeId) -> OpId {
        if let Some(&op) = self.written.get(&(side, id)) {
            return op;
        }
        let node = types.get(id);
        let op = match &node.kind {
            Kind::Record(_) => {
                let op = self.add(Op::Null);
                self.unfinished.push((side, id, op));
                op
            }
            Kind::Array(items) => {
                let items = self.written(types, side, *items);
                self.add(Op::Array(items))
            }
            Kind::Map(values) => {
                let values = self.written(types, side, *values);
                self.add(Op::Map(values))
            }
            Kind::Union(branches) => {
                let branches =
                    branches.iter().map(|&branch| self.written_branch(types, side, branch)).collect();
                self.add(Op::Union(branches))
            }
            Kind::Enum(symbols) => {
                let symbols = symbols.symbols.iter().cloned().map(Ok).collect();
                self.add(Op::Enum(Symbols { symbols, gap: None }))
            }
            _ => self.add(scalar(node)),
        };
        self.written.insert((side, id), op);
        op
    }

    fn written_branch(&mut self, types: &Types, side: Side, branch: NodeId) -> OpId {
        let op = self.written(types, side, branch);
        self.branch(types.get(branch), op)
    }

    /// Wraps an operation with the branch of the reader's union.
    fn branch(&mut self, node: &Node, op: OpId) -> OpId {
        let name = node.name().cloned().unwrap_or_else(|| Name { full: node.type_name().into() });
        self.add(Op::Branch { name, op })
    }

    fn finish_written(&mut self) {
        while let Some((side, id, op)) = self.unfinished.pop() {
            let types = match side {
                Side::Writer => self.writer,
                Side::Reader => self.reader,
            };
            let Kind::Record(record) = &types.get(id).kind else { continue };
            let read = |field: &Field| FieldOp::Read {
                name: field.name.clone(),
                op: self.written(types, side, field.node),
            };
            let fields = record.fields.iter().map(read).collect();
            self.set(op, Op::Record(Fields { fields }));
        }
    }

    // ---- The writer's data in the reader's form.

    fn mismatch(&self, writer: NodeId, reader: NodeId, reason: Option<String>) -> Mismatch {
        Mismatch {
            path: self.path(),
            writer: self.writer.describe(writer),
            reader: self.reader.describe(reader),
            reason,
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            if !path.is_empty() && &**step != "[]" {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }

    fn resolve(&mut self, w: NodeId, r: NodeId) -> Result<OpId, Mismatch> {
        self.looked_at += 1;
        if self.looked_at > MAX_PAIRS {
            return Err(self.mismatch(w, r, Some("the two schemas are too large to resolve".to_owned())));
        }
        if self.nesting >= MAX_NESTING {
            return Err(self.mismatch(
                w,
                r,
                Some(format!("types lie more than {MAX_NESTING} deep in one another")),
            ));
        }
        self.nesting += 1;
        let resolved = self.by_kind(w, r);
        self.nesting -= 1;
        resolved
    }

    fn by_kind(&mut self, w: NodeId, r: NodeId) -> Result<OpId, Mismatch> {
        let (writer, reader) = (self.writer.get(w), self.reader.get(r));
        if let Kind::Union(branches) = &writer.kind {
            return self.writers_union(w, branches, r);
        }
        if let Kind::Union(branches) = &reader.kind {
            return self.readers_union(w, r, branches);
        }
        if let Some(reason) = logical_conflict(writer, reader) {
            return Err(self.mismatch(w, r, Some(reason)));
        }
        match (&writer.kind, &reader.kind) {
            (Kind::Record(from), Kind::Record(to)) if same_name(writer, reader) => {
                self.record((w, from), (r, to))
            }
            (Kind::Enum(from), Kind::Enum(to)) if same_name(writer, reader) => {
                Ok(self.symbols(w, r, from, to))
            }
            (Kind::Fixed(from), Kind::Fixed(to)) if from.size == to.size && same_name(writer, reader) => {
                Ok(self.add(scalar(reader)))
            }
            (Kind::Array(from), Kind::Array(to)) => {
                let items = self.within("[]", |compiler| compiler.resolve(*from, *to))?;
                Ok(self.add(Op::Array(items)))
            }
            (Kind::Map(from), Kind::Map(to)) => {
                let values = self.within("[]", |compiler| compiler.resolve(*from, *to))?;
                Ok(self.add(Op::Map(values)))
            }
            (Kind::Int | Kind::Long, Kind::Float) => Ok(self.add(Op::LongAsFloat)),
            (Kind::Int | Kind::Long, Kind::Double) => Ok(self.add(Op::LongAsDouble)),
            (Kind::Float, Kind::Double) => Ok(self.add(Op::FloatAsDouble)),
            (Kind::Int, Kind::Long) | (Kind::String, Kind::Bytes) | (Kind::Bytes, Kind::String) => {
                Ok(self.add(scalar(reader)))
            }
            (from, to)
                if std::mem::discriminant(from) == std::mem::discriminant(to) && writer.name().is_none() =>
            {
                Ok(self.add(scalar(reader)))
            }
            (from, to) if std::mem::discriminant(from) == std::mem::discriminant(to) => {
                let reason = (!same_name(writer, reader))
                    .then(|| "neither the name nor an alias of the reader's is the writer's".to_owned());
                Err(self.mismatch(w, r, reason))
            }
            _ => Err(self.mismatch(w, r, None)),
        }
    }

    fn within<T>(
        &mut self,
        step: &str,
        compile: impl FnOnce(&mut Self) -> Result<T, Mismatch>,
    ) -> Result<T, Mismatch> {
        self.path.push(step.into());
        let compiled = compile(self);
        self.path.pop();
        compiled
    }

    /// Resolves each branch of the writer's union that can be; the others become errors when they occur in data.
    fn writers_union(&mut self, w: NodeId, branches: &[NodeId], r: NodeId) -> Result<OpId, Mismatch> {
        let mut ops = Vec::with_capacity(branches.len());
        let mut unfit = 0;
        for &branch in branches {
            match self.resolve(branch, r) {
                Ok(op) => ops.push(op),
                Err(mismatch) if branches.len() == 1 => return Err(mismatch),
                Err(mismatch) => {
                    unfit += 1;
                    ops.push(self.add(Op::Never(Box::new(mismatch))));
                }
            }
        }
        if unfit == branches.len() {
            return Err(self.mismatch(w, r, Some("none of the writer's branches fits".to_owned())));
        }
        Ok(self.add(Op::Union(ops)))
    }

    /// Finds a branch with exactly the writer's type, otherwise one with its name, otherwise the first that it can be promoted
    /// to, as in Java.
    fn readers_union(&mut self, w: NodeId, r: NodeId, branches: &[NodeId]) -> Result<OpId, Mismatch> {
        let (types, writer) = (self.reader, self.writer.get(w));
        let index = self.branches.entry(r).or_insert_with(|| Branches::new(types, branches));
        let mut ranked: Vec<(u8, NodeId)> = index
            .candidates(writer)
            .filter_map(|branch| Some((closeness(writer, types.get(branch))?, branch)))
            .collect();
        ranked.sort_by_key(|(closeness, _)| *closeness);
        let mut first = None;
        for (_, branch) in ranked {
            match self.resolve(w, branch) {
                Ok(op) => return Ok(self.branch(types.get(branch), op)),
                Err(mismatch) => first = first.or(Some(mismatch)),
            }
        }
        Err(first.unwrap_or_else(|| self.mismatch(w, r, None)))
    }

    fn symbols(&mut self, w: NodeId, r: NodeId, from: &Enum, to: &Enum) -> OpId {
        if let Some(Pair::Good(op)) = self.pairs.get(&(w, r)) {
            return *op;
        }
        let known: std::collections::HashSet<&str> = to.symbols.iter().map(|symbol| &**symbol).collect();
        let symbols: Vec<_> = from
            .symbols
            .iter()
            .map(|symbol| match &to.default {
                _ if known.contains(&**symbol) => Ok(symbol.clone()),
                Some(default) => Ok(default.clone()),
                None => Err(symbol.clone()),
            })
            .collect();
        let gap = symbols.iter().find_map(|symbol| symbol.as_ref().err()).map(|missing| {
            let reason = format!("the reader does not know the symbol {missing}, and has no default");
            Box::new(self.mismatch(w, r, Some(reason)))
        });
        let op = self.add(Op::Enum(Symbols { symbols, gap }));
        self.pairs.insert((w, r), Pair::Good(op));
        op
    }

    fn record(&mut self, (w, from): (NodeId, &Record), (r, to): (NodeId, &Record)) -> Result<OpId, Mismatch> {
        match self.pairs.get(&(w, r)) {
            Some(Pair::Good(op)) => return Ok(*op),
            Some(Pair::Bad(mismatch)) => return Err(mismatch.clone()),
            None => {}
        }
        let op = self.add(Op::Null);
        self.pairs.insert((w, r), Pair::Good(op)); // records may contain themselves
        match self.fields(from, (r, to)) {
            Ok(fields) => {
                self.set(op, Op::Record(Fields { fields }));
                Ok(op)
            }
            Err(mismatch) => {
                // If another type was resolvable only on the assumption that this one is, the error shows when it occurs in data.
                self.set(op, Op::Never(Box::new(mismatch.clone())));
                self.pairs.insert((w, r), Pair::Bad(mismatch.clone()));
                Err(mismatch)
            }
        }
    }

    fn fields(&mut self, from: &Record, (r, to): (NodeId, &Record)) -> Result<Vec<FieldOp>, Mismatch> {
        let by_name: HashMap<&str, usize> =
            from.fields.iter().enumerate().map(|(index, field)| (&*field.name, index)).collect();
        // The reader's field for each of the writer's fields.
        let mut taken: Vec<Option<&Field>> = vec![None; from.fields.len()];
        let mut absent = Vec::new();
        for field in &to.fields {
            let names = std::iter::once(&field.name).chain(&field.aliases);
            let free = |index: &&usize| taken.get(**index).is_some_and(Option::is_none);
            let found = names.filter_map(|name| by_name.get(&**name)).find(free).copied();
            match found.and_then(|index| taken.get_mut(index)) {
                Some(place) => *place = Some(field),
                None => absent.push(field),
            }
        }
        let mut ops = Vec::with_capacity(from.fields.len() + absent.len());
        for (written, read) in from.fields.iter().zip(taken) {
            ops.push(match read {
                Some(field) => {
                    let op =
                        self.within(&field.name, |compiler| compiler.resolve(written.node, field.node))?;
                    FieldOp::Read { name: field.name.clone(), op }
                }
                None => FieldOp::Skip(self.written(self.writer, Side::Writer, written.node)),
            });
        }
        for field in absent {
            ops.push(self.within(&field.name, |compiler| compiler.default(field, r))?);
        }
        Ok(ops)
    }

    /// The replacement for a field that the writer does not have.
    fn default(&mut self, field: &Field, record: NodeId) -> Result<FieldOp, Mismatch> {
        let nothing = |compiler: &Self, reason: String| Mismatch {
            path: compiler.path(),
            writer: "nothing".to_owned(),
            reader: compiler.reader.describe(field.node),
            reason: Some(reason),
        };
        let Some(value) = &field.default else {
            let record = self.reader.describe(record);
            return Err(nothing(self, format!("the field of the reader's {record} has no default")));
        };
        match encode_default(self.reader, field.node, value) {
            Ok(value) => {
                let op = self.written(self.reader, Side::Reader, field.node);
                Ok(FieldOp::Default { name: field.name.clone(), op, value: value.into() })
            }
            Err(error) => Err(nothing(self, format!("its default is not of its type: {error}"))),
        }
    }
}
