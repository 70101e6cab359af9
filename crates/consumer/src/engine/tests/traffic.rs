//! What the engine sends and on which lane, and what an answer sets going.

use offtake_machine::Answer;
use offtake_wire::{
    ErrorCode, FetchResponse, FindCoordinatorResponse, MetadataResponse, Request, Response, Uuid,
    messages::{
        fetch::{FetchableTopicResponse, LeaderIdAndEpoch, PartitionData},
        find_coordinator,
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    records::BatchBuilder,
};

use super::*;

const ID: Uuid = Uuid([7; 16]);

/// A request that was sent.
struct Sent {
    tag: u64,
    lane: Lane,
    to: Target,
    request: Request,
}

impl Engine {
    fn sends(&mut self, now: Instant) -> Vec<Sent> {
        let sent = std::iter::from_fn(|| self.poll_transmit(now));
        sent.map(|(tag, lane, transmit)| Sent { tag, lane, to: transmit.to, request: transmit.request })
            .collect()
    }

    fn hears(&mut self, now: Instant, sent: &Sent, response: impl Into<Response>) {
        let from = match sent.to {
            Target::Broker(broker) => Some(broker),
            Target::Any | Target::Other(_) => Some(BrokerId(1)),
        };
        let version = sent.request.api_key().versions().max;
        let answer = Answer { from, version, memory: 0, response: response.into() };
        self.handle_answer(now, sent.tag, Ok(answer));
        drop(self.outputs(now));
    }

    /// These partitions are read, each led by broker 1.
    fn reads(&mut self, now: Instant, partitions: &[i32]) -> Sent {
        self.assigned(now, partitions);
        let asked = self.sends(now);
        let asked = asked.iter().find(|sent| matches!(sent.request, Request::Metadata(_))).unwrap();
        self.hears(now, asked, metadata(Some(led(partitions))));
        let [fetch] = self.sends(now).try_into().ok().unwrap();
        assert!(matches!(fetch.request, Request::Fetch(_)) && fetch.to == Target::Broker(BrokerId(1)));
        fetch
    }
}

/// Three brokers, and what they say of `orders`.
fn metadata(topic: Option<MetadataResponseTopic>) -> MetadataResponse {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: format!("b{node_id}"),
        port: 9092,
        ..Default::default()
    };
    MetadataResponse {
        brokers: (1..=3).map(broker).collect(),
        topics: topic.into_iter().collect(),
        ..Default::default()
    }
}

fn led(partitions: &[i32]) -> MetadataResponseTopic {
    let partition = |index: &i32| MetadataResponsePartition {
        partition_index: *index,
        leader_id: 1,
        leader_epoch: 5,
        ..Default::default()
    };
    MetadataResponseTopic {
        name: Some("orders".to_owned()),
        topic_id: ID,
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    }
}

fn unknown(name: &str) -> MetadataResponseTopic {
    let error_code = ErrorCode::UnknownTopicOrPartition;
    MetadataResponseTopic { name: Some(name.to_owned()), error_code, ..Default::default() }
}

fn fetched(partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse { topic_id: ID, partitions, ..Default::default() };
    FetchResponse { session_id: 7, responses: vec![topic], ..Default::default() }
}

/// A broker that goes down names the new leader of each of its partitions, all of them in one answer (KIP-951). The fetcher
/// counts how many it looks up for one view.
#[test]
fn seam10_thousands_of_new_leaders_in_one_answer_are_one_view_of_the_cluster() {
    for count in [1_000, 4_000] {
        let (mut engine, now) = engine(|builder| builder);
        let partitions: Vec<i32> = (0..count).collect();
        let fetch = engine.reads(now, &partitions);
        let before = engine.views;
        let moved = |partition_index| PartitionData {
            partition_index,
            error_code: ErrorCode::NotLeaderOrFollower,
            current_leader: Some(LeaderIdAndEpoch { leader_id: 2 + partition_index % 2, leader_epoch: 6 }),
            ..Default::default()
        };
        engine.hears(now, &fetch, fetched(partitions.into_iter().map(moved).collect()));
        assert_eq!(engine.views - before, 1, "{count} hints");
        let asked = engine.sends(now);
        let brokers: Vec<_> = asked.iter().map(|sent| sent.to).collect();
        assert_eq!(brokers, [2, 3].map(|broker| Target::Broker(BrokerId(broker))), "without any metadata");
        let wanted = asked.iter().map(|sent| match &sent.request {
            Request::Fetch(fetch) => fetch.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(),
            other => panic!("{other:?}"),
        });
        assert_eq!(wanted.sum::<usize>(), count as usize, "all of them, at once");
    }
}

/// What the engine asks of all topics, or of these.
fn asks_about(sent: &[Sent]) -> Option<Option<Vec<String>>> {
    sent.iter().find_map(|sent| match &sent.request {
        Request::Metadata(asked) => {
            let topics = asked.topics.as_ref();
            Some(topics.map(|all| all.iter().filter_map(|topic| topic.name.clone()).collect()))
        }
        _ => None,
    })
}

/// SAFE15: or a name that was mistyped once costs metadata once a second for as long as the consumer lives.
#[test]
fn safe15_a_topic_that_was_only_queried_is_not_refreshed_after_the_answer() {
    type Asks = fn(&mut Engine, Instant, Instant) -> Box<dyn FnMut() -> bool>;
    let partitions: Asks = |engine, now, deadline| {
        let (reply, mut answer) = oneshot::channel();
        engine.handle_command(now, Command::Partitions { topic: "ordrs".into(), deadline, reply });
        Box::new(move || answer.try_recv().is_ok())
    };
    let ends: Asks = |engine, now, deadline| {
        let (reply, mut answer) = oneshot::channel();
        let partitions = vec![(TopicPartition::new("ordrs", 0), command::ListAt::Latest)];
        engine.handle_command(now, Command::List { partitions, deadline, reply });
        Box::new(move || answer.try_recv().is_ok())
    };
    let committed: Asks = |engine, now, deadline| {
        let (reply, mut answer) = oneshot::channel();
        let partitions = vec![TopicPartition::new("ordrs", 0)];
        engine.handle_command(now, Command::Committed { partitions, deadline, reply });
        Box::new(move || answer.try_recv().is_ok())
    };
    let matching: Asks = |engine, now, deadline| {
        let (reply, mut answer) = oneshot::channel();
        let patterns = vec![regex::Regex::new("^o.*$").unwrap()];
        engine.handle_command(now, Command::Matching { patterns, deadline, reply });
        Box::new(move || answer.try_recv().is_ok())
    };
    for (what, asks, wanted) in [
        ("partitions", partitions, Some(vec!["ordrs".to_owned()])),
        ("ends", ends, Some(vec!["ordrs".to_owned()])),
        ("committed", committed, Some(vec!["ordrs".to_owned()])),
        ("matching", matching, None),
    ] {
        let (mut engine, began) = engine(|builder| builder);
        let mut now = began;
        let mut is_answered = asks(&mut engine, now, now + Duration::from_secs(60));
        let mut asked = None;
        while !is_answered() {
            assert!(now < began + Duration::from_secs(90), "{what} is never answered");
            let sent = engine.sends(now);
            asked = asks_about(&sent).or(asked);
            for sent in sent.iter().filter(|sent| matches!(sent.request, Request::Metadata(_))) {
                engine.hears(now, sent, metadata(wanted.as_ref().map(|_| unknown("ordrs"))));
            }
            now = engine.poll_timeout().map_or(now, |at| at.max(now)) + Duration::from_millis(1);
            engine.handle_timeout(now);
            drop(engine.outputs(now));
        }
        assert_eq!(asked, Some(wanted.clone()), "{what}: while it is waited for");
        // One that is under way asks for what was wanted when it left.
        for _ in 0..3 {
            engine.metadata.refresh_now(now);
            now += Duration::from_secs(60);
            engine.handle_timeout(now);
            drop(engine.outputs(now));
            let sent = engine.sends(now);
            asked = asks_about(&sent).or(asked);
            for sent in sent.iter().filter(|sent| matches!(sent.request, Request::Metadata(_))) {
                engine.hears(now, sent, metadata(None));
            }
        }
        assert_eq!(asked, Some(Some(vec![])), "{what}: when it is answered");
    }
}

/// E8: what waits at the coordinator for the slowest member holds nothing else up.
#[test]
fn e8_a_member_joins_on_a_lane_of_its_own() {
    let (mut engine, now) = engine(|builder| builder);
    engine.asked(now, subscribed(&["orders".to_owned()])).unwrap();
    let asked = engine.sends(now);
    for sent in &asked {
        match &sent.request {
            Request::Metadata(_) => engine.hears(now, sent, metadata(Some(led(&[0])))),
            Request::FindCoordinator(_) => {
                let found = find_coordinator::Coordinator {
                    key: "readers".to_owned(),
                    node_id: 1,
                    host: "b1".to_owned(),
                    port: 9092,
                    ..Default::default()
                };
                let coordinators = vec![found];
                engine.hears(now, sent, FindCoordinatorResponse { coordinators, ..Default::default() });
            }
            other => panic!("{other:?}"),
        }
    }
    let [join] = engine.sends(now).try_into().ok().unwrap();
    assert!(matches!(join.request, Request::JoinGroup(_)));
    assert_eq!((join.to, join.lane), (Target::Broker(BrokerId(1)), Lane::Join));
}

/// L3: reading may go on before the position that was asked for, as what is buffered and still good is dropped. Whoever took it
/// that all before the position has been handed out would commit what nobody was given.
#[test]
fn l3_where_a_partition_is_said_to_start_is_where_it_is_read_from() {
    let (mut engine, now) = engine(|builder| builder);
    let fetch = engine.reads(now, &[0]);
    let token = engine.offsets.token_of(&orders(0)).unwrap();
    engine.fetch.pause(&orders(0), token);
    let mut batch = BatchBuilder::new(5).leader_epoch(5);
    for _ in 0..10 {
        batch.push(1, None, Some(b"value"), &[]);
    }
    let records = PartitionData {
        partition_index: 0,
        high_watermark: 15,
        last_stable_offset: 15,
        log_start_offset: 0,
        records: Some(batch.build().unwrap()),
        ..Default::default()
    };
    engine.hears(now, &fetch, fetched(vec![records]));
    assert_eq!(engine.fetch.position(&orders(0)).map(|at| at.offset), Some(15), "it waits in the fetcher");
    // The new leader's log has been cut at 12.
    let position = Position { offset: 12, epoch: Some(5) };
    let start = offtake_offsets::Event::Start { partition: orders(0), token, position };
    engine.on_offsets_event(now, start);
    assert_eq!(engine.outputs(now), ["started orders-0 at 5"]);
}

impl Engine {
    /// As the loop does after each input. Returns what is sent, and what the handle gets.
    fn drained(&mut self, now: Instant) -> (Vec<Sent>, Vec<String>) {
        let (mut sent, mut told) = (Vec::new(), Vec::new());
        loop {
            let (outputs, requests) = (self.outputs(now), self.sends(now));
            if outputs.is_empty() && requests.is_empty() {
                return (sent, told);
            }
            sent.extend(requests);
            told.extend(outputs);
        }
    }
}

#[test]
fn i12_a_paused_partition_is_asked_for_its_memory_as_soon_as_another_needs_it() {
    let (mut engine, now) =
        engine(|builder| builder.property("fetch.buffer.max.bytes", "10000").property("group.id", ""));
    let fetch = engine.reads(now, &[0, 1]);
    let mut batch = BatchBuilder::new(5).leader_epoch(5);
    batch.push(1, None, Some(&[b'x'; 9_500]), &[]);
    let records = PartitionData {
        partition_index: 0,
        high_watermark: 6,
        last_stable_offset: 6,
        log_start_offset: 0,
        records: Some(batch.build().unwrap()),
        ..Default::default()
    };
    engine.hears(now, &fetch, fetched(vec![records]));
    let (sent, _) = engine.drained(now);
    assert!(sent.is_empty(), "there is no memory for orders-1");
    // Nothing else is left to do.
    let mut now = now;
    while let Some(at) = engine.poll_timeout().filter(|at| *at < now + Duration::from_secs(20)) {
        now = at.max(now);
        engine.handle_timeout(now);
        for sent in engine.drained(now).0 {
            assert!(matches!(sent.request, Request::Metadata(_)));
            engine.hears(now, &sent, metadata(Some(led(&[0, 1]))));
        }
    }
    let token = engine.offsets.token_of(&orders(0)).unwrap();
    engine.fetch.pause(&orders(0), token); // as `Command::PausesChanged` does
    let (sent, mut told) = engine.drained(now);
    assert!(sent.is_empty());
    let wakes = engine.poll_timeout();
    assert!(wakes.is_some_and(|at| at <= now), "the engine sleeps until {wakes:?}");
    engine.handle_timeout(now);
    told.extend(engine.drained(now).1);
    assert!(told.iter().any(|it| it.contains("GiveBack")), "the handle gets {told:?}");
    assert!(engine.poll_timeout().is_none_or(|at| at > now), "it does not spin");
}

/// What only this partition suffers from is told by `poll`; what stops it comes after the records that were fetched before.
#[test]
fn k2_j1_an_error_of_a_partition_is_told_and_what_stops_it_comes_in_its_turn() {
    let (mut engine, now) = engine(|builder| builder);
    engine.reads(now, &[0]);
    let (partition, token) = (orders(0), engine.offsets.token_of(&orders(0)).unwrap());
    let mut told = |error| {
        let (partition, position) = (partition.clone(), Position::at(5));
        engine
            .on_fetch_event(now, offtake_fetch::Event::PartitionFailed { partition, token, position, error });
        engine.outputs(now)
    };
    let refused = told(offtake_fetch::PartitionError::Refused(ErrorCode::TopicAuthorizationFailed));
    assert!(matches!(&refused[..], [only] if only.starts_with("Control(Failed(")), "{refused:?}");
    assert_eq!(told(offtake_fetch::PartitionError::NoProgress { offset: 5 }), ["failed orders-0"]);
}

/// What the handle has read is free when the engine next runs; it is woken for it only if nothing can be fetched without.
#[test]
fn i12_the_handle_wakes_the_engine_for_freed_memory_only_while_fetching_waits_for_it() {
    let (mut engine, now) = engine(|builder| builder.property("fetch.buffer.max.bytes", "100000"));
    let freed = Arc::clone(&engine.freed);
    let mut fetch = engine.reads(now, &[0]);
    let mut offset = 5;
    // The chunk of a response, and the next request, if there is one.
    let mut goes_on = |engine: &mut Engine, fetch: &Sent| {
        let mut batch = BatchBuilder::new(offset);
        batch.push(1, None, Some(&[b'v'; 40_000]), &[]);
        offset += 1;
        let records = Some(batch.build().unwrap());
        let data = PartitionData {
            high_watermark: offset,
            last_stable_offset: offset,
            records,
            ..Default::default()
        };
        let answer =
            Answer { from: Some(BrokerId(1)), version: 17, memory: 0, response: fetched(vec![data]).into() };
        engine.handle_answer(now, fetch.tag, Ok(answer));
        let chunk = std::iter::from_fn(|| engine.poll_output(now)).find_map(|output| match output {
            Output::Data(Data::Records(chunk)) => Some((chunk.partition, chunk.charge)),
            _ => None,
        });
        (chunk.expect("records"), engine.sends(now).pop())
    };
    let (first, next) = goes_on(&mut engine, &fetch);
    fetch = next.expect("there is room for more");
    assert!(!freed.add([first]), "a request is under way");
    engine.handle_timeout(now);
    assert_eq!(engine.fetch.memory_held(), 0);
    let (second, next) = goes_on(&mut engine, &fetch);
    let (third, next) = goes_on(&mut engine, &next.unwrap());
    assert!(next.is_none() && engine.poll_timeout().is_none_or(|at| at > now));
    assert!(freed.add([second]) && !freed.add([third]), "it is woken once");
    engine.handle_command(now, Command::Freed);
    let [fetch] = engine.sends(now).try_into().ok().unwrap();
    assert!(matches!(fetch.request, Request::Fetch(_)));
    assert_eq!(engine.fetch.memory_held(), 0);
}
