//! Typed values for Kafka records.
#![forbid(unsafe_code)]

pub mod avro;
