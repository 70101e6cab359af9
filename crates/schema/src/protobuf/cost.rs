//! The cost of decoding a message, computed from its bytes and its descriptor before anything is allocated.

use prost_reflect::{Kind, MessageDescriptor};

use crate::{
    avro::Budget,
    error::{DecodeError, DecodeErrorKind},
};

/// The charge for a value in memory and in JSON, with its entry in a tree or a list.
const VALUE: u64 = 128;
/// The charge for a message without its fields.
const MESSAGE: u64 = 1024;

struct Cost {
    values: u64,
    bytes: u64,
}

/// Refuses messages that exceed the budget. Malformed data is left to the decoder.
pub(super) fn check(message: &MessageDescriptor, payload: &[u8], budget: &Budget) -> Result<(), DecodeError> {
    let mut left = Cost { values: budget.values, bytes: budget.bytes };
    let depth = budget.depth.min(DEEPEST);
    count(Some(message), End::Bytes, payload, depth, &mut left).map(drop)
}

/// The depth limit of the decoder.
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

/// The end of a message's fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// At the end of the bytes.
    Bytes,
    /// At the tag that ends a group.
    Group,
}

/// Counts the fields of a message, or of unknown data. Returns the bytes after a group, or `None` if the bytes are malformed.
fn count<'a>(
    message: Option<&MessageDescriptor>,
    end: End,
    mut bytes: &'a [u8],
    depth: u32,
    left: &mut Cost,
) -> Result<&'a [u8], DecodeError> {
    let depth = depth.checked_sub(1).ok_or_else(|| beyond("is deeper"))?;
    // JSON includes absent fields.
    let names = message.into_iter().flat_map(MessageDescriptor::fields);
    let absent = names.fold(0_u64, |sum, field| sum.saturating_add(VALUE + field.name().len() as u64));
    left.take(1, MESSAGE.saturating_add(absent))?;
    // Its JSON includes the embedded message, which the decoder reads itself.
    let mut packed = message
        .filter(|message| message.full_name() == "google.protobuf.Any")
        .map(|any| (any, Packed::default()));
    while let Some((tag, rest)) = varint(bytes) {
        let kind = message.and_then(|message| kind_of(message, tag >> 3));
        bytes = match tag & 7 {
            0 => {
                left.take(1, VALUE)?;
                let Some((_, rest)) = varint(rest) else { return Ok(&[]) };
                rest
            }
            1 | 5 => {
                left.take(1, VALUE)?;
                let Some(rest) = rest.get(if tag & 7 == 1 { 8 } else { 4 }..) else { return Ok(&[]) };
                rest
            }
            2 => {
                let Some((length, rest)) = varint(rest) else { return Ok(&[]) };
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some((inside, rest)) = rest.split_at_checked(length) else { return Ok(&[]) };
                delimited(kind, inside, depth, left)?;
                if let Some((_, packed)) = &mut packed {
                    packed.read(tag >> 3, inside);
                }
                rest
            }
            3 => {
                left.take(1, VALUE)?;
                let inner = match kind {
                    Some(Kind::Message(inner)) => Some(inner),
                    _ => None,
                };
                count(inner.as_ref(), End::Group, rest, depth, left)?
            }
            4 if end == End::Group => return Ok(rest),
            _ => return Ok(&[]),
        };
    }
    if let Some((any, packed)) = packed
        && let Some(inner) = packed.message(any)
    {
        count(Some(&inner), End::Bytes, packed.value, depth, left)?;
    }
    Ok(&[])
}

/// The kind of a field or an extension.
fn kind_of(message: &MessageDescriptor, number: u64) -> Option<Kind> {
    let number = u32::try_from(number).ok()?;
    let field = message.get_field(number).map(|field| field.kind());
    field.or_else(|| message.get_extension(number).map(|extension| extension.kind()))
}

/// The contents of a `google.protobuf.Any`: the last of each of its fields counts.
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

    /// The type, if the schema has it: an unknown type is an error of the decoder.
    fn message(&self, any: &MessageDescriptor) -> Option<MessageDescriptor> {
        let url = std::str::from_utf8(self.type_url).ok()?;
        any.parent_pool().get_message_by_name(url.rsplit('/').next().unwrap_or(url))
    }
}

/// Counts length-delimited data: text, bytes, a message, packed numbers, or an unknown field.
fn delimited(kind: Option<Kind>, inside: &[u8], depth: u32, left: &mut Cost) -> Result<(), DecodeError> {
    let length = inside.len() as u64;
    match kind {
        Some(Kind::Message(message)) => {
            left.take(1, VALUE)?;
            count(Some(&message), End::Bytes, inside, depth, left).map(drop)
        }
        // Text is stored once in memory and once in JSON; bytes are a third longer in JSON.
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
