//! Queries about topics that wait for metadata: answered when it arrives, or with the reason when time is up.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_machine::{CallError, Cluster, PartitionInfo, Topic, earliest};
use offtake_wire::ErrorCode;
use regex::Regex;

use super::{missing::is_missing, topics::matching};
use crate::{
    command::Reply,
    config::Config,
    error::{Error, ErrorKind, Result},
};

#[derive(Debug)]
pub(super) struct Lookups {
    waiting: Vec<Lookup>,
    relist_at: Option<Instant>,
    /// The bootstrap servers, for the text of an error.
    servers: String,
    /// A topic that brokers have reported as unknown for this long does not exist.
    sure_after: Duration,
}

#[derive(Debug)]
struct Lookup {
    question: LookupQuestion,
    deadline: Instant,
    /// How many metadata requests had been sent when the query arrived: only newer metadata counts.
    asked: u64,
    /// Since when newer metadata has lacked the topic, and in the response to which request.
    missing: Option<(Instant, u64)>,
}

/// What the queries are answered from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) cluster: &'a Cluster,
    /// The number of the metadata request that it came from.
    pub(super) learnt: u64,
    /// The error that prevents newer metadata, if any.
    pub(super) trouble: Option<&'a CallError>,
    /// Waiting cannot help.
    pub(super) hopeless: bool,
    pub(super) exclude_internal: bool,
}

/// How long a broker that creates topics automatically may report one as unknown while creating it.
const CREATION: Duration = Duration::from_secs(1);

/// How long to wait for a topic that is in no listing before the next listing is requested.
const RELIST: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum LookupQuestion {
    Partitions(Topic, Reply<BTreeMap<i32, PartitionInfo>>),
    Matching(Vec<Regex>, Reply<Vec<Topic>>),
}

impl Lookups {
    pub(super) fn new(config: &Config) -> Self {
        let servers = config.client.bootstrap_servers.iter().map(|(host, port)| format!("{host}:{port}"));
        let creation = if config.allow_auto_create_topics { CREATION } else { Duration::ZERO };
        Self {
            waiting: Vec::new(),
            relist_at: None,
            servers: servers.collect::<Vec<_>>().join(","),
            sure_after: config.client.retry_backoff.max(creation),
        }
    }

    /// `asked`: how many metadata requests have been sent so far.
    pub(super) fn partitions(
        &mut self,
        topic: Topic,
        asked: u64,
        deadline: Instant,
        reply: Reply<BTreeMap<i32, PartitionInfo>>,
    ) {
        let question = LookupQuestion::Partitions(topic, reply);
        self.waiting.push(Lookup { question, deadline, asked, missing: None });
    }

    /// Matches in a listing that is requested after this.
    pub(super) fn matching(
        &mut self,
        patterns: Vec<Regex>,
        asked: u64,
        deadline: Instant,
        reply: Reply<Vec<Topic>>,
    ) {
        let question = LookupQuestion::Matching(patterns, reply);
        self.waiting.push(Lookup { question, deadline, asked, missing: None });
    }

    /// The topics that callers are waiting for.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.waiting.iter().filter_map(|lookup| match &lookup.question {
            LookupQuestion::Partitions(topic, _) => Some(topic),
            LookupQuestion::Matching(..) => None,
        })
    }

    /// Whether a caller waits for a full listing.
    pub(super) fn wants_all(&self) -> bool {
        self.waiting.iter().any(|lookup| matches!(lookup.question, LookupQuestion::Matching(..)))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.waiting.iter().map(|lookup| lookup.deadline).min();
        earliest([deadline, self.relist_at])
    }

    /// Whether another listing is to be requested now: a caller waits for a topic that the last one lacked.
    pub(super) fn relists(&mut self, now: Instant) -> bool {
        self.relist_at.take_if(|at| *at <= now).is_some()
    }

    /// Answers what can be answered. Returns whether anything was.
    pub(super) fn answer_known(&mut self, now: Instant, known: Known<'_>) -> bool {
        let before = self.waiting.len();
        let mut misses = false;
        for lookup in std::mem::take(&mut self.waiting) {
            let late = known.hopeless || now >= lookup.deadline;
            let is_newer = known.learnt > lookup.asked;
            let Lookup { question, deadline, asked, missing } = lookup;
            match question {
                LookupQuestion::Partitions(topic, reply) => {
                    let is_missing = is_newer && is_missing(&topic, known.cluster);
                    let missing = is_missing.then(|| missing.unwrap_or((now, known.learnt)));
                    // One response alone is not enough.
                    let is_sure = missing.is_some_and(|(since, learnt)| {
                        known.learnt > learnt && now.saturating_duration_since(since) >= self.sure_after
                    });
                    match self.partitions_of(&topic, known, is_newer, late || is_sure) {
                        Some(result) => drop(reply.send(result)),
                        None => {
                            misses |= known.cluster.lists_all;
                            let question = LookupQuestion::Partitions(topic, reply);
                            self.waiting.push(Lookup { question, deadline, asked, missing });
                        }
                    }
                }
                LookupQuestion::Matching(patterns, reply) if known.cluster.lists_all && is_newer => {
                    let topics = matching(known.cluster, &patterns, known.exclude_internal);
                    let _ = reply.send(Ok(topics.into_iter().collect()));
                }
                LookupQuestion::Matching(_, reply) if late => {
                    let _ = reply.send(Err(self.unanswered("the list of topics", known.trouble)));
                }
                question @ LookupQuestion::Matching(..) => {
                    self.waiting.push(Lookup { question, deadline, asked, missing });
                }
            }
        }
        // A consumer that lists all topics does not request this topic by name.
        match misses {
            true => self.relist_at = self.relist_at.or_else(|| now.checked_add(RELIST)),
            false => self.relist_at = None,
        }
        self.waiting.len() != before
    }

    /// The partitions of a topic; `None` means to keep waiting.
    fn partitions_of(
        &self,
        topic: &Topic,
        known: Known<'_>,
        is_newer: bool,
        late: bool,
    ) -> Option<Result<BTreeMap<i32, PartitionInfo>>> {
        let Some(info) = known.cluster.topics.get(topic) else {
            return late.then(|| match known.cluster.lists_all && is_newer {
                true => Err(refused(topic, ErrorCode::UnknownTopicOrPartition)),
                false => Err(self.unanswered(&format!("topic {topic}"), known.trouble)),
            });
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

pub(super) fn no_match(patterns: &[&str]) -> Error {
    let patterns: Vec<_> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    let message = format!(
        "no topic matches {}: the whole name has to match, the client needs the DESCRIBE permission to see a topic, and internal \
         ones match with exclude.internal.topics=false only",
        patterns.join(", ")
    );
    Error::new(ErrorKind::UnknownTopic, message)
}

pub(super) fn no_match_for_broker(pattern: &str) -> Error {
    let message = format!(
        "no topic matches `{pattern}`: the whole name has to match, and the client needs the DESCRIBE permission to see a topic"
    );
    Error::new(ErrorKind::UnknownTopic, message)
}

pub(super) fn refused(topic: &Topic, code: ErrorCode) -> Error {
    let (kind, message) = match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => (
            ErrorKind::UnknownTopic,
            format!("topic {topic} does not exist; create it, or check its name and the brokers' address"),
        ),
        ErrorCode::InvalidTopicException => (
            ErrorKind::UnknownTopic,
            format!(
                "{topic:?} is not a valid topic name: use letters, digits, '.', '_' and '-', 249 at most"
            ),
        ),
        ErrorCode::TopicAuthorizationFailed => (
            ErrorKind::Authorization,
            format!("not authorised for topic {topic}; it needs the DESCRIBE permission"),
        ),
        code => (ErrorKind::UnknownTopic, format!("topic {topic} is not available: {code}")),
    };
    Error::new(kind, message).with_code(code)
}

#[cfg(test)]
mod tests {
    use offtake_machine::TopicInfo;
    use tokio::sync::oneshot;

    use super::*;

    fn cluster(topics: &[&str], lists_all: bool) -> Cluster {
        let id = offtake_wire::Uuid::default();
        let info = TopicInfo { id, error: ErrorCode::None, internal: false, partitions: BTreeMap::new() };
        let topics = topics.iter().map(|name| (Topic::from(*name), info.clone())).collect();
        Cluster { topics, lists_all, ..Cluster::default() }
    }

    fn known(cluster: &Cluster, learnt: u64) -> Known<'_> {
        Known { cluster, learnt, trouble: None, hopeless: false, exclude_internal: true }
    }

    fn after(seconds: u64) -> Instant {
        crate::clock::after(Duration::from_secs(seconds))
    }

    #[test]
    fn b7_topics_that_match_are_those_of_a_listing_that_was_asked_for_after_the_question() {
        let mut lookups = Lookups::new(&Config::default());
        let (reply, mut answer) = oneshot::channel();
        // The third request is in flight.
        lookups.matching(vec![Regex::new("^o.*$").unwrap()], 3, after(60), reply);
        let (old, new) = (cluster(&["old"], true), cluster(&["old", "orders"], true));
        assert!(!lookups.answer_known(after(0), known(&old, 2)));
        assert!(!lookups.answer_known(after(0), known(&old, 3)), "it may have left before");
        assert!(lookups.answer_known(after(0), known(&new, 4)));
        assert_eq!(answer.try_recv().unwrap().unwrap(), ["old".into(), "orders".into()] as [Topic; 2]);
    }

    /// A consumer that lists all topics requests none by its name.
    #[test]
    fn b1_a_topic_that_no_listing_has_yet_is_asked_for_again_and_is_unknown_in_the_end() {
        let mut lookups = Lookups::new(&Config::default());
        let (empty, full) = (cluster(&[], true), cluster(&["new"], true));
        let deadline = after(60);
        for (found, expected) in [(&full, true), (&empty, false)] {
            let (reply, mut answer) = oneshot::channel();
            lookups.partitions("new".into(), 1, deadline, reply);
            assert!(!lookups.answer_known(after(0), known(&empty, 2)));
            assert!(!lookups.relists(after(0)) && lookups.relists(after(2)), "a second later");
            assert!(lookups.answer_known(deadline, known(found, 3)));
            let kind = answer.try_recv().unwrap().map_err(|error| error.kind());
            assert_eq!(kind.is_ok(), expected);
            assert!(expected || kind == Err(ErrorKind::UnknownTopic));
        }
        assert_eq!(lookups.poll_timeout(), None);
    }

    /// One response may come from a broker that has just started, or that is creating the topic.
    #[test]
    fn b1_a_topic_is_unknown_once_brokers_have_said_so_twice_and_for_long_enough() {
        let mut missing = cluster(&["ordrs"], false);
        if let Some(info) = missing.topics.get_mut("ordrs") {
            info.error = ErrorCode::UnknownTopicOrPartition;
        }
        for (allow_auto_create_topics, backoff_ms, sure_ms) in
            [(false, 100, 100), (true, 100, 1000), (true, 2000, 2000)]
        {
            let mut config = Config::default();
            config.client.retry_backoff = Duration::from_millis(backoff_ms);
            config.allow_auto_create_topics = allow_auto_create_topics;
            let mut lookups = Lookups::new(&config);
            let (reply, mut answer) = oneshot::channel();
            let began = after(0);
            let at = |ms| began + Duration::from_millis(ms);
            lookups.partitions("ordrs".into(), 3, after(60), reply);
            assert!(
                !lookups.answer_known(at(0), known(&missing, 3)),
                "it was asked for before the question came"
            );
            assert!(!lookups.answer_known(at(10), known(&missing, 4)));
            assert!(!lookups.answer_known(at(10 + sure_ms), known(&missing, 4)), "one answer, however old");
            assert!(!lookups.answer_known(at(9 + sure_ms), known(&missing, 5)), "soon after the first");
            assert!(lookups.answer_known(at(10 + sure_ms), known(&missing, 6)));
            assert_eq!(answer.try_recv().unwrap().unwrap_err().kind(), ErrorKind::UnknownTopic);
        }
    }

    #[test]
    fn b1_a_topic_that_comes_and_goes_is_missing_from_when_it_went() {
        let gone = cluster(&[], true);
        let mut half = cluster(&["new"], true);
        if let Some(info) = half.topics.get_mut("new") {
            info.error = ErrorCode::LeaderNotAvailable;
        }
        let mut lookups = Lookups::new(&Config::default());
        let (reply, mut answer) = oneshot::channel();
        let began = after(0);
        let at = |seconds| began + Duration::from_secs(seconds);
        lookups.partitions("new".into(), 1, after(60), reply);
        assert!(!lookups.answer_known(at(0), known(&gone, 2)));
        assert!(!lookups.answer_known(at(5), known(&half, 3)), "it is there, and has no leader yet");
        assert!(!lookups.answer_known(at(6), known(&gone, 4)));
        assert!(lookups.answer_known(at(7), known(&gone, 5)));
        assert!(answer.try_recv().unwrap().is_err());
    }
}
