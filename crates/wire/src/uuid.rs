//! [`Uuid`]: Kafka's ids of topics and directories.

use std::{fmt, str::FromStr};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Sixteen bytes, formatted as in Kafka: 22 characters of URL-safe base 64 without padding.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// "No id": returned by brokers that do not support ids, and the default of every id field.
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is [`ZERO`](Self::ZERO).
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        // 21 characters of 6 bits from the top, then the remaining 2 bits, shifted up.
        let text: String = (0..22_u32)
            .map(|i| if i < 21 { bits >> (122 - 6 * i) } else { bits << 4 })
            .filter_map(|six| ALPHABET.get((six & 63) as usize))
            .map(|&letter| char::from(letter))
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

/// The text is not 22 characters of URL-safe base 64.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of Kafka's: 22 characters of URL-safe base 64 are expected")]
pub struct ParseUuidError;

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let letters = text.as_bytes();
        let (Some((&last, head)), 22) = (letters.split_last(), letters.len()) else {
            return Err(ParseUuidError);
        };
        let six = |letter: u8| {
            ALPHABET.iter().position(|&a| a == letter).map(|at| at as u128).ok_or(ParseUuidError)
        };
        let bits = head.iter().try_fold(0_u128, |bits, &letter| Ok(bits << 6 | six(letter)?))?;
        match six(last)? {
            // The last character has two significant bits; set bits below them would be lost in a round trip.
            last if last & 0b1111 == 0 => Ok(Self((bits << 2 | last >> 4).to_be_bytes())),
            _ => Err(ParseUuidError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        let bytes = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
        assert_eq!(Uuid(bytes).to_string(), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!("AAECAwQFBgcICQoLDA0ODw".parse(), Ok(Uuid(bytes)));
    }

    #[test]
    fn an_invalid_id_is_refused() {
        for text in
            ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAB"]
        {
            assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError), "{text:?}");
        }
    }
}
