//! The evidence for the demo's summary: the dead-letter topic is read back, and the group's committed offsets
//! are fetched.

use std::time::Duration;

use offtake::{Consumer, Record, StartAt, TopicPartition};
use offtake_worker::dead_letters::Origin;

use super::{DEAD_LETTERS, GROUP, ORDERS, ledger::Ledger, orders};
use crate::{clock::now, failure::Failure};

const POLL: Duration = Duration::from_millis(100);
/// The time limit. Dead letters are few, and all of them are written by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads every dead letter into the ledger. Returns how many records of [`ORDERS`] the group has not committed.
pub(super) async fn read_back(bootstrap: &str, ledger: &mut Ledger) -> Result<u64, Failure> {
    let mut reader = Consumer::builder(bootstrap)
        .group(GROUP) // to ask for its offsets; this one neither joins nor commits
        .property("enable.auto.commit", "false")
        .property("default.api.timeout.ms", "10000")
        .build()
        .await?;
    let read = letters(&mut reader, ledger).await;
    let behind = match read {
        Ok(()) => behind(&reader, ledger).await,
        Err(failure) => Err(failure),
    };
    let closed = reader.close(PATIENCE).await.map_err(Failure::from);
    let behind = behind?;
    closed.map(|()| behind)
}

async fn letters(reader: &mut Consumer, ledger: &mut Ledger) -> Result<(), Failure> {
    let partition = TopicPartition::new(DEAD_LETTERS, 0);
    let (_, end) = reader.watermarks(partition.clone()).await?;
    reader.assign([(partition.clone(), StartAt::Earliest)]).await?;
    let deadline = now() + PATIENCE;
    while reader.position(&partition).is_none_or(|position| position < end) {
        if now() > deadline {
            return Err(Failure::failed(format!(
                "{DEAD_LETTERS} cannot be read back: at {:?} of {end}",
                reader.position(&partition)
            )));
        }
        for record in &reader.poll(POLL).await? {
            let digest = orders::digest(record.key().unwrap_or_default(), record.value().unwrap_or_default());
            let (partition, offset) = origin(&record).unwrap_or((-1, -1));
            ledger.found(partition, offset, digest);
        }
    }
    Ok(())
}

/// The origin that a dead letter names.
fn origin(record: &Record<'_>) -> Option<(i32, i64)> {
    let origin = Origin::read(record.headers()).filter(|origin| origin.topic.as_deref() == Some(ORDERS))?;
    Some((origin.partition?, origin.offset?))
}

async fn behind(reader: &Consumer, ledger: &Ledger) -> Result<u64, Failure> {
    let ends: Vec<_> =
        ledger.ends().map(|(partition, end)| (TopicPartition::new(ORDERS, partition), end)).collect();
    let committed = reader.committed(ends.iter().map(|(partition, _)| partition.clone())).await?;
    let behind = ends.iter().map(|(partition, end)| {
        let committed = committed.get(partition).map_or(0, |committed| committed.offset);
        end.saturating_sub(committed).max(0).unsigned_abs()
    });
    Ok(behind.sum())
}
