//! The properties of Java's consumer, 4.3, beside those that every client has.

use super::{
    Config,
    setters::{group, instance, isolation, protocol, remote_assignor, reset, strategies},
};
use offtake_client::config::{
    Meaning::{IgnoredUnless, Only, Sets},
    Property, p,
};

pub(super) static JAVA: &[Property<Config>] = &[
    // core
    p("group.id", Sets(group)),
    p("group.instance.id", Sets(instance)),
    p("group.protocol", Sets(protocol)),
    p("group.remote.assignor", Sets(remote_assignor)),
    p("key.deserializer", IgnoredUnless(DESERIALIZERS, BYTES)),
    p("value.deserializer", IgnoredUnless(DESERIALIZERS, BYTES)),
    p("partition.assignment.strategy", Sets(strategies)),
    p("session.timeout.ms", Sets(|c, v| v.millis(1).map(|ms| c.session_timeout = ms))),
    p("heartbeat.interval.ms", Sets(|c, v| v.millis(1).map(|ms| c.heartbeat_interval = ms))),
    p("max.poll.interval.ms", Sets(|c, v| v.millis(1).map(|ms| c.max_poll_interval = ms))),
    p("max.poll.records", Sets(|c, v| v.bytes(1).map(|n| c.max_poll_records = n as usize))),
    p("enable.auto.commit", Sets(|c, v| v.boolean().map(|yes| c.enable_auto_commit = yes))),
    p("auto.commit.interval.ms", Sets(|c, v| v.millis(0).map(|ms| c.auto_commit_interval = ms))),
    p("auto.offset.reset", Sets(reset)),
    p("isolation.level", Sets(isolation)),
    p("allow.auto.create.topics", Sets(|c, v| v.boolean().map(|yes| c.allow_auto_create_topics = yes))),
    p("exclude.internal.topics", Sets(|c, v| v.boolean().map(|yes| c.exclude_internal_topics = yes))),
    p("check.crcs", Sets(|c, v| v.boolean().map(|yes| c.check_crcs = yes))),
    p(
        "interceptor.classes",
        Only(&[""], "a class cannot be loaded here; call your code where `poll` returns"),
    ),
    // fetch
    p("fetch.min.bytes", Sets(|c, v| v.bytes(0).map(|n| c.fetch_min_bytes = n))),
    p("fetch.max.bytes", Sets(|c, v| v.bytes(0).map(|n| c.fetch_max_bytes = n))),
    p("fetch.max.wait.ms", Sets(|c, v| v.millis(0).map(|ms| c.fetch_max_wait = ms))),
    p("max.partition.fetch.bytes", Sets(|c, v| v.bytes(0).map(|n| c.max_partition_fetch_bytes = n))),
    // share groups
    p("share.acknowledgement.mode", Only(&[], SHARE)),
    p("share.acquire.mode", Only(&[], SHARE)),
];

/// The deserializers that return bytes, as we do.
const DESERIALIZERS: &[&str] = &[
    "",
    "org.apache.kafka.common.serialization.ByteArrayDeserializer",
    "org.apache.kafka.common.serialization.ByteBufferDeserializer",
    "org.apache.kafka.common.serialization.BytesDeserializer",
];
const BYTES: &str = "records are handed out as bytes";
const SHARE: &str = "it concerns share groups, and this is no share consumer; leave it out";
