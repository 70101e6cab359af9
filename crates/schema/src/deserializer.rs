//! [`Deserializer`]: from bytes to user types; and the deserializers that need no schema.

use std::{any::Any, fmt, pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, de};

use crate::{
    error::{DecodeError, DecodeErrorKind},
    id::SchemaId,
    payload::Payload,
};

/// The result of [`Deserializer::prepare`].
pub type PrepareFuture<'a> = Pin<Box<dyn Future<Output = Result<Prepared, DecodeError>> + Send + 'a>>;

/// A schema that [`Deserializer::prepare`] has found. If it was created by [`holding`](Self::holding), the schema stays known as
/// long as this is kept, whatever a cache evicts meanwhile; the default holds nothing.
#[derive(Clone, Default)]
pub struct Prepared(Option<Arc<dyn Any + Send + Sync>>);

impl Prepared {
    /// Holds data for decoding with the schema, which the deserializer finds by id as long as a holder exists.
    pub fn holding<T: Any + Send + Sync>(what: T) -> Self {
        Self(Some(Arc::new(what)))
    }

    /// Whether it holds anything.
    pub(crate) fn holds(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("holds", &self.holds()).finish()
    }
}

/// Decodes bytes to values. The type is chosen when a value is requested, and may borrow from the record.
///
/// A null (a tombstone) is `None` for an `Option`, and an error for any other type.
pub trait Deserializer: Send + Sync + 'static {
    /// The schema that has to be known before this can be decoded, if it is unknown or may be evicted before.
    /// [`prepare`](Self::prepare) finds it.
    fn missing(&self, _payload: &Payload<'_>) -> Option<SchemaId> {
        None
    }

    /// Waits for this long until the schema is known. With [`Duration::ZERO`] it is requested once.
    fn prepare(&self, _id: SchemaId, _limit: Duration) -> PrepareFuture<'_> {
        Box::pin(std::future::ready(Ok(Prepared::default())))
    }

    /// Decodes the value without waiting.
    ///
    /// # Errors
    /// The reason.
    fn deserialize<'a, V: Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError>;
}

/// JSON. The type may borrow, but a string with an escape (`\"`, `\n`) is not in the record as it is, and a `&str` fails on it:
/// take `#[serde(borrow)] Cow<'a, str>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Deserializer for Json {
    fn deserialize<'a, V: Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
        match payload.bytes() {
            Some(bytes) => from_json(bytes),
            None => of_null(),
        }
    }
}

pub(crate) fn from_json<'a, V: Deserialize<'a>>(bytes: &'a [u8]) -> Result<V, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let kind = if error.is_data() { DecodeErrorKind::Target } else { DecodeErrorKind::Malformed };
        DecodeError::new(kind, error)
    })
}

/// MessagePack.
#[cfg(feature = "messagepack")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

#[cfg(feature = "messagepack")]
impl Deserializer for MessagePack {
    fn deserialize<'a, V: Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
        let Some(bytes) = payload.bytes() else { return of_null() };
        let mut from = rmp_serde::Deserializer::from_read_ref(bytes);
        from.set_max_depth(128);
        let value =
            V::deserialize(&mut from).map_err(|error| DecodeError::new(DecodeErrorKind::Malformed, error))?;
        // No bytes may be left over, which shows when another value is requested.
        match de::IgnoredAny::deserialize(&mut from) {
            Err(rmp_serde::decode::Error::InvalidMarkerRead(error))
                if error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                Ok(value)
            }
            _ => Err(DecodeError::new(DecodeErrorKind::Malformed, "bytes are left over")),
        }
    }
}

/// The formats of Kafka's own serializers: text (`String`, `&str`), bytes (`&[u8]`, and `Vec<u8>`), `bool` as one byte, and
/// numbers big-endian: `i8`, `i16`, `i32`, `i64`, `f32`, `f64` (and the unsigned ones).
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Deserializer for Plain {
    fn deserialize<'a, V: Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
        match payload.bytes() {
            Some(bytes) => V::deserialize(PlainBytes(bytes)),
            None => of_null(),
        }
    }
}

/// Decodes a null: `None`, `()`, or an error.
#[cold]
pub(crate) fn of_null<'a, V: Deserialize<'a>>() -> Result<V, DecodeError> {
    V::deserialize(Null).map_err(|_| crate::framing::null())
}

struct Null;

impl<'de> de::Deserializer<'de> for Null {
    type Error = DecodeError;

    fn deserialize_any<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_option<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl de::Error for DecodeError {
    #[cold]
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(DecodeErrorKind::Target, reason)
    }
}

struct PlainBytes<'a>(&'a [u8]);

impl<'a> PlainBytes<'a> {
    fn fixed<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.0.try_into().map_err(|_| {
            let reason = format!("it has {} bytes, and the type {N}", self.0.len());
            DecodeError::new(DecodeErrorKind::Malformed, reason)
        })
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty,)*) => {
        $(fn $method<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
            visitor.$visit(<$number>::from_be_bytes(self.fixed()?))
        })*
    };
}

impl<'de> de::Deserializer<'de> for PlainBytes<'de> {
    type Error = DecodeError;

    numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_any<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        match std::str::from_utf8(self.0) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(self.0),
        }
    }

    fn deserialize_bool<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        match self.0 {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            _ => Err(DecodeError::new(DecodeErrorKind::Malformed, "it is not one byte that is 0 or 1")),
        }
    }

    fn deserialize_str<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        let text = std::str::from_utf8(self.0);
        let text = text.map_err(|error| {
            DecodeError::new(DecodeErrorKind::Malformed, format!("it is no UTF-8: {error}"))
        })?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_byte_buf<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_option<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<W: de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: W,
    ) -> Result<W::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    /// `Vec<u8>` is a sequence for serde.
    fn deserialize_seq<W: de::Visitor<'de>>(self, visitor: W) -> Result<W::Value, DecodeError> {
        visitor.visit_seq(de::value::SeqDeserializer::new(self.0.iter().copied()))
    }

    serde::forward_to_deserialize_any! {
        char unit unit_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Part;

    fn of<'a, D: Deserializer, V: Deserialize<'a>>(by: D, bytes: &'a [u8]) -> Result<V, DecodeError> {
        by.deserialize(&Payload::new(Part::Value, "t", Some(bytes)))
    }

    #[test]
    fn plain_types_are_what_kafkas_serialisers_write() {
        assert_eq!(of::<_, i64>(Plain, &[0, 0, 0, 0, 0, 0, 1, 2]).unwrap(), 258);
        assert_eq!(of::<_, i32>(Plain, &(-2_i32).to_be_bytes()).unwrap(), -2);
        assert_eq!(of::<_, f64>(Plain, &1.5_f64.to_be_bytes()).unwrap(), 1.5);
        assert_eq!(of::<_, &str>(Plain, "é".as_bytes()).unwrap(), "é");
        assert_eq!(of::<_, String>(Plain, b"x").unwrap(), "x");
        assert_eq!(of::<_, &[u8]>(Plain, &[0xff, 0]).unwrap(), [0xff, 0]);
        assert_eq!(of::<_, Vec<u8>>(Plain, &[0xff, 0]).unwrap(), [0xff, 0]);
        assert!(of::<_, bool>(Plain, &[1]).unwrap());
        assert_eq!(of::<_, Option<i16>>(Plain, &[0, 7]).unwrap(), Some(7));
        for (error, said) in [
            (of::<_, i64>(Plain, b"abc").unwrap_err(), "it has 3 bytes, and the type 8"),
            (of::<_, &str>(Plain, &[0xff]).unwrap_err(), "no UTF-8"),
            (of::<_, bool>(Plain, &[2]).unwrap_err(), "0 or 1"),
        ] {
            assert_eq!(error.kind(), DecodeErrorKind::Malformed);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_null_is_none_or_an_error() {
        let null = Payload::new(Part::Value, "t", None);
        assert_eq!(Plain.deserialize::<Option<i64>>(&null).unwrap(), None);
        assert_eq!(Json.deserialize::<Option<String>>(&null).unwrap(), None);
        assert_eq!(Json.deserialize::<String>(&null).unwrap_err().kind(), DecodeErrorKind::Null);
        assert_eq!(Plain.deserialize::<&[u8]>(&null).unwrap_err().kind(), DecodeErrorKind::Null);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order<'a> {
        id: u32,
        name: &'a str,
    }

    #[test]
    fn json_borrows_and_says_what_was_wrong() {
        let order: Order<'_> = of(Json, br#"{"id":1,"name":"x"}"#).unwrap();
        assert_eq!(order, Order { id: 1, name: "x" });
        assert_eq!(of::<_, Order<'_>>(Json, br#"{"id":"1"}"#).unwrap_err().kind(), DecodeErrorKind::Target);
        assert_eq!(of::<_, Order<'_>>(Json, br#"{"id":"#).unwrap_err().kind(), DecodeErrorKind::Malformed);
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn message_pack_borrows_and_leaves_nothing_over() {
        let bytes = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("name", "x")])).unwrap();
        #[derive(Deserialize)]
        struct Named<'a> {
            name: &'a str,
        }
        assert_eq!(of::<_, Named<'_>>(MessagePack, &bytes).unwrap().name, "x");
        let more = [bytes.as_slice(), &[1]].concat();
        assert!(of::<_, Named<'_>>(MessagePack, &more).is_err());
        let deep = [0x91; 100_000];
        assert!(of::<_, serde_json::Value>(MessagePack, &deep).is_err());
        let claims_much = [0xdd, 0xff, 0xff, 0xff, 0xff];
        assert!(of::<_, Vec<u64>>(MessagePack, &claims_much).is_err());
    }
}
