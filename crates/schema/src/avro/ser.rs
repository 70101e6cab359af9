//! The user's own types to bytes: serde's calls, each to the type of the schema that it meets.

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::encode_json::encode_default;
use super::error::{EncodeError, Step};
use super::scalar::{self, Texts};
use super::schema::{Kind, Node, NodeId, Record, Types};

type Result<T> = std::result::Result<T, EncodeError>;

/// Where the next value goes, and its type.
pub(super) struct To<'a, 's> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) types: &'s Types,
    pub(super) id: NodeId,
}

impl<'a, 's> To<'a, 's> {
    fn node(&self) -> &'s Node {
        self.types.get(self.id)
    }

    /// Writes which branch of a union follows: the one with the least rank. Where there is no union, what is there.
    fn pick(self, what: &str, rank: impl Fn(&Node) -> Option<u8>) -> Result<Self> {
        let types = self.types;
        let Kind::Union(branches) = &self.node().kind else { return Ok(self) };
        let ranked =
            branches.iter().enumerate().filter_map(|(index, &id)| Some((rank(types.get(id))?, index, id)));
        match ranked.min_by_key(|(rank, ..)| *rank) {
            Some((_, index, id)) => Ok(self.branch(index, id)),
            None => {
                Err(EncodeError::new(format!("{what} fits no branch of the {}", types.describe(self.id))))
            }
        }
    }

    fn branch(self, index: usize, id: NodeId) -> Self {
        scalar::write_long(self.out, i64::try_from(index).unwrap_or(i64::MAX));
        Self { id, ..self }
    }

    /// The branch that an enum's variant stands for: by its full name, its simple one, or this in other case.
    fn variant(self, variant: &str) -> Result<Self> {
        let types = self.types;
        let simple = |id: NodeId| {
            let node = types.get(id);
            node.name().map_or_else(|| node.branch_name(), |name| name.simple())
        };
        let Kind::Union(branches) = &self.node().kind else {
            let fits = self.node().branch_name() == variant || simple(self.id).eq_ignore_ascii_case(variant);
            return if fits { Ok(self) } else { Err(self.unfit(&format!("the variant {variant}"))) };
        };
        let by = |same: &dyn Fn(NodeId) -> bool| branches.iter().position(|&id| same(id));
        let found = by(&|id| types.get(id).branch_name() == variant)
            .or_else(|| by(&|id| simple(id) == variant))
            .or_else(|| by(&|id| simple(id).eq_ignore_ascii_case(variant)));
        match found.and_then(|index| Some((index, *branches.get(index)?))) {
            Some((index, id)) => Ok(self.branch(index, id)),
            None => Err(self.unfit(&format!("the variant {variant}"))),
        }
    }

    fn unfit(&self, what: &str) -> EncodeError {
        EncodeError::new(format!("{what} is no {}", self.types.describe(self.id)))
    }

    fn integer(self, value: i128, wide: bool) -> Result<()> {
        let to = self.pick("an integer", |node| scalar::integer_rank(node, value, wide))?;
        scalar::integer(to.out, to.node(), value).map_err(EncodeError::new)
    }

    fn float(self, value: f64, single: bool) -> Result<()> {
        let to = self.pick("a number with a fraction", |node| scalar::float_rank(node, value, single))?;
        scalar::float(to.out, to.node(), value).map_err(EncodeError::new)
    }

    fn list(self, length: Option<usize>) -> Result<List<'a, 's>> {
        let to = self.pick("a list", |node| match node.kind {
            Kind::Array(_) => Some(0),
            Kind::Bytes => Some(1),
            Kind::Fixed(_) => Some(2),
            _ => None,
        })?;
        match to.node().kind {
            Kind::Array(items) => {
                if let Some(length @ 1..) = length {
                    scalar::write_long(to.out, i64::try_from(length).unwrap_or(i64::MAX));
                }
                let blocks = BlockWriter { start: to.out.len(), declared: length, count: 0 };
                Ok(List::Items { to: To { id: items, ..to }, blocks })
            }
            Kind::Bytes | Kind::Fixed(_) => Ok(List::Bytes { to, bytes: Vec::new() }),
            _ => Err(to.unfit("a list")),
        }
    }

    fn record(self, name: &str) -> Result<Entries<'a, 's>> {
        let to = self.pick("a struct", |node| match &node.kind {
            Kind::Record(record) if *record.name.full == *name || record.name.simple() == name => Some(0),
            Kind::Record(_) => Some(1),
            Kind::Map(_) => Some(2),
            _ => None,
        })?;
        to.entries(None)
    }

    fn entries(self, length: Option<usize>) -> Result<Entries<'a, 's>> {
        match &self.node().kind {
            Kind::Record(record) => {
                Ok(Entries::Fields(Fields { to: self, record, next: 0, later: Vec::new() }, None))
            }
            Kind::Map(values) => {
                if let Some(length @ 1..) = length {
                    scalar::write_long(self.out, i64::try_from(length).unwrap_or(i64::MAX));
                }
                let blocks = BlockWriter { start: self.out.len(), declared: length, count: 0 };
                Ok(Entries::Map { to: To { id: *values, ..self }, blocks })
            }
            _ => Err(self.unfit("an object")),
        }
    }
}

impl<'a, 's> Serializer for To<'a, 's> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = List<'a, 's>;
    type SerializeTuple = List<'a, 's>;
    type SerializeTupleStruct = List<'a, 's>;
    type SerializeTupleVariant = List<'a, 's>;
    type SerializeMap = Entries<'a, 's>;
    type SerializeStruct = Entries<'a, 's>;
    type SerializeStructVariant = Entries<'a, 's>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        let to = self.pick("a boolean", |node| matches!(node.kind, Kind::Boolean).then_some(0))?;
        scalar::boolean(to.out, to.node(), value).map_err(EncodeError::new)
    }

    fn serialize_i8(self, value: i8) -> Result<()> {
        self.integer(value.into(), false)
    }

    fn serialize_i16(self, value: i16) -> Result<()> {
        self.integer(value.into(), false)
    }

    fn serialize_i32(self, value: i32) -> Result<()> {
        self.integer(value.into(), false)
    }

    fn serialize_i64(self, value: i64) -> Result<()> {
        self.integer(value.into(), true)
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.integer(value, true)
    }

    fn serialize_u8(self, value: u8) -> Result<()> {
        self.integer(value.into(), false)
    }

    fn serialize_u16(self, value: u16) -> Result<()> {
        self.integer(value.into(), false)
    }

    fn serialize_u32(self, value: u32) -> Result<()> {
        self.integer(value.into(), true)
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        self.integer(value.into(), true)
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        match i128::try_from(value) {
            Ok(value) => self.integer(value, true),
            Err(_) => Err(self.unfit(&value.to_string())),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        if let (Kind::Bytes | Kind::Fixed(_), Some(_)) = (&self.node().kind, self.node().logical) {
            // The decimal that a person would write for it.
            return scalar::decimal_text(self.out, self.types.get(self.id), &value.to_string())
                .map_err(EncodeError::new);
        }
        self.float(value.into(), true)
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.float(value, false)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        let to = self.pick("a string", |node| scalar::text_rank(node, value, Texts::Typed))?;
        scalar::text(to.out, to.node(), value, Texts::Typed).map_err(EncodeError::new)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        let to = self.pick("a value of bytes", |node| scalar::bytes_rank(node, value))?;
        scalar::bytes(to.out, to.node(), value).map_err(EncodeError::new)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        let to = self.pick("null", |node| matches!(node.kind, Kind::Null).then_some(0))?;
        if matches!(to.node().kind, Kind::Null) { Ok(()) } else { Err(to.unfit("null")) }
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        let to = self.pick(&format!("the variant {variant}"), |node| match &node.kind {
            Kind::Enum(symbols) => symbols.symbols.iter().any(|symbol| **symbol == *variant).then_some(0),
            Kind::Null => variant.eq_ignore_ascii_case("null").then_some(1),
            Kind::String => Some(2),
            _ => None,
        })?;
        match to.node().kind {
            Kind::Null => Ok(()),
            _ => scalar::text(to.out, to.node(), variant, Texts::Typed).map_err(EncodeError::new),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self.variant(variant)?)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<List<'a, 's>> {
        self.list(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<List<'a, 's>> {
        self.list(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<List<'a, 's>> {
        self.list(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<List<'a, 's>> {
        self.variant(variant)?.list(Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Entries<'a, 's>> {
        let to = self.pick("a map", |node| match node.kind {
            Kind::Map(_) => Some(0),
            Kind::Record(_) => Some(1),
            _ => None,
        })?;
        to.entries(length)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Entries<'a, 's>> {
        // Its length is no promise: fields may be left out.
        self.record(name)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries<'a, 's>> {
        self.variant(variant)?.entries(None)
    }
}

/// The items of an array or the entries of a map, in one block.
pub(super) struct BlockWriter {
    /// Where the items begin.
    start: usize,
    /// How many were announced, and have been written as the block's count.
    declared: Option<usize>,
    count: usize,
}

impl BlockWriter {
    fn end(self, out: &mut Vec<u8>) -> Result<()> {
        match self.declared {
            Some(declared) if declared != self.count => {
                let reason = format!("{declared} items were announced, and {} came", self.count);
                return Err(EncodeError::custom(reason));
            }
            None if self.count > 0 => {
                let mut count = Vec::new();
                scalar::write_long(&mut count, i64::try_from(self.count).unwrap_or(i64::MAX));
                out.splice(self.start..self.start, count);
            }
            _ => {}
        }
        out.push(0);
        Ok(())
    }
}

pub(super) enum List<'a, 's> {
    Items { to: To<'a, 's>, blocks: BlockWriter },
    Bytes { to: To<'a, 's>, bytes: Vec<u8> },
}

impl SerializeSeq for List<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match self {
            Self::Items { to, blocks } => {
                let index = blocks.count as u64;
                blocks.count += 1;
                let item = To { out: &mut *to.out, types: to.types, id: to.id };
                value.serialize(item).map_err(|error| error.at(Step::Item(index)))
            }
            Self::Bytes { bytes, .. } => {
                // As an int is written, so that whatever serializes as a small number will do.
                let types = Types { nodes: vec![Node { kind: Kind::Int, logical: None }], root: NodeId(0) };
                let mut out = Vec::new();
                value.serialize(To { out: &mut out, types: &types, id: NodeId(0) })?;
                let byte = match out.as_slice() {
                    [low] => u32::from(*low),
                    [low, high] => u32::from(low & 0x7f) | u32::from(*high) << 7,
                    _ => u32::MAX,
                };
                match u8::try_from(byte >> 1) {
                    Ok(value) if byte & 1 == 0 => bytes.push(value),
                    _ => return Err(EncodeError::new("an item of a list is no byte")),
                }
                Ok(())
            }
        }
    }

    fn end(self) -> Result<()> {
        match self {
            Self::Items { to, blocks } => blocks.end(to.out),
            Self::Bytes { to, bytes } => {
                scalar::bytes(to.out, to.types.get(to.id), &bytes).map_err(EncodeError::new)
            }
        }
    }
}

macro_rules! as_list {
    ($($of:ident: $method:ident),*) => {$(
        impl $of for List<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.serialize_element_of(value)
            }

            fn end(self) -> Result<()> {
                SerializeSeq::end(self)
            }
        }
    )*};
}
as_list!(SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

impl List<'_, '_> {
    fn serialize_element_of<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        SerializeSeq::serialize_element(self, value)
    }
}

/// The fields of a record, in whatever order they come.
pub(super) struct Fields<'a, 's> {
    to: To<'a, 's>,
    record: &'s Record,
    /// The first field that has not been written.
    next: usize,
    /// Fields that came before their turn.
    later: Vec<(usize, Vec<u8>)>,
}

impl Fields<'_, '_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        self.flush();
        let in_turn = self.record.fields.get(self.next).filter(|field| *field.name == *name);
        if let Some(field) = in_turn {
            self.next += 1;
            let to = To { out: &mut *self.to.out, types: self.to.types, id: field.node };
            return value.serialize(to).map_err(|error| error.in_field(name));
        }
        let found = self.record.fields.iter().enumerate().find(|(_, field)| *field.name == *name);
        let Some((index, field)) = found else {
            return Err(
                EncodeError::new(format!("{} has no such field", self.record.name.full)).in_field(name)
            );
        };
        if index < self.next || self.later.iter().any(|(later, _)| *later == index) {
            return Err(EncodeError::new("the field comes twice").in_field(name));
        }
        let mut out = Vec::new();
        let to = To { out: &mut out, types: self.to.types, id: field.node };
        value.serialize(to).map_err(|error| error.in_field(name))?;
        self.later.push((index, out));
        Ok(())
    }

    /// Writes what came before its turn, and has it now.
    fn flush(&mut self) {
        while let Some(at) = self.later.iter().position(|(index, _)| *index == self.next) {
            let (_, bytes) = self.later.swap_remove(at);
            self.to.out.extend_from_slice(&bytes);
            self.next += 1;
        }
    }

    fn end(mut self) -> Result<()> {
        loop {
            self.flush();
            let Some(field) = self.record.fields.get(self.next) else { return Ok(()) };
            self.next += 1;
            let written = match &field.default {
                Some(default) => encode_default(self.to.types, field.node, default),
                None => Err(EncodeError::new("the field is missing, and has no default")),
            };
            self.to.out.extend_from_slice(&written.map_err(|error| error.in_field(&field.name))?);
        }
    }
}

pub(super) enum Entries<'a, 's> {
    /// A record, and the key whose value comes next.
    Fields(Fields<'a, 's>, Option<String>),
    Map {
        to: To<'a, 's>,
        blocks: BlockWriter,
    },
}

impl Entries<'_, '_> {
    fn entry<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        match self {
            Self::Fields(fields, _) => fields.field(name, value),
            Self::Map { .. } => {
                SerializeMap::serialize_key(self, name)?;
                SerializeMap::serialize_value(self, value).map_err(|error| error.at(Step::Key(name.into())))
            }
        }
    }
}

impl SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let key = match serde_json::to_value(key) {
            Ok(serde_json::Value::String(key)) => key,
            Ok(other @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => other.to_string(),
            _ => return Err(EncodeError::new("a key of a map is no string")),
        };
        match self {
            Self::Fields(_, pending) => *pending = Some(key),
            Self::Map { to, blocks } => {
                blocks.count += 1;
                scalar::write_bytes(to.out, key.as_bytes());
            }
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match self {
            Self::Fields(fields, pending) => match pending.take() {
                Some(key) => fields.field(&key, value),
                None => Err(EncodeError::new("a value comes without its key")),
            },
            Self::Map { to, .. } => value.serialize(To { out: &mut *to.out, types: to.types, id: to.id }),
        }
    }

    fn end(self) -> Result<()> {
        match self {
            Self::Fields(fields, _) => fields.end(),
            Self::Map { to, blocks } => blocks.end(to.out),
        }
    }
}

impl SerializeStruct for Entries<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.entry(name, value)
    }

    fn end(self) -> Result<()> {
        SerializeMap::end(self)
    }
}

impl SerializeStructVariant for Entries<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.entry(name, value)
    }

    fn end(self) -> Result<()> {
        SerializeMap::end(self)
    }
}
