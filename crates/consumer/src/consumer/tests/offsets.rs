//! Tests of queries for offsets and topics.

use super::*;
use crate::consumer::subscribing::compile;

#[tokio::test(start_paused = true)]
async fn the_ends_of_a_log_are_those_that_its_leader_tells() {
    let (consumer, _engine) = consumer(|builder| builder);
    let both = || [orders(0), orders(1)];
    let at = |offset: i64| both().map(|partition| (partition, offset));
    assert_eq!(consumer.beginning_offsets(both()).await.unwrap(), at(5).into());
    assert_eq!(consumer.end_offsets(both()).await.unwrap(), at(42).into());
    assert_eq!(consumer.watermarks(orders(0)).await.unwrap(), (5, 42));
    let found = consumer.offsets_for_times([(orders(0), 1000), (orders(9), 1000)]).await.unwrap();
    let expected = OffsetAndTimestamp { offset: 7, timestamp: Some(1000), leader_epoch: None };
    assert_eq!(found, [(orders(0), expected)].into());
    let error = consumer.watermarks(orders(9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "nothing is made up");
}

/// Whoever asks for both ends of a log waits no longer than one call may take.
#[tokio::test(start_paused = true)]
async fn both_ends_of_a_log_are_asked_for_by_one_deadline() {
    let limit = Duration::from_secs(60);
    let (consumer, _engine, mut commands) =
        unanswered(Log::default(), |builder| builder.default_api_timeout(limit));
    let began = clock::now();
    let slow = async {
        let mut deadlines = Vec::new();
        while deadlines.len() < 2 {
            if let Some(Command::List { partitions, deadline, reply }) = commands.recv().await {
                deadlines.push(deadline - began);
                sleep(Duration::from_secs(40)).await;
                let _ = reply.send(Ok(partitions.into_iter().filter_map(listed).collect()));
            }
        }
        deadlines
    };
    let (ends, deadlines) = tokio::join!(consumer.watermarks(orders(0)), slow);
    assert_eq!(ends.unwrap(), (5, 42));
    assert_eq!(deadlines, [limit; 2]);
}

#[test]
fn b7_a_pattern_matches_whole_names() {
    let patterns = compile(["orders|offers", "p.*"]).unwrap();
    let matches = |name: &str| patterns.iter().map(|pattern| pattern.is_match(name)).collect::<Vec<_>>();
    assert_eq!(matches("orders"), [true, false]);
    assert_eq!(matches("offers"), [true, false]);
    assert_eq!(matches("payments"), [false, true]);
    assert_eq!(matches("orders-2"), [false, false], "nor the first of two names");
    assert_eq!(matches("my-offers"), [false, false], "nor the last");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_pattern_is_refused_with_the_reason_and_nothing_is_subscribed_to() {
    let (mut consumer, engine) = consumer(|builder| builder);
    let error = consumer.subscribe_patterns(["orders", "("]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`(` is not a valid regular expression: unclosed group"), "{error}");
    assert_eq!(consumer.topics_matching(["["]).await.unwrap_err().kind(), ErrorKind::Config);
    for outside in ["orders)|(?:pay", "orders)$|^(?:pay", ""] {
        assert_eq!(consumer.subscribe_patterns([outside]).await.unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(said(&engine).is_empty());
    assert_eq!(consumer.topics_matching(["o.*"]).await.unwrap(), ["orders".into()] as [Topic; 1]);
    assert_eq!(said(&engine), [r#"topics matching [Regex("^(?:o.*)$")]"#]);
    assert!(consumer.topics_matching(["(?i)ORDERS"]).await.is_ok(), "as Java's CASE_INSENSITIVE");
    assert_eq!(said(&engine).len(), 1);
    consumer.subscribe(["orders"]).await.unwrap();
    assert!(consumer.subscription() == [Topic::from("orders")]);
    consumer.subscribe_patterns(["o.*"]).await.unwrap();
    assert_eq!(consumer.subscription().len(), 0, "nothing by its name");
    assert_eq!(
        said(&engine),
        [r#"subscribe Topics(["orders"])"#, r#"subscribe Patterns([Regex("^(?:o.*)$")])"#]
    );
}
