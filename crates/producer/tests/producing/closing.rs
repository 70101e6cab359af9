//! A producer is closed or dropped before its last transaction has ended.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use offtake_broker::{ApiKey, Cluster, Fault, FaultRule, RuleId};
use offtake_producer::{Error, ErrorKind, ProducerRecord, TransactionalProducer};

use crate::{
    support::{producer, secs},
    transactions::{clusters, order, seen, transactional},
};

/// A producer whose transaction timeout is longer than any test.
async fn patient(cluster: &Cluster) -> TransactionalProducer {
    let builder = producer(cluster).transactional_id("t").property("transaction.timeout.ms", 900_000);
    builder.build_transactional().await.unwrap()
}

/// Polls once, and does not wait for the response.
async fn give_up(asked: impl Future<Output = Result<(), Error>>) {
    let mut asked = pin!(asked);
    assert!(!poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_ready())).await);
}

/// Counts the requests to end a transaction.
fn ends(cluster: &Cluster) -> RuleId {
    cluster.inject(FaultRule::on(ApiKey::EndTxn, Fault::Delay(Duration::ZERO)))
}

#[tokio::test(start_paused = true)]
async fn k8_a_commit_that_is_given_up_does_not_go_through_without_one_of_its_records() {
    for close in [Some(120), Some(1), Some(0), None] {
        for (at, cluster) in clusters().await.into_iter().enumerate() {
            let mut producer = patient(&cluster).await;
            let transaction = producer.begin().await.unwrap();
            transaction.send(order("a")).await.unwrap();
            transaction.send(ProducerRecord::to("nowhere").value("b"));
            give_up(transaction.commit()).await;
            let ends = ends(&cluster);
            match close {
                // The record without a place is given up after `max.block.ms`, which aborts the transaction.
                Some(120) => producer.close(secs(120)).await.unwrap(),
                Some(seconds) => {
                    let error = producer.close(secs(seconds)).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{at}: {error}");
                    let text =
                        "the transaction was not committed: the outcome of its records is not known yet";
                    assert!(error.to_string().contains(text), "{at}: {error}");
                }
                None => drop(producer),
            }
            tokio::time::sleep(secs(130)).await;
            let asked = if matches!(close, Some(120) | None) { 1 } else { 0 };
            assert_eq!(cluster.hits(ends), asked, "{at}, {close:?}");
            assert!(seen(&cluster).await.is_empty(), "{at}, {close:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_not_ended_while_a_record_of_it_is_on_its_way() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = patient(&cluster).await;
        let late = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Late(secs(5))));
        let ends = ends(&cluster);
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("a"));
        tokio::time::sleep(secs(1)).await;
        drop(transaction);
        let error = producer.close(secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{at}: {error}");
        assert!(error.to_string().contains("the transaction was not aborted yet"), "{at}: {error}");
        tokio::time::sleep(secs(30)).await;
        assert_eq!((cluster.hits(late), cluster.hits(ends)), (1, 0), "{at}");
        assert!(seen(&cluster).await.is_empty(), "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_nothing_hinders_is_asked_for_though_nobody_waits() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = patient(&cluster).await;
        let ends = ends(&cluster);
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("a")).await.unwrap();
        drop(transaction);
        let error = producer.close(Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("the transaction was not aborted yet"), "{at}: {error}");
        tokio::time::sleep(secs(1)).await;
        assert_eq!(cluster.hits(ends), 1, "{at}");
        // The transaction does not block the commits of other producers.
        let mut other = transactional(&cluster, "other").await;
        let transaction = other.begin().await.unwrap();
        transaction.send(order("a"));
        transaction.commit().await.unwrap();
        other.close(secs(60)).await.unwrap();
        assert_eq!(seen(&cluster).await, ["a"], "{at}");
    }
}

/// A commit for which no request was sent is not requested any more when the producer cannot wait for its outcome.
#[tokio::test(start_paused = true)]
async fn a_commit_is_told_as_it_is_when_there_is_no_time_for_it() {
    let said = [
        (Fault::Drop, "whether the transaction was committed is not known; it may be"),
        (Fault::ApplyThenLose, "whether the transaction was committed is not known; it may be"),
        (
            Fault::Fail(16),
            "whether the transaction was committed is not known; it may be: the transaction is not committed: NOT_COORDINATOR",
        ),
        (
            Fault::Fail(14),
            "the transaction was not committed: the transaction is not committed: COORDINATOR_LOAD_IN_PROGRESS",
        ),
    ];
    for (harm, text) in said {
        for (at, cluster) in clusters().await.into_iter().enumerate() {
            let mut producer = patient(&cluster).await;
            let rule = cluster.inject(FaultRule::on(ApiKey::EndTxn, harm.clone()));
            let transaction = producer.begin().await.unwrap();
            transaction.send(order("a")).await.unwrap();
            tokio::time::timeout(secs(1), transaction.commit()).await.unwrap_err();
            let error = producer.close(secs(1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{at}: {error}");
            assert!(error.to_string().contains(text), "{at}: {error}");
            cluster.withdraw(rule);
            tokio::time::sleep(secs(10)).await;
            let is_committed = matches!(harm, Fault::ApplyThenLose);
            assert_eq!(seen(&cluster).await.is_empty(), !is_committed, "{at}");
        }
    }
}
