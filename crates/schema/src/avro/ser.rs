//! Serializes user types: each call of serde is matched with a type of the schema.

use serde::Serialize;
use serde::ser::Serializer;

use super::compound::{BlockWriter, Entries, Fields, List};
use super::error::EncodeError;
use super::scalar::{self, Texts};
use super::schema::{Kind, Node, NodeId, Types};

pub(super) type Result<T> = std::result::Result<T, EncodeError>;

/// The output for the next value, and its type.
pub(super) struct To<'a, 's> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) types: &'s Types,
    pub(super) id: NodeId,
}

impl<'a, 's> To<'a, 's> {
    fn node(&self) -> &'s Node {
        self.types.get(self.id)
    }

    /// Writes the branch of a union: the one with the least rank. Without a union, the type itself.
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

    /// The branch for an enum's variant: with its full name, its simple name, or either in other case.
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
            // The shortest decimal number for it.
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
        // The length is not reliable, because fields may be skipped.
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
