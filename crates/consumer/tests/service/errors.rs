//! Tests that errors name the cause, and are returned soon.

use std::time::Duration;

use offtake::{Consumer, Error, ErrorCode, ErrorKind, MembershipState, Position, StartAt, TopicPartition};
use offtake_broker::{ApiKey, Fault, FaultRule};
use tokio::time::{sleep, timeout};

use crate::support::{A_MOMENT, Log, cluster, member, poll_for, poll_until, read, virtually};

const SOON: Duration = Duration::from_secs(8);

/// The errors of each query for offsets, returned soon.
async fn asked(consumer: &Consumer, partition: &TopicPartition) -> [Error; 3] {
    [
        timeout(SOON, consumer.end_offsets([partition.clone()])).await.unwrap().unwrap_err(),
        timeout(SOON, consumer.watermarks(partition.clone())).await.unwrap().unwrap_err(),
        timeout(SOON, consumer.offsets_for_times([(partition.clone(), 0)])).await.unwrap().unwrap_err(),
    ]
}

#[test]
fn offsets_of_what_does_not_exist_are_refused_soon_and_with_the_reason() {
    virtually(async {
        let cluster = cluster(2).await;
        let builder = member(&cluster, "c").allow_auto_create_topics(false);
        let consumer = builder.build().await.unwrap();
        for (partition, message) in [
            (TopicPartition::new("ordrs", 0), "topic ordrs does not exist; create it, or check its name"),
            (TopicPartition::new("orders", 2), "orders-2 does not exist: topic orders has 2 partitions"),
        ] {
            for error in asked(&consumer, &partition).await {
                assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
                assert!(error.to_string().contains(message), "{error}");
                assert_eq!(error.partition(), Some(&partition));
            }
        }
        let end = consumer.end_offsets([TopicPartition::new("orders", 1)]).await.unwrap();
        assert_eq!(end.into_values().collect::<Vec<_>>(), [3]);
    });
}

#[test]
fn offsets_that_are_waited_for_less_long_say_the_same() {
    virtually(async {
        let cluster = cluster(1).await;
        let builder = member(&cluster, "c").allow_auto_create_topics(false);
        let consumer = builder.default_api_timeout(Duration::from_secs(2)).build().await.unwrap();
        for error in asked(&consumer, &TopicPartition::new("ordrs", 0)).await {
            assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
        }
    });
}

#[test]
fn a_topic_that_is_created_just_now_is_waited_for() {
    virtually(async {
        let cluster = cluster(1).await;
        let builder = member(&cluster, "c").allow_auto_create_topics(false);
        let consumer = builder.build().await.unwrap();
        let creates = cluster.clone();
        let created = tokio::spawn(async move {
            sleep(Duration::from_secs(3)).await;
            creates.create_topic("late", 1).unwrap();
        });
        let (low, high) = consumer.watermarks(("late", 0)).await.unwrap();
        assert_eq!((low, high), (0, 0));
        created.await.unwrap();
    });
}

#[test]
fn errors_after_missed_polls_name_the_poll_interval() {
    virtually(async {
        let cluster = cluster(1).await;
        let limit = Duration::from_secs(20);
        let mut consumer = member(&cluster, "c").max_poll_interval(limit).build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut records = consumer.poll(limit / 4).await.unwrap();
        while records.is_empty() {
            records = consumer.poll(limit / 4).await.unwrap();
        }
        sleep(2 * limit).await;
        assert_eq!(consumer.handle().health().membership, MembershipState::NotPolled);
        let place = TopicPartition::new("orders", 0);
        let handle = consumer.handle();
        let refused = [
            consumer.commit(&records).await.unwrap_err(),
            consumer.seek(place.clone(), StartAt::Offset(Position::at(0))).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::NotOwned, "{error}");
            assert!(
                error.to_string().contains("poll was not called for max.poll.interval.ms (20000)"),
                "{error}"
            );
        }
        // The handle's own calls use the assignment of the last poll.
        let held = cluster.inject(FaultRule::on(ApiKey::JoinGroup, Fault::Hold));
        poll_until(&mut consumer, |consumer| consumer.assignment().is_empty()).await;
        let error = handle.pause([place.clone()]).unwrap_err();
        assert!(error.to_string().contains("max.poll.interval.ms"), "{error}");

        cluster.withdraw(held);
        cluster.release(held);
        poll_until(&mut consumer, |consumer| consumer.assignment().len() == 1).await;
        consumer.unsubscribe().await.unwrap();
        let error = handle.pause([place]).unwrap_err();
        assert!(!error.to_string().contains("max.poll.interval.ms"), "that is over: {error}");
    });
}

#[test]
fn a_group_that_refuses_the_consumer_is_told_by_every_poll_until_it_subscribes_again() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        read(&mut consumer, 3).await;
        cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(82)).once()); // FENCED_INSTANCE_ID
        let refused = loop {
            if let Err(error) = consumer.poll(A_MOMENT).await {
                break error;
            }
        };
        assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
        for _ in 0..3 {
            assert_eq!(consumer.poll(A_MOMENT).await.unwrap_err().to_string(), refused.to_string());
            assert_eq!(consumer.next().await.unwrap_err().to_string(), refused.to_string());
        }
        assert!(consumer.assign(("orders", 0)).await.is_err(), "it is still subscribed");
        assert!(consumer.poll(A_MOMENT).await.is_err(), "nothing has begun anew");
        let told = log.with("ERROR");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&refused.to_string()) && told[0].contains("subscribe again"), "{told:?}");

        consumer.subscribe("orders").await.unwrap();
        poll_until(&mut consumer, |consumer| consumer.assignment().len() == 1).await;
        cluster.produce("orders", 0, None, Some(b"after")).unwrap();
        read(&mut consumer, 1).await;
    });
}

#[test]
fn a_consumer_refused_by_its_group_can_read_by_manual_assignment() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").enable_auto_commit(false).build().await.unwrap();
        let refuses = cluster.inject(FaultRule::on(ApiKey::JoinGroup, Fault::Fail(81))); // GROUP_MAX_SIZE_REACHED
        consumer.subscribe("orders").await.unwrap();
        while consumer.poll(A_MOMENT).await.is_ok() {}
        cluster.withdraw(refuses);
        consumer.unsubscribe().await.unwrap();
        consumer.assign([("orders", 0, 0)]).await.unwrap();
        read(&mut consumer, 3).await;
    });
}

#[test]
fn a_group_that_lets_the_consumer_in_after_all_ends_its_error() {
    virtually(async {
        let cluster = cluster(1).await;
        let refuses = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(30))); // GROUP_AUTHORIZATION_FAILED
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        while consumer.poll(A_MOMENT).await.is_ok() {}
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(consumer.poll(A_MOMENT).await.unwrap_err().kind(), ErrorKind::Group);
        }
        cluster.withdraw(refuses);
        let let_in = timeout(Duration::from_secs(60), async {
            loop {
                match consumer.poll(A_MOMENT).await {
                    Ok(records) => break records.len(),
                    Err(_) => sleep(A_MOMENT).await,
                }
            }
        });
        let early = let_in.await.unwrap();
        read(&mut consumer, 3 - early).await;
        // Group errors do not affect manual reading: each is reported once, and polls wait as always.
        let refuses = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(30)));
        let mut by_hand = member(&cluster, "h").build().await.unwrap();
        by_hand.assign([("orders", 0, 0)]).await.unwrap();
        let (mut records, mut errors) = (0, 0);
        for _ in 0..100 {
            match by_hand.poll(A_MOMENT).await {
                Ok(some) => records += some.len(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Group, "{error}");
                    errors += 1;
                }
            }
        }
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        while records < 4 {
            records += by_hand.poll(A_MOMENT).await.map_or(0, |some| some.len());
        }
        assert!((1..=3).contains(&errors) && records == 4, "{records} records, {errors} errors");
        cluster.withdraw(refuses);
    });
}

/// As in Java, where the call that needs the coordinator throws: it does not wait for `default.api.timeout.ms`.
#[test]
fn c6_calls_that_need_a_coordinator_fail_as_soon_as_its_lookup_is_refused_and_ask_again_later() {
    virtually(async {
        for (code, kinds) in [
            (30, [ErrorKind::Authorization, ErrorKind::Authorization]), // GROUP_AUTHORIZATION_FAILED
            (24, [ErrorKind::CommitFailed, ErrorKind::Group]),          // INVALID_GROUP_ID
        ] {
            let cluster = cluster(1).await;
            let refuses = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(code)));
            let builder = member(&cluster, "c").enable_auto_commit(false);
            let mut consumer = builder.build().await.unwrap();
            consumer.assign([("orders", 0, 0)]).await.unwrap();
            let place = TopicPartition::new("orders", 0);
            for times in 0..3 {
                let asked = cluster.hits(refuses);
                let committed = timeout(SOON, consumer.commit_offsets([(place.clone(), 1)]));
                let refused = [
                    committed.await.expect("soon").unwrap_err(),
                    timeout(SOON, consumer.committed([place.clone()])).await.expect("soon").unwrap_err(),
                ];
                for (error, kind) in refused.iter().zip(kinds) {
                    assert_eq!(error.kind(), kind, "{error}");
                    assert_eq!(error.code().map(ErrorCode::code), Some(code), "{error}");
                }
                assert!(cluster.hits(refuses) >= asked + 2, "each is asked for anew, the {times}th too");
            }
            cluster.withdraw(refuses);
            timeout(SOON, consumer.commit_offsets([(place.clone(), 1)])).await.expect("soon").unwrap();
            assert_eq!(consumer.committed([place.clone()]).await.unwrap()[&place].offset, 1);
        }
    });
}

#[test]
fn c6_calls_that_need_a_coordinator_fail_at_once_if_no_broker_can_look_it_up() {
    virtually(async {
        let cluster = cluster(1).await;
        cluster.with(|model, _| model.limit_versions(1, &[(ApiKey::FindCoordinator, 99, 99)]));
        let mut consumer = member(&cluster, "c").enable_auto_commit(false).build().await.unwrap();
        consumer.assign([("orders", 0, 0)]).await.unwrap();
        let place = TopicPartition::new("orders", 0);
        let committed = timeout(SOON, consumer.commit_offsets([(place.clone(), 1)])).await.expect("soon");
        assert_eq!(committed.unwrap_err().kind(), ErrorKind::CommitFailed);
        let asked = timeout(SOON, consumer.committed([place])).await.expect("soon").unwrap_err();
        assert_eq!(asked.kind(), ErrorKind::Unsupported, "{asked}");
        // It is told once, and reads on, also where nothing arrives.
        let mut read = 0;
        let mut failed = Vec::new();
        for _ in 0..100 {
            match consumer.poll(A_MOMENT).await {
                Ok(records) => read += records.len(),
                Err(error) => failed.push(error.kind()),
            }
        }
        assert_eq!((read, failed), (3, vec![ErrorKind::Group]));
    });
}

#[test]
fn c6_a_subscribed_poll_fails_while_no_broker_can_look_the_coordinator_up() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(1).await;
        cluster.with(|model, _| model.limit_versions(1, &[(ApiKey::FindCoordinator, 99, 99)]));
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        for unsubscribes in [false, true, false] {
            consumer.subscribe("orders").await.unwrap();
            for _ in 0..3 {
                let error = timeout(SOON, fails(&mut consumer)).await.expect("soon");
                assert_eq!(error.kind(), ErrorKind::Group, "{error}");
                assert!(error.to_string().contains("does not support FindCoordinator"), "{error}");
            }
            if unsubscribes {
                consumer.unsubscribe().await.unwrap();
            }
        }
        assert_eq!(log.with("until a broker knows it").len(), 3, "once for each subscription");
        cluster.with(|model, _| model.limit_versions(1, &[(ApiKey::FindCoordinator, 0, 6)]));
        cluster.crash(1);
        cluster.restart(1);
        let reads = timeout(Duration::from_secs(20), async {
            while consumer.poll(A_MOMENT).await.map_or(0, |records| records.len()) == 0 {}
        });
        reads.await.expect("it reads when a broker knows the request");
        timeout(SOON, consumer.close(SOON)).await.expect("soon").unwrap();
    });
}

async fn fails(consumer: &mut Consumer) -> Error {
    loop {
        if let Err(error) = consumer.poll(A_MOMENT).await {
            return error;
        }
    }
}

#[test]
fn c6_polls_that_fail_again_and_again_do_not_spin_and_read_on_when_the_cause_is_gone() {
    virtually(async {
        let cluster = cluster(1).await;
        let refuses = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(30))); // GROUP_AUTHORIZATION_FAILED
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        assert_eq!(fails(&mut consumer).await.kind(), ErrorKind::Group);
        for (limit, waits) in [(60_000, 100), (30, 30), (0, 0), (101, 100)] {
            let began = tokio::time::Instant::now();
            let error = consumer.poll(Duration::from_millis(limit)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Group, "{error}");
            assert_eq!(began.elapsed(), Duration::from_millis(waits), "retry.backoff.ms, or the timeout");
        }
        // What has been away for longer waits for nothing.
        sleep(Duration::from_secs(1)).await;
        let began = tokio::time::Instant::now();
        assert_eq!(consumer.poll(SOON).await.unwrap_err().kind(), ErrorKind::Group);
        assert_eq!(began.elapsed(), Duration::ZERO);
        // Nor does one that is woken.
        consumer.handle().wake().unwrap();
        assert_eq!(consumer.poll(SOON).await.unwrap_err().kind(), ErrorKind::Group);
        assert_eq!(began.elapsed(), Duration::ZERO);
        // The engine has the same thread. It notices although the application only polls.
        cluster.withdraw(refuses);
        let reads = timeout(Duration::from_secs(20), async {
            let mut polls = 0;
            while consumer.poll(A_MOMENT).await.map_or(0, |records| records.len()) == 0 {
                polls += 1;
            }
            polls
        });
        let polls = reads.await.expect("it reads when the group lets it");
        assert!(polls < 200, "{polls} polls");
    });
}

/// An application that subscribes again after an error that still holds gets the error again, and does not wait for ever.
#[test]
fn c6_a_lasting_refusal_is_reported_again_after_a_new_subscription() {
    virtually(async {
        let cluster = cluster(1).await;
        cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(30))); // GROUP_AUTHORIZATION_FAILED
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        for unsubscribes in [false, true, false] {
            consumer.subscribe("orders").await.unwrap();
            let refused = timeout(Duration::from_secs(20), fails(&mut consumer));
            assert_eq!(refused.await.expect("the group still refuses it").kind(), ErrorKind::Group);
            if unsubscribes {
                consumer.unsubscribe().await.unwrap();
            }
        }
    });
}

/// The same for a cluster that cannot be asked at all.
#[test]
fn o1_a_server_that_is_not_kafka_is_reported_again_after_a_new_subscription() {
    virtually(async {
        let cluster = cluster(1).await;
        let other = b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice();
        cluster.inject(FaultRule::on(ApiKey::ApiVersions, Fault::Raw(other.into())));
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        for by_hand in [false, true] {
            if by_hand {
                consumer.unsubscribe().await.unwrap();
                consumer.assign(("orders", 0, 0)).await.unwrap();
            } else {
                consumer.subscribe("orders").await.unwrap();
            }
            let refused = timeout(Duration::from_secs(60), async {
                loop {
                    if let Err(error) = consumer.poll(A_MOMENT).await {
                        break error;
                    }
                }
            });
            assert_eq!(refused.await.expect("it is still none").kind(), ErrorKind::NotKafka);
        }
    });
}

/// C4: a consumer that commits nothing still gets responses from the coordinator, so an earlier move is no reason to wait longer
/// for the next one.
#[test]
fn c4_a_coordinator_that_moves_now_and_then_is_looked_for_at_once_each_time() {
    virtually(async {
        let cluster = cluster(1).await;
        let builder =
            member(&cluster, "c").enable_auto_commit(false).property("retry.backoff.max.ms", "60000");
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        read(&mut consumer, 3).await;
        let generation = consumer.handle().health().generation;
        let looks = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Delay(A_MOMENT)));
        for times in 1..=12 {
            cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(16)).once()); // NOT_COORDINATOR
            poll_for(&mut consumer, Duration::from_secs(6)).await;
            assert_eq!(cluster.hits(looks), times);
            assert!(consumer.handle().health().coordinator.is_some());
        }
        assert_eq!(consumer.handle().health().generation, generation, "it has been a member all the time");
    });
}

/// The coordinator's connection breaks, and for a moment its lookup is refused: the membership continues, and
/// so does reading.
#[test]
fn c6_a_refusal_that_passes_while_the_membership_stands_ends_its_error() {
    virtually(async {
        let cluster = cluster(1).await;
        let mut consumer = member(&cluster, "c").build().await.unwrap();
        consumer.subscribe("orders").await.unwrap();
        read(&mut consumer, 3).await;
        cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(30)).times(2));
        cluster.inject(FaultRule::on(ApiKey::Heartbeat, Fault::Fail(16)).once()); // NOT_COORDINATOR
        while consumer.poll(A_MOMENT).await.is_ok() {}
        cluster.produce("orders", 0, None, Some(b"more")).unwrap();
        let reads_on = timeout(Duration::from_secs(20), async {
            while consumer.poll(A_MOMENT).await.map_or(0, |records| records.len()) == 0 {
                sleep(A_MOMENT).await;
            }
        });
        reads_on.await.expect("it reads on when the coordinator is told again");
    });
}

#[test]
fn the_partitions_of_a_topic_that_does_not_exist_are_refused_as_soon_as_that_is_sure() {
    virtually(async {
        let cluster = cluster(2).await;
        let consumer = member(&cluster, "c").allow_auto_create_topics(false).build().await.unwrap();
        let began = tokio::time::Instant::now();
        let error = consumer.partitions_for("ordrs").await.unwrap_err();
        let took = began.elapsed();
        assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
        assert!(took >= Duration::from_millis(80) && took < Duration::from_secs(1), "{took:?}");
        assert_eq!(consumer.partitions_for("orders").await.unwrap().len(), 2);
    });
}

/// D9: the function that takes events runs on the engine, too.
#[test]
fn d9_a_function_that_panics_over_every_event_harms_nobody_but_itself() {
    virtually(async {
        let (log, _guard) = Log::start();
        let cluster = cluster(2).await;
        let builder = member(&cluster, "c").events(|event| panic!("on purpose, over {event:?}"));
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        read(&mut consumer, 6).await;
        consumer.commit_finished().await.unwrap();
        let orders = [0, 1].map(|partition| TopicPartition::new("orders", partition));
        let committed = consumer.committed(orders).await.unwrap();
        assert_eq!(committed.values().map(|done| done.offset).collect::<Vec<_>>(), [3, 3]);
        consumer.close(SOON).await.unwrap();
        assert!(!log.with("the event handler panicked").is_empty());
    });
}

#[test]
fn b8_a_refused_topic_is_reported_once_after_each_subscribe_with_and_without_unsubscribe() {
    virtually(async {
        for unsubscribes in [false, true] {
            let cluster = cluster(1).await;
            for api in [ApiKey::LeaveGroup, ApiKey::JoinGroup, ApiKey::FindCoordinator, ApiKey::Heartbeat] {
                cluster.inject(FaultRule::on(api, Fault::Delay(Duration::from_millis(30))));
            }
            let mut consumer = member(&cluster, "c").enable_auto_commit(false).build().await.unwrap();
            for times in 0..3 {
                consumer.subscribe(["orders", "or ders"]).await.unwrap();
                let began = tokio::time::Instant::now();
                let mut errors = 0;
                while began.elapsed() < Duration::from_secs(20) {
                    errors += usize::from(consumer.poll(A_MOMENT).await.is_err());
                }
                assert_eq!(errors, 1, "{unsubscribes} {times}");
                if unsubscribes {
                    consumer.unsubscribe().await.unwrap();
                }
            }
        }
    });
}

#[test]
fn c6_calls_wait_for_a_coordinator_that_is_not_available_for_some_seconds() {
    virtually(async {
        for code in [14, 15] {
            let cluster = cluster(1).await;
            let refuses = cluster.inject(FaultRule::on(ApiKey::FindCoordinator, Fault::Fail(code)));
            let mut consumer = member(&cluster, "c").enable_auto_commit(false).build().await.unwrap();
            consumer.assign([("orders", 0, 0)]).await.unwrap();
            let place = TopicPartition::new("orders", 0);
            let handle = consumer.handle();
            let ends = async {
                sleep(Duration::from_secs(10)).await;
                cluster.withdraw(refuses);
            };
            let (committed, asked, ()) = tokio::join!(
                handle.commit_offsets([(place.clone(), 0)]),
                consumer.committed([place.clone()]),
                ends
            );
            committed.unwrap();
            asked.unwrap();
        }
    });
}

#[test]
fn c6_one_refused_lookup_loses_no_commit_of_the_consumer_itself() {
    virtually(async {
        let of_first = |api, code| FaultRule::on(api, Fault::Fail(code)).client("first").once();
        for code in [-1, 30] {
            // Its partitions are revoked, and the coordinator has moved.
            let cluster = cluster(2).await;
            let cooperative = |client: &str| {
                member(&cluster, client).property("partition.assignment.strategy", "cooperative-sticky")
            };
            let builder = cooperative("first").property("auto.commit.interval.ms", "3600000");
            let mut first = builder.build().await.unwrap();
            first.subscribe(["orders"]).await.unwrap();
            read(&mut first, 6).await;
            let mut second = cooperative("second").build().await.unwrap();
            second.subscribe(["orders"]).await.unwrap();
            cluster.inject(of_first(ApiKey::FindCoordinator, code));
            cluster.inject(of_first(ApiKey::OffsetCommit, 16));
            let mut again = 0;
            for _ in 0..300 {
                let (_refused_once, records) = tokio::join!(first.poll(A_MOMENT), second.poll(A_MOMENT));
                again += records.unwrap().len();
            }
            assert_eq!((second.assignment().len(), again), (1, 0), "{code}");
        }
    });
}
