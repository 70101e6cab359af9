//! Tests of records that are finished one by one, and stay unfinished.

use std::time::Duration;

use offtake::{Consumer, ErrorKind, Event, Ticket};

use crate::support::{Events, Log, cluster, member, poll_for, virtually};

const LIMIT: Duration = Duration::from_secs(60);

async fn taking(events: &Events, partitions: i32) -> (Consumer, Vec<Ticket>, offtake_broker::Cluster) {
    let cluster = cluster(partitions).await;
    let builder = events.of(member(&cluster, "c")).finish_each().max_poll_interval(LIMIT);
    let mut consumer = builder.build().await.unwrap();
    consumer.subscribe(["orders"]).await.unwrap();
    let mut tickets = Vec::new();
    while tickets.len() < 3 * usize::try_from(partitions).unwrap() {
        let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
        tickets.extend(records.iter().map(|record| record.ticket().unwrap()));
    }
    tickets.sort_by_key(|ticket| (ticket.topic_partition().partition, ticket.offset()));
    (consumer, tickets, cluster)
}

fn told(events: &Events, dropped: bool) -> usize {
    events.count(
        |event| matches!(event, Event::Unfinished { ticket_dropped, .. } if *ticket_dropped == dropped),
    )
}

#[test]
fn unfinished_records_can_be_queried_and_are_reported_by_age_at_a_bounded_rate() {
    virtually(async {
        let (log, _guard) = Log::start();
        let events = Events::default();
        let (mut consumer, mut tickets, _cluster) = taking(&events, 2).await;
        let handle = consumer.handle();
        poll_for(&mut consumer, Duration::from_secs(10)).await;
        let open = handle.unfinished();
        assert_eq!(open.len(), 2);
        let (_, first) = open.first_key_value().unwrap();
        assert_eq!((first.count, first.first, first.dropped), (3, 0, None));
        assert!(first.age >= Duration::from_secs(10) && first.age < Duration::from_secs(12), "{first:?}");
        assert_eq!(handle.health().oldest_unfinished, Some(first.age));
        assert_eq!(told(&events, false), 0, "that is no age yet");

        // The middle record of the first partition stays unfinished.
        let kept = tickets.remove(1);
        tickets.into_iter().for_each(|ticket| ticket.finish().unwrap());
        let open = handle.unfinished();
        assert_eq!(open.len(), 1);
        let (partition, unfinished) = open.first_key_value().unwrap();
        assert_eq!((partition.partition, unfinished.count, unfinished.first), (0, 1, 1));

        poll_for(&mut consumer, 3 * LIMIT).await;
        assert_eq!(told(&events, false), 3, "once in each max.poll.interval.ms");
        let lines = log.with("and is not finished: nothing from there on can be committed");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("partition=orders-0 offset=1"), "{lines:?}");
        let words = "the record at offset 1 of orders-0 was handed out 6";
        assert!(lines[0].contains(words), "about a minute ago: {lines:?}");
        assert!(lines[0].contains("client_id=\"c\""), "{lines:?}");

        kept.finish().unwrap();
        assert!(handle.unfinished().is_empty());
        assert_eq!(handle.health().oldest_unfinished, None);
        poll_for(&mut consumer, 2 * LIMIT).await;
        assert_eq!(told(&events, false), 3);
    });
}

#[test]
fn a_dropped_ticket_is_told_within_seconds() {
    virtually(async {
        let (log, _guard) = Log::start();
        let events = Events::default();
        let (mut consumer, mut tickets, _cluster) = taking(&events, 1).await;
        drop(tickets.remove(1));
        tickets.into_iter().for_each(|ticket| ticket.finish().unwrap());
        assert_eq!(consumer.handle().unfinished().values().next().unwrap().dropped, Some(1));
        poll_for(&mut consumer, Duration::from_secs(10)).await;
        assert_eq!(told(&events, true), 1);
        let lines = log.with("the ticket of the record at offset 1 of orders-0 was dropped");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("partition=orders-0 offset=1"), "{lines:?}");
    });
}

#[test]
fn a_ticket_that_is_dropped_after_its_record_was_finished_is_nobodys_loss() {
    virtually(async {
        let (log, _guard) = Log::start();
        let events = Events::default();
        let cluster = cluster(1).await;
        let mut consumer = events.of(member(&cluster, "c")).finish_each().build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut count = 0;
        while count < 3 {
            for record in &consumer.poll(Duration::from_millis(100)).await.unwrap() {
                drop(record.ticket().unwrap()); // before
                let ticket = record.ticket().unwrap();
                record.finish().unwrap();
                drop(ticket);
                count += 1;
            }
        }
        poll_for(&mut consumer, Duration::from_secs(60)).await;
        assert_eq!((told(&events, true), log.with("WARN").len()), (0, 0), "{:?}", log.lines());
    });
}

#[test]
fn tickets_of_a_partition_that_is_gone_are_nobodys_loss() {
    virtually(async {
        let events = Events::default();
        let (mut consumer, tickets, _cluster) = taking(&events, 1).await;
        consumer.unsubscribe().await.unwrap();
        drop(tickets);
        assert!(consumer.handle().unfinished().is_empty());
        poll_for(&mut consumer, 2 * LIMIT).await;
        assert_eq!((told(&events, true), told(&events, false)), (0, 0));
    });
}

#[test]
fn finished_records_that_come_again_are_a_line_when_their_partition_is_given_up() {
    virtually(async {
        let (log, _guard) = Log::start();
        let (mut consumer, mut tickets, _cluster) = taking(&Events::default(), 2).await;
        // The first record of the first partition stays unfinished, and none of the second.
        let kept = tickets.remove(0);
        tickets.into_iter().for_each(|ticket| ticket.finish().unwrap());
        consumer.unsubscribe().await.unwrap();
        let lines = log.with("finished records come again");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("orders-0 from offset 0 (2 finished)"), "{lines:?}");
        assert!(lines[0].contains("INFO") && lines[0].contains("client_id=\"c\""), "{lines:?}");
        let refused = kept.finish().unwrap_err();
        assert!(refused.to_string().contains("orders-0 was revoked or given up since offset 0"), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::NotOwned);
    });
}

#[test]
fn a_ticket_that_is_refused_says_why() {
    virtually(async {
        let (mut consumer, mut tickets, _cluster) = taking(&Events::default(), 1).await;
        let (late, last) = (tickets.remove(0), tickets.remove(0));
        consumer.seek(("orders", 0), 2).await.unwrap();
        let sought = tickets.remove(0).finish().unwrap_err();
        assert!(sought.to_string().contains("orders-0 was sought elsewhere"), "{sought}");
        read_again(&mut consumer, &mut tickets, 1).await;
        let lost = tickets.remove(0);
        tokio::time::sleep(2 * LIMIT).await;
        read_again(&mut consumer, &mut tickets, 1).await;
        let lost = lost.finish().unwrap_err();
        assert!(
            lost.to_string().contains(
                "was lost since offset 2 was handed out: poll was not called for max.poll.interval.ms (60000)"
            ),
            "{lost}"
        );
        assert!(late.finish().unwrap_err().to_string().contains("sought"), "what came first");
        consumer.close(LIMIT).await.unwrap();
        assert!(tickets.remove(0).finish().unwrap_err().to_string().contains("was revoked or given up"));
        assert!(last.finish().is_err());

        let (consumer, mut tickets, _cluster) = taking(&Events::default(), 1).await;
        drop(consumer);
        let closed = tickets.remove(0).finish().unwrap_err();
        assert!(closed.to_string().contains("the consumer was closed since offset 0"), "{closed}");
    });
}

async fn read_again(consumer: &mut Consumer, tickets: &mut Vec<Ticket>, count: usize) {
    while tickets.len() < count {
        let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
        tickets.extend(records.iter().map(|record| record.ticket().unwrap()));
    }
}
