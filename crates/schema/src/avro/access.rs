//! The parts of a value as requested by serde: items, entries, fields, and the branch of a union.

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::de::{At, Chosen, Result, utf8};
use super::decode::{Blocks, Decoder, Piece};
use super::error::{DecodeError, PathStep};
use super::program::{FieldOp, Fields, OpId};

// ---- Arrays and maps.

struct Items<'a, 'x, 'de> {
    decoder: &'a mut Decoder<'x, 'de>,
    op: OpId,
    least: u32,
    blocks: Blocks,
    index: u64,
}

pub(super) fn array<'x, 'de: 'x, V: Visitor<'de>>(
    decoder: &mut Decoder<'x, 'de>,
    op: OpId,
    visitor: V,
) -> Result<V::Value> {
    decoder.enter()?;
    let least = decoder.program.least(op);
    let mut blocks = Blocks::default();
    decoder.next_block(&mut blocks, least)?;
    let mut items = Items { decoder, op, least, blocks, index: 0 };
    let value = visitor.visit_seq(&mut items)?;
    let Items { decoder, mut blocks, index, .. } = items;
    if decoder.next_item(&mut blocks, least)? {
        return Err(DecodeError::custom(format!(
            "the array has more than the {index} items that the type takes"
        )));
    }
    decoder.leave();
    Ok(value)
}

impl<'x, 'de: 'x> SeqAccess<'de> for Items<'_, 'x, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if !self.decoder.next_item(&mut self.blocks, self.least)? {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        match seed.deserialize(At::new(self.decoder, self.op)) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.at(PathStep::Item(index))),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(Decoder::at_hand(&self.blocks, self.least))
    }
}

struct Entries<'a, 'x, 'de> {
    decoder: &'a mut Decoder<'x, 'de>,
    op: OpId,
    least: u32,
    blocks: Blocks,
    key: &'x [u8],
}

pub(super) fn map<'x, 'de: 'x, V: Visitor<'de>>(
    decoder: &mut Decoder<'x, 'de>,
    op: OpId,
    visitor: V,
) -> Result<V::Value> {
    decoder.enter()?;
    let least = decoder.program.least(op) + 1;
    let mut blocks = Blocks::default();
    decoder.next_block(&mut blocks, least)?;
    let mut entries = Entries { decoder, op, least, blocks, key: &[] };
    let value = visitor.visit_map(&mut entries)?;
    let Entries { decoder, mut blocks, .. } = entries;
    if decoder.next_item(&mut blocks, least)? {
        return Err(DecodeError::custom("the map has more entries than the type takes"));
    }
    decoder.leave();
    Ok(value)
}

impl<'x, 'de: 'x> MapAccess<'de> for Entries<'_, 'x, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.decoder.next_item(&mut self.blocks, self.least)? {
            return Ok(None);
        }
        let length = self.decoder.length()?;
        let key = match self.decoder.piece(length)? {
            Piece::Input(bytes) => {
                self.key = bytes;
                seed.deserialize(BorrowedStrDeserializer::new(utf8(bytes)?))
            }
            Piece::Default(bytes) => {
                self.key = bytes;
                seed.deserialize(StrDeserializer::new(utf8(bytes)?))
            }
        };
        key.map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let key = self.key;
        seed.deserialize(At::new(self.decoder, self.op))
            .map_err(|error| error.at(PathStep::Key(String::from_utf8_lossy(key).into())))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(Decoder::at_hand(&self.blocks, self.least))
    }
}

// ---- Records.

struct Record<'a, 'x, 'de> {
    decoder: &'a mut Decoder<'x, 'de>,
    fields: std::slice::Iter<'x, FieldOp>,
    /// The field whose value has not been read yet.
    pending: Option<&'x FieldOp>,
    charge_names: bool,
}

pub(super) fn record<'x, 'de: 'x, V: Visitor<'de>>(
    decoder: &mut Decoder<'x, 'de>,
    fields: &'x Fields,
    charge_names: bool,
    visitor: V,
) -> Result<V::Value> {
    decoder.enter()?;
    decoder.charge_values(fields.fields.len() as u64)?;
    let mut record = Record { decoder, fields: fields.fields.iter(), pending: None, charge_names };
    let value = visitor.visit_map(&mut record)?;
    // Fields that the type does not request have to be read all the same.
    let Record { decoder, fields, pending, .. } = record;
    for field in pending.into_iter().chain(fields) {
        if let FieldOp::Read { op, .. } | FieldOp::Skip(op) = field {
            decoder.skip(*op)?;
        }
    }
    decoder.leave();
    Ok(value)
}

impl<'x, 'de: 'x> MapAccess<'de> for Record<'_, 'x, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        for field in self.fields.by_ref() {
            match field {
                FieldOp::Skip(op) => self.decoder.skip(*op)?,
                FieldOp::Read { name, .. } | FieldOp::Default { name, .. } => {
                    if self.charge_names {
                        self.decoder.charge_bytes(name.len() as u64)?;
                    }
                    self.pending = Some(field);
                    return seed.deserialize(StrDeserializer::new(name)).map(Some);
                }
            }
        }
        Ok(None)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        match self.pending.take() {
            Some(FieldOp::Read { name, op }) => match seed.deserialize(At::new(self.decoder, *op)) {
                Ok(value) => Ok(value),
                Err(error) => Err(error.in_field(name)),
            },
            Some(FieldOp::Default { name, op, value }) => self
                .decoder
                .with_default(value, |decoder| seed.deserialize(At::new(decoder, *op)))
                .map_err(|error| error.in_field(name)),
            Some(FieldOp::Skip(_)) | None => Err(DecodeError::custom("a value is requested before its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.fields.len())
    }
}

// ---- Unions as enums.

pub(super) struct Variant<'a, 'x, 'de> {
    pub(super) value: Chosen<'a, 'x, 'de>,
    pub(super) variant: &'static str,
}

impl<'x, 'de: 'x> EnumAccess<'de> for Variant<'_, 'x, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        Ok((seed.deserialize(StrDeserializer::<DecodeError>::new(self.variant))?, self))
    }
}

impl<'x, 'de: 'x> VariantAccess<'de> for Variant<'_, 'x, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        self.value.decoder.skip_op(self.value.op)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.value.list(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.value.structure(visitor)
    }
}
