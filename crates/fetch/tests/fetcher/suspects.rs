//! Tests of responses that are larger than the accepted size: whose batch is it?

use std::collections::BTreeSet;

use offtake_fetch::{Event, PartitionError};
use offtake_machine::Position;
use offtake_wire::messages::fetch::FetchResponse;

use crate::rig::{Asked, LIMIT, Rig, TOKEN, batch, data, nothing, response, tp};

const SIZE: usize = 5_000;

/// Partitions of "a" at broker 1 are fetched from 10 on, below a watermark of 1000, in session 77 of the
/// broker.
fn flowing(partitions: i32) -> Rig {
    let leaders: Vec<_> = (0..partitions).map(|_| 1).collect();
    let mut rig = Rig::new().topic("a", &leaders);
    (0..partitions).for_each(|partition| rig.start("a", partition, 10));
    let asked = rig.ask();
    rig.answer_late(&asked, response(77, vec![("a", (0..partitions).map(nothing).collect())]));
    rig
}

fn one(partition: i32, at: i64) -> FetchResponse {
    response(78, vec![("a", vec![data(partition, batch(at, 1))])])
}

fn stopped(partition: i32) -> Event {
    Event::PartitionFailed {
        partition: tp("a", partition),
        token: TOKEN,
        position: Position::at(10),
        error: PartitionError::TooLarge { offset: 10, size: SIZE, limit: LIMIT },
    }
}

/// The partitions that a request newly requests.
fn asked_for(asked: &Asked) -> Vec<i32> {
    asked.request.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.partition).collect()
}

#[test]
fn i10_the_partition_with_the_large_batch_is_found_and_the_others_flow_on() {
    let mut rig = flowing(3);
    let all = rig.ask();
    rig.too_large(&all, 9_000);
    rig.silent();
    rig.pass_ms(150);
    let first = rig.ask();
    assert_eq!((first.session(), first.asks()), ((77, 0), vec!["a-0@10".to_owned()]), "alone");
    let limits = (first.request.max_bytes, first.request.topics[0].partitions[0].partition_max_bytes);
    assert_eq!((limits, first.request.max_wait_ms), ((1, 1), 1), "one batch, and no long poll");
    rig.answer(&first, one(0, 10));
    let second = rig.ask();
    assert_eq!((second.session(), second.asks()), ((78, 0), vec!["a-1@10".to_owned()]));
    assert_eq!(rig.told(), []);
    rig.too_large(&second, SIZE);
    assert_eq!(rig.told(), [stopped(1)]);
    assert_eq!(rig.fetcher.position(&tp("a", 1)), Some(Position::at(10)), "it is kept");
    let rest = rig.ask();
    assert_eq!(rest.asks(), ["a-2@10", "a-0@11"], "the others at once, together");
    assert_eq!((rest.session(), rest.request.max_wait_ms), ((78, 0), 500));
    assert!(rest.request.max_bytes > 1000 && rest.request.topics[0].partitions[0].partition_max_bytes > 1000);
    rig.answer(&rest, response(79, vec![("a", vec![data(0, batch(11, 1)), data(2, batch(10, 1))])]));
    assert_eq!(rig.ask().session(), (79, 1), "a session as before");
    assert_eq!(rig.drain().len(), 3);
    assert_eq!(rig.told(), []);
}

#[test]
fn i10_a_seek_past_the_large_batch_starts_the_partition_again() {
    let mut rig = flowing(1);
    let asked = rig.ask();
    rig.too_large(&asked, SIZE);
    rig.pass_ms(150);
    let asked = rig.ask();
    rig.too_large(&asked, SIZE);
    assert_eq!(rig.told(), [stopped(0)]);
    rig.pass_ms(60_000);
    rig.silent();
    assert_eq!(rig.fetcher.poll_timeout(), None, "it waits for the application alone");
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(11));
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@11"]);
    rig.answer(&asked, one(0, 11));
    assert_eq!(rig.drain(), [("a-0".to_owned(), vec![11])]);
}

#[test]
fn i10_each_of_several_is_found_with_few_requests() {
    let mut rig = flowing(8);
    let large = BTreeSet::from([1, 4, 7]);
    let first = rig.ask(); // an increment of the session: of all of them
    rig.too_large(&first, SIZE);
    let (mut requests, mut calm) = (1, 0);
    while calm < 3 {
        rig.pass_ms(10);
        let Some(asked) = rig.sent() else { continue };
        requests += 1;
        let partitions = asked_for(&asked);
        if partitions.iter().any(|it| large.contains(it)) {
            rig.too_large(&asked, SIZE);
        } else {
            calm = if partitions.len() == 1 { 0 } else { calm + 1 };
            rig.answer_late(&asked, response(78, vec![("a", partitions.into_iter().map(nothing).collect())]));
        }
    }
    assert_eq!(rig.told(), [stopped(1), stopped(4), stopped(7)]);
    let (rounds, alone) = (3, 2 + 4 + 6);
    assert_eq!(requests, rounds + alone + calm);
}

#[test]
fn i10_partitions_known_to_have_records_are_suspected_first() {
    let mut rig = flowing(2);
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(1000));
    let asked = rig.ask();
    rig.too_large(&asked, SIZE);
    rig.pass_ms(150);
    assert_eq!(rig.ask().asks(), ["a-1@10"], "a-0 is at its end");
}

#[test]
fn i10_a_partition_paused_stopped_or_sought_meanwhile_is_not_suspected() {
    let mut rig = flowing(4);
    let asked = rig.ask();
    rig.too_large(&asked, SIZE);
    rig.pass_ms(150);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@10"]);
    rig.fetcher.pause(&tp("a", 1), TOKEN);
    rig.fetcher.stop(&tp("a", 2));
    rig.start_as("a", 0, TOKEN.after_seek(), Position::at(20));
    rig.too_large(&asked, SIZE);
    assert_eq!(rig.told(), [], "what was too large lies before the seek");
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@20", "a-3@10"], "all that is wanted, as if nothing had been");
    rig.too_large(&asked, SIZE);
    rig.fetcher.pause(&tp("a", 0), TOKEN);
    rig.pass_ms(150);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-3@10"]);
    rig.too_large(&asked, SIZE);
    assert_eq!(rig.told(), [stopped(3)]);
}

#[test]
fn i10_a_connection_lost_in_the_search_does_not_end_it() {
    let mut rig = flowing(2);
    let asked = rig.ask();
    rig.too_large(&asked, SIZE);
    rig.pass_ms(150);
    let asked = rig.ask();
    rig.fail(&asked);
    rig.pass_ms(250);
    let asked = rig.ask();
    assert_eq!(asked.asks(), ["a-0@10"], "nothing is known of it");
    rig.too_large(&asked, SIZE);
    assert_eq!(rig.told(), [stopped(0)]);
}

#[test]
fn safe15_answers_too_large_that_are_nobodys_are_told_once_and_not_asked_for_without_pause() {
    let mut rig = flowing(2);
    let (mut rounds, mut requests) = (0, 0);
    for _ in 0..1000 {
        rig.pass_ms(10);
        if let Some(asked) = rig.sent() {
            requests += 1;
            match asked_for(&asked).as_slice() {
                [one] => rig.answer(&asked, response(78, vec![("a", vec![nothing(*one)])])),
                _ => {
                    rounds += 1;
                    rig.too_large(&asked, SIZE);
                }
            }
        }
    }
    assert!((8..=20).contains(&rounds) && requests <= 3 * rounds, "{requests} requests, {rounds} rounds");
    let told = rig.told();
    assert!(matches!(told.as_slice(), [Event::BrokerFailing { .. }]), "{told:?}");
    rig.pass_ms(1500);
    for _ in 0..3 {
        if let Some(asked) = rig.sent() {
            let all = asked_for(&asked).into_iter().map(nothing).collect();
            rig.answer_late(&asked, response(79, vec![("a", all)]));
        }
    }
    let told = rig.told();
    assert!(matches!(told.as_slice(), [Event::BrokerRecovered { .. }]), "{told:?}");
}
