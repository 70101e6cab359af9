//! Members with transactions that die and restart, with and without faults of brokers: each record has its effect once.

use std::time::Duration;

use offtake::{Consumer, ErrorKind};
use offtake_broker::{ApiKey, Fault, FaultRule};
use offtake_worker::{DeadLetters, Error};
use tokio::runtime::Handle;

use crate::{support::*, transactional::*};

/// The number of faults of each API.
const FAULTS: usize = 4;

fn harms() -> Vec<FaultRule> {
    let asked = [
        ApiKey::InitProducerId,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::EndTxn,
        ApiKey::Produce,
        ApiKey::OffsetFetch,
    ];
    let harms: [_; FAULTS] =
        [Fault::ApplyThenLose, Fault::Drop, Fault::Reset, Fault::Late(Duration::from_millis(700))];
    let often = |api| if api == ApiKey::InitProducerId { 0.1 } else { 0.02 };
    let rule = |api, harm| FaultRule::on(api, harm).probably(often(api));
    asked.iter().flat_map(|api| harms.clone().map(|harm| rule(*api, harm))).collect()
}

/// Asserts that for each API at least one kind of fault was applied.
fn check_struck(hits: &[u64]) {
    assert!(hits.chunks(FAULTS).all(|of_api| of_api.iter().any(|hits| *hits > 0)), "{hits:?}");
    let mut kinds = (0..FAULTS).map(|nth| hits.iter().skip(nth).step_by(FAULTS));
    assert!(kinds.all(|mut of_kind| of_kind.any(|hits| *hits > 0)), "{hits:?}");
}

/// Runs members that die, stop and restart, with or without faults of brokers. Returns how often each rule was applied.
async fn each_once(name: &str, protocol: &'static str, version: i16, rules: Vec<FaultRule>) -> Vec<u64> {
    let cluster = cluster_of(version).await;
    let rules: Vec<_> = rules.into_iter().map(|rule| cluster.inject(rule)).collect();
    let start = |id: usize| {
        let builder = match protocol {
            "consumer" => {
                let inside = cluster.clone();
                Consumer::builder(cluster.bootstrap())
                    .group("job")
                    .spawn_on(Handle::current())
                    .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
                    .property("auto.offset.reset", "earliest")
                    .property("request.timeout.ms", 2000)
                    .property("group.protocol", "consumer")
            }
            assignor => builder(&cluster).property("partition.assignment.strategy", assignor),
        };
        let worker = worker_of(builder)
            .transactional(by(&cluster, &format!("copy-{id}")))
            .dead_letters(DeadLetters::to("orders.dlq"))
            .concurrency(3)
            .queue(12)
            .grace(secs(1))
            .revoke_grace(secs(1));
        Running::start(worker, |record, attempt| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            handle(record, attempt).await
        })
    };
    let mut members: Vec<_> = (0..3).map(start).collect();
    for turn in 0..9 {
        tokio::time::sleep(Duration::from_millis(1700)).await;
        for (id, member) in members.iter_mut().enumerate() {
            if id != turn % 3 && !member.task.is_finished() {
                continue;
            }
            let left = std::mem::replace(member, start(id));
            match turn % 2 {
                0 => left.task.abort(),
                // It continues next to its replacement, which fences it.
                _ => left.handle.stop(),
            }
        }
    }
    let hits = rules.iter().map(|rule| cluster.hits(*rule)).collect();
    rules.into_iter().for_each(|rule| cluster.withdraw(rule));
    let done = &all() - &poison();
    for _ in 0..120 {
        for (id, member) in members.iter_mut().enumerate() {
            if member.task.is_finished() {
                let ended = std::mem::replace(member, start(id)).task.await.unwrap();
                match ended {
                    Err(Error::Client(error)) => {
                        assert_eq!(error.kind(), ErrorKind::Fenced, "{name}: {error}")
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
        if once(&seen(&cluster, "out").await) == done && once(&seen(&cluster, "orders.dlq").await) == poison()
        {
            for member in members {
                let summary = member.stop().await;
                assert!(summary.is_clean(), "{name}: {summary:?}");
            }
            assert_eq!(committed_offsets(&cluster).await, everything(), "{name}");
            return hits;
        }
        tokio::time::sleep(secs(5)).await;
    }
    panic!("{name}: missing {:?}", &done - &once(&seen(&cluster, "out").await));
}

#[tokio::test(start_paused = true)]
async fn safe11_k10_members_that_die_and_come_back_have_the_effect_of_each_record_once() {
    for version in [0, 2] {
        for protocol in ["range", "cooperative-sticky", "consumer"] {
            each_once(&format!("{protocol}, {version}"), protocol, version, Vec::new()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn safe11_k10_each_result_is_written_once_under_broker_faults() {
    let mut hits = vec![0; harms().len()];
    for version in [0, 2] {
        for protocol in ["range", "cooperative-sticky", "consumer"] {
            let struck =
                each_once(&format!("{protocol}, {version}, harmed"), protocol, version, harms()).await;
            hits.iter_mut().zip(struck).for_each(|(sum, hits)| *sum += hits);
        }
    }
    check_struck(&hits);
}
