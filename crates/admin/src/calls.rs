//! Requests and responses for one task, without an engine.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_machine::{Answer, BackoffConfig, BrokerId, CallError, CallId, Cluster, Target, Topic, Transmit};
use offtake_net::{Dial, Lane, Net};
use offtake_wire::{
    Api, ApiKey, ErrorCode, Request, Response,
    messages::metadata::{MetadataRequest, MetadataRequestTopic},
};

use crate::attempts::{AttemptError, Attempts};
use offtake_client::{ClientConfig, Result, clock};

/// The most outstanding requests of [`Calls::call_each`], because [`Net`] refuses too many.
const AT_ONCE: usize = 1000;

/// The timeout for closing open connections.
const CLOSING: Duration = Duration::from_millis(200);

/// The topics to request.
#[derive(Clone, Debug)]
pub(super) enum TopicSelection {
    None,
    All,
    Named(Vec<Topic>),
}

/// The connections and the deadlines.
#[derive(Debug)]
pub(super) struct Calls {
    net: Net,
    next_tag: u64,
    request_timeout: Duration,
    backoff: BackoffConfig,
}

impl Calls {
    /// Uses connections made by `dial`, or plain TCP.
    pub(super) fn new(config: &ClientConfig, dial: Option<Arc<dyn Dial>>) -> Result<Self> {
        // The start of the rotation over brokers does not matter.
        let connections = config.connections(config.receive_message_max_bytes as usize, 1)?;
        let bootstrap = config.bootstrap_servers.clone();
        let net = match dial {
            Some(dial) => Net::with_dial(connections, bootstrap, dial),
            None => Net::new(connections, bootstrap),
        };
        Ok(Self { net, next_tag: 0, request_timeout: config.request_timeout, backoff: config.backoff() })
    }

    pub(super) async fn close(self) {
        self.net.close(clock::now() + CLOSING).await;
    }

    /// Makes attempts until one succeeds, one fails for good, or the deadline passes.
    pub(super) async fn retrying<T>(
        &mut self,
        deadline: Instant,
        mut attempt: impl AsyncFnMut(&mut Self) -> Result<T, AttemptError>,
    ) -> Result<T> {
        let limit = deadline.saturating_duration_since(clock::now());
        let mut attempts = Attempts::new(self.backoff);
        loop {
            match attempt(self).await {
                Ok(done) => return Ok(done),
                Err(failure) => attempts.after(failure, deadline, limit).await?,
            }
        }
    }

    /// Sends one request and waits for the response. `what` completes "cannot …".
    pub(super) async fn call<R>(
        &mut self,
        what: &str,
        deadline: Instant,
        to: Target,
        request: R,
    ) -> Result<R::Response, AttemptError>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        self.call_up_to(R::VERSIONS.max, what, deadline, to, request).await
    }

    /// The same for a request that is not idempotent. `unclear` is set if it may have been carried out without a response.
    pub(super) async fn call_once<R>(
        &mut self,
        unclear: &mut bool,
        what: &str,
        deadline: Instant,
        to: Target,
        request: R,
    ) -> Result<R::Response, AttemptError>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        let tag = self.send(deadline, to, request.into(), None);
        let answer = self.answer(tag).await;
        *unclear |= answer.as_ref().is_err_and(CallError::may_have_arrived);
        read(what, answer)
    }

    /// Like [`call`](Self::call), with a limit of the version.
    pub(super) async fn call_up_to<R>(
        &mut self,
        version: i16,
        what: &str,
        deadline: Instant,
        to: Target,
        request: R,
    ) -> Result<R::Response, AttemptError>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        let tag = self.send(deadline, to, request.into(), Some(version));
        read(what, self.answer(tag).await)
    }

    /// Sends the same kind of request to several brokers at once, and returns the responses as they arrive. If one broker has
    /// very many requests, some wait until it has answered others; the other brokers' requests do not wait for it.
    pub(super) async fn call_each<K, R>(
        &mut self,
        deadline: Instant,
        requests: Vec<(K, BrokerId, R)>,
    ) -> Vec<(K, BrokerId, Result<R::Response, CallError>)>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        self.call_each_up_to(R::VERSIONS.max, deadline, requests).await
    }

    /// The same, with a limit of the version.
    pub(super) async fn call_each_up_to<K, R>(
        &mut self,
        version: i16,
        deadline: Instant,
        requests: Vec<(K, BrokerId, R)>,
    ) -> Vec<(K, BrokerId, Result<R::Response, CallError>)>
    where
        R: Api + Into<Request>,
        R::Response: TryFrom<Response>,
    {
        let mut queued: BTreeMap<BrokerId, VecDeque<(K, R)>> = BTreeMap::new();
        for (key, broker, request) in requests {
            queued.entry(broker).or_default().push_back((key, request));
        }
        let of_each = (AT_ONCE / queued.len().max(1)).max(1);
        let mut waiting = BTreeMap::new();
        for (broker, queue) in &mut queued {
            for (key, request) in queue.drain(..of_each.min(queue.len())) {
                let tag = self.send(deadline, Target::Broker(*broker), request.into(), Some(version));
                waiting.insert(tag, (key, *broker));
            }
        }
        let mut answered = Vec::new();
        while !waiting.is_empty() {
            let completion = self.net.next().await;
            let Some((key, broker)) = waiting.remove(&completion.tag) else { continue };
            if let Some((key, request)) = queued.get_mut(&broker).and_then(VecDeque::pop_front) {
                let tag = self.send(deadline, Target::Broker(broker), request.into(), Some(version));
                waiting.insert(tag, (key, broker));
            }
            let result = completion.result.and_then(|answer| {
                let foreign = CallError::Disconnected {
                    address: broker.to_string(),
                    reason: "unexpected response type".to_owned(),
                };
                answer.response.try_into().map_err(|_| foreign)
            });
            answered.push((key, broker, result));
        }
        answered
    }

    fn send(&mut self, deadline: Instant, to: Target, request: Request, max_version: Option<i16>) -> u64 {
        self.next_tag = self.next_tag.wrapping_add(1);
        let left = deadline.saturating_duration_since(clock::now());
        // A timeout of zero would be refused unsent; an attempt that is just too late may as well time out by itself.
        let timeout = left.min(self.request_timeout).max(Duration::from_millis(1));
        let id = CallId(self.next_tag);
        self.net.send(
            self.next_tag,
            Lane::Control,
            Transmit { id, to, request, max_version, timeout, prompt: None },
        );
        self.next_tag
    }

    async fn answer(&mut self, tag: u64) -> Result<Answer, CallError> {
        loop {
            let completion = self.net.next().await;
            if completion.tag == tag {
                return completion.result;
            }
            // The response to a call of an abandoned future.
        }
    }

    /// The cluster as seen by one broker, and an error for each topic that has one.
    pub(super) async fn cluster(
        &mut self,
        what: &str,
        deadline: Instant,
        which: &TopicSelection,
    ) -> Result<Cluster, AttemptError> {
        let topics = match which {
            TopicSelection::None => Some(Vec::new()),
            TopicSelection::All => None,
            TopicSelection::Named(names) => Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic {
                        name: Some(name.as_str().to_owned()),
                        ..MetadataRequestTopic::default()
                    })
                    .collect(),
            ),
        };
        let request =
            MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        let answer = self.call(what, deadline, Target::Any, request).await?;
        if answer.error_code != ErrorCode::None {
            return Err(AttemptError::code(what, answer.error_code, None));
        }
        let asked_all = matches!(which, TopicSelection::All);
        let cluster = Cluster::from_response(answer, asked_all, &Cluster::default());
        if cluster.brokers.is_empty() {
            return Err(AttemptError::malformed(what, "the broker lists no broker, not even itself"));
        }
        self.net.update_brokers(&cluster);
        Ok(cluster)
    }

    /// The highest common version of an API with this broker, as far as known.
    pub(super) fn highest_version(&self, broker: BrokerId, api: ApiKey) -> Option<i16> {
        self.net.version_range(broker, api).map(|(_, highest)| highest)
    }

    /// Stores the address of a broker that FindCoordinator returned.
    pub(super) fn learn(&mut self, broker: BrokerId, host: &str, port: u16) {
        self.net.learn_broker(broker, host, port);
    }
}

/// Converts the response to a request of this kind. `what` completes "cannot …".
fn read<R: TryFrom<Response>>(what: &str, answer: Result<Answer, CallError>) -> Result<R, AttemptError> {
    let answer = answer.map_err(|error| AttemptError::call(what, error))?;
    answer.response.try_into().map_err(|_| AttemptError::malformed(what, "unexpected response type"))
}
