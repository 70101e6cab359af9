//! What a message will cost, counted on its bytes and its descriptor before anything is allocated.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::{
    avro::Budget,
    error::{DecodeError, DecodeErrorKind},
};

/// A value in memory and in JSON, with its place in a tree or a list.
const VALUE: u64 = 128;
/// A message beside its fields.
const MESSAGE: u64 = 1024;

struct Cost {
    values: u64,
    bytes: u64,
}

/// Refuses what is deeper or larger than the budget. What is malformed is left to the decoder.
pub(super) fn check(message: &MessageDescriptor, payload: &[u8], budget: &Budget) -> Result<(), DecodeError> {
    let mut left = Cost { values: budget.values, bytes: budget.bytes };
    let depth = budget.depth.min(DEEPEST);
    count(message, payload, depth, &mut left)
}

/// The decoder goes no deeper.
const DEEPEST: u32 = 100;

#[cold]
fn beyond(what: &str) -> DecodeError {
    DecodeError::new(DecodeErrorKind::Budget, format!("the message {what} than the budget allows"))
}

impl Cost {
    fn take(&mut self, values: u64, bytes: u64) -> Result<(), DecodeError> {
        self.values = self.values.checked_sub(values).ok_or_else(|| beyond("has more values"))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| beyond("takes more bytes"))?;
        Ok(())
    }
}

fn count(
    message: &MessageDescriptor,
    mut bytes: &[u8],
    depth: u32,
    left: &mut Cost,
) -> Result<(), DecodeError> {
    let depth = depth.checked_sub(1).ok_or_else(|| beyond("is deeper"))?;
    // JSON has the fields that are not there, too.
    left.take(1, MESSAGE.saturating_add((message.fields().len() as u64).saturating_mul(VALUE)))?;
    // Its JSON has the message that it holds, which the decoder reads by itself.
    let mut packed = (message.full_name() == "google.protobuf.Any").then(Packed::default);
    while let Some((tag, rest)) = varint(bytes) {
        let field = u32::try_from(tag >> 3).ok().and_then(|number| message.get_field(number));
        bytes = match tag & 7 {
            0 => {
                left.take(1, VALUE)?;
                let Some((_, rest)) = varint(rest) else { return Ok(()) };
                rest
            }
            1 | 5 => {
                left.take(1, VALUE)?;
                let Some(rest) = rest.get(if tag & 7 == 1 { 8 } else { 4 }..) else { return Ok(()) };
                rest
            }
            2 => {
                let Some((length, rest)) = varint(rest) else { return Ok(()) };
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some((inside, rest)) = rest.split_at_checked(length) else { return Ok(()) };
                delimited(field.as_ref(), inside, depth, left)?;
                if let Some(packed) = &mut packed {
                    packed.read(tag >> 3, inside);
                }
                rest
            }
            // Groups: their fields are counted as this message's own, and the decoder bounds how deep they are.
            3 => {
                left.take(1, MESSAGE)?;
                rest
            }
            4 => rest,
            _ => return Ok(()),
        };
    }
    match packed.and_then(|packed| Some((packed.message(message)?, packed.value))) {
        Some((inner, value)) => count(&inner, value, depth, left),
        None => Ok(()),
    }
}

/// What a `google.protobuf.Any` holds: the last of each of its fields counts.
#[derive(Default)]
struct Packed<'a> {
    type_url: &'a [u8],
    value: &'a [u8],
}

impl<'a> Packed<'a> {
    fn read(&mut self, number: u64, inside: &'a [u8]) {
        match number {
            1 => self.type_url = inside,
            2 => self.value = inside,
            _ => {}
        }
    }

    /// Its type, if the schema has it: one that is not known is an error of the decoder's.
    fn message(&self, any: &MessageDescriptor) -> Option<MessageDescriptor> {
        let url = std::str::from_utf8(self.type_url).ok()?;
        any.parent_pool().get_message_by_name(url.rsplit('/').next().unwrap_or(url))
    }
}

/// What has a length: text, bytes, a message, packed numbers, or a field that is not known.
fn delimited(
    field: Option<&FieldDescriptor>,
    inside: &[u8],
    depth: u32,
    left: &mut Cost,
) -> Result<(), DecodeError> {
    let length = inside.len() as u64;
    match field.map(FieldDescriptor::kind) {
        Some(Kind::Message(message)) => {
            left.take(1, VALUE)?;
            count(&message, inside, depth, left)
        }
        // Text is there as it is, and in JSON; bytes are a third longer there.
        Some(Kind::String | Kind::Bytes) | None => left.take(1, VALUE.saturating_add(3 * length)),
        Some(kind) => {
            let least = match kind {
                Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 8,
                Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 4,
                _ => 1,
            };
            let items = length / least;
            left.take(items, items.saturating_mul(VALUE))
        }
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (nth, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(nth).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(nth + 1..)?));
        }
    }
    None
}
