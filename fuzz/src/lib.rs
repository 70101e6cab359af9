//! Fuzz targets for everything that reads bytes from outside: what each of them does with an input, and the invariants.
//! `fuzz_targets/` has one line for each; `examples/seeds` and `examples/capture` generate the saved corpora.
//!
//! A finding is a panic: an assertion here, one in the code under test (debug assertions and overflow checks are on),
//! or more memory than the input can account for ([`meter`]).

pub mod avro;
pub mod codec;
pub mod differential;
pub mod engine;
pub mod frame;
pub mod group;
pub mod keystore;
pub mod message;
pub mod meter;
pub mod offsets_topic;
pub mod records;
pub mod sasl;
pub mod schemas;
pub mod select;

#[path = "../../crates/net/src/calendar.rs"]
#[allow(dead_code, unexpected_cfgs, reason = "net's own; the target needs a part of it")]
mod calendar;
#[path = "../../crates/net/src/tls/certificate.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod certificate;
#[path = "../../crates/net/src/tls/der.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod der;
#[path = "../../crates/net/src/frame_pool.rs"]
mod frame_pool;
#[path = "../../crates/net/src/frames.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod frames;
#[path = "../../crates/schema/tests/values/hostile.rs"]
mod hostile;
#[path = "../../crates/net/src/tls/jks.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod jks;
#[path = "../../crates/net/src/tls/pbe.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod pbe;
#[path = "../../crates/consumer/tests/hostile/peer.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's own; the target needs a part of it"
)]
mod peer;
#[path = "../../crates/net/src/tls/pem.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod pem;
#[path = "../../crates/net/src/tls/pkcs12.rs"]
#[allow(dead_code, reason = "net's own; the target needs a part of it")]
mod pkcs12;
#[path = "../../crates/wire/tests/messages/offsets_topic.rs"]
mod records_of_offsets;
#[path = "../../crates/consumer/tests/hostile/script.rs"]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test's own")]
mod script;
mod shared; // `frames` looks for it at the root

/// The function of each target.
pub const TARGETS: [(&str, fn(&[u8])); 20] = [
    ("assignment", group::assignment),
    ("avro", avro::run),
    ("batch_v2", records::batch_v2),
    ("differential", differential::run),
    ("engine", engine::run),
    ("frame", frame::run),
    ("framing", schemas::framing),
    ("gzip", codec::gzip),
    ("json_schema", schemas::json_schema),
    ("keystore", keystore::run),
    ("legacy", records::legacy),
    ("lz4", codec::lz4),
    ("offsets_topic", offsets_topic::run),
    ("protobuf", schemas::protobuf),
    ("request", message::request),
    ("response", message::response),
    ("sasl", sasl::run),
    ("snappy", codec::snappy),
    ("subscription", group::subscription),
    ("zstd", codec::zstd),
];
