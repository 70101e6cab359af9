//! The names of properties, by their owner. A file that several programs share may contain properties of
//! others: a client reports them as such, and not as misspelled.
//!
//! The names of our own clients are listed here and nowhere else: [`p`](super::p) accepts no other name.

/// The owner of this property, as in "is a producer's"; `None` for a name without a known owner.
pub fn owner(name: &str) -> Option<&'static str> {
    let is = |prefixes: &[&str], names: &[&str]| {
        names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    if is(&[], CONSUMER) {
        Some("a consumer's")
    } else if is(&[], PRODUCER) {
        Some("a producer's")
    } else if is(SERIALIZER_PREFIXES, SERIALIZER) {
        Some("a serializer's or Schema Registry's")
    } else if is(STREAMS_PREFIXES, STREAMS) {
        Some("Kafka Streams'")
    } else if is(CONNECT_PREFIXES, CONNECT) {
        Some("Kafka Connect's")
    } else if is(BROKER_PREFIXES, BROKER) {
        Some("a broker's")
    } else {
        None
    }
}

/// Whether one of these lists contains the name.
pub(super) const fn lists(mut lists: &[&[&str]], name: &str) -> bool {
    while let Some((list, others)) = lists.split_first() {
        let mut names = *list;
        while let Some((listed, rest)) = names.split_first() {
            if is_same(listed, name) {
                return true;
            }
            names = rest;
        }
        lists = others;
    }
    false
}

/// `==`, which is not available in a `const fn`.
const fn is_same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while let (Some((a, rest)), Some((b, others))) = (one.split_first(), other.split_first()) {
        if *a != *b {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
}

/// A consumer's: those of Java 4.3, without what every client has; then librdkafka's and ours.
pub const CONSUMER: &[&str] = &[
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "enable.auto.commit",
    "exclude.internal.topics",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "interceptor.classes",
    "isolation.level",
    "key.deserializer",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.poll.records",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "share.acknowledgement.mode",
    "share.acquire.mode",
    "value.deserializer",
    // librdkafka's and ours
    "auto.commit.enable",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "decompressed.batch.max.bytes",
    "decompression.threads",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.buffer.max.bytes",
    "fetch.error.backoff.ms",
    "fetch.message.max.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.protocol.type",
    "internal.leave.group.on.close",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "offset.store.method",
    "queued.max.messages.kbytes",
    "queued.min.messages",
];

/// A producer's: those of Java 4.3, without what every client or the consumer has; then librdkafka's.
pub const PRODUCER: &[&str] = &[
    "acks",
    "batch.size",
    "buffer.memory",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delivery.timeout.ms",
    "enable.idempotence",
    "key.serializer",
    "linger.ms",
    "max.block.ms",
    "max.request.size",
    "metadata.max.idle.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "retries",
    "transaction.timeout.ms",
    "transaction.two.phase.commit.enable",
    "transactional.id",
    "value.serializer",
    // librdkafka's
    "batch.num.messages",
    "compression.codec",
    "compression.level",
    "delivery.report.only.error",
    "enable.gapless.guarantee",
    "message.copy.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "msg_order_cmp",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "sticky.partitioning.linger.ms",
];

const SERIALIZER_PREFIXES: &[&str] = &[
    "apicurio.",
    "avro.",
    "basic.auth.",
    "bearer.auth.",
    "json.",
    "protobuf.",
    "schema.",
    "specific.",
    "use.latest.",
    "latest.",
];
const SERIALIZER: &[&str] = &[
    "auto.register.schemas",
    "context.name.strategy",
    "derive.type",
    "id.compatibility.strict",
    "key.subject.name.strategy",
    "normalize.schemas",
    "oneof.for.nullables",
    "reference.subject.name.strategy",
    "skip.known.types",
    "subject.name.strategy",
    "use.schema.id",
    "value.subject.name.strategy",
];

/// Prefixes such as `consumer.` and `producer.` for the properties of a client that Streams, Connect or
/// MirrorMaker starts.
const STREAMS_PREFIXES: &[&str] = &[
    "admin.",
    "consumer.",
    "default.client.",
    "default.deserialization.",
    "default.dsl.",
    "default.key.",
    "default.production.",
    "default.timestamp.",
    "default.value.",
    "global.consumer.",
    "main.consumer.",
    "producer.",
    "restore.consumer.",
    "rocksdb.",
    "topology.",
    "window.",
];
const STREAMS: &[&str] = &[
    "acceptable.recovery.lag",
    "application.id",
    "application.server",
    "buffered.records.per.partition",
    "cache.max.bytes.buffering",
    "commit.interval.ms",
    "max.task.idle.ms",
    "max.warmup.replicas",
    "num.standby.replicas",
    "num.stream.threads",
    "poll.ms",
    "probing.rebalance.interval.ms",
    "processing.guarantee",
    "replication.factor",
    "state.cleanup.delay.ms",
    "state.dir",
    "statestore.cache.max.bytes",
    "task.timeout.ms",
    "upgrade.from",
];

const CONNECT_PREFIXES: &[&str] = &[
    "config.storage.",
    "connector.",
    "errors.",
    "internal.key.converter",
    "internal.value.converter",
    "key.converter",
    "offset.flush.",
    "offset.storage.",
    "rest.",
    "status.storage.",
    "value.converter",
];
const CONNECT: &[&str] = &["plugin.discovery", "plugin.path", "tasks.max", "topics", "topics.regex"];

const BROKER_PREFIXES: &[&str] = &[
    "advertised.",
    "authorizer.",
    "broker.id",
    "controller.",
    "group.consumer.",
    "group.coordinator.",
    "group.initial.",
    "group.share.",
    "inter.broker.",
    "listener.",
    "log.cleaner.",
    "log.cleanup.",
    "log.dir",
    "log.flush.",
    "log.retention.",
    "log.segment.",
    "offsets.",
    "replica.",
    "transaction.state.",
    "zookeeper.",
];
const BROKER: &[&str] = &[
    "auto.create.topics.enable",
    "delete.topic.enable",
    "listeners",
    "min.insync.replicas",
    "node.id",
    "num.io.threads",
    "num.network.threads",
    "num.partitions",
    "process.roles",
    "socket.request.max.bytes",
    "unclean.leader.election.enable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_property_is_known() {
        for (name, expected) in [
            ("max.poll.records", Some("a consumer's")),
            ("linger.ms", Some("a producer's")),
            ("acks", Some("a producer's")),
            ("schema.registry.url", Some("a serializer's or Schema Registry's")),
            ("specific.avro.reader", Some("a serializer's or Schema Registry's")),
            ("application.id", Some("Kafka Streams'")),
            ("key.converter.schemas.enable", Some("Kafka Connect's")),
            ("log.dirs", Some("a broker's")),
            ("spring.application.name", None),
            ("", None),
            ("ack", None),
            ("acks.", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }
}
