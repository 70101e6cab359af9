//! Questions about topics that wait for metadata: answered when it is there, and with the reason when time is up.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use offtake_machine::{CallError, Cluster, PartitionInfo, Topic};
use offtake_wire::ErrorCode;
use regex::Regex;

use super::{command::Reply, topics::matching};
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Lookups {
    waiting: Vec<Lookup>,
    /// Who is asked first, for the reader of an error.
    servers: String,
}

#[derive(Debug)]
struct Lookup {
    question: Question,
    deadline: Instant,
}

#[derive(Debug)]
enum Question {
    Partitions(Topic, Reply<BTreeMap<i32, PartitionInfo>>),
    /// In a listing that is newer than this view.
    Matching(Vec<Regex>, Arc<Cluster>, Reply<Vec<Topic>>),
}

impl Lookups {
    pub(super) fn new(bootstrap_servers: &[(String, u16)]) -> Self {
        let servers: Vec<_> = bootstrap_servers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        Self { waiting: Vec::new(), servers: servers.join(",") }
    }

    pub(super) fn partitions(
        &mut self,
        topic: Topic,
        deadline: Instant,
        reply: Reply<BTreeMap<i32, PartitionInfo>>,
    ) {
        self.waiting.push(Lookup { question: Question::Partitions(topic, reply), deadline });
    }

    /// In a listing that is newer than `known`.
    pub(super) fn matching(
        &mut self,
        patterns: Vec<Regex>,
        known: Arc<Cluster>,
        deadline: Instant,
        reply: Reply<Vec<Topic>>,
    ) {
        self.waiting.push(Lookup { question: Question::Matching(patterns, known, reply), deadline });
    }

    /// The topics that somebody waits to hear of.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.waiting.iter().filter_map(|lookup| match &lookup.question {
            Question::Partitions(topic, _) => Some(topic),
            Question::Matching(..) => None,
        })
    }

    /// Whether somebody waits for a full listing.
    pub(super) fn wants_all(&self) -> bool {
        self.waiting.iter().any(|lookup| matches!(lookup.question, Question::Matching(..)))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|lookup| lookup.deadline).min()
    }

    /// Answers what can be answered, and whether anything was. `hopeless`: the trouble will not go away by waiting.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        cluster: &Arc<Cluster>,
        trouble: Option<&CallError>,
        hopeless: bool,
        exclude_internal: bool,
    ) -> bool {
        let before = self.waiting.len();
        for lookup in std::mem::take(&mut self.waiting) {
            let late = hopeless || now >= lookup.deadline;
            match lookup.question {
                Question::Partitions(topic, reply) => match self.known(cluster, &topic, trouble, late) {
                    Some(result) => drop(reply.send(result)),
                    None => self.waiting.push(Lookup {
                        question: Question::Partitions(topic, reply),
                        deadline: lookup.deadline,
                    }),
                },
                Question::Matching(patterns, known, reply)
                    if cluster.lists_all && !Arc::ptr_eq(cluster, &known) =>
                {
                    let topics = matching(cluster, &patterns, exclude_internal);
                    let _ = reply.send(Ok(topics.into_iter().collect()));
                }
                Question::Matching(_, _, reply) if late => {
                    let _ = reply.send(Err(self.unanswered("the list of topics", trouble)));
                }
                question @ Question::Matching(..) => {
                    self.waiting.push(Lookup { question, deadline: lookup.deadline });
                }
            }
        }
        self.waiting.len() != before
    }

    /// The partitions of a topic; `None`: it is worth waiting.
    fn known(
        &self,
        cluster: &Cluster,
        topic: &Topic,
        trouble: Option<&CallError>,
        late: bool,
    ) -> Option<Result<BTreeMap<i32, PartitionInfo>>> {
        let Some(info) = cluster.topics.get(topic) else {
            return late.then(|| Err(self.unanswered(&format!("topic {topic}"), trouble)));
        };
        match info.error {
            ErrorCode::None => Some(Ok(info.partitions.clone())),
            code if code.is_retriable() && !late => None,
            code => Some(Err(refused(topic, code))),
        }
    }

    fn unanswered(&self, what: &str, trouble: Option<&CallError>) -> Error {
        match trouble {
            Some(trouble) => trouble.clone().into(),
            None => {
                let servers = &self.servers;
                let message =
                    format!("no broker answered in time when asked for {what} (bootstrap servers {servers})");
                Error::new(ErrorKind::Unreachable, message)
            }
        }
    }
}

pub(super) fn refused(topic: &Topic, code: ErrorCode) -> Error {
    let (kind, message) = match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => (
            ErrorKind::UnknownTopic,
            format!("topic {topic} does not exist; create it, or check its name and the brokers' address"),
        ),
        ErrorCode::InvalidTopicException => (
            ErrorKind::UnknownTopic,
            format!("{topic:?} is no legal topic name: letters, digits, '.', '_' and '-', 249 at most"),
        ),
        ErrorCode::TopicAuthorizationFailed => (
            ErrorKind::Authorization,
            format!("not authorised for topic {topic}; it needs the DESCRIBE permission"),
        ),
        code => (ErrorKind::UnknownTopic, format!("topic {topic} is not available: {code}")),
    };
    Error::new(kind, message).with_code(code)
}
