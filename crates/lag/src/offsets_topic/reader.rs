//! The loop: a consumer of `__consumer_offsets`, which is replaced when it fails for good.

use std::{collections::BTreeSet, convert::Infallible, future::pending, sync::Arc, time::Duration};

use offtake::{Builder, Consumer, Error, ErrorKind, Records, StartAt, TopicPartition};
use offtake_client::clock;

use super::{OffsetsTopicConfig, Shared, TOPIC, log::RecordEffect};

/// How often to check the assignment while nothing is read.
const POLL: Duration = Duration::from_millis(200);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// Ends when the consumer is closed by its handle.
pub(super) async fn run(
    shared: Arc<Shared>,
    config: OffsetsTopicConfig,
    consumer: impl Fn() -> Builder + Send + 'static,
) {
    loop {
        let Err(error) = read(&shared, &config, consumer()).await;
        shared.assign(None);
        if error.kind() == ErrorKind::Closed {
            return;
        }
        shared.fail(&error);
        pause().await;
    }
}

async fn read(shared: &Shared, config: &OffsetsTopicConfig, consumer: Builder) -> Result<Infallible, Error> {
    let mut consumer = consumer
        .property("enable.auto.commit", false)
        .property("isolation.level", "read_committed")
        .property("auto.offset.reset", "earliest");
    if let Some(group) = &config.shard_group {
        // A replica that stays keeps its partitions.
        consumer = consumer
            .property("group.id", group)
            .property("group.protocol", "classic")
            .property("partition.assignment.strategy", "cooperative-sticky");
    }
    let mut consumer = consumer.build().await?;
    shared.lock().handle = Some(consumer.handle());
    match &config.shard_group {
        Some(_) => consumer.subscribe(TOPIC).await?,
        None => {
            let partitions = consumer.partitions_for(TOPIC).await?.into_keys();
            let partitions: Vec<_> =
                partitions.map(|partition| (TOPIC, partition, StartAt::Earliest)).collect();
            consumer.assign(partitions).await?;
        }
    }
    loop {
        let polled = consumer.poll(POLL).await;
        shared.assign(assigned(&consumer, config).await);
        if !config.commits {
            // A pause belongs to one assignment, and a partition may have been given up and assigned again.
            consumer.pause_all()?;
        }
        let restart = match polled {
            Ok(records) if config.commits => shared.take(&records, &consumer),
            Ok(_) => Vec::new(),
            Err(error) if error.is_fatal() || error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => {
                shared.fail(&error);
                pause().await;
                // The error stops its own partition.
                error.partition().cloned().into_iter().collect()
            }
        };
        for partition in restart {
            shared.lock().log.restart(partition.partition);
            if let Err(error) = consumer.seek(&partition, StartAt::Earliest).await {
                shared.fail(&error);
            }
        }
    }
}

/// The assigned partitions, if this is a member.
async fn assigned(consumer: &Consumer, config: &OffsetsTopicConfig) -> Option<BTreeSet<i32>> {
    let is_member = match &config.shard_group {
        // A member may own nothing, because there may be more members than partitions.
        Some(_) => consumer.owns_assignment() && consumer.group_metadata().await.is_ok(),
        None => true,
    };
    is_member.then(|| consumer.assignment().into_iter().map(|of| of.partition).collect())
}

async fn pause() {
    let _ = clock::timeout(PAUSE, pending::<()>()).await;
}

impl Shared {
    fn assign(&self, assigned: Option<BTreeSet<i32>>) {
        let mut state = self.lock();
        if state.assigned != assigned {
            if let Some(assigned) = &assigned {
                tracing::info!(partitions = assigned.len(), "partitions of {TOPIC} are assigned");
            }
            state.log.assign(assigned.as_ref().unwrap_or(&BTreeSet::new()));
            state.assigned = assigned;
            self.progress.notify_waiters();
        }
    }

    fn fail(&self, error: &Error) {
        let mut state = self.lock();
        let text = error.to_string();
        if state.failure.as_ref() != Some(&text) {
            tracing::warn!("{TOPIC}: {text}");
            state.failure = Some(text);
        }
    }

    /// Handles the records. Returns the partitions that have to be read from their beginning.
    fn take(&self, records: &Records, consumer: &Consumer) -> Vec<TopicPartition> {
        let mut state = self.lock();
        let mut restart = BTreeSet::new();
        for record in records {
            match state.log.record(record.partition(), record.offset(), record.key(), record.value()) {
                RecordEffect::Read => {}
                RecordEffect::Unreadable(error) => tracing::warn!(
                    "a commit in {} at {} cannot be read, and the offsets of the groups there are fetched from their coordinator: {error}",
                    record.topic_partition(),
                    record.offset()
                ),
                RecordEffect::Rewound => drop(restart.insert(record.topic_partition().clone())),
            }
        }
        for partition in consumer.assignment().into_iter().filter(|of| !restart.contains(of)) {
            if let Some(next) = consumer.position(&partition) {
                state.log.advance(partition.partition, next);
            }
        }
        self.progress.notify_waiters();
        restart.into_iter().collect()
    }
}
