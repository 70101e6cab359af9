//! Checks that JSON can represent all numbers of a value: NaN and infinities cannot be represented, and serde writes them as
//! null, which Protobuf reads as 0.

use std::fmt;

use serde::{
    Serialize,
    ser::{
        self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant, Serializer,
    },
};

use crate::error::EncodeError;

/// Values that cannot be serialized at all are left to the serializer's error.
pub(crate) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), EncodeError> {
    match value.serialize(Walk) {
        Err(Found::Number(number)) => {
            let reason = format!("{number} cannot be a JSON number: for Protobuf it is written as a string");
            Err(EncodeError::new(reason))
        }
        Ok(()) | Err(Found::Other) => Ok(()),
    }
}

#[derive(Debug)]
enum Found {
    Number(f64),
    Other,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not finite")
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Other
    }
}

type Seen = Result<(), Found>;

/// Checks each number.
struct Walk;

macro_rules! seen {
    ($($method:ident($($of:ty),*);)*) => {
        $(fn $method(self, $(_: $of),*) -> Seen {
            Ok(())
        })*
    };
}

macro_rules! opened {
    ($($method:ident($($of:ty),*);)*) => {
        $(fn $method(self, $(_: $of),*) -> Result<Self, Found> {
            Ok(self)
        })*
    };
}

impl Serializer for Walk {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_f32(self, number: f32) -> Seen {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Seen {
        if number.is_finite() { Ok(()) } else { Err(Found::Number(number)) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Seen {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Seen {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Seen {
        value.serialize(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Seen {
        Ok(())
    }

    seen! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    opened! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }
}

macro_rules! parts {
    ($($compound:ident $method:ident($($name:ty)?);)*) => {
        $(impl $compound for Walk {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Seen {
                value.serialize(Self)
            }

            fn end(self) -> Seen {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq serialize_element();
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(&'static str);
    SerializeStructVariant serialize_field(&'static str);
}

impl SerializeMap for Walk {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Seen {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Seen {
        value.serialize(Self)
    }

    fn end(self) -> Seen {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(f64),
        Tuple(u8, f32),
        Struct { x: Option<f64> },
    }

    #[test]
    fn a_number_that_json_does_not_have_is_found_wherever_it_lies() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert!(check(&nan).unwrap_err().to_string().contains("NaN"));
        assert!(check(&[1.0, -inf]).unwrap_err().to_string().contains("-inf"));
        assert!(check(&BTreeMap::from([("a", vec![(1, nan)])])).is_err());
        for (finite, other) in [
            (Shape::New(1.0), Shape::New(nan)),
            (Shape::Tuple(1, 1.0), Shape::Tuple(1, f32::INFINITY)),
            (Shape::Struct { x: Some(0.5) }, Shape::Struct { x: Some(inf) }),
            (Shape::Struct { x: None }, Shape::New(-nan)),
            (Shape::Unit, Shape::New(inf)),
        ] {
            assert!(check(&finite).is_ok() && check(&other).is_err());
        }
        assert!(check(&("NaN", (), 'x', [0_u8; 2], i128::MAX)).is_ok());
    }
}
