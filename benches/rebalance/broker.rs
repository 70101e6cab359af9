//! A broker with Kafka's defaults where the tests' brokers deviate from them.

use offtake_tests::{Builder, Kafka};

pub(crate) fn as_shipped() -> Builder {
    Kafka::builder()
        .property("group.initial.rebalance.delay.ms", 0)
        .property("group.min.session.timeout.ms", 6000)
        .property("group.consumer.min.heartbeat.interval.ms", 5000)
        .property("group.consumer.heartbeat.interval.ms", 5000)
        .property("group.consumer.min.session.timeout.ms", 45000)
        .property("group.consumer.session.timeout.ms", 45000)
        .property("num.network.threads", 3)
        .property("num.io.threads", 8)
}
