#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod avro;
mod error;
pub mod framing;
mod id;
#[cfg(feature = "json-schema")]
mod json_schema;
mod names;
mod payload;
#[cfg(feature = "protobuf")]
mod protobuf;
pub mod registry;
mod schema;
mod table;

pub use avro::{Budget, JsonForm};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use framing::Framing;
pub use id::{SchemaId, SchemaType};
pub use payload::{Part, Payload};
pub use registry::{RegistryConfig, RegistryError, RegistryErrorKind, RegistryEvent, SchemaRegistry};
pub use schema::{Reference, Schema, SchemaText};
