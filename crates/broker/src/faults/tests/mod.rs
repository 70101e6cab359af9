//! Fault rules, tested through frames.

mod every_api;

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, FetchRequest, FetchResponse, HeartbeatRequest, MetadataRequest,
        MetadataResponse, OffsetCommitRequest, RequestHeader, RequestKind, ResponseHeader, ResponseKind,
        TopicName,
        fetch_request::FetchTopic,
        fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
        metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use super::{Corrupt, Fault, FaultRule, KafkaVersion, Rewrite};
use crate::{
    Config, Model,
    connection::{ConnectionId, Output},
    request::Context,
};

/// A cluster, and its output since the last look.
struct Net {
    model: Model,
    now: Instant,
    correlation: i32,
}

/// An output of the cluster.
#[derive(Debug, PartialEq)]
enum Out {
    /// The correlation id of an answer.
    Answer(i32),
    Closed,
}

impl Net {
    fn new(config: Config) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one moment that virtual time starts from")]
        let now = Instant::now();
        Self { model: Model::new(now, config), now, correlation: 0 }
    }

    fn connect(&mut self, broker: i32) -> ConnectionId {
        self.model.connect(self.now, broker, "127.0.0.1").unwrap()
    }

    fn ask(&mut self, connection: ConnectionId, client: &str, version: i16, request: &RequestKind) -> i32 {
        self.correlation += 1;
        let key = api_of(request);
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(client.to_owned())));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, key.request_header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        self.model.receive(self.now, connection, frame.freeze());
        self.correlation
    }

    fn hello(&mut self, connection: ConnectionId) -> i32 {
        self.ask(connection, "test", 0, &RequestKind::ApiVersions(ApiVersionsRequest::default()))
    }

    fn frames(&mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.model.poll_output())
            .map(|output| match output {
                Output::Send { bytes, .. } => bytes,
                Output::Close(_) => panic!("a connection was closed"),
            })
            .collect()
    }

    fn outs(&mut self) -> Vec<Out> {
        std::iter::from_fn(|| self.model.poll_output())
            .map(|output| match output {
                Output::Send { bytes, .. } => {
                    Out::Answer(i32::from_be_bytes(bytes[4..8].try_into().unwrap()))
                }
                Output::Close(_) => Out::Closed,
            })
            .collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.model.handle_timeout(self.now);
    }

    /// Lets a request be answered with this response, as by a handler.
    fn answer(
        &mut self,
        connection: ConnectionId,
        version: i16,
        request: &RequestKind,
        answer: ResponseKind,
    ) {
        let context = Context {
            connection,
            broker: 1,
            key: api_of(request),
            version,
            correlation: 1,
            client_id: None,
            host: StrBytes::default(),
        };
        assert!(self.model.apply_to_request(&context, request).is_none());
        self.model.apply_reply(&context, answer.into());
    }

    /// The only answer that was sent.
    fn response<T: Decodable>(&mut self, key: ApiKey, version: i16) -> T {
        let mut frames = self.frames();
        assert_eq!(frames.len(), 1);
        let mut frame = frames.remove(0).slice(4..);
        ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        let response = T::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty());
        response
    }
}

fn api_of(request: &RequestKind) -> ApiKey {
    match request {
        RequestKind::ApiVersions(_) => ApiKey::ApiVersions,
        RequestKind::Fetch(_) => ApiKey::Fetch,
        RequestKind::Heartbeat(_) => ApiKey::Heartbeat,
        RequestKind::OffsetCommit(_) => ApiKey::OffsetCommit,
        RequestKind::Metadata(_) => ApiKey::Metadata,
        _ => panic!("not asked here"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_dropped_request_silences_its_connection_and_no_other() {
    let mut net = Net::new(Config::default());
    let rule = net.model.inject(FaultRule::on(crate::ApiKey::ApiVersions, Fault::Drop).nth(2));
    let (a, b) = (net.connect(1), net.connect(1));
    let first = net.hello(a);
    net.hello(a);
    net.hello(a);
    let other = net.hello(b);
    assert_eq!(net.outs(), [Out::Answer(first), Out::Answer(other)]);
    assert_eq!(net.model.hits(rule), 1);
}

#[test]
fn a_skipped_request_is_passed_over() {
    let mut net = Net::new(Config::default());
    net.model.inject(FaultRule::any(Fault::Skip).once());
    let a = net.connect(1);
    net.hello(a);
    let second = net.hello(a);
    assert_eq!(net.outs(), [Out::Answer(second)]);
}

#[test]
fn a_delayed_answer_keeps_those_behind_it_waiting() {
    let mut net = Net::new(Config::default());
    net.model.inject(FaultRule::any(Fault::Delay(SECOND)).once());
    let a = net.connect(1);
    let (first, second) = (net.hello(a), net.hello(a));
    assert_eq!(net.outs(), []);
    assert_eq!(net.model.poll_timeout(), Some(net.now + SECOND));
    net.pass(SECOND);
    assert_eq!(net.outs(), [Out::Answer(first), Out::Answer(second)]);
    assert_eq!(net.model.poll_timeout(), None);
}

#[test]
fn a_held_answer_was_made_before_its_release_and_a_held_request_is_answered_after() {
    for (fault, said) in [(Fault::Hold, 18), (Fault::HoldRequest, 12)] {
        let mut net = Net::new(Config::default());
        let rule = net.model.inject(FaultRule::any(fault));
        let a = net.connect(1);
        net.hello(a);
        assert_eq!((net.outs(), net.model.held(rule)), (vec![], 1));
        net.model.limit_versions(1, &[(crate::ApiKey::Fetch, 4, 12)]);
        net.model.release(net.now, rule);
        let answer: kafka_protocol::messages::ApiVersionsResponse = net.response(ApiKey::ApiVersions, 0);
        let fetch = answer.api_keys.iter().find(|api| api.api_key == 1).unwrap();
        assert_eq!(fetch.max_version, said);
        assert_eq!(net.model.held(rule), 0);
    }
}

#[test]
fn responses_held_for_a_closed_connection_are_discarded() {
    let mut net = Net::new(Config::default());
    let held = net.model.inject(FaultRule::any(Fault::Hold).once());
    net.model.inject(FaultRule::any(Fault::Delay(SECOND)));
    let (a, b) = (net.connect(1), net.connect(1));
    net.hello(a);
    net.hello(b);
    net.model.disconnect(net.now, a);
    net.model.disconnect(net.now, b);
    assert_eq!((net.model.held(held), net.model.poll_timeout()), (0, None));
}

/// FAILURES A1.
#[test]
fn a_cut_answer_ends_after_n_bytes_and_the_connection_with_it() {
    for length in 0..12 {
        let mut net = Net::new(Config::default());
        net.model.inject(FaultRule::any(Fault::Cut(length)));
        let a = net.connect(1);
        net.hello(a);
        net.hello(a);
        let Some(Output::Send { bytes, .. }) = net.model.poll_output() else { panic!("nothing sent") };
        assert_eq!(bytes.len(), length);
        assert_eq!(net.outs(), [Out::Closed]);
    }
}

#[test]
fn reset_and_lost_answers_close_the_connection() {
    for fault in [Fault::Reset, Fault::ApplyThenLose] {
        let mut net = Net::new(Config::default());
        net.model.inject(FaultRule::any(fault).once());
        let a = net.connect(1);
        net.hello(a);
        assert_eq!(net.outs(), [Out::Closed]);
        let again = net.connect(1);
        let asked = net.hello(again);
        assert_eq!(net.outs(), [Out::Answer(asked)]);
    }
}

#[test]
fn a_request_that_fails_never_reaches_its_handler() {
    let mut net = Net::new(Config::default());
    net.model.inject(FaultRule::on(crate::ApiKey::OffsetCommit, Fault::Fail(16)).topic("orders").group("g"));
    let partition = OffsetCommitRequestPartition::default().with_partition_index(3);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(StrBytes::from_static_str("g").into())
        .with_topics(vec![topic]);
    let a = net.connect(1);
    net.ask(a, "test", 8, &RequestKind::OffsetCommit(request));
    let answer: kafka_protocol::messages::OffsetCommitResponse = net.response(ApiKey::OffsetCommit, 8);
    assert_eq!(answer.topics[0].name.as_str(), "orders");
    let said = &answer.topics[0].partitions[0];
    assert_eq!((said.partition_index, said.error_code), (3, 16));
}

#[test]
fn conditions_narrow_a_rule() {
    let mut net = Net::new(Config { brokers: 2, ..Config::default() });
    let (from, until) = (net.now + SECOND, net.now + 2 * SECOND);
    let rule = FaultRule::on(crate::ApiKey::Heartbeat, Fault::Fail(27)).broker(2).client("app-").group("g");
    let rule = net.model.inject(rule.between(from, until).times(2));
    let beat = |group: &'static str| {
        RequestKind::Heartbeat(
            HeartbeatRequest::default().with_group_id(StrBytes::from_static_str(group).into()),
        )
    };
    let applies = |net: &mut Net, broker, client: &str, group| {
        let connection = net.connect(broker);
        let before = net.model.hits(rule);
        net.ask(connection, client, 4, &beat(group));
        net.outs();
        net.model.hits(rule) > before
    };
    assert!(!applies(&mut net, 2, "app-1", "g"), "too early");
    net.pass(SECOND);
    assert!(!applies(&mut net, 1, "app-1", "g"));
    assert!(!applies(&mut net, 2, "other", "g"));
    assert!(!applies(&mut net, 2, "app-1", "h"));
    assert!(applies(&mut net, 2, "app-1", "g"));
    assert!(applies(&mut net, 2, "app-2", "g"));
    assert!(!applies(&mut net, 2, "app-2", "g"), "twice only");
}

#[test]
fn probability_comes_from_the_seed() {
    let hits_of = |seed| {
        let mut net = Net::new(Config { seed, ..Config::default() });
        let rule = net.model.inject(FaultRule::any(Fault::Skip).probably(0.3));
        let a = net.connect(1);
        let hits = |net: &mut Net| {
            net.hello(a);
            net.model.hits(rule)
        };
        (0..1000).map(|_| hits(&mut net)).collect::<Vec<_>>()
    };
    assert_eq!(hits_of(1), hits_of(1));
    assert_ne!(hits_of(1), hits_of(2));
    let hits = *hits_of(1).last().unwrap();
    assert!((250..350).contains(&hits), "{hits} of 1000");
}

/// FAILURES A10, KIP-219.
#[test]
fn a_throttled_connection_is_answered_and_then_not_read() {
    let mut net = Net::new(Config::default());
    net.model.inject(FaultRule::any(Fault::Throttle(SECOND)).once());
    let a = net.connect(1);
    net.ask(a, "test", 3, &RequestKind::ApiVersions(ApiVersionsRequest::default()));
    let second = net.hello(a);
    let answer: kafka_protocol::messages::ApiVersionsResponse = net.response(ApiKey::ApiVersions, 3);
    assert_eq!(answer.throttle_time_ms, 1000);
    net.pass(SECOND);
    assert_eq!(net.outs(), [Out::Answer(second)]);
}

#[test]
fn a_corrupt_frame_differs_in_one_bit() {
    let mut net = Net::new(Config::default());
    let a = net.connect(1);
    net.hello(a);
    net.correlation -= 1;
    let whole = net.frames().remove(0);
    for (fault, range) in [(Corrupt::FrameAt(5), 5..6), (Corrupt::Frame, 8..whole.len())] {
        let rule = net.model.inject(FaultRule::any(Fault::Corrupt(fault)));
        net.hello(a);
        net.correlation -= 1;
        let corrupt = net.frames().remove(0);
        let differ: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != corrupt[*at]).collect();
        assert!(differ.len() == 1 && range.contains(&differ[0]), "{differ:?}");
        assert_eq!((whole[differ[0]] ^ corrupt[differ[0]]).count_ones(), 1);
        net.model.withdraw(rule);
    }
}

fn fetch(topics: &[&'static str]) -> RequestKind {
    let topic =
        |name: &&'static str| FetchTopic::default().with_topic(TopicName(StrBytes::from_static_str(name)));
    RequestKind::Fetch(
        FetchRequest::default().with_session_id(7).with_topics(topics.iter().map(topic).collect()),
    )
}

fn fetched(topics: &[&'static str]) -> ResponseKind {
    let topic = |name: &&'static str| {
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(88);
        batch.resize(100, 0);
        let aborted = |first| AbortedTransaction::default().with_first_offset(first);
        let partition = PartitionData::default()
            .with_partition_index(4)
            .with_high_watermark(9)
            .with_aborted_transactions(Some(vec![aborted(1), aborted(2)]))
            .with_records(Some(batch.freeze()));
        FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(vec![partition])
    };
    ResponseKind::Fetch(
        FetchResponse::default().with_session_id(7).with_responses(topics.iter().map(topic).collect()),
    )
}

fn rewritten(rule: FaultRule, topics: &[&'static str]) -> FetchResponse {
    let mut net = Net::new(Config::default());
    let rule = net.model.inject(rule);
    let a = net.connect(1);
    net.answer(a, 12, &fetch(topics), fetched(topics));
    assert_eq!(net.model.hits(rule), 1);
    net.response(ApiKey::Fetch, 12)
}

/// FAILURES I2, I3, I4, K1.
#[test]
fn wrong_but_legal_fetches() {
    let said = rewritten(FaultRule::any(Rewrite::partitions_repeated()), &["a"]);
    assert_eq!(said.responses[0].partitions.len(), 2);
    let said = rewritten(FaultRule::any(Rewrite::first_partition_omitted()), &["a"]);
    assert!(said.responses[0].partitions.is_empty());
    let said = rewritten(FaultRule::any(Rewrite::unrequested_partition(-1)), &["a"]);
    let indices: Vec<i32> = said.responses[0].partitions.iter().map(|p| p.partition_index).collect();
    assert_eq!(indices, [4, -1]);
    let said = rewritten(FaultRule::any(Rewrite::aborted_unsorted()), &["a"]);
    let aborted = said.responses[0].partitions[0].aborted_transactions.as_ref().unwrap();
    assert_eq!([aborted[0].first_offset, aborted[1].first_offset], [2, 1]);
    assert_eq!(rewritten(FaultRule::any(Rewrite::no_fetch_session()), &["a"]).session_id, 0);
}

/// FAILURES J1.
#[test]
fn corrupt_records_are_of_the_rules_topic_and_under_its_checksum() {
    for seed in 0..50 {
        let mut net = Net::new(Config { seed, ..Config::default() });
        net.model.inject(FaultRule::on(crate::ApiKey::Fetch, Fault::Corrupt(Corrupt::Records)).topic("b"));
        let a = net.connect(1);
        net.answer(a, 12, &fetch(&["a", "b"]), fetched(&["a", "b"]));
        let said: FetchResponse = net.response(ApiKey::Fetch, 12);
        let ResponseKind::Fetch(whole) = fetched(&["a", "b"]) else { unreachable!() };
        assert_eq!(said.responses[0], whole.responses[0]);
        let [said, whole] = [&said, &whole].map(|r| r.responses[1].partitions[0].records.clone().unwrap());
        let differ: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != said[*at]).collect();
        assert!(differ.len() == 1 && (21..100).contains(&differ[0]), "{differ:?}");
    }
}

#[test]
fn a_fetch_within_a_session_is_struck_when_its_answer_carries_the_topic() {
    let mut net = Net::new(Config::default());
    let rule = net.model.inject(FaultRule::on(crate::ApiKey::Fetch, Fault::Fail(6)).topic("b"));
    let a = net.connect(1);
    net.answer(a, 12, &fetch(&[]), fetched(&["a"]));
    net.frames();
    assert_eq!(net.model.hits(rule), 0);
    net.answer(a, 12, &fetch(&[]), fetched(&["a", "b"]));
    let said: FetchResponse = net.response(ApiKey::Fetch, 12);
    let [kept, failed] = [0, 1].map(|nth: usize| &said.responses[nth].partitions[0]);
    assert_eq!((kept.error_code, kept.high_watermark), (0, 9));
    assert_eq!((failed.error_code, failed.high_watermark), (6, -1));
    assert!(failed.records.as_ref().unwrap().is_empty());
    assert_eq!(net.model.hits(rule), 1);
}

/// FAILURES B2, B6.
#[test]
fn wrong_but_legal_metadata() {
    let metadata = || {
        let partition = MetadataResponsePartition::default().with_leader_epoch(5);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("a"))))
            .with_partitions(vec![partition]);
        ResponseKind::Metadata(MetadataResponse::default().with_topics(vec![topic]))
    };
    let rewritten = |rewrite: Rewrite| {
        let mut net = Net::new(Config::default());
        net.model.inject(FaultRule::any(rewrite).topic("a"));
        let a = net.connect(1);
        net.answer(a, 12, &RequestKind::Metadata(MetadataRequest::default().with_topics(None)), metadata());
        net.response::<MetadataResponse>(ApiKey::Metadata, 12)
    };
    assert!(rewritten(Rewrite::metadata_without_partitions()).topics[0].partitions.is_empty());
    assert!(rewritten(Rewrite::metadata_without_topics()).topics.is_empty());
    assert_eq!(rewritten(Rewrite::metadata_without_epochs()).topics[0].partitions[0].leader_epoch, -1);
    assert_eq!(rewritten(Rewrite::metadata_from_the_past(2)).topics[0].partitions[0].leader_epoch, 3);
    assert_eq!(rewritten(Rewrite::metadata_topic_id([7; 16])).topics[0].topic_id.as_bytes(), &[7; 16]);
    assert!(rewritten(Rewrite::metadata_strange_brokers()).brokers.iter().any(|b| b.port == 70_000));
    assert_eq!(rewritten(Rewrite::partitions_fail(5)).topics[0].partitions[0].error_code, 5);
}

#[test]
fn a_crashed_broker_refuses_until_it_is_back_and_others_take_over_in_between() {
    let mut net = Net::new(Config { brokers: 2, ..Config::default() });
    let failover = net.model.config.failover;
    let group = (0..).map(|n| format!("g{n}")).find(|g| net.model.coordinator(g) == Some(1)).unwrap();
    net.connect(1);
    net.model.crash(net.now, 1);
    assert_eq!(net.outs(), [Out::Closed]);
    assert_eq!(net.model.connect(net.now, 1, "h"), None);
    assert_eq!(net.model.coordinator(&group), Some(1), "nobody has noticed");
    assert_eq!(net.model.poll_timeout(), Some(net.now + failover));
    net.pass(failover);
    assert_eq!(net.model.coordinator(&group), Some(2));
    net.model.restart(net.now, 1);
    assert_eq!(net.model.coordinator(&group), Some(1));
    let back = net.connect(1);
    let asked = net.hello(back);
    assert_eq!(net.outs(), [Out::Answer(asked)]);
}

/// FAILURES A2.
#[test]
fn a_paused_broker_accepts_and_says_nothing_until_it_goes_on() {
    let mut net = Net::new(Config { brokers: 2, ..Config::default() });
    let failover = net.model.config.failover;
    let group = (0..).map(|n| format!("g{n}")).find(|g| net.model.coordinator(g) == Some(1)).unwrap();
    net.model.inject(FaultRule::any(Fault::Delay(SECOND)).once());
    let a = net.connect(1);
    let late = net.hello(a);
    net.model.pause(net.now, 1);
    let b = net.connect(1);
    let early = net.hello(b);
    net.pass(SECOND.max(failover));
    assert_eq!(net.outs(), []);
    assert_eq!(net.model.coordinator(&group), Some(2));
    let c = net.connect(1);
    net.hello(c);
    net.model.resume(net.now, 1);
    let outs = net.outs();
    assert_eq!(outs.len(), 3);
    assert!(outs.contains(&Out::Answer(late)) && outs.contains(&Out::Answer(early)));
    net.pass(failover);
    assert_eq!(net.model.coordinator(&group), Some(1));
}

#[test]
fn an_older_broker_speaks_less() {
    let mut net = Net::new(Config { brokers: 2, ..Config::default() });
    net.model.set_kafka_version(1, KafkaVersion::V2_8);
    let (old, new) = (net.connect(1), net.connect(2));
    net.hello(old);
    let said: kafka_protocol::messages::ApiVersionsResponse = net.response(ApiKey::ApiVersions, 0);
    let highest =
        |key: ApiKey| said.api_keys.iter().find(|api| api.api_key == key as i16).map(|api| api.max_version);
    assert_eq!(highest(ApiKey::Fetch), Some(12));
    assert_eq!(highest(ApiKey::ConsumerGroupHeartbeat), None);
    net.model.inject(FaultRule::on(crate::ApiKey::Fetch, Fault::Fail(6)));
    let asked = net.ask(new, "test", 13, &RequestKind::Fetch(FetchRequest::default()));
    assert_eq!(net.outs(), [Out::Answer(asked)]);
    net.ask(old, "test", 13, &RequestKind::Fetch(FetchRequest::default()));
    assert_eq!(net.outs(), [Out::Closed]);
    net.model.set_kafka_version(1, KafkaVersion::V3_3);
    assert_eq!(net.model.faults.versions_of(1, ApiKey::Fetch), Some((4, 13)));
}

/// FAILURES A7, A9.
#[test]
fn brokers_get_other_ids_and_addresses() {
    let mut net = Net::new(Config { brokers: 2, ..Config::default() });
    net.model.create_topic("t", 2, -1, &[]).unwrap();
    net.connect(1);
    net.model.renumber(net.now, 1, 11);
    net.model.readdress(net.now, 2, "elsewhere", 7);
    assert_eq!(net.outs(), [Out::Closed]);
    let brokers: Vec<_> =
        net.model.brokers().map(|(id, host, port, _)| (id, host.to_owned(), port)).collect();
    assert_eq!(brokers, [(2, "elsewhere".to_owned(), 7), (11, "localhost".to_owned(), 9092)]);
    let leaders: Vec<_> = net.model.topics.all["t"].partitions.iter().map(|p| p.leader).collect();
    assert_eq!(leaders, [Some(11), Some(2)]);
    assert_eq!(net.model.connect(net.now, 1, "h"), None);
    net.connect(11);
}

/// FAILURES A9.
#[test]
fn a_broker_that_returns_under_another_id_leads_what_only_it_has() {
    let mut net = Net::new(Config { brokers: 2, ..Config::default() });
    net.model.create_topic("t", 2, -1, &[]).unwrap();
    let leaders = |net: &Net| {
        net.model.topics.all["t"].partitions.iter().map(|partition| partition.leader).collect::<Vec<_>>()
    };
    net.model.crash(net.now, 1);
    net.pass(net.model.config.failover);
    assert_eq!(leaders(&net), [None, Some(2)]);
    net.model.renumber(net.now, 1, 11);
    net.model.restart(net.now, 11);
    assert_eq!(leaders(&net), [Some(11), Some(2)]);
}

#[test]
fn a_coordinator_moves_while_its_new_broker_is_up() {
    let mut net = Net::new(Config { brokers: 3, ..Config::default() });
    let coordinator = net.model.coordinator("g").unwrap();
    let to = coordinator % 3 + 1;
    net.model.move_coordinator(net.now, "g", to);
    assert_eq!(net.model.coordinator("g"), Some(to));
    net.model.crash(net.now, to);
    net.pass(net.model.config.failover);
    assert_eq!(net.model.coordinator("g"), Some(coordinator));
}
