//! Tests of what wakes a waiting call.

use super::*;

#[tokio::test(start_paused = true)]
async fn i11_resume_by_another_task_wakes_a_waiting_poll() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    consumer.pause([("orders", 0)]).unwrap();
    engine.brings(0, 0, 3);
    let handle = consumer.handle();
    let resumes = async {
        sleep(Duration::from_secs(1)).await;
        handle.resume([orders(0)]).unwrap();
    };
    assert_eq!(beside(consumer.poll(ALL), resumes).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_woken_returns_at_once_with_what_there_is() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    let handle = consumer.handle();
    for _ in 0..3 {
        handle.wake().unwrap();
    }
    let began = clock::now();
    assert!(consumer.poll(ALL).await.unwrap().is_empty());
    engine.brings(0, 0, 3);
    handle.wake().unwrap();
    assert_eq!(consumer.poll(ALL).await.unwrap().len(), 3);
    assert_eq!(clock::now(), began);
    assert!(consumer.poll(Duration::from_secs(1)).await.unwrap().is_empty(), "one wake is one");
    assert_eq!(clock::now() - began, Duration::from_secs(1));
}

/// A shutdown by `wake` does not wait for an unreachable coordinator.
#[tokio::test(start_paused = true)]
async fn a_wake_ends_a_poll_also_while_ownership_is_not_known_to_hold() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    engine.shared.set_validity(clock::now(), crate::shared::Validity::Until(None));
    let handle = consumer.handle();
    let wakes = async {
        sleep(Duration::from_secs(1)).await;
        handle.wake().unwrap();
    };
    let began = clock::now();
    assert!(beside(consumer.poll(ALL), wakes).await.unwrap().is_empty());
    handle.wake().unwrap();
    assert!(matches!(consumer.next().await, Ok(Next::Records(records)) if records.is_empty()));
    assert_eq!(clock::now() - began, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_wake_is_not_lost_to_what_comes_out_of_next_alone() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    let limit = Duration::from_secs(300);
    let exceeded = Event::PollIntervalExceeded { since_poll: limit, limit, stall: crate::Stall::Handler };
    engine.send([Control::Wake, Control::PollIntervalExceeded(exceeded)], []);
    let began = clock::now();
    assert!(consumer.poll(ALL).await.unwrap().is_empty());
    assert_eq!(clock::now(), began);
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_was_said_before_a_subscription_counts_after_it() {
    let (mut consumer, _engine) = consumer(|builder| builder);
    consumer.handle().wake().unwrap();
    consumer.subscribe(["orders"]).await.unwrap();
    consumer.unsubscribe().await.unwrap();
    let began = clock::now();
    assert!(consumer.poll(ALL).await.unwrap().is_empty());
    assert_eq!(clock::now(), began);
}
