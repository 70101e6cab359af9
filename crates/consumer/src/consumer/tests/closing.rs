//! The end of a consumer, or of its engine.

use super::*;

#[tokio::test(start_paused = true)]
async fn seam15_a_drop_commits_what_is_finished_and_not_what_was_handed_out_last() {
    for (commits, expected) in [
        ("true", vec!["finished orders-0@3", "abandon, commits: true"]),
        ("false", vec!["abandon, commits: false"]),
    ] {
        let (mut consumer, engine) =
            member(|builder| builder.property("enable.auto.commit", commits), &[0]).await;
        engine.brings(0, 0, 3);
        assert_eq!(offsets(&mut consumer).await.len(), 3);
        engine.brings(0, 3, 2);
        assert_eq!(offsets(&mut consumer).await.len(), 2);
        let handle = consumer.handle();
        drop(consumer);
        settle().await;
        assert_eq!(said(&engine), expected);
        assert_eq!(handle.wake().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(handle.pause([orders(0)]).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(handle.seek(orders(0), StartAt::Earliest).await.unwrap_err().kind(), ErrorKind::Closed);
        assert!(handle.assignment().is_empty() && handle.position(orders(0)).is_none());
    }
}

/// As in Java, closing counts as the next poll: it finishes the records of the last one.
#[tokio::test(start_paused = true)]
async fn n1_a_close_commits_what_was_handed_out_runs_the_listener_and_takes_any_time() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::from_secs(2)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    let handle = consumer.handle();
    consumer.close(Duration::MAX).await.unwrap();
    settle().await;
    let expected = [
        "finished orders-0@3",
        "commit finished",
        "revoked 2",
        "revoked over",
        "close",
        "abandon, commits: true",
    ];
    assert_eq!(said(&engine), expected);
    assert_eq!(handle.wake().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn n4_a_poll_says_that_the_engine_has_ended() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    drop(engine);
    let error = consumer.poll(ALL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("nobody closed"), "{error}");
    let error = consumer.handle().committed([orders(0)]).await.unwrap_err();
    assert!(error.to_string().contains("nobody closed"), "{error}");
}

/// The last commit gets most of the time that closing has; `close` returns an error if that was not enough.
#[tokio::test(start_paused = true)]
async fn n1_a_close_says_that_the_last_commit_was_not_made_in_time() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.hold_commits();
    let began = clock::now();
    let closed = beside(consumer.close(Duration::from_secs(60)), engine.times_out_commits()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout, "{:?}", said(&engine));
    assert_eq!(clock::now() - began, Duration::from_secs(54));
}

/// `close` returns without waiting; the commit and the LeaveGroup are still sent.
#[tokio::test(start_paused = true)]
async fn n1_a_close_without_any_time_leaves_the_last_commit_a_second() {
    let (mut consumer, engine) = member(|builder| builder, &[0]).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.hold_commits();
    let began = clock::now();
    assert_eq!(consumer.close(NONE).await.unwrap_err().kind(), ErrorKind::Timeout);
    settle().await;
    let until: Vec<_> = engine.held_until().iter().map(|until| *until - began).collect();
    assert_eq!(until, [Duration::from_secs(1)], "{:?}", said(&engine));
}

/// There is no poll during `unsubscribe`: after `max.poll.interval.ms` the group continues without this
/// member, and takes no more commits.
#[tokio::test(start_paused = true)]
async fn n1_d9_unsubscribing_has_no_longer_than_the_group_waits_for_a_poll() {
    let short =
        |builder: Builder| builder.configure(|config| config.max_poll_interval = Duration::from_secs(20));
    let (mut consumer, engine) = hearing(short, Duration::from_secs(300)).await;
    let began = clock::now();
    assert_eq!(consumer.unsubscribe().await.unwrap_err().kind(), ErrorKind::Timeout, "{:?}", said(&engine));
    assert_eq!(clock::now() - began, Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn n1_closing_has_the_time_that_it_is_given_and_not_only_that_of_a_poll() {
    let short =
        |builder: Builder| builder.configure(|config| config.max_poll_interval = Duration::from_secs(20));
    let (consumer, engine) = hearing(short, Duration::from_secs(300)).await;
    let began = clock::now();
    consumer.close(Duration::from_secs(600)).await.unwrap();
    assert_eq!(clock::now() - began, Duration::from_secs(300));
    let said = said(&engine);
    assert!(said.iter().any(|what| what == "revoked over"), "{said:?}");
}

/// There are no more polls; offsets that were finished by tickets are still committed.
#[tokio::test(start_paused = true)]
async fn n1_h2_a_handle_that_gives_up_closing_says_what_is_finished() {
    let (mut consumer, engine) = member(|builder| builder.finish_each(), &[0]).await;
    engine.brings(0, 0, 3);
    let records = consumer.poll(NONE).await.unwrap();
    settle().await;
    engine.log.take();
    for record in &records {
        record.ticket().unwrap().finish().unwrap();
    }
    let closed = consumer.handle().close(Duration::from_secs(1)).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout);
    settle().await;
    assert_eq!(said(&engine), ["finished orders-0@3", "abandon, commits: true"]);
}

#[tokio::test(start_paused = true)]
async fn n1_a_commit_that_is_not_answered_leaves_the_listener_its_time() {
    let short =
        |builder: Builder| builder.configure(|config| config.max_poll_interval = Duration::from_secs(20));
    let (mut consumer, engine) = hearing(short, Duration::from_secs(1)).await;
    engine.brings(0, 0, 3);
    consumer.poll(NONE).await.unwrap();
    engine.hold_commits();
    let closed = beside(consumer.close(Duration::from_secs(30)), engine.times_out_commits()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout);
    let said = said(&engine);
    assert!(said.iter().any(|what| what == "revoked over"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn n4_close_reports_that_the_engine_has_ended() {
    let (consumer, _engine, commanded) = unanswered(Log::default(), |builder| builder);
    drop(commanded);
    assert_eq!(consumer.close(ALL).await.unwrap_err().kind(), ErrorKind::Closed, "nothing was committed");
}

/// A `poll` is dropped while the commit before a revoke waits for its answer, and then there is little time to close.
#[tokio::test(start_paused = true)]
async fn d9_close_reports_a_revocation_to_the_listener_though_its_commit_is_not_awaited() {
    let (mut consumer, engine) = hearing(|builder| builder, Duration::ZERO).await;
    engine.hold_commits();
    engine.revokes(&[0], None);
    consumer.poll(Duration::from_secs(1)).await.unwrap();
    assert_eq!(said_of_change(&engine), ["commit finished"]);
    let closed = consumer.close(Duration::from_secs(2)).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout);
    settle().await;
    let said = said_of_change(&engine);
    assert_eq!(said.iter().filter(|what| *what == "revoked 1").count(), 2, "each partition once: {said:?}");
    assert!(said.contains(&"revocation done 7".to_owned()), "{said:?}");
}
