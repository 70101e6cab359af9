//! Framings: the data before a value, or beside it, that names the writer's schema.
//!
//! - [`Framing::Confluent`]: a byte 0 and the registry's id in four bytes. Or the header `__value_schema_id` (`__key_schema_id`)
//!   with a byte 1 and a GUID, or a byte 0 and an id; the value is then bare. For Protobuf, indexes follow that identify the
//!   message in the file.
//! - [`Framing::Apicurio`]: a byte 0 and Apicurio's own id in eight bytes, or the header `apicurio.value.contentId`
//!   (`apicurio.key.contentId`), as written by its serializers unless they are configured for Confluent's format. For Protobuf,
//!   the message's name follows, or is in a header.
//!
//! AWS Glue's header is read by [`glue`].

use std::fmt;

use crate::{
    error::{DecodeError, DecodeErrorKind},
    id::SchemaId,
    payload::{Part, Payload},
};

pub(crate) mod apicurio;
pub mod glue;

/// The framing of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Confluent's: an id of four bytes, or headers.
    #[default]
    Confluent,
    /// Apicurio's own: an id of eight bytes, or headers. Its API for Confluent's clients identifies schemas by their content id.
    /// Its serializers therefore have to be configured with `apicurio.registry.use-id=contentId`; with a global id, their
    /// default, another schema could be found here.
    Apicurio,
}

/// A value without its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The writer's schema.
    pub id: SchemaId,
    /// The bytes after the id; for Protobuf including the indexes, unless these are in the header.
    pub rest: &'a [u8],
    /// The indexes of Protobuf, if they are in the header.
    pub indexes: Option<&'a [u8]>,
    /// The name of Protobuf's message, if it is in one of Apicurio's headers.
    pub message: Option<&'a [u8]>,
}

/// The header of Confluent's newer serializers.
pub(crate) fn id_header_name(part: Part) -> &'static str {
    match part {
        Part::Key => "__key_schema_id",
        Part::Value => "__value_schema_id",
    }
}

/// Whether a header of this name, in either framing, describes how a record's key or value was written. Such headers apply only
/// to these bytes: drop them when the value is encoded again.
pub fn is_schema_header(part: Part, name: &str) -> bool {
    name == id_header_name(part) || apicurio::is_header(part, name.as_bytes())
}

/// Precedes an id of four bytes.
const MAGIC_ID: u8 = 0;
/// Precedes a GUID.
const MAGIC_GUID: u8 = 1;

impl Framing {
    /// Removes the frame of a value. A null has no frame either.
    ///
    /// # Errors
    /// [`Framing`](DecodeErrorKind::Framing): there is no valid frame.
    #[inline]
    pub fn unframe<'a>(self, payload: &Payload<'a>) -> Result<Framed<'a>, DecodeError> {
        let Some(bytes) = payload.bytes() else { return Err(null()) };
        match self {
            Self::Confluent => {
                if let Some(header) = id_header(payload) {
                    return of_header(header, bytes);
                }
            }
            Self::Apicurio => {
                if let Some(framed) = apicurio::of_headers(payload, bytes)? {
                    return Ok(framed);
                }
            }
        }
        match (self, bytes) {
            (Self::Confluent, [MAGIC_ID, a, b, c, d, rest @ ..]) => {
                Ok(Framed::of(SchemaId::Id(u32::from_be_bytes([*a, *b, *c, *d])), rest))
            }
            (Self::Apicurio, [MAGIC_ID, a, b, c, d, e, f, g, h, rest @ ..]) => {
                Ok(Framed::of(apicurio::id([*a, *b, *c, *d, *e, *f, *g, *h])?, rest))
            }
            _ => Err(no_frame(bytes)),
        }
    }
}

impl<'a> Framed<'a> {
    fn of(id: SchemaId, rest: &'a [u8]) -> Self {
        Self { id, rest, indexes: None, message: None }
    }
}

/// The header that names the schema.
#[inline]
fn id_header<'a>(payload: &Payload<'a>) -> Option<&'a [u8]> {
    let name = id_header_name(payload.part());
    // As in Kafka's `lastHeader`, the last one counts.
    payload.headers().filter(|header| header.key == name.as_bytes()).filter_map(|header| header.value).last()
}

#[cold]
fn of_header<'a>(header: &'a [u8], bytes: &'a [u8]) -> Result<Framed<'a>, DecodeError> {
    match header {
        [MAGIC_GUID, after @ ..] if after.len() >= 16 => {
            let (guid, indexes) = after.split_at(16);
            let guid = guid.try_into().map_err(|_| framing("its GUID is cut off"))?;
            let indexes = Some(indexes).filter(|indexes| !indexes.is_empty());
            Ok(Framed { indexes, ..Framed::of(SchemaId::Guid(guid), bytes) })
        }
        [MAGIC_ID, a, b, c, d, indexes @ ..] => {
            let id = SchemaId::Id(u32::from_be_bytes([*a, *b, *c, *d]));
            let indexes = Some(indexes).filter(|indexes| !indexes.is_empty());
            Ok(Framed { indexes, ..Framed::of(id, bytes) })
        }
        _ => Err(framing("the header that names its schema has neither a GUID nor an id")),
    }
}

#[cold]
fn no_frame(bytes: &[u8]) -> DecodeError {
    framing(match bytes {
        [] => "it is empty, and names no schema".to_owned(),
        [MAGIC_ID, ..] => "it ends before the id of its schema".to_owned(),
        [first, ..] => format!(
            "it names no schema: it begins with the byte {first:#04x} and not with 0, so it was not written by a registry's serialiser"
        ),
    })
}

#[cold]
pub(crate) fn null() -> DecodeError {
    DecodeError::new(DecodeErrorKind::Null, "the payload is null, and the type is not an Option")
}

fn framing(reason: impl fmt::Display) -> DecodeError {
    DecodeError::new(DecodeErrorKind::Framing, reason)
}

/// The path of a message in a `.proto` file: the index of a message, of a message nested in it, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIndexes(Vec<u32>);

/// The nesting limit of messages.
const DEEPEST: usize = 64;

impl Default for MessageIndexes {
    /// The first message of the file.
    fn default() -> Self {
        Self(vec![0])
    }
}

impl MessageIndexes {
    /// For values that are not Protobuf, without an allocation.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// These indexes, from the outside in.
    pub fn new(indexes: impl Into<Vec<u32>>) -> Self {
        Self(indexes.into())
    }

    /// The indexes, from the outside in.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// Splits them off before a message: a count and that many indexes, as zigzag varints; a single 0 is short for the first
    /// message.
    ///
    /// # Errors
    /// [`Framing`](DecodeErrorKind::Framing): they are missing, or exceed the nesting limit of messages.
    pub fn split_from(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let wrong = || framing("its message indexes are invalid");
        let (count, mut rest) = varint(bytes).ok_or_else(wrong)?;
        if count == 0 {
            return Ok((Self::default(), rest));
        }
        let count = usize::try_from(count).ok().filter(|count| *count <= DEEPEST).ok_or_else(wrong)?;
        let mut indexes = Vec::with_capacity(count);
        for _ in 0..count {
            let (index, after) = varint(rest).ok_or_else(wrong)?;
            indexes.push(u32::try_from(index).map_err(|_| wrong())?);
            rest = after;
        }
        Ok((Self(indexes), rest))
    }

    /// Appends them, in the short form if possible.
    pub fn push_to(&self, out: &mut Vec<u8>) {
        if self.0 == [0] {
            out.push(0);
            return;
        }
        push_varint(out, self.0.len() as u64);
        self.0.iter().for_each(|index| push_varint(out, u64::from(*index)));
    }
}

/// A zigzag varint of at most 32 bits.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut raw = 0_u64;
    for (nth, byte) in bytes.iter().enumerate().take(5) {
        raw |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            let number = i64::try_from(raw >> 1).ok()? ^ -i64::try_from(raw & 1).ok()?;
            return Some((number, bytes.get(nth + 1..)?));
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, number: u64) {
    let mut left = number << 1; // zigzag encoding of a non-negative number
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Writes a frame: a byte 0 and the id.
pub(crate) fn push_id(out: &mut Vec<u8>, id: u32) {
    out.push(MAGIC_ID);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Writes the value of a header that names a schema by its GUID: a byte 1 and the GUID.
pub(crate) fn push_guid(out: &mut Vec<u8>, guid: [u8; 16]) {
    out.push(MAGIC_GUID);
    out.extend_from_slice(&guid);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(bytes: &'a [u8]) -> Payload<'a> {
        Payload::new(Part::Value, "orders", Some(bytes))
    }

    #[test]
    fn an_id_of_four_bytes_stands_before_a_value() {
        let framed = Framing::Confluent.unframe(&value(&[0, 0, 0, 1, 2, 9, 8])).unwrap();
        assert_eq!(framed, Framed::of(SchemaId::Id(258), &[9, 8]));
        let mut written = Vec::new();
        push_id(&mut written, 258);
        assert_eq!(written, [0, 0, 0, 1, 2]);
    }

    #[test]
    fn an_id_of_eight_bytes_is_apicurios() {
        let framed = Framing::Apicurio.unframe(&value(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 9])).unwrap();
        assert_eq!((framed.id, framed.rest), (SchemaId::Id(258), &[9_u8][..]));
        let error = Framing::Apicurio.unframe(&value(&[0, 0, 0, 1, 2, 9, 8, 7, 6, 5])).unwrap_err();
        assert!(error.to_string().contains("another framing"), "{error}");
    }

    #[test]
    fn a_value_without_a_frame_is_refused_with_a_reason() {
        for (bytes, said) in [
            (&b""[..], "it is empty"),
            (b"\0\0\0", "ends before the id"),
            (b"{\"a\":1}", "begins with the byte 0x7b and not with 0"),
        ] {
            let error = Framing::Confluent.unframe(&value(bytes)).unwrap_err();
            assert_eq!(error.kind(), DecodeErrorKind::Framing);
            assert!(error.to_string().contains(said), "{error}");
        }
        let null = Payload::new(Part::Value, "orders", None);
        assert_eq!(Framing::Confluent.unframe(&null).unwrap_err().kind(), DecodeErrorKind::Null);
    }

    #[test]
    fn a_header_names_the_schema_of_a_value_that_is_bare() {
        let guid = *b"0123456789abcdef";
        let mut header = Vec::new();
        push_guid(&mut header, guid);
        let framed = of_header(&header, b"bare").unwrap();
        assert_eq!(framed, Framed::of(SchemaId::Guid(guid), b"bare"));
        MessageIndexes::new([1, 0]).push_to(&mut header);
        let framed = of_header(&header, b"bare").unwrap();
        let (indexes, rest) = MessageIndexes::split_from(framed.indexes.unwrap()).unwrap();
        assert_eq!((indexes.as_slice(), rest), (&[1, 0][..], &b""[..]));
        assert_eq!(of_header(&[0, 0, 0, 0, 9], b"x").unwrap().id, SchemaId::Id(9));
        for header in [&b""[..], b"\x01abc", b"\0\0", b"\x02"] {
            assert_eq!(of_header(header, b"x").unwrap_err().kind(), DecodeErrorKind::Framing);
        }
    }

    #[test]
    fn indexes_have_a_short_form_and_a_bound() {
        for (indexes, bytes) in [
            (&[0][..], &[0][..]),
            (&[1], &[2, 2]),
            (&[1, 0], &[4, 2, 0]),
            (&[2, 1, 300], &[6, 4, 2, 0xd8, 4]),
        ] {
            let mut written = Vec::new();
            MessageIndexes::new(indexes).push_to(&mut written);
            assert_eq!(written, bytes);
            written.push(77);
            let (read, rest) = MessageIndexes::split_from(&written).unwrap();
            assert_eq!((read.as_slice(), rest), (indexes, &[77_u8][..]));
        }
        for hostile in
            [&b""[..], &[1], &[2], &[2, 1], &[0xff; 9], &[0x82, 1], &[2, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert!(MessageIndexes::split_from(hostile).is_err(), "{hostile:?}");
        }
        // The long form of the short one.
        assert_eq!(MessageIndexes::split_from(&[2, 0]).unwrap().0, MessageIndexes::default());
    }
}
