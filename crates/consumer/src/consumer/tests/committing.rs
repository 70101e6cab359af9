//! Tests of what is finished, and when it is committed.

use super::*;

#[tokio::test(start_paused = true)]
async fn h3_polled_records_are_finished_by_the_next_poll_and_committed_by_interval() {
    let (mut consumer, engine) = member(|builder| builder, &[0, 1]).await;
    engine.brings(0, 0, 3);
    engine.brings(1, 0, 2);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2, 0, 1]);
    advance(Duration::from_secs(6)).await;
    settle().await;
    assert!(said(&engine).is_empty(), "the application is at work");
    engine.brings(0, 3, 1);
    assert_eq!(offsets(&mut consumer).await, [3]);
    let first = ["finished orders-0@3", "finished orders-1@2", "commit soon"];
    assert_eq!(said(&engine), first, "and nothing of what was handed out just now");
    assert!(offsets(&mut consumer).await.is_empty());
    assert!(said(&engine).is_empty(), "the interval has not passed");
    advance(Duration::from_secs(5)).await;
    assert!(offsets(&mut consumer).await.is_empty());
    assert_eq!(said(&engine), ["finished orders-0@4", "commit soon"], "of the other nothing is new");
}

#[tokio::test(start_paused = true)]
async fn seam1_the_interval_is_kept_while_a_poll_waits() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    let began = clock::now();
    assert!(consumer.poll(Duration::from_secs(12)).await.unwrap().is_empty());
    assert_eq!(clock::now() - began, Duration::from_secs(12));
    settle().await;
    assert_eq!(said(&engine), ["finished orders-0@3", "commit soon", "commit soon"]);
}

#[tokio::test(start_paused = true)]
async fn seam1_records_finished_by_workers_are_committed_while_next_waits() {
    let (mut consumer, engine) = member(Builder::finish_each, &[0]).await;
    engine.brings(0, 0, 3);
    let Ok(Next::Records(records)) = consumer.next().await else { panic!("records") };
    let tickets: Vec<_> = records.iter().map(|record| record.ticket().unwrap()).collect();
    drop(records);
    let finishes = async {
        sleep(Duration::from_secs(1)).await;
        tickets.into_iter().try_for_each(Ticket::finish).unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(said(&engine), ["finished orders-0@3", "commit soon"]);
        engine.brings(0, 3, 1);
    };
    let next = beside(consumer.next(), finishes).await;
    assert!(matches!(next, Ok(Next::Records(records)) if records.len() == 1));
}

/// No setting makes a waiting poll spin.
#[tokio::test(start_paused = true)]
async fn seam1_an_interval_of_nothing_commits_at_each_poll_and_no_faster_than_ten_times_a_second_inside_one()
{
    let (mut consumer, engine) =
        member(|builder| builder.property("auto.commit.interval.ms", "0"), &[0]).await;
    for _ in 0..3 {
        advance(Duration::from_millis(1)).await;
        offsets(&mut consumer).await;
    }
    assert_eq!(said(&engine), ["commit soon"; 3]);
    consumer.poll(Duration::from_secs(1)).await.unwrap();
    settle().await;
    let commits = said(&engine).len();
    assert!((5..=12).contains(&commits), "{commits}");
}

#[tokio::test(start_paused = true)]
async fn h3_with_manual_commits_nothing_is_committed_by_itself() {
    let (mut consumer, engine) =
        member(|builder| builder.property("enable.auto.commit", "false"), &[0]).await;
    engine.brings(0, 0, 3);
    let records = consumer.poll(NONE).await.unwrap();
    advance(Duration::from_secs(60)).await;
    consumer.poll(Duration::from_secs(60)).await.unwrap();
    settle().await;
    assert!(said(&engine).is_empty());
    consumer.commit(&records).await.unwrap();
    assert_eq!(said(&engine), ["commit orders-0@3"]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@3", "commit finished"]);
}

#[tokio::test(start_paused = true)]
async fn h3_given_offsets_are_committed_without_a_wait_and_none_beyond_what_was_handed_out() {
    let (mut consumer, engine) =
        member(|builder| builder.property("enable.auto.commit", "false"), &[0]).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    let beyond = consumer.commit_offsets_async((orders(0), 4)).unwrap_err();
    assert_eq!((beyond.kind(), beyond.partition()), (ErrorKind::Misuse, Some(&orders(0))));
    drop(consumer.commit_offsets_async((orders(0), 2)).unwrap());
    let committing = consumer.commit_offsets_async([(orders(0), 3)]).unwrap();
    settle().await;
    assert_eq!(
        said(&engine),
        ["commit orders-0@2", "commit orders-0@3"],
        "awaited or not, and the refused one never"
    );
    committing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn h3_stored_records_are_finished_and_merely_polled_ones_are_not() {
    let (mut consumer, engine) =
        member(|builder| builder.property("enable.auto.offset.store", "false"), &[0]).await;
    engine.brings(0, 0, 3);
    let records = consumer.poll(NONE).await.unwrap();
    consumer.store(&records.iter().nth(1).unwrap()).unwrap();
    consumer.poll(NONE).await.unwrap();
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@2", "commit finished"]);
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["commit finished"], "nothing new is finished");
}

/// As in Java, a new manual assignment drops partitions.
#[tokio::test(start_paused = true)]
async fn h3_finished_records_of_partitions_dropped_by_assign_are_committed_first() {
    let (mut consumer, engine) = consumer(|builder| builder);
    engine.assigns(&[0, 1], None);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    said(&engine);
    consumer.assign([("orders", 0), ("orders", 1)]).await.unwrap();
    assert_eq!(said(&engine), ["assign 2"], "nothing goes");
    consumer.assign([("orders", 1)]).await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@3", "commit finished", "assign 1"]);
}

/// With a manual assignment no other member waits for the partition, so there is even less reason to drop a
/// requested commit.
#[tokio::test(start_paused = true)]
async fn h2_by_hand_too_commits_under_way_are_over_before_partitions_are_given_up() {
    for assigns in [false, true] {
        let (mut consumer, engine) = consumer(|builder| builder.property("enable.auto.commit", "false"));
        engine.assigns(&[0], None);
        consumer.assign([orders(0)]).await.unwrap();
        engine.brings(0, 0, 3);
        let records = consumer.poll(NONE).await.unwrap();
        let _committing = consumer.commit_async(&records).unwrap();
        match assigns {
            true => consumer.assign([orders(1)]).await.unwrap(),
            false => consumer.unsubscribe().await.unwrap(),
        }
        settle().await;
        let said = said(&engine);
        assert!(said.iter().any(|what| what == "settle commits"), "{assigns}: {said:?}");
    }
}

/// A retry seeks back to the failed record; everything before it is finished.
#[tokio::test(start_paused = true)]
async fn l8_storing_a_record_that_a_seek_will_redeliver_is_refused() {
    // The earliest offset is not known yet.
    for (to, finished) in [(StartAt::Offset(5.into()), 5), (StartAt::Earliest, 0)] {
        let build = |builder: Builder| builder.property("enable.auto.offset.store", "false");
        let (mut consumer, engine) = member(build, &[0]).await;
        engine.brings(0, 0, 10);
        let records = consumer.poll(NONE).await.unwrap();
        consumer.seek(orders(0), to).await.unwrap();
        for (offset, record) in records.iter().enumerate() {
            let stored = consumer.store(&record).map_err(|error| error.kind());
            assert_eq!(stored, if offset < finished { Ok(()) } else { Err(ErrorKind::NotOwned) }, "{offset}");
        }
    }
}
