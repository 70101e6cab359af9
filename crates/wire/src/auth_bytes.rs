//! [`AuthBytes`]: a message of a SASL mechanism.

use std::fmt;

use bytes::Bytes;

use crate::{DecodeError, EncodeError, Encoding, Field, Kind, Reader, Writer};

/// A message of a SASL mechanism. It may contain a password or a token, so that `Debug` shows only its length.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthBytes(pub Bytes);

impl From<Bytes> for AuthBytes {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for AuthBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthBytes({} bytes)", self.0.len())
    }
}

impl Field for AuthBytes {
    fn min_size(encoding: Encoding) -> usize {
        Bytes::min_size(encoding)
    }
    fn read(r: &mut Reader, encoding: Encoding) -> Result<Self, DecodeError> {
        Bytes::read(r, encoding).map(Self)
    }
    fn write(&self, w: &mut Writer, encoding: Encoding) -> Result<(), EncodeError> {
        self.0.write(w, encoding)
    }
    fn kind(encoding: Encoding) -> Kind {
        Bytes::kind(encoding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_bytes_are_not_shown_by_debug() {
        let shown = format!("{:?}", AuthBytes(Bytes::from_static(b"\0user\0canary")));
        assert_eq!(shown, "AuthBytes(12 bytes)");
    }
}
