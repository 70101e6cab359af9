//! The handshake of each connection: the exchange of ApiVersions, SASL, and the errors for peers that are no Kafka broker.
//!
//! KIP-35, KIP-511. Versions are negotiated on every connection, because a broker may have been upgraded or downgraded meanwhile
//! (FAILURES Q2). They are kept as ranges, because brokers drop old versions too (FAILURES Q3).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use bytes::Bytes;
use offtake_machine::CallError;
use offtake_wire::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, ErrorCode, FrameError, Request, Response, Versions,
    decode_api_response, decode_response, encode_api_request, encode_request, frame,
    messages::api_versions::ApiVersion,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    authenticate::{Authentication, AuthenticationStep},
    clock,
    config::Config,
    dial::ByteStream,
    frames::{Frames, ReadError, describe_io_error},
    probe::{self, Findings, Login},
    renewal::Session,
    sasl::Sasl,
    security::alert,
    shared::{Shared, count},
};

/// The largest frame that is read in response to ApiVersions.
const MAX_API_VERSIONS_FRAME: usize = 1 << 20;
/// A broker that refuses a version names one that it supports, so that the second attempt succeeds. One more is allowed.
const MAX_VERSION_ATTEMPTS: i32 = 3;

/// The versions of each API that both the broker and this client support.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionRanges(BTreeMap<ApiKey, Versions>);

impl VersionRanges {
    fn new(response: &ApiVersionsResponse) -> Self {
        let ours = response.api_keys.iter().filter_map(|theirs| {
            let api = ApiKey::from_code(theirs.api_key)?;
            let both = api.versions().intersect(Versions::new(theirs.min_version, theirs.max_version))?;
            Some((api, both))
        });
        Self(ours.collect())
    }

    /// The versions that both support.
    pub(crate) fn of(&self, api: ApiKey) -> Option<Versions> {
        self.0.get(&api).copied()
    }

    /// All ranges, by API.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ApiKey, Versions)> {
        self.0.iter().map(|(api, versions)| (*api, *versions))
    }

    /// The newest common version, up to `max`.
    pub(crate) fn pick(&self, api: ApiKey, max: Option<i16>) -> Option<i16> {
        let both = self.of(api)?;
        let newest = max.map_or(both.max, |max| max.min(both.max));
        both.contains(newest).then_some(newest)
    }
}

/// Why no connection could be made, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectError {
    pub(crate) reason: String,
    pub(crate) failure: ConnectFailure,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectFailure {
    /// Nothing accepted a connection.
    Unreachable,
    /// A broker accepted a connection, but the handshake failed.
    Broker,
    /// A peer accepted a connection, but is no Kafka broker.
    NotKafka,
    /// A broker accepted a connection, but TLS or SASL failed.
    Authentication { is_final: bool },
    /// A broker refused the credentials. No other address of its name is tried.
    Refused,
}

impl ConnectError {
    /// No address accepted a connection.
    pub(crate) fn unreachable(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), failure: ConnectFailure::Unreachable }
    }

    pub(crate) fn broker(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), failure: ConnectFailure::Broker }
    }

    fn not_kafka(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), failure: ConnectFailure::NotKafka }
    }

    /// TLS or SASL failed; `is_final` if waiting does not help.
    pub(crate) fn authentication(reason: impl Into<String>, is_final: bool) -> Self {
        Self { reason: reason.into(), failure: ConnectFailure::Authentication { is_final } }
    }

    /// A broker refused the credentials.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), failure: ConnectFailure::Refused }
    }

    /// The weight of this error compared with that of another address: an error from a peer that answered says more than one
    /// without an answer.
    pub(crate) fn weight(&self) -> u8 {
        match self.failure {
            ConnectFailure::Unreachable => 0,
            ConnectFailure::Broker | ConnectFailure::NotKafka => 1,
            ConnectFailure::Authentication { is_final: false } => 2,
            ConnectFailure::Authentication { is_final: true } => 3,
            ConnectFailure::Refused => 4,
        }
    }

    /// Converts this to the error of a call.
    pub(crate) fn into_call_error(self, address: String) -> CallError {
        let Self { reason, failure } = self;
        match failure {
            ConnectFailure::Authentication { is_final } => {
                CallError::Authentication { address, reason, is_final }
            }
            ConnectFailure::Refused => CallError::Authentication { address, reason, is_final: true },
            ConnectFailure::NotKafka => CallError::Unreachable { address, reason, not_kafka: true },
            ConnectFailure::Unreachable | ConnectFailure::Broker => {
                CallError::Unreachable { address, reason, not_kafka: false }
            }
        }
    }

    /// The peer accepted the connection and closed it instead of answering ApiVersions, in every version.
    pub(crate) fn closed(is_encrypted: bool) -> Self {
        Self::broker(if is_encrypted {
            "closed the connection during the first request"
        } else {
            "closed the connection during the first request; the listener may expect TLS: set security.protocol to SSL or \
             SASL_SSL, or use a plaintext port"
        })
    }

    /// The peer accepted the connection and did not answer.
    pub(crate) fn silent(after: Duration) -> Self {
        Self::broker(format!(
            "accepted the connection but did not answer ApiVersions within {} ms",
            after.as_millis()
        ))
    }
}

/// How the exchange of ApiVersions failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The peer closed the connection. It may answer an older version (FAILURES Q1).
    Closed,
    Final(ConnectError),
}

/// A connection after the exchange of ApiVersions.
pub(crate) struct Handshake {
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) frames: Frames,
    pub(crate) ranges: VersionRanges,
    /// The version of ApiVersions that worked.
    pub(crate) api_versions_version: i16,
    pub(crate) next_correlation: i32,
    pub(crate) throttle_time_ms: i32,
    /// The session of an authenticated connection, if it is limited.
    pub(crate) session: Option<Session>,
}

/// Sends ApiVersions in `version`, or in an older one if the broker names one.
pub(crate) async fn run_handshake(
    shared: &std::sync::Arc<Shared>,
    mut stream: Box<dyn ByteStream>,
    mut version: i16,
) -> Result<Handshake, HandshakeError> {
    let timeout = shared.config.handshake_timeout;
    let deadline = clock::after(clock::now(), timeout);
    let mut frames = Frames::new(shared.clone(), MAX_API_VERSIONS_FRAME);
    for correlation in 0..MAX_VERSION_ATTEMPTS {
        let exchange = exchange(shared, &mut stream, &mut frames, correlation, version);
        let frame = tokio::time::timeout_at(deadline, exchange)
            .await
            .map_err(|_| HandshakeError::Final(ConnectError::silent(timeout)))??;
        let response = read(frame, correlation, version)?;
        match response.error_code {
            ErrorCode::None => {
                check(&response).map_err(|wrong| {
                    HandshakeError::Final(ConnectError::broker(format!("answered ApiVersions with {wrong}")))
                })?;
                frames.set_cap(shared.config.max_frame);
                let (ranges, throttle_time_ms) = (VersionRanges::new(&response), response.throttle_time_ms);
                return Ok(Handshake {
                    stream,
                    frames,
                    ranges,
                    api_versions_version: version,
                    next_correlation: MAX_VERSION_ATTEMPTS,
                    throttle_time_ms,
                    session: None,
                });
            }
            ErrorCode::UnsupportedVersion if version > 0 => version = step_down(&response, version),
            other => {
                return Err(HandshakeError::Final(ConnectError::broker(format!(
                    "answered ApiVersions with {other}"
                ))));
            }
        }
    }
    Err(HandshakeError::Final(ConnectError::broker(
        "supports no version of ApiVersions that this client speaks",
    )))
}

impl Handshake {
    /// Sends a request and waits for the response. A broker that closes the connection instead has failed, not refused.
    pub(crate) async fn ask(
        &mut self,
        shared: &Shared,
        request: &Request,
        max_version: Option<i16>,
    ) -> Result<Response, ConnectError> {
        let (api, correlation) = (request.api_key(), self.next_correlation);
        self.next_correlation += 1;
        let version = self.ranges.pick(api, max_version).ok_or_else(|| {
            ConnectError::broker(format!(
                "supports no version of {api} that this client speaks, so that SASL cannot be used"
            ))
        })?;
        let client_id = Some(shared.config.client_id.as_str());
        let frame = encode_request(correlation, client_id, version, request)
            .map_err(|error| ConnectError::unreachable(format!("{api} cannot be sent: {error}")))?;
        let during = |reason: &dyn std::fmt::Display| {
            ConnectError::broker(format!("closed the connection during {api}: {reason}"))
        };
        let answered = async {
            send(&mut self.stream, &frame).await.map_err(|error| during(&describe_io_error(&error)))?;
            count(&shared.counters.bytes_out, frame.len());
            self.frames.next(&mut self.stream).await.map_err(|end| during(&end))
        };
        let timeout = shared.config.authentication_timeout;
        let answer = tokio::time::timeout(timeout, answered).await.map_err(|_| {
            ConnectError::broker(format!("did not answer {api} within {} ms", timeout.as_millis()))
        })??;
        if frame::correlation_id(&answer) != Ok(correlation) {
            return Err(ConnectError::broker(format!("wrong correlation id in the {api} response")));
        }
        let decoded = decode_response(answer, api, version)
            .map_err(|error| ConnectError::broker(format!("malformed {api} response ({error})")))?;
        Ok(decoded.response)
    }

    /// Authenticates, and notes the findings.
    pub(crate) async fn authenticate(
        &mut self,
        shared: &Shared,
        sasl: &Sasl,
        host: &str,
        mut findings: Option<&mut Findings>,
    ) -> Result<(), ConnectError> {
        self.frames.set_cap(MAX_API_VERSIONS_FRAME);
        let (mut authentication, mut request) = Authentication::begin(sasl, host, false).await?;
        loop {
            let sent = clock::now();
            let response = self.ask(shared, &request, None).await?;
            if let (Some(found), Response::SaslHandshake(answer)) = (findings.as_deref_mut(), &response) {
                found.mechanisms = Some(probe::shown(&answer.mechanisms));
            }
            let mut next = authentication.on_response(response)?;
            if let AuthenticationStep::Derive(derivation) = next {
                let computed = tokio::task::spawn_blocking(move || derivation.derive()).await;
                let derived = computed.map_err(|_| ConnectError::broker("an error in this client"))?;
                next = authentication.derived(derived)?;
            }
            match next {
                AuthenticationStep::Ask(again) => request = again,
                AuthenticationStep::Derive(_) => {
                    return Err(ConnectError::broker("the SASL exchange does not end"));
                }
                AuthenticationStep::Accepted(lifetime) => {
                    self.frames.set_cap(shared.config.max_frame);
                    let seed = shared.config.seed.wrapping_add(shared.counters.dials.load(Relaxed));
                    self.session = lifetime.map(|lifetime| Session::new(sent, clock::now(), lifetime, seed));
                    if let Some(found) = findings {
                        found.login = Some(Login {
                            mechanism: sasl.mechanism(),
                            user: authentication.user(),
                            session_lifetime: lifetime,
                        });
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// APIs that every broker supports, in whatever versions.
const OF_EVERY_BROKER: [ApiKey; 2] = [ApiKey::Metadata, ApiKey::Fetch];

/// Checks the response for senseless contents. It is used as long as the connection lives, so that a damaged response is better
/// treated as a failed handshake, which is tried again.
fn check(response: &ApiVersionsResponse) -> Result<(), String> {
    if response.api_keys.is_empty() {
        return Err("an empty list".to_owned());
    }
    let mut seen = BTreeSet::new();
    for theirs in &response.api_keys {
        let ApiVersion { api_key, min_version, max_version } = *theirs;
        if min_version < 0 || min_version > max_version {
            let api =
                ApiKey::from_code(api_key).map_or_else(|| format!("API {api_key}"), |api| api.to_string());
            return Err(format!(
                "{api} in the versions {min_version} to {max_version}, which is not a valid range"
            ));
        }
        if !seen.insert(api_key) {
            return Err(format!("API {api_key} twice, as no Kafka broker does"));
        }
    }
    match OF_EVERY_BROKER.into_iter().find(|api| !seen.contains(&api.code())) {
        Some(api) => Err(format!("a list without {api}, as no Kafka broker sends; check the port")),
        None => Ok(()),
    }
}

/// The newest version that both support, if the response names one; otherwise version 0.
fn step_down(refusal: &ApiVersionsResponse, from: i16) -> i16 {
    VersionRanges::new(refusal).pick(ApiKey::ApiVersions, Some(from - 1)).unwrap_or(0)
}

async fn exchange(
    shared: &Shared,
    stream: &mut Box<dyn ByteStream>,
    frames: &mut Frames,
    correlation: i32,
    version: i16,
) -> Result<Bytes, HandshakeError> {
    let request = api_versions_request(&shared.config, correlation, version)?;
    let failed = |error: &std::io::Error| alert(error).map_or(HandshakeError::Closed, HandshakeError::Final);
    send(stream, &request).await.map_err(|error| failed(&error))?;
    count(&shared.counters.bytes_out, request.len());
    frames.next(stream).await.map_err(|end| match end {
        ReadError::Io(error) => failed(&error),
        ReadError::Closed | ReadError::Cut { .. } => HandshakeError::Closed,
        ReadError::Frame(error) => {
            HandshakeError::Final(ConnectError::not_kafka(describe_frame_error(&error)))
        }
        ReadError::TooLarge { .. } => HandshakeError::Final(ConnectError::not_kafka(NOT_KAFKA)),
        ReadError::Memory(_) => HandshakeError::Final(ConnectError::broker(end.to_string())),
    })
}

async fn send<W: AsyncWrite + Unpin>(to: &mut W, bytes: &Bytes) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

fn api_versions_request(config: &Config, correlation: i32, version: i16) -> Result<Bytes, HandshakeError> {
    let request = ApiVersionsRequest {
        client_software_name: config.software_name.clone(),
        client_software_version: config.software_version.clone(),
    };
    encode_api_request(correlation, Some(&config.client_id), version, &request).map_err(|error| {
        HandshakeError::Final(ConnectError::unreachable(format!("client.id cannot be sent: {error}")))
    })
}

fn read(frame: Bytes, correlation: i32, version: i16) -> Result<ApiVersionsResponse, HandshakeError> {
    let refused = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()[..]);
    // UNSUPPORTED_VERSION is always sent in version 0 (KIP-511).
    let spoken = if refused { 0 } else { version };
    match frame::correlation_id(&frame) {
        Ok(id) if id == correlation => {}
        _ => return Err(HandshakeError::Final(ConnectError::not_kafka(NOT_KAFKA))),
    }
    match decode_api_response::<ApiVersionsRequest>(frame, spoken) {
        Ok(decoded) => Ok(decoded.response),
        Err(error) => {
            let reason = format!("malformed ApiVersions response ({error}); check the port");
            Err(HandshakeError::Final(ConnectError::not_kafka(reason)))
        }
    }
}

const NOT_KAFKA: &str = "the peer does not speak the Kafka protocol; check the port";

/// Describes the first bytes of a peer that is no Kafka broker, to follow "cannot connect to host:port: ".
fn describe_frame_error(error: &FrameError) -> String {
    match error {
        FrameError::Http => "it speaks HTTP, not the Kafka protocol; check the port".to_owned(),
        FrameError::TlsAlert => {
            "it answers with TLS: set security.protocol to SSL or SASL_SSL, or use a plaintext port"
                .to_owned()
        }
        FrameError::TlsHandshake => {
            "it begins a TLS handshake of its own, as no broker does; check the port".to_owned()
        }
        FrameError::Negative { .. } | FrameError::TooShort { .. } | FrameError::TooLarge { .. } => {
            NOT_KAFKA.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks(list: &[(i16, i16, i16)]) -> ApiVersionsResponse {
        let api_keys = list
            .iter()
            .map(|&(api_key, min_version, max_version)| ApiVersion { api_key, min_version, max_version })
            .collect();
        ApiVersionsResponse { api_keys, ..Default::default() }
    }

    #[test]
    fn q3_a_version_is_picked_from_ranges_at_both_ends() {
        let ours = ApiKey::Fetch.versions();
        let ranges =
            VersionRanges::new(&speaks(&[(1, 0, 11), (3, i16::MAX, i16::MAX), (12, -5, 2), (77, 0, 1)]));
        assert_eq!(ranges.pick(ApiKey::Fetch, None), Some(11));
        assert_eq!(ranges.pick(ApiKey::Fetch, Some(ours.min)), Some(ours.min));
        assert_eq!(ranges.pick(ApiKey::Fetch, Some(ours.min - 1)), None, "below what we speak");
        assert_eq!(ranges.pick(ApiKey::Metadata, None), None, "newer than we speak");
        assert_eq!(ranges.pick(ApiKey::JoinGroup, None), None, "not listed");
        assert_eq!(ranges.pick(ApiKey::Heartbeat, None), Some(2), "a negative minimum does no harm");
    }

    #[test]
    fn input51_versions_that_no_broker_has_are_not_believed() {
        let wrong = |list: &[(i16, i16, i16)]| check(&speaks(list)).unwrap_err();
        assert_eq!(check(&speaks(&[(1, 4, 17), (3, 0, 13), (9999, 0, i16::MAX)])), Ok(()));
        assert_eq!(wrong(&[]), "an empty list");
        assert_eq!(
            wrong(&[(3, 0, 13), (18, 0, 4)]),
            "a list without Fetch, as no Kafka broker sends; check the port"
        );
        assert_eq!(
            wrong(&[(1, 4, 17), (3, 5, 4)]),
            "Metadata in the versions 5 to 4, which is not a valid range"
        );
        assert_eq!(
            wrong(&[(1, 4, 17), (9999, -1, 4)]),
            "API 9999 in the versions -1 to 4, which is not a valid range"
        );
        assert_eq!(wrong(&[(1, 4, 17), (3, 0, 4), (1, 4, 17)]), "API 1 twice, as no Kafka broker does");
    }

    #[test]
    fn q1_a_refusal_names_the_version_to_step_down_to() {
        assert_eq!(step_down(&speaks(&[(18, 0, 3)]), 4), 3);
        assert_eq!(step_down(&speaks(&[(18, 0, 9)]), 4), 3, "never the one that was refused");
        assert_eq!(step_down(&speaks(&[]), 4), 0);
    }
}
