//! The error that stops a partition comes after its good records, and is not delayed by other partitions: on the
//! cluster in a box, in virtual time, as the backlog has to last exactly as long as the test wants.

use std::time::Duration;

use offtake::{Consumer, Error, ErrorKind, Listener, ListenerFuture, Rebalance, Records, StartAt};
use offtake_broker::{ApiKey, Cluster, Corrupt, Fault, FaultRule, RuleId};
use tokio::time::sleep;

use crate::library::at;
use crate::patience::{member, virtually};

const BUSY: usize = 4;
const BACKLOG: usize = 3_000;
/// The length of a batch with one record whose value is one byte.
const BATCH: usize = 69;
const MAGIC: usize = 16;
const LATER: usize = 30;

/// Three batches of one record in `bad`, the last of which is damaged at this byte, and a backlog in `busy`.
async fn cluster(byte: usize) -> (Cluster, RuleId) {
    let builder = Cluster::builder().in_memory().topic("busy", BUSY as i32).topic("bad", 1);
    let cluster = builder.start().await.unwrap();
    for partition in 0..BUSY {
        for _ in 0..BACKLOG {
            cluster.produce("busy", partition as i32, None, Some(b"v")).unwrap();
        }
    }
    for _ in 0..3 {
        cluster.produce("bad", 0, None, Some(b"v")).unwrap();
    }
    let at = Fault::Corrupt(Corrupt::RecordsAt(2 * BATCH + byte));
    let rule = cluster.inject(FaultRule::on(ApiKey::Fetch, at).topic("bad"));
    (cluster, rule)
}

/// The records read from either topic until `bad` failed, and the error.
#[derive(Default)]
struct Seen {
    busy: usize,
    bad: Vec<i64>,
}

impl Seen {
    fn take(&mut self, records: &Records) {
        for record in records {
            if record.topic() == "bad" {
                self.bad.push(record.offset());
            } else {
                self.busy += 1;
            }
        }
    }

    /// Reads until the error occurs, while there are other records to read.
    async fn until_it_fails(&mut self, consumer: &mut Consumer) -> Option<Error> {
        while self.busy < BUSY * BACKLOG {
            match consumer.poll(Duration::from_secs(1)).await {
                Ok(records) => self.take(&records),
                Err(error) => return Some(error),
            }
        }
        None
    }
}

/// SEAM6: reported once its good records have been handed out, even if there are always others.
#[test]
fn seam6_the_error_of_a_partition_is_told_under_a_backlog_after_its_good_records() {
    for (byte, what) in [(MAGIC, "no batch at all"), (LATER, "a checksum that does not hold")] {
        virtually(async {
            let (cluster, _) = cluster(byte).await;
            let mut consumer = member(&cluster).property("max.poll.records", "10").build().await.unwrap();
            consumer.subscribe(["busy", "bad"]).await.unwrap();
            let mut seen = Seen::default();
            let error = seen.until_it_fails(&mut consumer).await;
            let error =
                error.unwrap_or_else(|| panic!("{what}: nothing is told of it while others are busy"));
            assert_eq!(
                (error.kind(), error.partition()),
                (ErrorKind::Corrupt, Some(&at("bad", 0))),
                "{what}: {error}"
            );
            assert_eq!(seen.bad, [0, 1], "{what}: its good records come first");
            assert!(seen.busy < BUSY * BACKLOG / 2, "{what}: {} others came before it", seen.busy);
            assert_eq!(consumer.position(at("bad", 0)), Some(2), "{what}");
            // Once; and the others continue.
            let none = seen.until_it_fails(&mut consumer).await;
            assert!(none.is_none(), "{what}: {none:?}");
            assert_eq!(seen.bad, [0, 1], "{what}");
            consumer.close(Duration::from_secs(5)).await.unwrap();
        });
    }
}

/// Takes its time, and then pauses `bad`, whose fetched records stay in the client.
struct PausesBad;

impl Listener for PausesBad {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        Box::pin(async move {
            sleep(Duration::from_secs(2)).await;
            rebalance.consumer.pause([at("bad", 0)])?;
            Ok(())
        })
    }
}

/// SEAM6: an application that is told "it stops at 2" continues after 2, and would skip records that are still to be
/// handed out.
#[test]
fn seam6_the_error_of_a_paused_partition_is_not_told_before_its_good_records() {
    for (byte, what) in [(MAGIC, "no batch at all"), (LATER, "a checksum that does not hold")] {
        virtually(async {
            let (cluster, _) = cluster(byte).await;
            let builder = member(&cluster).property("max.poll.records", "10").listener(PausesBad);
            let mut consumer = builder.build().await.unwrap();
            consumer.subscribe(["busy", "bad"]).await.unwrap();
            let mut seen = Seen::default();
            while seen.busy < BUSY * BACKLOG {
                let records = consumer.poll(Duration::from_secs(1)).await;
                seen.take(&records.unwrap_or_else(|error| panic!("{what}: paused, and yet {error}")));
            }
            for _ in 0..10 {
                let idle = consumer.poll(Duration::from_secs(1)).await;
                seen.take(&idle.unwrap_or_else(|error| panic!("{what}: paused and idle, and yet {error}")));
            }
            assert_eq!(seen.bad, [] as [i64; 0], "{what}: it is paused");
            consumer.resume([at("bad", 0)]).unwrap();
            let error = loop {
                match consumer.poll(Duration::from_secs(60)).await {
                    Ok(records) => {
                        assert!(!records.is_empty(), "{what}: nothing is told of it");
                        seen.take(&records);
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!(
                (error.kind(), seen.bad.as_slice()),
                (ErrorKind::Corrupt, [0, 1].as_slice()),
                "{what}: {error}"
            );
            consumer.close(Duration::from_secs(5)).await.unwrap();
        });
    }
}

/// SEAM6 (c): the error of an ended assignment is not reported in the next.
#[test]
fn seam6_an_error_that_was_not_told_yet_ends_with_its_assignment() {
    virtually(async {
        let (cluster, damage) = cluster(MAGIC).await;
        let mut consumer =
            member(&cluster).property("max.poll.records", "1").listener(PausesBad).build().await.unwrap();
        consumer.subscribe(["busy", "bad"]).await.unwrap();
        let mut seen = Seen::default();
        while seen.busy < 10 {
            seen.take(&consumer.poll(Duration::from_secs(1)).await.unwrap());
        }
        consumer.unsubscribe().await.unwrap();
        // The damage is repaired: read from its first record, it has three.
        cluster.withdraw(damage);
        consumer.assign([(at("bad", 0), StartAt::Earliest)]).await.unwrap();
        while seen.bad.len() < 3 {
            seen.take(&consumer.poll(Duration::from_secs(60)).await.unwrap());
        }
        assert_eq!(seen.bad, [0, 1, 2]);
        consumer.close(Duration::from_secs(5)).await.unwrap();
    });
}
