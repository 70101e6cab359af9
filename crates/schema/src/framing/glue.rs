//! The header of AWS Glue's serializers: a byte 3, the compression of the rest, and the UUID of the schema version.
//!
//! Glue's registry is not queried: decode with the schemas for these UUIDs if you have them.

use crate::error::{DecodeError, DecodeErrorKind};

const VERSION: u8 = 3;
const HEADER: usize = 18;

/// A value without Glue's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlueFramed<'a> {
    /// The id of the schema version.
    pub schema_version: [u8; 16],
    /// Whether `rest` is compressed by zlib.
    pub is_compressed: bool,
    /// The bytes after the header.
    pub rest: &'a [u8],
}

/// Removes Glue's frame from a value.
///
/// # Errors
/// [`Framing`](DecodeErrorKind::Framing): there is no valid frame.
pub fn unframe(bytes: &[u8]) -> Result<GlueFramed<'_>, DecodeError> {
    let wrong = |what: &str| DecodeError::new(DecodeErrorKind::Framing, what);
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Err(wrong("it is shorter than the header of AWS Glue"));
    };
    match header {
        [VERSION, compression @ (0 | 5), uuid @ ..] => Ok(GlueFramed {
            schema_version: uuid.try_into().map_err(|_| wrong("its schema's UUID is cut off"))?,
            is_compressed: *compression == 5,
            rest,
        }),
        [VERSION, ..] => Err(wrong("it is compressed in a way that AWS Glue does not have")),
        _ => Err(wrong("it does not begin with AWS Glue's byte 3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_uuid_and_how_the_rest_is_compressed() {
        let bytes = [&[3, 5][..], b"0123456789abcdef", b"rest"].concat();
        let framed = unframe(&bytes).unwrap();
        assert_eq!(
            framed,
            GlueFramed { schema_version: *b"0123456789abcdef", is_compressed: true, rest: b"rest" }
        );
        for wrong in [&b""[..], b"\x03\x00short", &[3; 20], &[0; 20]] {
            assert_eq!(unframe(wrong).unwrap_err().kind(), DecodeErrorKind::Framing);
        }
    }
}
