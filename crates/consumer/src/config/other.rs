//! Our own properties, and librdkafka's where they differ from Java's.

use super::{
    properties::{
        Meaning::{Ignored, IgnoredUnless, Is, Only, Sets},
        NO_METRICS, NO_SASL, NO_TLS, Property, p,
    },
    setters::{queue_kbytes, refresh_interval, socket_buffer},
};

const OWN_WAY: &str = "the client chooses this itself";

pub(super) static OTHER: &[Property] = &[
    // ours, some under the names that librdkafka gave them
    p("fetch.buffer.max.bytes", Sets(|c, v| v.large_bytes(1).map(|n| c.fetch_buffer_max_bytes = n))),
    p(
        "decompressed.batch.max.bytes",
        Sets(|c, v| v.large_bytes(1).map(|n| c.decompressed_batch_max_bytes = n)),
    ),
    p("receive.message.max.bytes", Sets(|c, v| v.bytes(1000).map(|n| c.receive_message_max_bytes = n))),
    p("enable.auto.offset.store", Sets(|c, v| v.boolean().map(|yes| c.enable_auto_offset_store = yes))),
    // librdkafka: other names for the same
    p("metadata.broker.list", Is("bootstrap.servers")),
    p("fetch.wait.max.ms", Is("fetch.max.wait.ms")),
    p("fetch.message.max.bytes", Is("max.partition.fetch.bytes")),
    p("socket.timeout.ms", Is("request.timeout.ms")),
    p(
        "socket.send.buffer.bytes",
        Sets(|c, v| socket_buffer(v).map(|n| c.send_buffer = n.filter(|n| *n > 0))),
    ),
    p(
        "socket.receive.buffer.bytes",
        Sets(|c, v| socket_buffer(v).map(|n| c.receive_buffer = n.filter(|n| *n > 0))),
    ),
    p("sasl.mechanisms", Is("sasl.mechanism")),
    p("queued.max.messages.kbytes", Sets(queue_kbytes)),
    p("topic.metadata.refresh.interval.ms", Sets(refresh_interval)),
    p("auto.commit.enable", Is("enable.auto.commit")),
    // librdkafka: what asks for another behaviour than ours
    p("enable.partition.eof", Only(&["false"], "compare `position` with `end_offsets` instead")),
    p("enable.ssl.certificate.verification", Only(&["true"], "certificates are always verified")),
    p("consume.callback.max.messages", Only(&["0"], "use `max.poll.records`")),
    p("offset.store.method", Only(&["broker"], "offsets are stored at the broker")),
    p("plugin.library.paths", Only(&[""], "libraries cannot be loaded")),
    // librdkafka: what nothing depends on here
    p("queued.min.messages", Ignored("prefetching is bounded in bytes: `fetch.buffer.max.bytes`")),
    p("fetch.queue.backoff.ms", Ignored("fetching goes on as soon as there is room")),
    p("fetch.error.backoff.ms", Ignored("`retry.backoff.ms` is used")),
    p("statistics.interval.ms", IgnoredUnless(&["0"], NO_METRICS)),
    p("socket.keepalive.enable", Ignored(OWN_WAY)),
    p("socket.nagle.disable", IgnoredUnless(&["true"], OWN_WAY)),
    p("socket.max.fails", Ignored(OWN_WAY)),
    p("socket.blocking.max.ms", Ignored(OWN_WAY)),
    p(
        "broker.address.family",
        IgnoredUnless(&["any"], "every address of a name is tried, whatever its family"),
    ),
    p("broker.address.ttl", Ignored("names are resolved again for every connection")),
    p("api.version.request", IgnoredUnless(&["true"], "brokers are always asked which versions they speak")),
    p("api.version.request.timeout.ms", Ignored(OWN_WAY)),
    p("api.version.fallback.ms", Ignored(OWN_WAY)),
    p("broker.version.fallback", Ignored(OWN_WAY)),
    p("topic.metadata.refresh.sparse", Ignored(OWN_WAY)),
    p("topic.metadata.refresh.fast.interval.ms", Ignored("`retry.backoff.ms` is used")),
    p("topic.metadata.propagation.max.ms", Ignored(OWN_WAY)),
    p("metadata.request.timeout.ms", Ignored("`request.timeout.ms` is used")),
    p("max.in.flight.requests.per.connection", Ignored(OWN_WAY)),
    p("max.in.flight", Ignored(OWN_WAY)),
    p("message.max.bytes", Ignored("it concerns producers; see `receive.message.max.bytes`")),
    p("coordinator.query.interval.ms", Ignored(OWN_WAY)),
    p("log.connection.close", Ignored("see `RUST_LOG`")),
    p("log_level", Ignored("see `RUST_LOG`")),
    p("debug", Ignored("see `RUST_LOG`")),
    p("sasl.username", Ignored(NO_SASL)),
    p("sasl.password", Ignored(NO_SASL)),
    p("sasl.oauthbearer.config", Ignored(NO_SASL)),
    p("sasl.oauthbearer.method", Ignored(NO_SASL)),
    p("sasl.oauthbearer.client.id", Ignored(NO_SASL)),
    p("sasl.oauthbearer.client.secret", Ignored(NO_SASL)),
    p("sasl.oauthbearer.extensions", Ignored(NO_SASL)),
    p("sasl.oauthbearer.grant.type", Ignored(NO_SASL)),
    p("sasl.kerberos.principal", Ignored(NO_SASL)),
    p("sasl.kerberos.keytab", Ignored(NO_SASL)),
    p("ssl.ca.location", Ignored(NO_TLS)),
    p("ssl.ca.pem", Ignored(NO_TLS)),
    p("ssl.certificate.location", Ignored(NO_TLS)),
    p("ssl.certificate.pem", Ignored(NO_TLS)),
    p("ssl.key.location", Ignored(NO_TLS)),
    p("ssl.key.pem", Ignored(NO_TLS)),
    p("ssl.crl.location", Ignored(NO_TLS)),
    p("ssl.curves.list", Ignored(NO_TLS)),
    p("ssl.sigalgs.list", Ignored(NO_TLS)),
];
