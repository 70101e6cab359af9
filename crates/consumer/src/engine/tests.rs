//! Tests of the engine without brokers: what it does with the handle's commands by itself.

use std::time::Duration;

use offtake_client::engine::Engine as _;
use offtake_group::RevocationId;
use offtake_machine::{Answer, Position, Topic};
use offtake_wire::{ErrorCode, MetadataResponse, messages::metadata};
use tokio::sync::oneshot;

use super::*;
use crate::{
    builder::Builder,
    clock,
    command::{self, Command, CommitBy, Output},
    consumer::Consumer,
    inbox::Data,
};

mod poll_watch;
mod traffic;

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn engine(build: impl FnOnce(Builder) -> Builder) -> (Engine, Instant) {
    let (config, _, parts) = build(Consumer::builder("localhost:9092").group("readers")).into_parts();
    let parts = EngineParts { assignors: config.assignors(&[]).unwrap(), ..parts };
    let now = clock::now();
    let shared = Arc::new(Shared::new(now));
    (Engine::new(now, 0, 7, config.into(), shared, parts), now)
}

impl Engine {
    /// The answer to a command that is answered at once.
    fn asked(&mut self, now: Instant, command: impl FnOnce(Reply<()>) -> Command) -> Result<()> {
        let (reply, mut answer) = oneshot::channel();
        self.handle_command(now, command(reply));
        drop(self.outputs(now));
        answer.try_recv().unwrap()
    }

    /// The handle's output as text; answers are sent.
    fn outputs(&mut self, now: Instant) -> Vec<String> {
        let mut outputs = Vec::new();
        while let Some(output) = self.poll_output(now) {
            outputs.push(match output {
                Output::Answer(answer) => {
                    answer.send();
                    continue;
                }
                Output::Control(Control::Assigned { added, owned, .. }) => {
                    format!("assigned {} of {}", added.len(), owned.len())
                }
                Output::Data(Data::Started { partition, position, .. }) => {
                    format!("started {partition} at {}", position.offset)
                }
                Output::Data(Data::Failed { partition, .. }) => format!("failed {partition}"),
                Output::Data(Data::Sought { partition, .. }) => format!("sought {partition}"),
                other => format!("{other:?}"),
            });
        }
        outputs
    }

    /// Assigns these manually, each from offset 5 on.
    fn assigned(&mut self, now: Instant, partitions: &[i32]) -> Vec<String> {
        let partitions = partitions.iter().map(|index| (orders(*index), StartAt::Offset(Position::at(5))));
        let (reply, mut answer) = oneshot::channel();
        self.handle_command(now, Command::Assign { partitions: partitions.collect(), reply });
        let outputs = self.outputs(now);
        answer.try_recv().unwrap().unwrap();
        outputs
    }

    fn is_flowing(&self, partition: i32) -> bool {
        self.fetch.position(&orders(partition)).is_some()
    }
}

fn subscribed(topics: &[String]) -> impl FnOnce(Reply<()>) -> Command {
    let topics = topics.iter().map(|name| Topic::from(name.as_str())).collect();
    move |reply| Command::Subscribe { to: Subscription::Topics(topics), reply }
}

#[test]
fn i7_nothing_flows_of_what_is_given_up_and_what_waited_to_be_said_of_it_is_forgotten() {
    for unsubscribes in [false, true] {
        let (mut engine, now) = engine(|builder| builder);
        let outputs = engine.assigned(now, &[0, 1]);
        assert_eq!(outputs, ["assigned 2 of 2", "started orders-0 at 5", "started orders-1 at 5"]);
        assert!(engine.is_flowing(0) && engine.is_flowing(1));
        let token = engine.offsets.token_of(&orders(0)).unwrap();
        engine.outbox.failed(orders(0), token, Error::new(ErrorKind::Corrupt, "damaged"));
        engine.outbox.failed(orders(1), token, Error::new(ErrorKind::Corrupt, "damaged"));
        if unsubscribes {
            let unsubscribe = |reply| Command::Unsubscribe { reason: "it was told to", reply };
            let (reply, _answer) = oneshot::channel();
            engine.handle_command(now, unsubscribe(reply));
            assert!(engine.outputs(now).is_empty());
            assert!(!engine.is_flowing(0) && !engine.is_flowing(1));
            assert_eq!(engine.offsets.token_of(&orders(0)), None);
        } else {
            assert_eq!(engine.assigned(now, &[1]), ["assigned 0 of 1", "failed orders-1"]);
            assert!(!engine.is_flowing(0) && engine.is_flowing(1));
            assert_eq!(engine.offsets.token_of(&orders(0)), None);
            assert_eq!(engine.offsets.token_of(&orders(1)).map(|token| token.seek), Some(0));
        }
    }
}

#[test]
fn i7_nothing_flows_of_what_is_released_and_a_release_counts_once() {
    let (mut engine, now) = engine(|builder| builder);
    engine.assigned(now, &[0, 1]);
    engine.ownership.begin_revocation(RevocationId(3), vec![orders(0)], None);
    engine.handle_command(now, Command::RevocationDone(RevocationId(4)));
    assert!(engine.is_flowing(0), "that is another");
    engine.handle_command(now, Command::RevocationDone(RevocationId(3)));
    assert!(!engine.is_flowing(0) && engine.is_flowing(1));
    engine.assigned(now, &[1]);
    engine.assigned(now, &[0, 1]);
    engine.handle_command(now, Command::RevocationDone(RevocationId(3)));
    assert!(engine.is_flowing(0), "it is ours anew");
}

/// Each machine numbers its own calls, so that two may have the same number.
#[test]
fn h2_a_machine_withdraws_only_its_own_call() {
    let (mut engine, _) = engine(|builder| builder);
    for (tag, machine) in [(1, Machine::Group), (2, Machine::Offsets), (3, Machine::Fetch)] {
        let route = Route { machine, id: CallId(5), to: Target::Any, lane: Lane::Control };
        engine.routes.insert(tag, route);
    }
    engine.withdraw(Machine::Offsets, CallId(6));
    assert_eq!(engine.poll_withdrawal(), None);
    engine.withdraw(Machine::Offsets, CallId(5));
    assert_eq!((engine.poll_withdrawal(), engine.poll_withdrawal()), (Some(2), None));
}

/// B8: for other illegal topic names a subscription gets the broker's error, and the other topics are read.
#[test]
fn b8_a_name_that_no_request_can_carry_is_refused_at_once() {
    let (mut engine, now) = engine(|builder| builder);
    let named = |length| ["orders".to_owned(), "a".repeat(length)];
    for length in [250, 251, 1000] {
        let refused = engine.asked(now, subscribed(&named(length))).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnknownTopic, "{length}");
        assert!(matches!(engine.subscriptions.kind(), Subscription::None));
    }
    engine.asked(now, subscribed(&named(249))).unwrap();
    engine.asked(now, subscribed(&["orders".to_owned(), "no/topic".to_owned()])).unwrap();
    assert!(matches!(engine.subscriptions.kind(), Subscription::Topics(topics) if topics.len() == 2));
}

#[test]
fn b8_illegal_topic_names_and_partitions_are_refused() {
    let (mut engine, now) = engine(|builder| builder);
    let assign = |partition: TopicPartition| {
        move |reply| Command::Assign { partitions: vec![(partition, StartAt::Earliest)], reply }
    };
    for (partition, kind) in [
        (TopicPartition::new("no/topic", 0), ErrorKind::UnknownTopic),
        (TopicPartition::new("", 0), ErrorKind::UnknownTopic),
        (orders(-1), ErrorKind::Misuse),
    ] {
        assert_eq!(engine.asked(now, assign(partition)).unwrap_err().kind(), kind);
    }
    let deadline = clock::after(Duration::from_secs(60));
    let illegal = || TopicPartition::new("no/topic", 0);
    let (reply, mut committed) = oneshot::channel();
    engine.handle_command(now, Command::Committed { partitions: vec![illegal()], deadline, reply });
    let (reply, mut listed) = oneshot::channel();
    let partitions = vec![(illegal(), command::ListAt::Latest)];
    engine.handle_command(now, Command::List { partitions, deadline, reply });
    let (reply, mut partitions) = oneshot::channel();
    engine.handle_command(now, Command::Partitions { topic: "no/topic".into(), deadline, reply });
    assert_eq!(committed.try_recv().unwrap().unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert_eq!(listed.try_recv().unwrap().unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert_eq!(partitions.try_recv().unwrap().unwrap_err().kind(), ErrorKind::UnknownTopic);
    assert!(engine.waiters.topics().is_empty(), "nothing of it is asked for");
}

#[test]
fn topics_are_subscribed_to_or_partitions_are_assigned_and_only_a_group_can_be_joined() {
    let (mut engine, now) = engine(|builder| builder);
    engine.assigned(now, &[0]);
    let topics = ["orders".to_owned()];
    assert_eq!(engine.asked(now, subscribed(&topics)).unwrap_err().kind(), ErrorKind::Misuse);
    assert!(engine.is_flowing(0));
    engine.asked(now, |reply| Command::Unsubscribe { reason: "", reply }).unwrap();
    engine.asked(now, subscribed(&topics)).unwrap();
    let partitions = vec![(orders(0), StartAt::Earliest)];
    let refused = engine.asked(now, |reply| Command::Assign { partitions, reply }).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misuse);
    assert!(engine.subscriptions.kind().is_of_a_group());
    let (mut alone, now) = self::engine(|builder| builder.configure(|config| config.group_id = None));
    assert_eq!(alone.asked(now, subscribed(&topics)).unwrap_err().kind(), ErrorKind::Misuse);
    let deadline = clock::after(Duration::from_secs(60));
    let commit = |reply| Command::CommitFinished { deadline, by: CommitBy::Application, reply: Some(reply) };
    assert_eq!(alone.asked(now, commit).unwrap_err().kind(), ErrorKind::Misuse);
    assert_eq!(alone.assigned(now, &[0]).len(), 2, "a consumer without a group reads by hand");
}

/// N6: half of the time is for the commits in flight, so that the rest is available to leave the group.
#[test]
fn n6_a_close_waits_for_commits_for_half_of_its_time_and_not_at_all_where_there_are_none() {
    for commits in [false, true] {
        let (mut engine, now) = engine(|builder| builder);
        engine.assigned(now, &[0]);
        let at = |seconds| now + Duration::from_secs(seconds);
        let token = engine.offsets.token_of(&orders(0)).unwrap();
        if commits {
            let positions = vec![(orders(0), token, Position::at(9))];
            engine.handle_command(now, Command::Finished { positions });
            engine.handle_command(
                now,
                Command::CommitFinished { deadline: at(60), by: CommitBy::Application, reply: None },
            );
        }
        let (reply, mut answer) = oneshot::channel();
        let group_membership = GroupMembership::Default;
        engine.handle_command(now, Command::Close { deadline: at(20), group_membership, reply });
        engine.outputs(now);
        if commits {
            assert!(!engine.is_closed() && engine.is_flowing(0), "the commit is under way");
            assert!(engine.poll_timeout().is_some_and(|next| next <= at(10)));
            engine.handle_timeout(at(9));
            engine.outputs(at(9));
            assert!(!engine.is_closed() && answer.try_recv().is_err());
            engine.handle_timeout(at(10));
            engine.outputs(at(10));
        }
        assert!(engine.is_closed() && !engine.is_flowing(0), "there is no group to leave");
        assert!(answer.try_recv().unwrap().is_ok());
    }
}

/// L8: the answer contains the token of what is read from there on.
#[test]
fn l8_a_seek_stops_what_flows_and_what_waited_to_be_said_of_it() {
    let (mut engine, now) = engine(|builder| builder);
    engine.assigned(now, &[0]);
    let token = engine.offsets.token_of(&orders(0)).unwrap();
    engine.outbox.failed(orders(0), token, Error::new(ErrorKind::Corrupt, "damaged"));
    let mut seek = |partition, offset| {
        let (reply, mut answer) = oneshot::channel();
        let at = StartAt::Offset(Position::at(offset));
        engine.handle_command(now, Command::Seek { partition, at, reply });
        let outputs = engine.outputs(now);
        (answer.try_recv().unwrap().map_err(|error| error.kind()), outputs)
    };
    let (sought, outputs) = seek(orders(0), 50);
    assert_eq!(sought, Ok(token.after_seek()));
    assert_eq!(outputs, ["sought orders-0", "started orders-0 at 50"]);
    assert_eq!(seek(orders(0), -2).0, Err(ErrorKind::Misuse));
    assert_eq!(seek(orders(1), 5).0, Err(ErrorKind::NotOwned));
    assert_eq!(engine.ownership.partitions().count(), 1);
}

#[test]
fn leaders_are_dialled_while_start_offsets_are_looked_up() {
    let (mut engine, now) = engine(|builder| builder);
    engine.assigned(now, &[0, 3]);
    engine.assigned(now, &[0]);
    assert_eq!(engine.poll_dial(), None, "no leader is known");
    let (tag, ..) = engine.poll_transmit(now).unwrap();
    let leader = |partition_index, leader_id| metadata::MetadataResponsePartition {
        partition_index,
        leader_id,
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: [1, 2, 3].map(broker).into(),
        topics: vec![metadata::MetadataResponseTopic {
            name: Some("orders".to_owned()),
            partitions: vec![leader(0, 1), leader(1, 2), leader(2, 2), leader(3, 3)],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = Answer { from: None, version: 13, memory: 0, response: response.into() };
    engine.handle_answer(now, tag, Ok(answer));
    drop(engine.outputs(now));
    let dials = |engine: &mut Engine| std::iter::from_fn(|| engine.poll_dial()).collect::<Vec<_>>();
    let both = |broker| [Lane::Control, Lane::Fetch].map(|lane| (BrokerId(broker), lane));
    assert_eq!(dials(&mut engine), both(1), "the other partition is not read any more");
    engine.assigned(now, &[0, 1, 2]);
    assert_eq!(dials(&mut engine), both(2));
}

/// B8: whether the refusal still holds is asked of the brokers, also if the topics are the same ones.
#[test]
fn b8_a_refused_topic_is_reported_again_when_it_is_subscribed_to_again() {
    let (mut engine, now) = engine(|builder| builder);
    let answer = |engine: &mut Engine, code| {
        let (tag, ..) = engine.poll_transmit(now).expect("the brokers are asked");
        let topic = |name: &str, error_code| metadata::MetadataResponseTopic {
            name: Some(name.to_owned()),
            error_code,
            ..Default::default()
        };
        let topics = vec![topic("orders", ErrorCode::None), topic("secret", code)];
        let response = MetadataResponse { brokers: vec![broker(1)], topics, ..Default::default() };
        let answer = Answer { from: None, version: 13, memory: 0, response: response.into() };
        engine.handle_answer(now, tag, Ok(answer));
        let outputs = engine.outputs(now);
        outputs.iter().filter(|output| output.contains("topic secret")).count()
    };
    let topics = ["orders".to_owned(), "secret".to_owned()];
    engine.asked(now, subscribed(&topics)).unwrap();
    assert_eq!(answer(&mut engine, ErrorCode::TopicAuthorizationFailed), 1);
    for _ in 0..2 {
        engine.asked(now, subscribed(&topics)).unwrap();
        assert_eq!(answer(&mut engine, ErrorCode::TopicAuthorizationFailed), 1);
    }
    engine.asked(now, subscribed(&topics)).unwrap();
    assert_eq!(answer(&mut engine, ErrorCode::None), 0, "it may be read by now");
}

fn broker(node_id: i32) -> metadata::MetadataResponseBroker {
    metadata::MetadataResponseBroker { node_id, host: "kafka".to_owned(), port: 9092, ..Default::default() }
}

/// The application starts anew after the error was sent to it and before it has read it: it hears of the error, and has to hear of its end.
#[test]
fn c6_the_end_of_a_refusal_is_told_although_the_application_has_begun_anew_since() {
    for anew in [false, true] {
        let (mut engine, now) = engine(|builder| builder);
        let at = |seconds| now + Duration::from_secs(seconds);
        engine.assigned(now, &[0, 1]);
        let metadata = |engine: &mut Engine, at: Instant, refused: bool| {
            engine.metadata.refresh_now(at);
            engine.handle_timeout(at);
            let (tag, ..) = std::iter::from_fn(|| engine.poll_transmit(at))
                .find(|(_, _, transmit)| matches!(transmit.request, offtake_wire::Request::Metadata(_)))
                .unwrap();
            let leader = |partition_index| metadata::MetadataResponsePartition {
                partition_index,
                leader_id: 1,
                ..Default::default()
            };
            let response = MetadataResponse {
                brokers: vec![broker(1)],
                topics: vec![metadata::MetadataResponseTopic {
                    name: Some("orders".to_owned()),
                    partitions: vec![leader(0), leader(1)],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = Answer { from: None, version: 13, memory: 0, response: response.into() };
            let refusal = offtake_machine::CallError::Authentication {
                address: "kafka:9092".to_owned(),
                reason: "the password has changed".to_owned(),
                is_final: true,
            };
            engine.handle_answer(at, tag, if refused { Err(refusal) } else { Ok(answer) });
            engine.outputs(at)
        };
        metadata(&mut engine, now, false);
        let told = metadata(&mut engine, at(10), true);
        assert!(told.iter().any(|output| output.contains("the password has changed")), "{told:?}");
        if anew {
            engine.assigned(at(11), &[0]);
        }
        let told = metadata(&mut engine, at(20), false);
        assert!(told.iter().any(|output| output.contains("Recovered")), "anew: {anew}, {told:?}");
    }
}
