//! The data of Apicurio's own serializers in addition to its ids: headers, and a message's name in place of Confluent's indexes.

use super::{Framed, framing};
use crate::{
    error::DecodeError,
    id::{SchemaId, SchemaType},
    payload::{Part, Payload},
};

/// The header with the name of Protobuf's message, shared by keys and values.
const MESSAGE: &str = "apicurio.protobuf.type";

fn prefix(part: Part) -> &'static [u8] {
    match part {
        Part::Key => b"apicurio.key.",
        Part::Value => b"apicurio.value.",
    }
}

pub(super) fn is_header(part: Part, name: &[u8]) -> bool {
    name == MESSAGE.as_bytes() || name.starts_with(prefix(part))
}

/// The headers of a bare value to be written. Apicurio has an encoding header for Avro only.
pub(crate) fn headers(
    part: Part,
    id: u32,
    kind: SchemaType,
    message: Option<&str>,
) -> Vec<(&'static str, Vec<u8>)> {
    let (content_id, encoding) = match part {
        Part::Key => ("apicurio.key.contentId", "apicurio.key.encoding"),
        Part::Value => ("apicurio.value.contentId", "apicurio.value.encoding"),
    };
    let mut headers = vec![(content_id, u64::from(id).to_be_bytes().to_vec())];
    match kind {
        SchemaType::Avro => headers.push((encoding, b"BINARY".to_vec())),
        SchemaType::Protobuf => headers.extend(message.map(|message| (MESSAGE, message.into()))),
        SchemaType::Json => {}
    }
    headers
}

/// The last header of each name counts.
#[derive(Default)]
struct Headers<'a> {
    content_id: Option<&'a [u8]>,
    global_id: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    fn of(payload: &Payload<'a>) -> Self {
        let prefix = prefix(payload.part());
        let mut found = Self::default();
        for header in payload.headers() {
            if header.key == MESSAGE.as_bytes() {
                found.message = header.value;
                continue;
            }
            match header.key.strip_prefix(prefix) {
                Some(b"contentId") => found.content_id = header.value,
                Some(b"globalId") => found.global_id = header.value,
                Some(b"encoding") => found.encoding = header.value,
                _ => {}
            }
        }
        found
    }
}

/// A bare value whose headers name its schema.
pub(super) fn of_headers<'a>(
    payload: &Payload<'a>,
    bytes: &'a [u8],
) -> Result<Option<Framed<'a>>, DecodeError> {
    let headers = Headers::of(payload);
    if headers.encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"JSON")) {
        return Err(framing("it is Avro in JSON (`apicurio.registry.avro.encoding`), which is not read"));
    }
    let wrong = || framing("the header with the id of its schema does not have eight bytes");
    match (headers.content_id, headers.global_id) {
        (Some(content_id), _) => {
            let id = id(content_id.try_into().map_err(|_| wrong())?)?;
            Ok(Some(Framed { message: headers.message, ..Framed::of(id, bytes) }))
        }
        (None, Some(_)) => Err(framing(
            "a header has the global id of its schema, by which none is found here: its producer needs `apicurio.registry.use-id=contentId`",
        )),
        (None, None) => Ok(None),
    }
}

pub(super) fn id(bytes: [u8; 8]) -> Result<SchemaId, DecodeError> {
    let id = u64::from_be_bytes(bytes);
    let known = u32::try_from(id).map(SchemaId::Id);
    known.map_err(|_| {
        framing(format!("its id {id} is larger than ids are: was it written with another framing?"))
    })
}

/// Splits off the name of Protobuf's message, which precedes it as a message of its own (`Ref`) with its length: field 1 and
/// nothing else.
pub(crate) fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [length, inside @ ..] = bytes else { return None };
    // Names of 126 letters and more do not occur.
    let length = Some(usize::from(*length)).filter(|length| *length < 0x80)?;
    let (inside, rest) = inside.split_at_checked(length)?;
    match inside {
        [0x0a, length, name @ ..] if usize::from(*length) == name.len() && !name.is_empty() => {
            Some((name, rest))
        }
        _ => None,
    }
}

/// Writes a frame: a byte 0, the id, and for Protobuf the message's name.
pub(crate) fn push_frame(out: &mut Vec<u8>, id: u32, message: Option<&str>) {
    out.push(0);
    out.extend_from_slice(&u64::from(id).to_be_bytes());
    let Some(message) = message else { return };
    let mut inside = vec![0x0a];
    push_varint(&mut inside, message.len());
    inside.extend_from_slice(message.as_bytes());
    push_varint(out, inside.len());
    out.extend_from_slice(&inside);
}

fn push_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_and_taken_off() {
        let mut out = Vec::new();
        push_frame(&mut out, 258, Some("Order"));
        assert_eq!(out, *b"\0\0\0\0\0\0\0\x01\x02\x07\x0a\x05Order");
        out.extend_from_slice(b"rest");
        assert_eq!(split_name(&out[9..]), Some((&b"Order"[..], &b"rest"[..])));
        for other in
            [&b""[..], b"\0", b"\x07\x0a\x05Orde", b"\x07\x0a\x04Order", b"\x02\x0a\0", b"\xff\xff\x0a"]
        {
            assert_eq!(split_name(other), None, "{other:?}");
        }
    }
}
