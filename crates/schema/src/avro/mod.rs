//! Avro: schemas, the resolution of two of them, and the conversion of values between bytes, user types and JSON.
//!
//! ```
//! use offtake_schema::avro::{Budget, Resolver, Schema};
//!
//! #[derive(serde::Deserialize)]
//! struct Order<'a> {
//!     id: i64,
//!     customer: &'a str, // borrowed from the bytes
//!     note: Option<String>,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let writer = Schema::parse(
//!     r#"{"type": "record", "name": "Order", "fields": [
//!         {"name": "id", "type": "int"}, {"name": "customer", "type": "string"}]}"#,
//!     &[],
//! )?;
//! let reader = Schema::parse(
//!     r#"{"type": "record", "name": "Order", "fields": [
//!         {"name": "id", "type": "long"}, {"name": "customer", "type": "string"},
//!         {"name": "note", "type": ["null", "string"], "default": null}]}"#,
//!     &[],
//! )?;
//! let resolver = Resolver::new(&writer, &reader)?; // once for each pair of schemas
//! let bytes = writer.encode_json(&serde_json::json!({"id": 7, "customer": "Ann"}))?;
//! let order: Order = resolver.decode(&bytes, &Budget::default())?;
//! assert_eq!((order.id, order.customer, order.note), (7, "Ann", None));
//! # Ok(())
//! # }
//! ```
//!
//! # Type conversions
//!
//! | Avro | a Rust type may be |
//! |---|---|
//! | null, and unions with it | `()`, `Option<T>` |
//! | boolean, int, long, float, double | `bool`, any number that it fits |
//! | string | `String`, `&str`, `Cow<str>`, `char`, an enum of unit variants |
//! | bytes, fixed | `Vec<u8>`, `[u8; N]`, `&[u8]` (as a field with `#[serde(borrow)]`), `serde_bytes`; `String` if it is UTF-8 |
//! | enum | an enum of unit variants, `String` |
//! | array | `Vec<T>`, sets, tuples |
//! | map | `HashMap<String, T>`, `BTreeMap<String, T>` |
//! | record | a struct, a map |
//! | union | an enum whose variants have the names of its branches (full, simple, or in other case: `String(String)` for `string`), or `#[serde(untagged)]` |
//! | date, time, timestamp | its number (`i32`, `i64`), or its text: `String`, and the types of `jiff`, `chrono` that read RFC 3339 |
//! | decimal | its text (`String`, the decimal types of other crates), `f64`; an integer if its scale is 0; its bytes |
//! | uuid | its text (`String`, `uuid::Uuid`); of fixed also its bytes |
//! | duration | ISO 8601 (`String`), a struct of `months`, `days` and `millis`, `[u32; 3]` |
//!
//! The same holds for encoding, except that a duration is its text or its twelve bytes. A type that accepts anything (`untagged`,
//! `flatten`) gets dates, decimals, UUIDs and durations as texts.
//!
//! # Untrusted bytes
//!
//! No bytes and no schema make it panic or overflow its stack; a [`Budget`] limits the cost of a value.

mod access;
mod budget;
mod compile;
mod compound;
mod de;
mod decimal;
mod decode;
mod encode_json;
mod error;
mod json;
mod logical;
mod matching;
mod moments;
mod parse;
mod program;
mod resolver;
mod scalar;
mod schema;
mod ser;

pub use budget::Budget;
pub use error::{DecodeError, DecodeErrorKind, EncodeError, Mismatch, SchemaError};
pub use json::JsonForm;
pub use resolver::Resolver;
pub use schema::Schema;

#[cfg(test)]
mod tests;
