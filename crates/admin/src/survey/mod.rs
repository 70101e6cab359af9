//! [`Survey`]: requests about many items at once, as a monitor repeats them.

mod configs;
mod groups;
mod offsets;
mod record_times;
mod sizes;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_client::{Error, Result, clock};
use offtake_machine::{BrokerId, CallError};
use offtake_wire::{Api, ErrorCode, Request, Response};

pub use record_times::RecordTime;

use crate::{
    Admin, Topic, TopicDescription,
    attempts::AttemptError,
    calls::{Calls, TopicSelection},
    topics,
};

/// Requests about many items at once. Each broker gets the request for its part, all of them at the same time; if one of them
/// does not respond, only its part fails. Nothing is retried, because the next survey repeats the request anyway.
///
/// Created by [`Admin::survey`]. The addresses of the brokers come from [`cluster`](Self::cluster): begin with it.
#[derive(Debug)]
pub struct Survey<'a> {
    calls: &'a mut Calls,
    deadline: Instant,
}

/// The results, and the failures.
#[derive(Clone, Debug)]
pub struct Answers<K, V> {
    /// The items with a result.
    pub found: BTreeMap<K, V>,
    /// The items without one, grouped by their common reason.
    pub failed: Vec<Unanswered<K>>,
}

impl<K: Ord, V> Answers<K, V> {
    fn none() -> Self {
        Self { found: BTreeMap::new(), failed: Vec::new() }
    }

    /// Adds a failed item.
    fn fail(&mut self, broker: BrokerId, key: K, what: &str, code: ErrorCode) {
        let same = |failed: &&mut Unanswered<K>| failed.broker == broker && failed.error.code() == Some(code);
        match self.failed.iter_mut().find(same) {
            Some(failed) => failed.about.push(key),
            None => {
                let error = AttemptError::code(&format!("{what} of {broker}"), code, None).error;
                self.failed.push(Unanswered { broker, about: vec![key], error });
            }
        }
    }

    /// Adds requested items that are missing in the response.
    fn fail_left_out(&mut self, broker: BrokerId, about: Vec<K>, what: &str) {
        if !about.is_empty() {
            let what = format!("{what} of {broker}");
            let error = AttemptError::malformed(&what, "some of it is missing in the response").error;
            self.failed.push(Unanswered { broker, about, error });
        }
    }
}

/// Items for which a broker returned no result.
#[derive(Clone, Debug)]
pub struct Unanswered<K> {
    /// The broker.
    pub broker: BrokerId,
    /// The items.
    pub about: Vec<K>,
    /// Why there is no result.
    pub error: Error,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// The cluster's id, if the brokers return one.
    pub id: Option<String>,
    /// The live brokers, each with its host and port.
    pub brokers: BTreeMap<BrokerId, (String, u16)>,
    /// The topics, including Kafka's internal ones.
    pub topics: BTreeMap<Topic, TopicDescription>,
}

impl Admin {
    /// Begins requests about many items at once. All of them together end within `limit`, whatever `default.api.timeout.ms` is.
    pub fn survey(&mut self, limit: Duration) -> Survey<'_> {
        let deadline = clock::after(limit);
        Survey { calls: &mut self.calls, deadline: self.deadline.map_or(deadline, |all| all.min(deadline)) }
    }
}

impl Survey<'_> {
    /// The brokers, and these topics or all; a topic that does not exist is left out. This is the only request that any broker
    /// can answer: it is sent to one broker after the other until the time has ended.
    pub async fn cluster(&mut self, topics: Option<&BTreeSet<Topic>>) -> Result<ClusterDescription> {
        let selection = match topics {
            None => TopicSelection::All,
            Some(topics) if topics.is_empty() => TopicSelection::None,
            Some(topics) => TopicSelection::Named(topics.iter().cloned().collect()),
        };
        let deadline = self.deadline;
        let ask = async |calls: &mut Calls| calls.cluster("describe the cluster", deadline, &selection).await;
        let cluster = self.calls.retrying(deadline, ask).await?;
        let brokers = cluster.brokers.into_iter().map(|(id, broker)| (id, (broker.host, broker.port)));
        let topics = cluster.topics.into_iter().filter(|(_, topic)| topic.error.is_ok());
        Ok(ClusterDescription {
            id: cluster.cluster_id,
            brokers: brokers.collect(),
            topics: topics.map(|(name, topic)| (name.clone(), topics::description(name, topic))).collect(),
        })
    }

    /// Sends a request to each broker, with a limit of the version. For brokers that do not respond, all of their items fail.
    /// `what` completes "cannot …".
    async fn ask<K: Ord, V, R>(
        &mut self,
        version: i16,
        what: &str,
        requests: Vec<(Vec<K>, BrokerId, R)>,
        mut take: impl FnMut(&mut Answers<K, V>, BrokerId, Vec<K>, R::Response),
    ) -> Answers<K, V>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        let mut answers = Answers::none();
        for (about, broker, answer) in self.calls.call_each_up_to(version, self.deadline, requests).await {
            match answer {
                Ok(answer) => take(&mut answers, broker, about, answer),
                Err(error) => {
                    let error = failure(what, broker, error);
                    let same = |failed: &&mut Unanswered<K>| {
                        failed.broker == broker && failed.error.to_string() == error.to_string()
                    };
                    match answers.failed.iter_mut().find(same) {
                        Some(failed) => failed.about.extend(about),
                        None => answers.failed.push(Unanswered { broker, about, error }),
                    }
                }
            }
        }
        answers
    }
}

fn failure(what: &str, broker: BrokerId, error: CallError) -> Error {
    AttemptError::call(&format!("{what} of {broker}"), error).error
}
