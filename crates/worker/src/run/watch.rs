//! Conditions for which a worker waits without a limit: that brokers can be reached, and that its topics exist. They are reported
//! as events, not only logged.

use std::time::{Duration, Instant};

use offtake::{Error, ErrorKind, Handle, Topic};
use tokio::task::JoinSet;

use super::Runner;
use crate::{Event, clock};

/// How often to check whether the cluster responds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Watch {
    looked: Instant,
    is_unreachable: bool,
    /// The checks whether the needed topics exist; each is repeated until there is an answer.
    pub(super) topics: JoinSet<Option<Error>>,
}

impl Watch {
    pub(super) fn new(now: Instant, consumer: &Handle, needed: Vec<Topic>) -> Self {
        let mut topics = JoinSet::new();
        for topic in needed {
            topics.spawn(missing(consumer.clone(), topic));
        }
        Self { looked: now, is_unreachable: false, topics }
    }

    pub(super) fn wake(&self) -> Instant {
        clock::later(self.looked, LOOK_EVERY)
    }
}

/// Returns an error for a topic that does not exist.
#[expect(clippy::disallowed_methods, reason = "between two questions there is nothing but to wait")]
pub(super) async fn missing(consumer: Handle, topic: Topic) -> Option<Error> {
    loop {
        match consumer.partitions_for(topic.clone()).await {
            Err(error) if error.kind() == ErrorKind::UnknownTopic => return Some(error),
            Err(error) if error.is_retriable() => tokio::time::sleep(LOOK_EVERY).await,
            Ok(_) | Err(_) => return None,
        }
    }
}

impl Runner {
    pub(super) fn look_at_cluster(&mut self, now: Instant) {
        if now < self.watch.wake() {
            return;
        }
        self.watch.looked = now;
        let why = self.consumer.health().cluster_error;
        if why.is_some() == self.watch.is_unreachable {
            return;
        }
        self.watch.is_unreachable = why.is_some();
        self.tell(match why {
            Some(why) => Event::Unreachable { why },
            None => Event::Reachable,
        });
    }
}
