//! One method for each of the most used properties, with Kafka's names and checks.

use std::time::Duration;

use super::Builder;
use crate::config::{AssignmentStrategy, AutoOffsetReset, GroupProtocol, IsolationLevel};

/// # Properties
/// Each of these is [`property`](Self::property) with a type. [`build`](Self::build) reports values out of
/// range under Kafka's property name. Durations count in whole milliseconds.
impl Builder {
    /// `group.id`: join this consumer group. Without one, partitions can only be assigned manually.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.property("group.id", group.into())
    }

    /// `group.instance.id`: a name that survives restarts, for static membership (KIP-345). Default: none.
    pub fn group_instance_id(self, id: impl Into<String>) -> Self {
        self.property("group.instance.id", id.into())
    }

    /// `group.protocol`: how members agree on their assignment. Default: classic.
    pub fn group_protocol(self, protocol: GroupProtocol) -> Self {
        self.property("group.protocol", protocol)
    }

    /// `partition.assignment.strategy`: the assignors that this member of a classic group offers, the
    /// preferred one first. Default: range, cooperative-sticky.
    pub fn partition_assignment_strategy(
        self,
        strategies: impl IntoIterator<Item = AssignmentStrategy>,
    ) -> Self {
        let names: Vec<_> = strategies.into_iter().map(|strategy| strategy.name().to_owned()).collect();
        self.property("partition.assignment.strategy", names.join(","))
    }

    /// `client.id`: the name of this client in the brokers' logs and quotas. Default: empty; `offtake` is
    /// sent then.
    pub fn client_id(self, id: impl Into<String>) -> Self {
        self.property("client.id", id.into())
    }

    /// `client.rack`: where this client is, so that it may read from a replica nearby (KIP-392). Default: unknown.
    pub fn client_rack(self, rack: impl Into<String>) -> Self {
        self.property("client.rack", rack.into())
    }

    /// `auto.offset.reset`: where to start if nothing is committed. Default: latest.
    pub fn auto_offset_reset(self, reset: AutoOffsetReset) -> Self {
        self.property("auto.offset.reset", reset)
    }

    /// `enable.auto.commit`: whether finished offsets are committed periodically. Default: true, if there is
    /// a group.
    pub fn enable_auto_commit(self, yes: bool) -> Self {
        self.property("enable.auto.commit", yes)
    }

    /// `auto.commit.interval.ms`: the interval of these commits. Default: 5 s.
    pub fn auto_commit_interval(self, interval: Duration) -> Self {
        self.property("auto.commit.interval.ms", interval.as_millis())
    }

    /// `isolation.level`: which transactional records are handed out. Default: read_uncommitted.
    pub fn isolation_level(self, level: IsolationLevel) -> Self {
        self.property("isolation.level", level)
    }

    /// `max.poll.records`: the most that one [`poll`](crate::Consumer::poll) hands out. Default: 500.
    pub fn max_poll_records(self, records: usize) -> Self {
        self.property("max.poll.records", records)
    }

    /// `max.poll.interval.ms`: the longest time without a [`poll`](crate::Consumer::poll) before the group
    /// continues without this member. Default: 5 min.
    pub fn max_poll_interval(self, interval: Duration) -> Self {
        self.property("max.poll.interval.ms", interval.as_millis())
    }

    /// `session.timeout.ms`: the longest time without a heartbeat before the group continues without this
    /// member. Default: 45 s. Only for a classic group; with `group.protocol=consumer` the broker decides.
    pub fn session_timeout(self, timeout: Duration) -> Self {
        self.property("session.timeout.ms", timeout.as_millis())
    }

    /// `heartbeat.interval.ms`: the time between heartbeats of this member of a classic group; less than a
    /// third of the session timeout. Default: 3 s.
    pub fn heartbeat_interval(self, interval: Duration) -> Self {
        self.property("heartbeat.interval.ms", interval.as_millis())
    }

    /// `request.timeout.ms`: the time limit for one response of one broker. Default: 30 s.
    pub fn request_timeout(self, timeout: Duration) -> Self {
        self.property("request.timeout.ms", timeout.as_millis())
    }

    /// `default.api.timeout.ms`: the time limit for one call of the application, retries included. Default:
    /// 60 s.
    pub fn default_api_timeout(self, timeout: Duration) -> Self {
        self.property("default.api.timeout.ms", timeout.as_millis())
    }

    /// `fetch.min.bytes`: the broker waits until it has this many bytes. Default: 1.
    pub fn fetch_min_bytes(self, bytes: u32) -> Self {
        self.property("fetch.min.bytes", bytes)
    }

    /// `fetch.max.wait.ms`: the longest time that it waits for them. Default: 500 ms.
    pub fn fetch_max_wait(self, wait: Duration) -> Self {
        self.property("fetch.max.wait.ms", wait.as_millis())
    }

    /// `fetch.max.bytes`: the largest fetch response, unless its first batch alone is larger. Default: 50
    /// MiB.
    pub fn fetch_max_bytes(self, bytes: u32) -> Self {
        self.property("fetch.max.bytes", bytes)
    }

    /// `max.partition.fetch.bytes`: the most bytes of one partition in one response, unless its first batch
    /// alone is larger. Default: 1 MiB.
    pub fn max_partition_fetch_bytes(self, bytes: u32) -> Self {
        self.property("max.partition.fetch.bytes", bytes)
    }

    /// `allow.auto.create.topics`: whether a request for a topic that does not exist may create it, if the
    /// broker agrees. Default: true.
    pub fn allow_auto_create_topics(self, yes: bool) -> Self {
        self.property("allow.auto.create.topics", yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Consumer, config::Config};

    fn built(builder: Builder) -> Config {
        assert!(builder.mistakes.is_empty(), "{:?}", builder.mistakes);
        builder.into_parts().0
    }

    #[test]
    fn each_setter_is_the_property_of_its_name() {
        let set = built(
            Consumer::builder(["a:1", "b:2"])
                .group("orders")
                .group_instance_id("orders-0")
                .group_protocol(GroupProtocol::Classic)
                .partition_assignment_strategy([
                    AssignmentStrategy::CooperativeSticky,
                    AssignmentStrategy::Custom("near".to_owned()),
                ])
                .client_id("c")
                .client_rack("r")
                .auto_offset_reset(AutoOffsetReset::ByDuration(Duration::from_millis(90_061_500)))
                .enable_auto_commit(false)
                .auto_commit_interval(Duration::from_secs(1))
                .isolation_level(IsolationLevel::ReadCommitted)
                .max_poll_records(7)
                .max_poll_interval(Duration::from_secs(60))
                .session_timeout(Duration::from_secs(10))
                .heartbeat_interval(Duration::from_secs(2))
                .request_timeout(Duration::from_secs(5))
                .default_api_timeout(Duration::from_secs(6))
                .fetch_min_bytes(2)
                .fetch_max_wait(Duration::from_millis(100))
                .fetch_max_bytes(3)
                .max_partition_fetch_bytes(4)
                .allow_auto_create_topics(false),
        );
        let written = Config::from_properties([
            ("bootstrap.servers", "a:1,b:2"),
            ("group.id", "orders"),
            ("group.instance.id", "orders-0"),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "cooperative-sticky,near"),
            ("client.id", "c"),
            ("client.rack", "r"),
            ("auto.offset.reset", "by_duration:P1DT1H1M1.5S"),
            ("enable.auto.commit", "false"),
            ("auto.commit.interval.ms", "1000"),
            ("isolation.level", "read_committed"),
            ("max.poll.records", "7"),
            ("max.poll.interval.ms", "60000"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "2000"),
            ("request.timeout.ms", "5000"),
            ("default.api.timeout.ms", "6000"),
            ("fetch.min.bytes", "2"),
            ("fetch.max.wait.ms", "100"),
            ("fetch.max.bytes", "3"),
            ("max.partition.fetch.bytes", "4"),
            ("allow.auto.create.topics", "false"),
        ]);
        assert_eq!(set, written.unwrap());
    }

    #[test]
    fn properties_take_any_value_that_can_be_written() {
        let properties = std::collections::HashMap::from([("max.poll.records", 5), ("fetch.min.bytes", 6)]);
        let owned = vec!["a:1".to_owned(), "b:2".to_owned()];
        let config = built(
            Consumer::builder(&owned)
                .properties(&properties)
                .properties([("client.id".to_owned(), "x".to_owned())])
                .property("enable.auto.commit", false)
                .property("isolation.level", IsolationLevel::ReadCommitted),
        );
        assert_eq!((config.max_poll_records, config.fetch_min_bytes), (5, 6));
        assert_eq!((config.client.client_id.as_str(), config.enable_auto_commit), ("x", false));
        assert_eq!(config.isolation_level, IsolationLevel::ReadCommitted);
        assert_eq!(config.client.bootstrap_servers.len(), 2);
    }

    #[tokio::test]
    async fn all_mistakes_are_told_by_one_build() {
        let wrong = Consumer::builder("http://localhost:9092")
            .property("acks", "all")
            .session_timeout(Duration::ZERO)
            .heartbeat_interval(Duration::MAX)
            .fetch_max_wait(Duration::from_secs(40));
        let text = wrong.build().await.unwrap_err().to_string();
        assert!(
            text.starts_with("5 mistakes: (1) property `bootstrap.servers` cannot be `http://"),
            "{text}"
        );
        assert!(text.contains("write `localhost:9092`"), "{text}");
        assert!(text.contains("(2) property `acks` is a producer's"), "{text}");
        assert!(text.contains("(3) property `session.timeout.ms` cannot be `0`"), "{text}");
        assert!(text.contains("(4) property `heartbeat.interval.ms` cannot be"), "{text}");
        assert!(text.contains("(5) `fetch.max.wait.ms` (40000) must be less"), "{text}");
    }

    #[tokio::test]
    async fn no_broker_at_all_is_said_to_be_none() {
        let text = Consumer::builder(Vec::<String>::new()).build().await.unwrap_err().to_string();
        assert!(text.contains("it takes at least one `host:port`"), "{text}");
    }
}
