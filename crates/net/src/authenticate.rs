//! [`Authentication`]: one SASL authentication as requests and responses (KIP-43, KIP-152), for a new connection and for
//! re-authentication before the session ends (KIP-368).

use std::time::Duration;

use bytes::Bytes;
use offtake_wire::{
    AuthBytes, ErrorCode, Request, Response, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse,
};
use tokio::time::timeout;

use crate::{
    establish::took_too_long,
    handshake::ConnectError,
    sasl::{Derivation, Derived, Exchange, Sasl, SaslError, SaslErrorKind, SaslStep},
};

/// The timeout for credentials, which may have to come from a token endpoint.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(20);
/// The most steps of an authentication; no mechanism needs as many.
const MAX_STEPS: u32 = 16;

/// One authentication.
#[derive(Debug)]
pub(crate) struct Authentication {
    mechanism: &'static str,
    exchange: Exchange,
    steps: u32,
    /// Whether it is a re-authentication.
    is_renewal: bool,
}

/// The next step.
#[derive(Debug)]
pub(crate) enum AuthenticationStep {
    /// Send this request to the broker.
    Ask(Request),
    /// Run this computation where it blocks nobody.
    Derive(Derivation),
    /// The broker has accepted, with this session lifetime if it returned one.
    Accepted(Option<Duration>),
}

impl Authentication {
    /// Fetches the credentials, which may have changed since the last time. Returns the first request as well.
    pub(crate) async fn begin(
        sasl: &Sasl,
        host: &str,
        is_renewal: bool,
    ) -> Result<(Self, Request), ConnectError> {
        let mechanism = sasl.mechanism();
        let exchange = match timeout(CREDENTIALS_TIMEOUT, sasl.begin(host)).await {
            Ok(exchange) => exchange?,
            Err(_) => {
                let what = format!("getting the credentials for SASL {mechanism}");
                return Err(ConnectError::authentication(took_too_long(&what, CREDENTIALS_TIMEOUT), false));
            }
        };
        let request = SaslHandshakeRequest { mechanism: mechanism.to_owned() };
        Ok((Self { mechanism, exchange, steps: 0, is_renewal }, request.into()))
    }

    /// The user, if the mechanism knows it.
    pub(crate) fn user(&self) -> Option<String> {
        self.exchange.user().map(shown)
    }

    /// Handles a response of the broker.
    pub(crate) fn on_response(&mut self, response: Response) -> Result<AuthenticationStep, ConnectError> {
        match response {
            Response::SaslHandshake(response) => self.on_mechanisms(&response),
            Response::SaslAuthenticate(response) => self.on_step(response),
            other => Err(ConnectError::broker(format!("answered SASL with {}", other.api_key()))),
        }
    }

    /// Handles the result of a computation.
    pub(crate) fn derived(&mut self, derived: Derived) -> Result<AuthenticationStep, ConnectError> {
        let step = self.exchange.derived(derived)?;
        self.follow(step, None)
    }

    fn on_mechanisms(
        &mut self,
        response: &SaslHandshakeResponse,
    ) -> Result<AuthenticationStep, ConnectError> {
        let mechanism = self.mechanism;
        match response.error_code {
            ErrorCode::None => {
                let step = self.exchange.step(None)?;
                self.follow(step, None)
            }
            ErrorCode::UnsupportedSaslMechanism => Err(ConnectError::refused(format!(
                "the listener does not support SASL {mechanism}; it supports {}: set sasl.mechanism to one of them",
                listed(&response.mechanisms)
            ))),
            ErrorCode::IllegalSaslState if self.is_renewal => {
                Err(ConnectError::broker("accepts no re-authentication on this connection yet"))
            }
            ErrorCode::IllegalSaslState => Err(ConnectError::refused(format!(
                "the listener does not support SASL ({mechanism} was requested): use security.protocol=PLAINTEXT or SSL, or \
                 a port that supports SASL"
            ))),
            other => Err(ConnectError::broker(format!("answered SaslHandshake with {other}"))),
        }
    }

    fn on_step(&mut self, response: SaslAuthenticateResponse) -> Result<AuthenticationStep, ConnectError> {
        match response.error_code {
            ErrorCode::None => {
                let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or(0);
                let lifetime = (lifetime > 0).then(|| Duration::from_millis(lifetime));
                let step = self.exchange.step(Some(&response.auth_bytes.0))?;
                self.follow(step, lifetime)
            }
            ErrorCode::SaslAuthenticationFailed => {
                Err(self.exchange.refused(response.error_message.as_deref()).into())
            }
            other => Err(ConnectError::broker(format!("answered SaslAuthenticate with {other}"))),
        }
    }

    fn follow(
        &mut self,
        step: SaslStep,
        lifetime: Option<Duration>,
    ) -> Result<AuthenticationStep, ConnectError> {
        self.steps += 1;
        match step {
            SaslStep::Send(_) if self.steps > MAX_STEPS => Err(ConnectError::broker(format!(
                "asks for more than {MAX_STEPS} steps of SASL {}",
                self.mechanism
            ))),
            SaslStep::Send(bytes) => Ok(AuthenticationStep::Ask(authenticate_request(bytes))),
            SaslStep::Derive(derivation) => Ok(AuthenticationStep::Derive(derivation)),
            SaslStep::Done => Ok(AuthenticationStep::Accepted(lifetime)),
        }
    }
}

fn authenticate_request(bytes: Bytes) -> Request {
    SaslAuthenticateRequest { auth_bytes: AuthBytes(bytes) }.into()
}

impl From<SaslError> for ConnectError {
    fn from(error: SaslError) -> Self {
        match error.kind() {
            SaslErrorKind::Refused => Self::refused(error.reason()),
            _ => Self::authentication(error.reason(), !error.is_retriable()),
        }
    }
}

/// The most characters of a broker's message that are shown.
const SHOWN: usize = 512;

/// A broker's message, made safe for a terminal.
pub(crate) fn shown(said: &str) -> String {
    said.chars()
        .take(SHOWN)
        .flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] })
        .collect()
}

fn listed(mechanisms: &[String]) -> String {
    if mechanisms.is_empty() { "none".to_owned() } else { shown(&mechanisms.join(", ")) }
}
