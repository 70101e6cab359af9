//! The broker's side of a connection, byte by byte, and shorthands for tests.

use std::time::Duration;

use bytes::Bytes;
use offtake_machine::{Answer, Broker, BrokerId, CallError, CallId, Cluster, Target, Transmit};
use offtake_net::{ByteStream, Completion, Config, Lane, Net};
use offtake_wire::{
    ApiKey, ApiVersionsResponse, ErrorCode, FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupResponse, LeaveGroupResponse, MetadataRequest, MetadataResponse, OffsetCommitResponse,
    OffsetFetchResponse, Request, RequestHeader, Response, SyncGroupResponse, decode_request,
    encode_response, messages::api_versions::ApiVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One connection as seen by the broker.
pub(crate) struct Peer {
    stream: Box<dyn ByteStream>,
}

impl Peer {
    pub(crate) fn new(stream: impl ByteStream + 'static) -> Self {
        Self { stream: Box::new(stream) }
    }

    /// The next request's frame, without its length; `None` once the client has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    pub(crate) async fn request(&mut self) -> Option<(RequestHeader, Request)> {
        Some(decode_request(self.frame().await?).expect("clients send what can be read"))
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    pub(crate) async fn answer(&mut self, header: &RequestHeader, response: impl Into<Response>) {
        self.raw(&encoded(header, response)).await;
    }

    /// Answers ApiVersions with everything that the client supports.
    pub(crate) async fn greet(&mut self) {
        self.greet_with(versions(&[])).await;
    }

    pub(crate) async fn greet_with(&mut self, response: ApiVersionsResponse) {
        let Some((header, request)) = self.request().await else { return };
        assert_eq!(request.api_key(), ApiKey::ApiVersions, "the first request of a connection");
        self.answer(&header, response).await;
    }

    /// Greets, then answers every request with an empty response of its kind.
    pub(crate) async fn serve(mut self) {
        self.greet().await;
        self.serve_on().await;
    }

    pub(crate) async fn serve_on(&mut self) {
        while let Some((header, request)) = self.request().await {
            self.answer(&header, empty(&request)).await;
        }
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn until_closed(&mut self) {
        let mut sink = [0; 1024];
        while !matches!(self.stream.read(&mut sink).await, Ok(0) | Err(_)) {}
    }
}

pub(crate) fn encoded(header: &RequestHeader, response: impl Into<Response>) -> Bytes {
    encode_response(header.correlation_id, header.api_version, &response.into()).unwrap()
}

/// The versions that the client supports, with some ranges replaced.
pub(crate) fn versions(other: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let api_keys = ApiKey::ALL
        .iter()
        .map(|api| {
            let (min_version, max_version) = other
                .iter()
                .find(|(key, ..)| key == api)
                .map_or((api.versions().min, api.versions().max), |&(_, min, max)| (min, max));
            ApiVersion { api_key: api.code(), min_version, max_version }
        })
        .collect();
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// A refusal of the requested version.
pub(crate) fn unsupported(api_keys: Vec<ApiVersion>) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion, api_keys, ..Default::default() }
}

pub(crate) fn empty(request: &Request) -> Response {
    match request.api_key() {
        ApiKey::ApiVersions => versions(&[]).into(),
        ApiKey::Metadata => MetadataResponse::default().into(),
        ApiKey::Heartbeat => HeartbeatResponse::default().into(),
        ApiKey::Fetch => FetchResponse::default().into(),
        ApiKey::JoinGroup => JoinGroupResponse::default().into(),
        ApiKey::SyncGroup => SyncGroupResponse::default().into(),
        ApiKey::LeaveGroup => LeaveGroupResponse::default().into(),
        ApiKey::OffsetCommit => OffsetCommitResponse::default().into(),
        ApiKey::OffsetFetch => OffsetFetchResponse::default().into(),
        other => panic!("no test asks for {other}"),
    }
}

pub(crate) fn metadata() -> Request {
    MetadataRequest { topics: Some(Vec::new()), ..Default::default() }.into()
}

pub(crate) fn heartbeat() -> Request {
    HeartbeatRequest::default().into()
}

pub(crate) fn fetch() -> Request {
    FetchRequest::default().into()
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A strict configuration, as in all tests, with a short reconnect backoff.
pub(crate) fn config() -> Config {
    Config { client_id: "test".into(), strict: true, seed: 7, ..Default::default() }
}

/// Shorthands for a [`Net`].
pub(crate) trait Speaks {
    fn ask(&mut self, tag: u64, to: Target, request: Request, timeout: Duration);
    fn ask_on(&mut self, lane: Lane, tag: u64, to: Target, request: Request, timeout: Duration);
    /// Sends one request and waits for its result.
    async fn call(&mut self, to: Target, request: Request) -> Result<Answer, CallError>;
    /// The completions of this many calls, by tag.
    async fn all(&mut self, count: usize) -> Vec<Completion>;
}

impl Speaks for Net {
    fn ask(&mut self, tag: u64, to: Target, request: Request, timeout: Duration) {
        self.ask_on(Lane::Control, tag, to, request, timeout);
    }

    fn ask_on(&mut self, lane: Lane, tag: u64, to: Target, request: Request, timeout: Duration) {
        let (id, max_version, prompt) = (CallId(tag), None, None);
        self.send(tag, lane, Transmit { id, to, request, max_version, timeout, prompt });
    }

    async fn call(&mut self, to: Target, request: Request) -> Result<Answer, CallError> {
        const TAG: u64 = u64::MAX;
        self.ask(TAG, to, request, secs(30));
        let done = self.next().await;
        assert_eq!(done.tag, TAG, "an answer to something else");
        done.result
    }

    async fn all(&mut self, count: usize) -> Vec<Completion> {
        let mut done = Vec::new();
        while done.len() < count {
            done.push(self.next().await);
        }
        done.sort_by_key(|completion| completion.tag);
        assert_eq!(
            done.iter().map(|d| d.tag).collect::<std::collections::BTreeSet<_>>().len(),
            count,
            "each once"
        );
        done
    }
}

pub(crate) fn broker(id: i32) -> Target {
    Target::Broker(BrokerId(id))
}

pub(crate) fn cluster(brokers: &[(i32, &str, u16)]) -> Cluster {
    let brokers = brokers
        .iter()
        .map(|&(id, host, port)| (BrokerId(id), Broker { host: host.into(), port, rack: None }))
        .collect();
    Cluster { brokers, ..Default::default() }
}
