//! Encodes lists, maps and structs.

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::encode_json::encode_default;
use super::error::{EncodeError, PathStep};
use super::scalar;
use super::schema::{Kind, Node, NodeId, Record, Types};
use super::ser::{Result, To};

/// The items of an array or the entries of a map, in one block.
pub(super) struct BlockWriter {
    /// The position at which the items begin.
    pub(super) start: usize,
    /// The number announced by the serializer, if it was written as the block's count.
    pub(super) declared: Option<usize>,
    pub(super) count: usize,
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
                value.serialize(item).map_err(|error| error.at(PathStep::Item(index)))
            }
            Self::Bytes { bytes, .. } => {
                // Encodes an element as an int, so that any small number is accepted.
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
                    _ => return Err(EncodeError::new("an item of the list is not a byte")),
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

/// The fields of a record, in any order.
pub(super) struct Fields<'a, 's> {
    pub(super) to: To<'a, 's>,
    pub(super) record: &'s Record,
    /// The first field that is not written yet.
    pub(super) next: usize,
    /// Fields that were serialized before their turn.
    pub(super) later: Vec<(usize, Vec<u8>)>,
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

    /// Writes earlier fields whose turn has come.
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
    /// A record, and the key of the next value.
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
                SerializeMap::serialize_value(self, value)
                    .map_err(|error| error.at(PathStep::Key(name.into())))
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
            _ => return Err(EncodeError::new("a key of the map is not a string")),
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
