//! `--from` in a group, which applies only where nothing is committed.

use std::{collections::BTreeSet, convert::Infallible, future::pending};

use offtake::{Error, Listener, ListenerFuture, Rebalance, StartAt, TopicPartition};
use offtake_client::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use super::target::{self, Said, start_at};
use crate::text::offset_bound::OffsetBound;

/// A request for the start offsets of these partitions.
struct Question {
    partitions: Vec<TopicPartition>,
    answer: oneshot::Sender<Result<Starts, Error>>,
}

type Starts = Vec<(TopicPartition, StartAt)>;

/// Starts at `--from` where the group has committed nothing. Setting `auto.offset.reset` instead would also
/// apply where a committed offset is outside the log, and read everything there.
pub(crate) struct BeginAt {
    ask: mpsc::UnboundedSender<Question>,
    from: OffsetBound,
}

/// Answers what [`BeginAt`] asks.
pub(crate) struct Starting {
    questions: mpsc::UnboundedReceiver<Question>,
    client: ClientConfig,
    from: OffsetBound,
    said: Said,
}

impl BeginAt {
    pub(crate) fn new(from: OffsetBound, client: ClientConfig) -> (Self, Starting) {
        let (ask, questions) = mpsc::unbounded_channel();
        (Self { ask, from }, Starting { questions, client, from, said: Said::InGroup(BTreeSet::new()) })
    }
}

impl Starting {
    /// Runs beside the reading, for as long as that takes.
    pub(crate) async fn run(mut self) -> Infallible {
        while let Some(Question { partitions, answer }) = self.questions.recv().await {
            let starts = target::starts(&self.client, &partitions, self.from, &mut self.said).await;
            let _ = answer.send(starts);
        }
        pending().await
    }
}

impl Listener for BeginAt {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        let (ask, from) = (self.ask.clone(), self.from);
        Box::pin(async move {
            let Rebalance { partitions, consumer, .. } = rebalance;
            // The start offset is committed, too, and must not be the one of `auto.offset.reset`, however long
            // the answer takes.
            for partition in &partitions {
                consumer.seek(partition.clone(), StartAt::committed_or(start_at(from))).await?;
            }
            let starts = loop {
                let (answer, answered) = oneshot::channel();
                // If nothing answers any more, the command is ending, and prints nothing of these partitions.
                let question = Question { partitions: partitions.clone(), answer };
                let Ok(()) = ask.send(question) else { return Ok(()) };
                let Ok(starts) = answered.await else { return Ok(()) };
                match starts {
                    Ok(starts) => break starts,
                    // Nothing is read meanwhile; `max.poll.interval.ms` limits the wait.
                    Err(error) if error.is_retriable() => {
                        tracing::warn!("the start offsets are not known yet; retrying: {error}");
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            for (partition, at) in starts {
                consumer.seek(partition, StartAt::committed_or(at)).await?;
            }
            Ok(())
        })
    }
}
