//! [`Gate`]: the SASL authentication of one connection before the model gets its requests, as in Kafka's
//! SaslServerAuthenticator (KIP-43, KIP-152, KIP-368).

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{ApiKey, RequestKind, ResponseKind, SaslAuthenticateResponse, SaslHandshakeResponse},
    protocol::{StrBytes, decode_request_header_from_buffer},
};

use super::{
    Sasl, SaslMechanism,
    mechanism::{Exchange, Refusal, SaslServerStep},
};
use crate::{api::encode, connection::ConnectionId, request::Context};

/// The shortest time between two authentications of a connection.
const BETWEEN_LOGINS: Duration = Duration::from_secs(1);

/// The state of a connection. It owns no socket and reads no clock.
pub(in crate::runtime) struct Gate(State);

enum State {
    /// Not authenticated: only SaslHandshake is accepted, and ApiVersions before it.
    Closed {
        may_ask_versions: bool,
    },
    Authenticating(Login),
    /// The client asked to authenticate anew by another mechanism; it is refused only on its next request.
    Refused,
    Open(Session),
}

/// An authentication under way.
struct Login {
    mechanism: SaslMechanism,
    exchange: Exchange,
    /// After SaslHandshake version 0 the messages are sent without SaslAuthenticate around them.
    is_bare: bool,
    /// The previous session, if this is not the first authentication.
    before: Option<Session>,
    began: Instant,
}

/// An authenticated connection.
struct Session {
    mechanism: SaslMechanism,
    user: String,
    ends: Option<Instant>,
    /// When the last re-authentication began.
    renewed: Option<Instant>,
}

/// The decision about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Decision {
    /// The frame goes to the model.
    Pass,
    /// This frame is sent as the answer.
    Answer(Bytes),
    /// This frame is sent as the answer, and the connection closed.
    Refuse(Bytes),
    /// The connection is closed.
    Close,
}

/// The present time, by the monotonic clock for lifetimes and by the wall clock, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Now {
    pub(in crate::runtime) clock: Instant,
    pub(in crate::runtime) wall_ms: i64,
}

impl Gate {
    pub(in crate::runtime) fn new() -> Self {
        Self(State::Closed { may_ask_versions: true })
    }

    /// Whether frames of any length are accepted.
    pub(in crate::runtime) fn is_open(&self) -> bool {
        matches!(self.0, State::Open(_))
    }

    /// Whether all requests before this frame must be answered first.
    pub(in crate::runtime) fn has_to_wait(&self, frame: &[u8]) -> bool {
        !self.is_open() || api_of(frame) == Some(ApiKey::SaslHandshake)
    }

    /// Decides about a frame. `supports` is whether the broker supports a version of an API.
    pub(in crate::runtime) fn admit(
        &mut self,
        now: Now,
        sasl: &mut Sasl,
        frame: &Bytes,
        supports: impl Fn(ApiKey, i16) -> bool,
    ) -> Decision {
        match std::mem::replace(&mut self.0, State::Refused) {
            State::Closed { may_ask_versions } => {
                let (Some(api), Some(version)) = (api_of(frame), version_of(frame)) else {
                    return Decision::Close;
                };
                match api {
                    ApiKey::ApiVersions if may_ask_versions => {
                        // An unsupported version is refused, and the client asks again.
                        let may_ask_versions = !supports(api, version);
                        self.0 = State::Closed { may_ask_versions };
                        Decision::Pass
                    }
                    ApiKey::SaslHandshake if supports(api, version) => {
                        self.handshake(now.clock, sasl, frame.clone(), None)
                    }
                    _ => Decision::Close,
                }
            }
            State::Authenticating(login) => match version_of(frame) {
                _ if login.is_bare => self.message(now, sasl, login, None, frame),
                Some(version)
                    if api_of(frame) == Some(ApiKey::SaslAuthenticate)
                        && supports(ApiKey::SaslAuthenticate, version) =>
                {
                    match read(frame.clone()) {
                        Some((context, RequestKind::SaslAuthenticate(request))) => {
                            self.message(now, sasl, login, Some(&context), &request.auth_bytes)
                        }
                        _ => Decision::Close,
                    }
                }
                _ => Decision::Close,
            },
            State::Refused => Decision::Close,
            State::Open(session) => {
                let may_renew = session.ends.is_some()
                    && session
                        .renewed
                        .is_none_or(|at| now.clock.saturating_duration_since(at) >= BETWEEN_LOGINS);
                if api_of(frame) == Some(ApiKey::SaslHandshake) && may_renew {
                    return self.handshake(now.clock, sasl, frame.clone(), Some(session));
                }
                let is_over = session.ends.is_some_and(|ends| ends < now.clock);
                self.0 = State::Open(session);
                if is_over { Decision::Close } else { Decision::Pass }
            }
        }
    }

    fn handshake(
        &mut self,
        now: Instant,
        sasl: &mut Sasl,
        frame: Bytes,
        before: Option<Session>,
    ) -> Decision {
        let Some((context, RequestKind::SaslHandshake(request))) = read(frame) else {
            return Decision::Close;
        };
        let mechanisms = sasl.users.mechanisms();
        let answer = SaslHandshakeResponse::default()
            .with_mechanisms(mechanisms.map(|taken| StrBytes::from_static_str(taken.name())).collect());
        let taken = sasl.users.mechanisms().find(|taken| taken.name() == request.mechanism.as_str());
        let Some(mechanism) = taken else {
            let code = ResponseError::UnsupportedSaslMechanism.code();
            return refuse(&context, answer.with_error_code(code).into());
        };
        self.0 = match before {
            Some(session) if session.mechanism != mechanism => State::Refused,
            before => State::Authenticating(Login {
                mechanism,
                exchange: Exchange::begin(mechanism, sasl.nonce()),
                is_bare: context.version == 0,
                before,
                began: now,
            }),
        };
        respond(&context, answer.into())
    }

    /// Handles a message of the mechanism; `context` is that of the SaslAuthenticate around it.
    fn message(
        &mut self,
        now: Now,
        sasl: &Sasl,
        mut login: Login,
        context: Option<&Context>,
        message: &[u8],
    ) -> Decision {
        let step = login.exchange.step(message, &sasl.users, now.wall_ms).and_then(|step| {
            match (step, &login.before) {
                (SaslServerStep::Accepted { user, .. }, Some(before)) if before.user != user => {
                    Err(Refusal::WithMessage(format!(
                        "Cannot change principals during re-authentication from User.{}: User.{user}",
                        before.user
                    )))
                }
                (step, _) => Ok(step),
            }
        });
        match step {
            Ok(SaslServerStep::Challenge(bytes)) => {
                self.0 = State::Authenticating(login);
                answer(context, bytes, Duration::ZERO)
            }
            Ok(SaslServerStep::Accepted { user, answer: bytes, ends_ms }) => {
                let left = ends_ms.map(|ends| {
                    Duration::from_millis(u64::try_from(ends.saturating_sub(now.wall_ms)).unwrap_or(0))
                });
                let lifetime = left.into_iter().chain(sasl.session_lifetime).min();
                self.0 = State::Open(Session {
                    mechanism: login.mechanism,
                    user,
                    ends: lifetime.and_then(|lifetime| now.clock.checked_add(lifetime)),
                    renewed: login.before.map(|_| login.began),
                });
                answer(context, bytes, lifetime.unwrap_or(Duration::ZERO))
            }
            Err(refusal) => {
                let Some(context) = context else { return Decision::Close };
                let why = match refusal {
                    Refusal::WithMessage(why) => why,
                    Refusal::WithoutMessage => format!(
                        "Authentication failed during {} due to invalid credentials with SASL mechanism {}",
                        if login.before.is_some() { "re-authentication" } else { "authentication" },
                        login.mechanism
                    ),
                };
                let refusal = SaslAuthenticateResponse::default()
                    .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                    .with_error_message(Some(StrBytes::from_string(why)));
                refuse(context, refusal.into())
            }
        }
    }
}

/// The mechanism's answer, in a SaslAuthenticate if the message came in one.
fn answer(context: Option<&Context>, bytes: Vec<u8>, lifetime: Duration) -> Decision {
    let Some(context) = context else {
        let mut frame = BytesMut::with_capacity(4 + bytes.len());
        frame.put_u32(u32::try_from(bytes.len()).unwrap_or(0));
        frame.extend_from_slice(&bytes);
        return Decision::Answer(frame.freeze());
    };
    let lifetime =
        if context.version == 0 { 0 } else { i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX) };
    let response =
        SaslAuthenticateResponse::default().with_auth_bytes(bytes.into()).with_session_lifetime_ms(lifetime);
    respond(context, response.into())
}

fn respond(context: &Context, response: ResponseKind) -> Decision {
    encode(context, &response).map_or(Decision::Close, Decision::Answer)
}

fn refuse(context: &Context, response: ResponseKind) -> Decision {
    encode(context, &response).map_or(Decision::Close, Decision::Refuse)
}

fn api_of(frame: &[u8]) -> Option<ApiKey> {
    ApiKey::try_from(i16::from_be_bytes(frame.get(..2)?.try_into().ok()?)).ok()
}

fn version_of(frame: &[u8]) -> Option<i16> {
    Some(i16::from_be_bytes(frame.get(2..4)?.try_into().ok()?))
}

/// Parses a request, with the context for its answer. Its version has been checked.
fn read(mut frame: Bytes) -> Option<(Context, RequestKind)> {
    let (key, version) = (api_of(&frame)?, version_of(&frame)?);
    let header = decode_request_header_from_buffer(&mut frame).ok()?;
    let request = RequestKind::decode(key, &mut frame, version).ok()?;
    let context = Context {
        connection: ConnectionId(0), // unused: the answer is sent on the gate's own connection
        broker: 0,
        key,
        version,
        correlation: header.correlation_id,
        client_id: header.client_id,
        host: StrBytes::default(),
    };
    Some((context, request))
}
