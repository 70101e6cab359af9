#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod avro;
mod deserializer;
mod error;
mod finite;
pub mod framing;
pub mod gate;
mod id;
#[cfg(feature = "json-schema")]
mod json_schema;
mod names;
mod numbers;
mod payload;
mod percent;
mod proto_text;
#[cfg(feature = "protobuf")]
mod protobuf;
mod registered;
pub mod registry;
mod schema;
mod serializer;
mod table;
mod typed;
#[cfg(feature = "worker")]
pub mod worker;

pub use avro::{Budget, JsonForm};
#[cfg(feature = "messagepack")]
pub use deserializer::MessagePack;
pub use deserializer::{Deserializer, Json, Plain, PrepareFuture, Prepared};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use framing::Framing;
pub use gate::WhenUnknown;
pub use id::{SchemaId, SchemaType};
pub use payload::{Part, Payload};
pub use registered::Registered;
pub use registry::{RegistryConfig, RegistryError, RegistryErrorKind, RegistryEvent, SchemaRegistry};
pub use schema::{Reference, Schema, SchemaText};
pub use serializer::{Encoded, Encoder, IdLocation, Serializer, SubjectStrategy};
pub use typed::{Typed, TypedConsumer, TypedRecord, TypedRecords, decode};
