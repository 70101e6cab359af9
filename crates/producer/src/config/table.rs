//! The properties of a producer in addition to those of every client: first Java's (4.3), then librdkafka's.

use std::time::Duration;

use offtake_client::config::{
    Meaning::{Ignored, IgnoredUnless, Is, Only, Sets},
    Property, Value, p,
};

use super::{Acks, Compression, Config, ConfigError};

pub(super) static JAVA: &[Property<Config>] = &[
    p("acks", Sets(acks)),
    p("enable.idempotence", Sets(|c, v| v.boolean().map(|yes| c.enable_idempotence = yes))),
    p("max.in.flight.requests.per.connection", Sets(in_flight)),
    p("retries", Sets(|c, v| v.bytes(0).map(|n| c.retries = n))),
    p("linger.ms", Sets(|c, v| v.long_millis(0).map(|ms| c.linger = ms))),
    p("batch.size", Sets(|c, v| v.bytes(0).map(|n| c.batch_size = n as usize))),
    p("buffer.memory", Sets(|c, v| v.large_bytes(1).map(|n| c.buffer_memory = n))),
    p("max.block.ms", Sets(|c, v| v.long_millis(0).map(|ms| c.max_block = ms))),
    p("max.request.size", Sets(|c, v| v.bytes(1).map(|n| c.max_request_size = n as usize))),
    p("delivery.timeout.ms", Sets(|c, v| v.millis(0).map(|ms| c.delivery_timeout = ms))),
    p("compression.type", Sets(compression)),
    p("compression.gzip.level", Sets(gzip_level)),
    p("compression.lz4.level", Ignored("lz4 is written at one level, its fast one")),
    p(
        "compression.zstd.level",
        Sets(|c, v| v.number(-131_072, 22).map(|level| c.compression_zstd_level = Some(level))),
    ),
    p("partitioner.ignore.keys", Sets(|c, v| v.boolean().map(|yes| c.partitioner_ignore_keys = yes))),
    p(
        "partitioner.adaptive.partitioning.enable",
        Sets(|c, v| v.boolean().map(|yes| c.partitioner_adaptive = yes)),
    ),
    p(
        "partitioner.availability.timeout.ms",
        Sets(|c, v| v.long_millis(0).map(|ms| c.partitioner_availability_timeout = ms)),
    ),
    p("partitioner.class", Only(&["", DEFAULT_PARTITIONER], PARTITIONER)),
    p("metadata.max.idle.ms", Sets(|c, v| v.long_millis(5000).map(|ms| c.metadata_max_idle = ms))),
    p("key.serializer", IgnoredUnless(SERIALIZERS, BYTES)),
    p("value.serializer", IgnoredUnless(SERIALIZERS, BYTES)),
    p(
        "interceptor.classes",
        Only(&[""], "a class cannot be loaded here; call your code where you call `send`"),
    ),
    p("transactional.id", Sets(transactional_id)),
    p("transaction.timeout.ms", Sets(|c, v| v.millis(1).map(|ms| c.transaction_timeout = ms))),
    p(
        "transaction.two.phase.commit.enable",
        Only(&["false"], "transactions are ended by their producer (no KIP-939)"),
    ),
];

pub(super) static OTHER: &[Property<Config>] = &[
    p("request.required.acks", Is("acks")),
    p("max.in.flight", Is("max.in.flight.requests.per.connection")),
    p("message.send.max.retries", Is("retries")),
    p("queue.buffering.max.ms", Sets(fractional_linger)),
    p("queue.buffering.max.kbytes", Sets(buffer_kbytes)),
    p("queue.buffering.max.messages", Ignored("`buffer.memory` is the bound")),
    p("message.max.bytes", Is("max.request.size")),
    p("message.timeout.ms", Is("delivery.timeout.ms")),
    p("compression.codec", Is("compression.type")),
    p("compression.level", Sets(level)),
    p("batch.num.messages", Ignored("`batch.size` is the bound")),
    p("partitioner", Only(&["murmur2_random", "murmur2"], PARTITIONER)),
    p("delivery.report.only.error", Ignored("each send reports its own result")),
    p("enable.gapless.guarantee", Only(&["false"], "a batch that cannot be delivered fails alone")),
    p("produce.offset.report", Ignored("each send tells its offset")),
    p("queue.buffering.backpressure.threshold", Ignored("a full pipeline alone decides")),
    p("queuing.strategy", Only(&["fifo"], "records of a partition are sent in order")),
    p(
        "sticky.partitioning.linger.ms",
        Ignored("a partition is left when `batch.size` bytes went to it (KIP-794)"),
    ),
    p("message.copy.max.bytes", Ignored("records are copied into their batch")),
];

const DEFAULT_PARTITIONER: &str = "org.apache.kafka.clients.producer.internals.DefaultPartitioner";
const PARTITIONER: &str = "keys are hashed as Java's clients do (murmur2); give a partitioner of your own to `Builder::partitioner`";
const SERIALIZERS: &[&str] = &[
    "",
    "org.apache.kafka.common.serialization.ByteArraySerializer",
    "org.apache.kafka.common.serialization.ByteBufferSerializer",
    "org.apache.kafka.common.serialization.BytesSerializer",
];
const BYTES: &str = "records are given as bytes";

type Set = Result<(), ConfigError>;

fn acks(c: &mut Config, v: Value<'_>) -> Set {
    c.acks = v.word(&[("all", Acks::All), ("-1", Acks::All), ("1", Acks::Leader), ("0", Acks::None)])?;
    Ok(())
}

/// Java's clients reject an empty value. In a shared properties file an empty value means that there is none.
fn transactional_id(c: &mut Config, v: Value<'_>) -> Set {
    let id = v.text();
    c.transactional_id = (!id.is_empty()).then(|| id.to_owned());
    Ok(())
}

fn in_flight(c: &mut Config, v: Value<'_>) -> Set {
    c.max_in_flight_requests = v.bytes(1)? as usize;
    Ok(())
}

fn compression(c: &mut Config, v: Value<'_>) -> Set {
    c.compression = v.word(&Compression::ALL.map(|codec| (codec.name(), codec)))?;
    Ok(())
}

/// -1 means the codec's default.
fn gzip_level(c: &mut Config, v: Value<'_>) -> Set {
    let level = v.number(-1, 9)?;
    if level == 0 {
        return Err(v.invalid("1 to 9, or -1 for the default"));
    }
    c.compression_gzip_level = (level > 0).then_some(level);
    Ok(())
}

/// librdkafka has one level for all codecs, and -1 for the codec's default.
fn level(c: &mut Config, v: Value<'_>) -> Set {
    let level: i32 = v.number(-1, 22)?;
    let level = (level >= 0).then_some(level);
    c.compression_gzip_level = level.map(|level| level.min(9));
    c.compression_zstd_level = level;
    Ok(())
}

/// librdkafka's value may be a fraction of a millisecond.
fn fractional_linger(c: &mut Config, v: Value<'_>) -> Set {
    let millis: f64 = v.number(0.0, 900_000.0)?;
    c.linger = Duration::from_secs_f64(millis / 1000.0);
    Ok(())
}

/// librdkafka gives the size of its queue in KiB.
fn buffer_kbytes(c: &mut Config, v: Value<'_>) -> Set {
    let kib: usize = v.number(1, 2_147_483_647)?;
    c.buffer_memory = kib.saturating_mul(1024);
    Ok(())
}
