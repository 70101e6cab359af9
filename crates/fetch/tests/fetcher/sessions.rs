//! Tests of KIP-227: the contents of requests, and what happens to a session that the broker no longer has.

use std::collections::BTreeSet;

use offtake_fetch::Event;
use offtake_machine::{BrokerId, Position, Token};
use offtake_wire::{ErrorCode, Uuid};

use crate::rig::{Rig, TOKEN, batch, data, error, id_of, named, nothing, refusal, response, tp};

/// Partitions 0 and 1 of "a" are fetched from 10 on, in session 77 of the broker.
fn in_session() -> Rig {
    let mut rig = Rig::new().topic("a", &[1, 1]);
    rig.start("a", 0, 10);
    rig.start("a", 1, 10);
    let asked = rig.ask();
    assert_eq!(asked.session(), (0, 0));
    assert_eq!(asked.asks(), ["a-0@10", "a-1@10"]);
    rig.answer_late(&asked, response(77, vec![("a", vec![nothing(0), nothing(1)])]));
    rig
}

#[test]
fn only_what_has_changed_is_said_again() {
    let mut rig = in_session();
    let asked = rig.ask();
    assert_eq!((asked.session(), asked.asks()), ((77, 1), vec![]));
    rig.answer(&asked, response(77, vec![("a", vec![data(1, batch(10, 5))])]));
    let asked = rig.ask();
    assert_eq!(
        (asked.session(), asked.asks(), asked.forgets()),
        ((77, 2), vec!["a-1@15".to_owned()], vec![])
    );
    let sent = &asked.request.topics[0];
    assert_eq!((sent.topic_id, sent.partitions[0].current_leader_epoch), (id_of("a"), 5));
    assert_eq!(sent.partitions[0].last_fetched_epoch, 5, "the epoch of the record before (KIP-320)");
    assert_eq!(rig.drain(), [("a-1".to_owned(), vec![10, 11, 12, 13, 14])]);
}

#[test]
fn a_view_that_tells_nothing_new_says_nothing_to_the_brokers() {
    let mut rig = in_session();
    rig.show();
    let asked = rig.ask();
    assert_eq!((asked.session(), asked.asks(), asked.forgets()), ((77, 1), vec![], vec![]));
}

#[test]
fn only_one_request_is_outstanding_per_broker() {
    let mut rig = Rig::new().topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let (one, two) = (rig.ask(), rig.ask());
    assert_eq!((one.broker, two.broker), (BrokerId(1), BrokerId(2)));
    rig.silent();
}

#[test]
fn a1_a_lost_connection_restarts_the_session_at_the_same_position() {
    let mut rig = in_session();
    let asked = rig.ask();
    rig.fail(&asked);
    rig.silent();
    rig.pass_ms(150);
    let asked = rig.ask();
    assert_eq!(asked.session(), (77, 0), "the broker may drop what it had");
    assert_eq!(asked.asks(), ["a-0@10", "a-1@10"]);
}

#[test]
fn a2_a_call_that_nobody_answers_is_given_up() {
    let mut rig = in_session();
    let asked = rig.ask();
    rig.pass(std::time::Duration::from_secs(61));
    rig.pass_ms(150);
    let again = rig.ask();
    assert_eq!(again.asks(), ["a-0@10", "a-1@10"]);
    rig.answer(&asked, response(77, vec![("a", vec![data(0, batch(10, 5))])]));
    assert!(rig.fetcher.take().is_none(), "an answer to a call that was given up");
}

#[test]
fn i1_an_unknown_session_is_opened_anew_at_once() {
    for (code, session) in [
        (ErrorCode::FetchSessionIdNotFound, (0, 0)),
        (ErrorCode::InvalidFetchSessionEpoch, (77, 0)),
        (ErrorCode::FetchSessionTopicIdError, (77, 0)),
    ] {
        let mut rig = in_session();
        let asked = rig.ask();
        rig.answer(&asked, refusal(code));
        let asked = rig.ask();
        assert_eq!(
            (asked.session(), asked.asks()),
            (session, vec!["a-0@10".to_owned(), "a-1@10".to_owned()])
        );
        rig.answer(&asked, response(78, vec![("a", vec![data(0, batch(10, 1)), nothing(1)])]));
        assert_eq!(rig.ask().session(), (78, 1));
        assert_eq!(rig.drain(), [("a-0".to_owned(), vec![10])], "neither lost nor repeated");
    }
}

/// As in Java. A broker that was downgraded reads by name, whichever topic has the name.
#[test]
fn b3_a_session_topic_id_error_refreshes_the_metadata() {
    for (code, refreshes) in
        [(ErrorCode::FetchSessionTopicIdError, true), (ErrorCode::InvalidFetchSessionEpoch, false)]
    {
        let mut rig = in_session();
        let asked = rig.ask();
        rig.answer(&asked, refusal(code));
        assert_eq!(rig.events().contains(&Event::RefreshMetadata), refreshes, "{code}");
    }
}

#[test]
fn i1_a_broker_that_refuses_every_session_is_not_asked_without_pause() {
    let mut rig = in_session();
    let mut requests = 0;
    for _ in 0..100 {
        if let Some(asked) = rig.sent() {
            requests += 1;
            rig.answer(&asked, refusal(ErrorCode::FetchSessionIdNotFound));
        }
        rig.pass_ms(10);
    }
    assert!((2..=8).contains(&requests), "{requests} requests in a second");
}

#[test]
fn i2_without_a_session_everything_is_said_each_time_and_nothing_spins() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 0);
    for base in [0, 5] {
        let asked = rig.ask();
        assert_eq!((asked.session(), asked.asks()), ((0, 0), vec![format!("a-0@{base}")]));
        rig.answer(&asked, response(0, vec![("a", vec![data(0, batch(base, 5))])]));
    }
    // From here on the broker answers at once that there is nothing, which no broker should do.
    let mut requests = 0;
    for _ in 0..100 {
        if let Some(asked) = rig.sent() {
            requests += 1;
            rig.answer(&asked, response(0, vec![("a", vec![nothing(0)])]));
        }
        rig.pass_ms(10);
    }
    assert!((2..=10).contains(&requests), "{requests} requests in a second");
}

#[test]
fn i3_partitions_that_were_not_requested_are_ignored() {
    let mut rig = in_session();
    let asked = rig.ask();
    let stray = response(77, vec![("a", vec![data(7, batch(0, 3))]), ("b", vec![data(0, batch(0, 3))])]);
    rig.answer_late(&asked, stray);
    assert!(rig.fetcher.take().is_none());
    assert_eq!(rig.ask().session(), (77, 2), "the session goes on");
    assert_eq!(rig.told(), []);
}

#[test]
fn i3_a_paused_or_stopped_partition_is_forgotten() {
    let mut rig = in_session();
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    let asked = rig.ask();
    assert_eq!((asked.asks(), asked.forgets()), (vec![], vec!["a-0".to_owned()]));
    rig.fetcher.resume(&tp("a", 0), TOKEN);
    rig.fetcher.stop(&tp("a", 1));
    rig.answer_late(&asked, response(77, vec![]));
    let asked = rig.ask();
    assert_eq!((asked.asks(), asked.forgets()), (vec!["a-0@10".to_owned()], vec!["a-1".to_owned()]));
}

#[test]
fn i3_a_broker_without_topic_ids_is_told_to_forget_by_name() {
    let mut rig = Rig::new().topic("a", &[1, 1, 1]).topic("b", &[1]);
    for topic in ["a", "b"] {
        rig.topic_mut(topic).id = offtake_wire::Uuid::ZERO;
        rig.start(topic, 0, 10);
    }
    rig.start("a", 1, 10);
    rig.start("a", 2, 10);
    let asked = rig.ask();
    let of_a = vec![nothing(0), nothing(1), nothing(2)];
    let by_name = named(77, vec![("a", of_a), ("b", vec![nothing(0)])]);
    rig.answer_late(&asked, by_name);
    for topic in ["a", "b"] {
        rig.fetcher.pause(&tp(topic, 0), TOKEN);
    }
    rig.fetcher.pause(&tp("a", 1), TOKEN);
    assert_eq!(rig.ask().forgets(), ["a-0", "a-1", "b-0"]);
}

#[test]
fn i4_a_partition_twice_in_one_answer_counts_once() {
    let mut rig = in_session();
    let asked = rig.ask();
    let twice = vec![data(0, batch(10, 5)), data(0, batch(15, 5)), data(0, batch(10, 5))];
    rig.answer(&asked, response(77, vec![("a", twice)]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![10, 11, 12, 13, 14])]);
    assert_eq!(rig.fetcher.position(&tp("a", 0)).unwrap().offset, 15);
}

#[test]
fn i4_a_session_that_lacks_a_partition_is_opened_anew() {
    let mut rig = Rig::new().topic("a", &[1, 1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    rig.answer_late(&asked, response(77, vec![("a", vec![data(0, batch(0, 1))])]));
    let asked = rig.ask();
    assert_eq!((asked.session(), asked.asks()), ((77, 0), vec!["a-1@0".to_owned(), "a-0@1".to_owned()]));
}

#[test]
fn i1_an_answer_from_another_session_opens_one_anew() {
    let mut rig = in_session();
    let asked = rig.ask();
    rig.answer_late(&asked, response(78, vec![]));
    assert_eq!(rig.ask().session(), (77, 0));
}

#[test]
fn i6_an_unknown_error_of_the_whole_request_backs_off_and_is_told_once() {
    let mut rig = in_session();
    let mut requests = 0;
    for _ in 0..1000 {
        if let Some(asked) = rig.sent() {
            requests += 1;
            rig.answer(&asked, refusal(ErrorCode::Unknown(999)));
        }
        rig.pass_ms(10);
    }
    assert!((8..=20).contains(&requests), "{requests} requests in 10 s");
    let told = rig.told();
    assert_eq!(told.len(), 1, "{told:?}");
    rig.pass_ms(1500);
    let asked = rig.ask();
    rig.answer(&asked, response(1, vec![("a", vec![data(0, batch(10, 1)), nothing(1)])]));
    assert_eq!(rig.told().len(), 1, "and once that it is over");
}

#[test]
fn i13_topics_go_by_name_unless_all_have_ids() {
    let mut rig = Rig::new().topic("a", &[1]).topic("b", &[1]);
    rig.topic_mut("b").id = Uuid::ZERO;
    rig.show();
    rig.start("a", 0, 0);
    let asked = rig.ask();
    assert_eq!((asked.max_version, asked.session()), (None, (0, 0)));
    rig.answer_late(&asked, response(77, vec![("a", vec![nothing(0)])]));
    rig.start("b", 0, 0);
    let asked = rig.ask();
    assert_eq!((asked.max_version, asked.session()), (Some(12), (77, 0)), "a session is by name or by id");
    assert_eq!(asked.asks(), ["a-0@0", "b-0@0"]);
    rig.answer(&asked, named(78, vec![("a", vec![data(0, batch(0, 1))]), ("b", vec![data(0, batch(0, 2))])]));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![0]), ("b-0".to_owned(), vec![0, 1])]);
    let asked = rig.ask();
    assert_eq!((asked.max_version, asked.session()), (Some(12), (78, 1)));
    // While that request is outstanding the id becomes known.
    rig.topic_mut("b").id = id_of("b");
    rig.show();
    rig.answer_late(&asked, named(78, vec![("a", vec![nothing(0)]), ("b", vec![nothing(0)])]));
    let asked = rig.ask();
    assert_eq!((asked.max_version, asked.session()), (None, (78, 0)));
    assert_eq!(asked.asks(), ["a-0@1", "b-0@2"]);
}

/// The start of one partition is known a moment before that of another.
#[test]
fn a_partition_that_starts_just_after_the_first_request_does_not_wait_for_a_long_poll() {
    let mut rig = Rig::new().topic("a", &[1, 1]);
    rig.start("a", 0, 10);
    let first = rig.ask();
    rig.start("a", 1, 10);
    rig.silent();
    assert_eq!(first.request.max_wait_ms, 1);
    rig.answer(&first, response(77, vec![("a", vec![nothing(0)])]));
    let second = rig.ask();
    assert_eq!((second.asks(), second.request.max_wait_ms), (vec!["a-1@10".to_owned()], 500));
    // All are given up, and others start.
    rig.answer_late(&second, response(77, vec![]));
    let third = rig.ask();
    assert_eq!(third.request.max_wait_ms, 500);
    rig.answer_late(&third, response(77, vec![]));
    for partition in 0..2 {
        rig.fetcher.stop(&tp("a", partition));
    }
    rig.start("a", 0, 10);
    assert_eq!(rig.ask().request.max_wait_ms, 1);
}

#[test]
fn i14_close_closes_every_session_and_waits_for_no_long_poll() {
    let mut rig = in_session();
    rig.ask();
    rig.fetcher.close(rig.now, &BTreeSet::new());
    let asked = rig.ask();
    assert_eq!((asked.session(), asked.asks()), ((77, -1), vec![]));
    assert_eq!(asked.request.max_wait_ms, 500, "some brokers never answer to 0");
    assert_eq!((asked.request.min_bytes, asked.request.max_bytes), (1, 50 * 1024 * 1024), "as always");
    rig.silent();
    assert!(!rig.fetcher.is_closed());
    rig.answer(&asked, refusal(ErrorCode::FetchSessionIdNotFound));
    assert!(rig.fetcher.is_closed());
    assert_eq!(rig.poll_timeout(), None);
}

#[test]
fn i14_close_without_sessions_is_done_at_once_and_nothing_starts_after() {
    let mut rig = Rig::new().topic("a", &[1]);
    rig.start("a", 0, 0);
    rig.fetcher.close(rig.now, &BTreeSet::new());
    assert!(rig.fetcher.is_closed());
    rig.start("a", 0, 0);
    rig.silent();
}

#[test]
fn i14_close_gives_up_a_broker_that_does_not_answer() {
    let mut rig = in_session();
    rig.fetcher.close(rig.now, &BTreeSet::new());
    let asked = rig.ask();
    rig.fail(&asked);
    assert!(rig.fetcher.is_closed());
}

#[test]
fn i14_close_gives_up_a_broker_that_never_answers() {
    let mut rig = in_session();
    rig.fetcher.close(rig.now, &BTreeSet::new());
    rig.ask();
    let deadline = rig.poll_timeout().expect("a time to give up");
    assert_eq!(deadline, rig.now + 2 * std::time::Duration::from_secs(30));
    rig.pass(deadline - rig.now);
    assert!(rig.fetcher.is_closed());
    assert_eq!(rig.poll_timeout(), None);
}

#[test]
fn i14_close_says_nothing_to_a_broker_that_fails_and_closes_the_others() {
    let mut rig = Rig::new().topic("a", &[1, 2]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let (one, two) = (rig.ask(), rig.ask());
    rig.answer(&one, response(7, vec![("a", vec![data(0, batch(0, 1))])]));
    rig.answer(&two, response(8, vec![("a", vec![data(1, batch(0, 1))])]));
    let (one, _) = (rig.ask(), rig.ask());
    rig.fail(&one);
    rig.fetcher.close(rig.now, &BTreeSet::new());
    let asked = rig.ask();
    assert_eq!((asked.broker, asked.session()), (BrokerId(2), (8, -1)));
    rig.silent();
    rig.answer(&asked, response(0, vec![]));
    assert!(rig.fetcher.is_closed());
}

/// A request to the broker would wait for the outstanding response.
#[test]
fn i14_close_says_nothing_to_a_broker_that_owes_another_answer() {
    let mut rig = in_session();
    rig.fetcher.close(rig.now, &BTreeSet::from([BrokerId(2)]));
    assert!(!rig.fetcher.is_closed(), "that is another");
    let mut rig = in_session();
    rig.fetcher.close(rig.now, &BTreeSet::from([BrokerId(1)]));
    assert!(rig.fetcher.is_closed());
    rig.silent();
}

/// Nobody would answer, and closing would wait for that.
#[test]
fn i14_close_says_nothing_to_a_broker_that_has_left_the_cluster() {
    let mut rig = in_session();
    rig.cluster.brokers.remove(&BrokerId(1));
    rig.lead("a", 0, 2, 6);
    rig.lead("a", 1, 2, 6);
    rig.show();
    rig.fetcher.close(rig.now, &BTreeSet::new());
    rig.silent();
    assert!(rig.fetcher.is_closed());
}

#[test]
fn i14_close_ends_everything_else() {
    let mut rig = Rig::new().topic("a", &[1, -1]);
    rig.start("a", 0, 0);
    rig.start("a", 1, 0);
    let asked = rig.ask();
    rig.answer(&asked, response(7, vec![("a", vec![data(0, batch(0, 1))])]));
    rig.events();
    rig.fetcher.close(rig.now, &BTreeSet::new());
    assert_eq!(rig.poll_timeout(), Some(rig.now), "the session is to be closed at once");
    assert!(rig.fetcher.take().is_none());
    assert_eq!((rig.fetcher.memory_held(), rig.fetcher.position(&tp("a", 0))), (0, None));
    rig.show();
    let asked = rig.ask();
    rig.fetcher.close(rig.now, &BTreeSet::new());
    rig.silent();
    rig.answer(&asked, response(0, vec![]));
    rig.pass_ms(60_000);
    assert_eq!((rig.poll_timeout(), rig.events()), (None, vec![]), "nobody looks for a leader any more");
}

#[test]
fn a2_when_to_come_back_is_when_a_call_is_due_or_late() {
    let mut rig = in_session();
    let asked = rig.ask();
    assert_eq!(rig.poll_timeout(), Some(rig.now + std::time::Duration::from_secs(60)), "twice the timeout");
    rig.fail(&asked);
    let due = rig.poll_timeout().expect("after a pause") - rig.now;
    assert!((80..=120).contains(&due.as_millis()), "{due:?}");
    rig.fetcher.stop(&tp("a", 0));
    rig.fetcher.stop(&tp("a", 1));
    assert_eq!(rig.poll_timeout(), None, "nobody is asked for");
}

#[test]
fn i15_a_seek_is_said_in_the_session_even_back_to_where_it_was() {
    let mut rig = in_session();
    let asked = rig.ask();
    rig.fetcher.stop(&tp("a", 0));
    let sought: Token = TOKEN.after_seek();
    rig.start_as("a", 0, sought, Position::at(10));
    rig.silent();
    rig.answer(&asked, response(77, vec![("a", vec![data(0, batch(10, 5))])]));
    assert!(rig.fetcher.take().is_none(), "asked for before the seek (I7)");
    let asked = rig.ask();
    assert_eq!(
        (asked.session(), asked.asks(), asked.forgets()),
        ((77, 2), vec!["a-0@10".to_owned()], vec![])
    );
    rig.answer(&asked, response(77, vec![("a", vec![data(0, batch(10, 5))])]));
    assert_eq!(rig.fetcher.take().unwrap().token, sought);
}

#[test]
fn i12_an_error_of_one_partition_leaves_the_others_and_the_session_alone() {
    let mut rig = in_session();
    let asked = rig.ask();
    let mixed = vec![error(0, ErrorCode::KafkaStorageError), data(1, batch(10, 2))];
    rig.answer(&asked, response(77, vec![("a", mixed)]));
    assert_eq!(rig.drain(), [("a-1".to_owned(), vec![10, 11])]);
    let asked = rig.ask();
    assert_eq!(
        (asked.session(), asked.asks(), asked.forgets()),
        ((77, 2), vec!["a-1@12".to_owned()], vec!["a-0".to_owned()])
    );
    rig.answer_late(&asked, response(77, vec![]));
    assert_eq!(rig.ask().asks(), ["a-0@10"]);
}

#[test]
fn i12_without_a_session_each_request_begins_behind_what_was_sent_last() {
    let mut rig = Rig::new().topic("a", &[1, 1]).topic("b", &[1, 1]);
    for (topic, partition) in [("a", 0), ("a", 1), ("b", 0), ("b", 1)] {
        rig.start(topic, partition, 0);
    }
    // The broker's cache is full, and its response has space for two partitions.
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@0", "a-1@0", "b-0@0", "b-1@0"]);
    let records = |partition| data(partition, batch(0, 5));
    rig.answer(&asked, response(0, vec![("a", vec![records(0), records(1)]), ("b", vec![nothing(0)])]));
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["b-0@0", "b-1@0", "a-0@5", "a-1@5"]);
    rig.answer(&asked, response(0, vec![("b", vec![records(0), records(1)])]));
    assert_eq!(rig.ask().asks(), ["a-0@5", "a-1@5", "b-0@5", "b-1@5"]);
}

#[test]
fn i12_without_a_session_no_partition_of_a_fast_reader_starves() {
    let mut rig = Rig::new().topic("a", &[1; 10]);
    for partition in 0..10 {
        rig.start("a", partition, 0);
    }
    let mut read = [0; 10];
    for _ in 0..20 {
        let asked = rig.ask();
        let wanted = asked.request.topics.iter().flat_map(|topic| &topic.partitions);
        let sent = wanted.take(3).map(|it| data(it.partition, batch(it.fetch_offset, 5)));
        let sent: Vec<_> = sent.collect();
        for data in &sent {
            read[usize::try_from(data.partition_index).unwrap()] += 1;
        }
        rig.answer(&asked, response(0, vec![("a", sent)]));
        rig.drain();
    }
    assert_eq!(read, [6; 10]);
}

/// SAFE14: a broker does not repeat watermarks (KIP-227), even if the response with them was for an earlier
/// assignment.
#[test]
fn safe14_where_a_log_ends_is_known_to_the_next_assignment_too() {
    let mut rig = in_session();
    rig.events();
    let asked = rig.ask();
    // Given up and assigned again while the request is outstanding.
    rig.fetcher.forget(&tp("a", 0));
    let token = Token { assignment: TOKEN.assignment + 1, ..TOKEN };
    rig.fetcher.start(tp("a", 0), token, Position::at(10));
    rig.show();
    rig.answer_late(&asked, response(77, vec![("a", vec![data(0, batch(10, 5))])]));
    assert!(rig.events().is_empty(), "it was asked for under the old token");
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@10"]);
    let told: Vec<_> = rig
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Watermarks { partition: tp, token, watermarks } => (tp, token, watermarks.high),
            event => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(told, [(tp("a", 0), token, 1000)]);
    rig.answer_late(&asked, response(77, vec![]));
    assert!(rig.events().is_empty(), "once");
}
