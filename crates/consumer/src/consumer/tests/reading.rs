//! Tests of the other ways to read: whole batches, and a stream.

use std::{pin::Pin, task::Context};

use super::*;

async fn item(stream: &mut RecordStream<'_>) -> Option<Result<Records>> {
    std::future::poll_fn(|cx: &mut Context<'_>| futures_core::Stream::poll_next(Pin::new(&mut *stream), cx))
        .await
}

#[tokio::test(start_paused = true)]
async fn h3_batches_are_finished_by_the_next_poll_as_records_are() {
    let (mut consumer, engine) = member(|builder| builder, &[0, 1]).await;
    engine.brings(0, 0, 3);
    engine.brings(1, 0, 2);
    let batches = consumer.poll_batches(NONE).await.unwrap();
    assert_eq!((batches.len(), batches.is_empty()), (2, false));
    advance(Duration::from_secs(6)).await;
    settle().await;
    assert!(said(&engine).is_empty(), "the application is at work");
    engine.brings(0, 3, 1);
    assert_eq!(consumer.poll_batches(NONE).await.unwrap().len(), 1);
    settle().await;
    let first = ["finished orders-0@3", "finished orders-1@2", "commit soon"];
    assert_eq!(said(&engine), first, "and nothing of what was handed out just now");
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@4", "commit finished"], "of the other nothing is new");
}

#[tokio::test(start_paused = true)]
async fn h3_batches_of_a_consumer_that_finishes_each_are_finished_one_by_one() {
    let (mut consumer, engine) = member(Builder::finish_each, &[0]).await;
    engine.brings(0, 0, 3);
    engine.brings(0, 3, 2);
    let batches: Vec<_> = consumer.poll_batches(NONE).await.unwrap().into_iter().collect();
    assert_eq!(batches.len(), 2);
    batches[1].finish().unwrap();
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["commit finished"], "the first is not finished");
    batches[0].finish().unwrap();
    consumer.commit_finished().await.unwrap();
    assert_eq!(said(&engine), ["finished orders-0@5", "commit finished"]);
}

#[tokio::test(start_paused = true)]
async fn n4_a_stream_ends_with_its_engine_and_goes_on_after_any_other_error() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    let mut stream = consumer.stream();
    engine.brings(0, 0, 3);
    assert!(matches!(item(&mut stream).await, Some(Ok(records)) if records.len() == 3));
    engine.send([Control::Failed(Error::new(ErrorKind::Unreachable, "nobody answers"))], []);
    let failed = item(&mut stream).await;
    assert!(matches!(failed, Some(Err(error)) if error.kind() == ErrorKind::Unreachable));
    engine.brings(0, 3, 1);
    assert!(matches!(item(&mut stream).await, Some(Ok(records)) if records.len() == 1));
    stream.consumer().pause([("orders", 0)]).unwrap();
    drop(engine);
    let ended = item(&mut stream).await;
    assert!(
        matches!(ended, Some(Err(error)) if error.kind() == ErrorKind::Closed),
        "it has no end otherwise"
    );
    assert!(item(&mut stream).await.is_none(), "it is said once");
}

#[tokio::test(start_paused = true)]
async fn the_next_records_are_decoded_while_the_application_is_at_work() {
    let (mut consumer, engine) = member(|builder| builder.property("max.poll.records", "3"), &[0]).await;
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
    assert_eq!(consumer.delivery.unpacked(), 0, "there is nothing more");
    for from in [3, 6] {
        engine.brings(0, from, 3);
    }
    assert_eq!(offsets(&mut consumer).await, [3, 4, 5]);
    assert!(consumer.delivery.unpacked() > 0);
    assert_eq!(offsets(&mut consumer).await, [6, 7, 8]);
}

/// A broker that had refused every call answers again.
#[tokio::test(start_paused = true)]
async fn o6_a_fatal_error_comes_out_of_every_poll_until_its_cause_has_gone() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.send([Control::Failed(Error::new(ErrorKind::Authentication, "refused"))], []);
    for _ in 0..3 {
        let error = consumer.poll(Duration::from_secs(1)).await.unwrap_err();
        assert!(error.is_fatal() && error.kind() == ErrorKind::Authentication, "{error:?}");
    }
    engine.send([Control::Recovered], []);
    engine.brings(0, 0, 3);
    assert_eq!(offsets(&mut consumer).await, [0, 1, 2]);
}
