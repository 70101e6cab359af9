//! [`Renewal`]: re-authenticates a connection before its session ends (KIP-368), while its calls go on.

use std::{fmt, pin::Pin, time::Duration};

use offtake_machine::SplitMix64;
use offtake_wire::{Request, Response};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    authenticate::{Authentication, AuthenticationStep},
    clock,
    handshake::ConnectError,
    sasl::{Derived, Sasl},
};

/// The most and the least time before another attempt to get credentials, while the session lives.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(50));

/// Brokers accept no second authentication within a second. A broker that demands shorter sessions must not keep this client
/// busy.
const SHORTEST: Duration = Duration::from_millis(1100);

/// How long before the end of the session no call is written any more; at most a twentieth of the session. Brokers close a
/// connection at the first call that they read after the end, and a call takes a while to arrive.
const HOLD: Duration = Duration::from_secs(1);

/// The lifetime of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// When to re-authenticate.
    renew_at: Instant,
    /// From when calls have to wait.
    holds_from: Instant,
    /// The end of the session: the broker closes the connection at the first request after this time, or a little later.
    ends: Instant,
    /// Whether missing credentials were logged (WARN).
    is_warned: bool,
}

impl Session {
    /// The session of a connection whose last SASL request was `sent` then and answered `now`. The lifetime counts from the
    /// sending: the broker's session begins between the two, and a delayed response must not make this client's session end
    /// later. It is renewed after 85 to 95 % of its lifetime, as by Java's clients, so that not all connections renew at once.
    pub(crate) fn new(sent: Instant, now: Instant, lifetime: Duration, seed: u64) -> Self {
        let thousandths = 850 + u32::try_from(SplitMix64::new(seed).next_u64() % 101).unwrap_or(0);
        let renew_after = (lifetime / 1000).saturating_mul(thousandths);
        let hold = HOLD.min(lifetime / 20);
        Self {
            renew_at: clock::after(sent, renew_after).max(clock::after(now, SHORTEST)),
            holds_from: clock::after(sent, lifetime.saturating_sub(hold)),
            ends: clock::after(sent, lifetime),
            is_warned: false,
        }
    }
}

/// Re-authenticates a connection.
pub(crate) struct Renewal {
    sasl: Option<Sasl>,
    host: String,
    seed: u64,
    session: Option<Session>,
    state: State,
}

/// An authentication and its first request, once the credentials are there.
type Prepared = Pin<Box<dyn Future<Output = Result<(Authentication, Request), ConnectError>> + Send>>;

enum State {
    /// No re-authentication is in progress.
    Resting,
    /// The credentials are being fetched; calls go on.
    Preparing(Prepared),
    /// The broker was sent a request at this time; calls wait.
    Asking(Authentication, Instant),
    /// A derivation runs on another thread; calls wait. The last request was sent at this time.
    Deriving(Authentication, Instant, JoinHandle<Derived>),
}

impl Renewal {
    pub(crate) fn new(sasl: Option<Sasl>, host: &str, seed: u64, session: Option<Session>) -> Self {
        Self { sasl, host: host.to_owned(), seed, session, state: State::Resting }
    }

    /// When it has to begin, unless the connection is idle: then the next call begins it.
    pub(crate) fn begins_at(&self) -> Option<Instant> {
        match self.state {
            State::Resting => self.session.map(|session| session.renew_at),
            // Calls go on until then.
            State::Preparing(_) => self.session.map(|session| session.holds_from),
            State::Asking(..) | State::Deriving(..) => None,
        }
    }

    /// Begins, if it is due.
    pub(crate) fn begin_if_due(&mut self, now: Instant) {
        if let (State::Resting, Some(session), Some(sasl)) = (&self.state, self.session, &self.sasl)
            && session.renew_at <= now
        {
            let (sasl, host) = (sasl.clone(), self.host.clone());
            self.state =
                State::Preparing(Box::pin(async move { Authentication::begin(&sasl, &host, true).await }));
        }
    }

    /// Whether calls have to wait, because the broker accepts only SASL requests now.
    pub(crate) fn holds_calls(&self, now: Instant) -> bool {
        match self.state {
            State::Resting | State::Preparing(_) => {
                self.session.is_some_and(|session| session.holds_from <= now)
            }
            State::Asking(..) | State::Deriving(..) => true,
        }
    }

    /// The next request to write, as soon as there is one. Returns `None` if there will be one later, and
    /// [`begins_at`](Self::begins_at) has changed. Cancel-safe; waits for ever while no renewal is due.
    pub(crate) async fn next_request(&mut self) -> Result<Option<Request>, ConnectError> {
        loop {
            match &mut self.state {
                State::Resting | State::Asking(..) => std::future::pending().await,
                State::Preparing(prepared) => match prepared.await {
                    Ok((authentication, request)) => {
                        self.state = State::Asking(authentication, clock::now());
                        return Ok(Some(request));
                    }
                    Err(error) => {
                        self.postpone(error)?;
                        return Ok(None);
                    }
                },
                State::Deriving(_, _, computed) => {
                    let derived = computed.await;
                    let State::Deriving(mut authentication, sent, _) =
                        std::mem::replace(&mut self.state, State::Resting)
                    else {
                        continue;
                    };
                    let derived = derived.map_err(|_| ConnectError::broker("an error in this client"))?;
                    let next = authentication.derived(derived)?;
                    return Ok(self.follow(authentication, sent, next));
                }
            }
        }
    }

    /// Handles the response to a request of [`next_request`](Self::next_request). Returns the next request, if it is known
    /// already.
    pub(crate) fn on_response(&mut self, response: Response) -> Result<Option<Request>, ConnectError> {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Asking(mut authentication, sent) => {
                let next = authentication.on_response(response)?;
                Ok(self.follow(authentication, sent, next))
            }
            other => {
                self.state = other;
                Ok(None)
            }
        }
    }

    /// Continues after the response to a request `sent` then. The returned request is sent now.
    fn follow(
        &mut self,
        authentication: Authentication,
        sent: Instant,
        next: AuthenticationStep,
    ) -> Option<Request> {
        let now = clock::now();
        match next {
            AuthenticationStep::Ask(request) => {
                self.state = State::Asking(authentication, now);
                Some(request)
            }
            AuthenticationStep::Derive(derivation) => {
                let computed = tokio::task::spawn_blocking(move || derivation.derive());
                self.state = State::Deriving(authentication, sent, computed);
                None
            }
            AuthenticationStep::Accepted(lifetime) => {
                self.seed = self.seed.wrapping_add(1);
                self.session = lifetime.map(|lifetime| Session::new(sent, now, lifetime, self.seed));
                tracing::debug!(host = %self.host, ?lifetime, "re-authenticated");
                None
            }
        }
    }

    /// Postpones the renewal because there were no credentials: they are fetched again while the session lives.
    fn postpone(&mut self, error: ConnectError) -> Result<(), ConnectError> {
        self.state = State::Resting;
        let now = clock::now();
        let left = self.session.map_or(Duration::ZERO, |session| session.ends.saturating_duration_since(now));
        let again = clock::after(now, (left / 4).min(RETRY.0).max(RETRY.1));
        match &mut self.session {
            Some(session) if session.ends > again => {
                if std::mem::replace(&mut session.is_warned, true) {
                    tracing::debug!(host = %self.host, reason = error.reason, "cannot re-authenticate yet");
                } else {
                    tracing::warn!(host = %self.host, reason = error.reason, "cannot re-authenticate yet; trying again");
                }
                session.renew_at = again;
                Ok(())
            }
            Some(_) | None => Err(error),
        }
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Resting => "Resting",
            State::Preparing(_) => "Preparing",
            State::Asking(..) => "Asking",
            State::Deriving(..) => "Deriving",
        };
        write!(f, "Renewal({state}, {:?})", self.session)
    }
}
