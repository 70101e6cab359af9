//! Conditions for which a worker waits without a limit: that brokers can be reached, and that its topics exist. They are reported
//! as events, not only logged.

use std::{
    mem,
    pin::pin,
    time::{Duration, Instant},
};

use offtake::{Error, ErrorKind, Handle, Topic};
use tokio::task::JoinSet;

use super::{Runner, committing::Committing};
use crate::{Event, clock};

/// How often to check whether the cluster responds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether brokers can be reached, and whether the needed topics exist.
pub(super) struct Watch {
    looked: Instant,
    is_unreachable: bool,
    /// The checks whether the needed topics exist; each is repeated until there is an answer.
    pub(super) topics: JoinSet<Option<Error>>,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { looked: now, is_unreachable: false, topics: JoinSet::new() }
    }

    /// Begins to check whether these topics exist.
    pub(super) fn need(&mut self, consumer: &Handle, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            self.topics.spawn(missing(consumer.clone(), topic));
        }
    }

    /// Checks whether the cluster responds, if it is time. Returns the event of a change.
    fn look(&mut self, now: Instant, consumer: &Handle) -> Option<Event> {
        if now < self.wake() {
            return None;
        }
        self.looked = now;
        let why = consumer.health().cluster_error;
        if why.is_some() == self.is_unreachable {
            return None;
        }
        self.is_unreachable = why.is_some();
        Some(why.map_or(Event::Reachable, |why| Event::Unreachable { why }))
    }

    /// Waits for this, and reports meanwhile whether brokers can be reached.
    pub(super) async fn during<T>(
        &mut self,
        consumer: &Handle,
        tell: impl Fn(Event),
        waits: impl Future<Output = T>,
    ) -> T {
        let mut waits = pin!(waits);
        loop {
            tokio::select! {
                biased;
                ended = &mut waits => return ended,
                () = tokio::time::sleep_until(self.wake().into()) => {}
            }
            self.look(clock::now(), consumer).into_iter().for_each(&tell);
        }
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
        if let (Some(form), Some(letters)) = (&self.form, &mut self.letters) {
            let stalled = letters.stalled(now, form);
            stalled.into_iter().for_each(|error| self.tell(Event::Error(error)));
        }
        // A transaction waits for a topic that does not exist, and so does all that it would commit.
        if let Committing::Transaction { began, topics, .. } = &mut self.committing
            && now >= clock::later(*began, LOOK_EVERY)
        {
            self.watch.need(&self.consumer.handle(), mem::take(topics));
        }
        let event = self.watch.look(now, &self.consumer.handle());
        event.into_iter().for_each(|event| self.tell(event));
    }
}
