//! Position and lag are current when a call returns, for a consumer and its handles alike.

use std::time::{Duration, Instant};

use offtake::{Consumer, ErrorKind, Handle, OffsetAndMetadata, Position, StartAt, TopicPartition};
use offtake_tests::{V4_3_0, shared, unique};
use tokio::time::sleep;

use super::{PATIENCE, all, member, poll_until};
use crate::library::{A_MOMENT, at, filled, more, program};

/// A group's consumer that has read all of one partition with 200 records, and its handle.
async fn at_the_end() -> (String, Consumer, Handle) {
    let of = shared(V4_3_0);
    let topic = filled(of, 1, 200, "none");
    let mut consumer = member(of, &unique("group")).build().await.unwrap();
    consumer.subscribe([topic.as_str()]).await.unwrap();
    poll_until(&mut consumer, "all is read", |consumer| consumer.position(at(&topic, 0)) == Some(200)).await;
    let handle = consumer.handle();
    (topic, consumer, handle)
}

fn both(consumer: &Consumer, handle: &Handle, place: &TopicPartition) -> [Option<i64>; 2] {
    [consumer.position(place), handle.position(place)]
}

fn offset(place: &TopicPartition, offset: i64) -> [(TopicPartition, OffsetAndMetadata); 1] {
    [(place.clone(), OffsetAndMetadata::from(Position::at(offset)))]
}

#[test]
fn seam8_position_and_lag_are_those_of_a_seek_as_soon_as_it_returns() {
    program(async {
        let (topic, mut consumer, handle) = at_the_end().await;
        let place = at(&topic, 0);
        consumer.seek(place.clone(), StartAt::Offset(50.into())).await.unwrap();
        assert_eq!(both(&consumer, &handle, &place), [Some(50); 2]);
        for lag in [consumer.lag(&place), handle.lag(&place)] {
            assert!(matches!(lag, Some(150) | None), "150 are left, or it is not known yet: {lag:?}");
        }
        // No records from there were handed out: an offset beyond cannot be committed.
        let refused = consumer.commit_offsets(offset(&place, 200)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misuse, "{refused}");
        consumer.commit_offsets(offset(&place, 50)).await.unwrap();
        let records = consumer.poll(PATIENCE).await.unwrap();
        assert_eq!(records.iter().next().map(|record| record.offset()), Some(50));
        assert_eq!(both(&consumer, &handle, &place), [Some(50 + records.len() as i64); 2]);

        // Through the handle, and twice: the last seek counts.
        handle.seek(place.clone(), StartAt::Offset(7.into())).await.unwrap();
        handle.seek(place.clone(), StartAt::Offset(190.into())).await.unwrap();
        assert_eq!(both(&consumer, &handle, &place), [Some(190); 2]);
        let records = consumer.poll(PATIENCE).await.unwrap();
        assert_eq!(
            records.iter().map(|record| record.offset()).collect::<Vec<_>>(),
            (190..200).collect::<Vec<_>>()
        );
        assert_eq!((consumer.lag(&place), handle.lag(&place)), (Some(0), Some(0)));

        // While the offset is being looked up, the old one is not returned.
        consumer.seek(place.clone(), StartAt::Earliest).await.unwrap();
        assert!(matches!(both(&consumer, &handle, &place), [None, None] | [Some(0), Some(0)]));
        poll_until(&mut consumer, "all is read", |consumer| consumer.position(&place) == Some(200)).await;
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// SEAM8: a seek back, where a commit of the old position would lose the records in between.
#[test]
fn seam8_records_behind_a_seek_back_are_not_committed_by_position() {
    program(async {
        let (topic, mut consumer, _) = at_the_end().await;
        let place = at(&topic, 0);
        consumer.commit_finished().await.unwrap();
        consumer.seek(place.clone(), StartAt::Offset(50.into())).await.unwrap();
        let position = consumer.position(&place).expect("it was given");
        consumer.commit_offsets(offset(&place, position)).await.unwrap();
        let committed = consumer.committed([place.clone()]).await.unwrap();
        assert_eq!(committed[&place].offset, 50);
        consumer.close(PATIENCE).await.unwrap();
    });
}

/// SEAM7: a monitor that uses a handle sees an idle partition as read to its end.
#[test]
fn seam7_the_lag_of_an_idle_partition_is_nothing_through_a_handle_too() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 5, "none");
        let empty = of.tool.create_topic(&unique("seams"), 1, &[]);
        let mut consumer = Consumer::builder(of.kafka.bootstrap()).build().await.unwrap();
        let places = [at(&topic, 0), at(&topic, 1), at(&empty, 0)];
        consumer.assign(places.iter().map(|place| (place.clone(), StartAt::Latest))).await.unwrap();
        let handle = consumer.handle();
        poll_until(&mut consumer, "all ends are known", |consumer| {
            places.iter().all(|place| consumer.lag(place) == Some(0))
        })
        .await;
        let lags: Vec<_> = places.iter().map(|place| handle.lag(place)).collect();
        assert_eq!(lags, [Some(0); 3]);
        assert!(consumer.lags().into_values().all(|lag| lag == Some(0)));
        // And there is none for a partition that is not assigned.
        assert_eq!((handle.lag(at(&topic, 7)), consumer.lag(at(&topic, 7))), (None, None));
        consumer.close(PATIENCE).await.unwrap();
        assert_eq!(handle.lag(&places[0]), None);
    });
}

/// SEAM13: thousands of records in the client, or at the broker, count as unread through consumer and handle.
#[test]
fn seam13_lag_counts_what_waits_in_the_client_and_what_is_paused() {
    program(async {
        let of = shared(V4_3_0);
        let topic = filled(of, 2, 10, "none");
        let builder = member(of, &unique("group")).property("max.poll.records", "100");
        let mut consumer = builder.build().await.unwrap();
        consumer.assign(all(&topic, 2)).await.unwrap();
        let handle = consumer.handle();
        poll_until(&mut consumer, "all is read", |consumer| {
            all(&topic, 2).iter().all(|place| consumer.lag(place) == Some(0))
        })
        .await;
        (0..10).for_each(|_| more(of, &topic, 2, 100, "none"));
        // No poll is made.
        let began = Instant::now();
        let lags = |consumer: &Consumer| [0, 1].map(|index| consumer.lag(at(&topic, index)));
        while lags(&consumer) != [Some(1000); 2] {
            assert!(began.elapsed() < PATIENCE, "1000 each wait, and lag says {:?}", lags(&consumer));
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!([0, 1].map(|index| handle.lag(at(&topic, index))), [Some(1000); 2]);
        assert_eq!(consumer.lags().into_values().collect::<Vec<_>>(), [Some(1000); 2]);
        consumer.pause([at(&topic, 0)]).unwrap();
        let records = consumer.poll(PATIENCE).await.unwrap();
        assert_eq!(records.len(), 100);
        assert_eq!(lags(&consumer), [Some(1000), Some(900)]);
        assert_eq!([0, 1].map(|index| handle.lag(at(&topic, index))), lags(&consumer));
        // Lag is the distance from the position, poll by poll.
        consumer.resume([at(&topic, 0)]).unwrap();
        loop {
            let read = consumer.poll(A_MOMENT).await.unwrap().len();
            for index in 0..2 {
                let (place, position) = (at(&topic, index), consumer.position(at(&topic, index)).unwrap());
                assert_eq!(
                    consumer.lag(&place),
                    Some((1010 - position).unsigned_abs()),
                    "{place} at {position}"
                );
                assert_eq!(handle.lag(&place), consumer.lag(&place));
            }
            if read == 0 {
                break;
            }
        }
        assert_eq!(lags(&consumer), [Some(0); 2]);
        consumer.close(PATIENCE).await.unwrap();
    });
}
