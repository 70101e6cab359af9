//! Consumer properties of our own, and librdkafka's where they differ from Java's.

use super::{Config, MAX_DECOMPRESSION_THREADS, setters::queue_kbytes};
use offtake_client::config::{
    Meaning::{Ignored, Is, Only, Sets},
    Property, p,
};

const OWN_WAY: &str = "the client chooses this itself";

pub(super) static OTHER: &[Property<Config>] = &[
    // ours, some under librdkafka's names
    p("fetch.buffer.max.bytes", Sets(|c, v| v.large_bytes(1).map(|n| c.fetch_buffer_max_bytes = n))),
    p(
        "decompressed.batch.max.bytes",
        Sets(|c, v| v.large_bytes(1).map(|n| c.decompressed_batch_max_bytes = n)),
    ),
    p(
        "decompression.threads",
        Sets(|c, v| v.number(0, MAX_DECOMPRESSION_THREADS).map(|n| c.decompression_threads = n)),
    ),
    p("enable.auto.offset.store", Sets(|c, v| v.boolean().map(|yes| c.enable_auto_offset_store = yes))),
    // librdkafka: aliases
    p("fetch.wait.max.ms", Is("fetch.max.wait.ms")),
    p("fetch.message.max.bytes", Is("max.partition.fetch.bytes")),
    p("queued.max.messages.kbytes", Sets(queue_kbytes)),
    p("auto.commit.enable", Is("enable.auto.commit")),
    // librdkafka: properties that request behaviour we do not have
    p("enable.partition.eof", Only(&["false"], "compare `position` with `end_offsets` instead")),
    p("consume.callback.max.messages", Only(&["0"], "use `max.poll.records`")),
    p("offset.store.method", Only(&["broker"], "offsets are stored at the broker")),
    p("group.protocol.type", Only(&["consumer"], "a group of consumers has this type")),
    // Java's properties that are missing in the list of 4.3
    p(
        "internal.leave.group.on.close",
        Only(&["true"], "say it when you close: `Consumer::close_with` (KIP-1092)"),
    ),
    // librdkafka: properties without effect here
    p("queued.min.messages", Ignored("prefetching is bounded in bytes: `fetch.buffer.max.bytes`")),
    p("fetch.queue.backoff.ms", Ignored("fetching goes on as soon as there is room")),
    p("fetch.error.backoff.ms", Ignored("`retry.backoff.ms` is used")),
    p("max.in.flight.requests.per.connection", Ignored(OWN_WAY)),
    p("max.in.flight", Ignored(OWN_WAY)),
    p("message.max.bytes", Ignored("it concerns producers; see `receive.message.max.bytes`")),
    p("coordinator.query.interval.ms", Ignored(OWN_WAY)),
];
