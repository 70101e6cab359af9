//! [`Renewal`]: authenticates a connection anew before its session ends (KIP-368), while its calls go on.

use std::{fmt, pin::Pin, time::Duration};

use offtake_machine::SplitMix64;
use offtake_wire::{Request, Response};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    authenticate::{Authentication, Next},
    clock,
    handshake::ConnectError,
    sasl::{Derived, Sasl},
};

/// How soon credentials that could not be had are asked for again while the session lives, at most and at least.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(50));

/// Brokers take no second authentication within a second, and one that says otherwise must not keep us busy.
const SHORTEST: Duration = Duration::from_millis(1100);

/// How long a connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// When to authenticate anew.
    renew_at: Instant,
    /// The broker closes the connection at the first request after this.
    ends: Instant,
    /// Whether there was a line (WARN) that credentials are missing.
    is_warned: bool,
}

impl Session {
    /// After 85 to 95 % of the lifetime, as Java's clients: not all connections at once.
    pub(crate) fn new(now: Instant, lifetime: Duration, seed: u64) -> Self {
        let thousandths = 850 + u32::try_from(SplitMix64::new(seed).next_u64() % 101).unwrap_or(0);
        let renew_after = (lifetime / 1000).saturating_mul(thousandths);
        Self {
            renew_at: clock::after(now, renew_after.max(SHORTEST)),
            ends: clock::after(now, lifetime),
            is_warned: false,
        }
    }
}

/// Authenticates a connection anew.
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
    /// Not under way.
    Resting,
    /// The credentials are asked for; calls go on.
    Preparing(Prepared),
    /// The broker is being asked; calls wait.
    Asking(Authentication),
    /// Something is computed on another thread; calls wait.
    Deriving(Authentication, JoinHandle<Derived>),
}

impl Renewal {
    pub(crate) fn new(sasl: Option<Sasl>, host: &str, seed: u64, session: Option<Session>) -> Self {
        Self { sasl, host: host.to_owned(), seed, session, state: State::Resting }
    }

    /// When it has to begin, unless the connection is idle: then the next call begins it.
    pub(crate) fn begins_at(&self) -> Option<Instant> {
        match self.state {
            State::Resting => self.session.map(|session| session.renew_at),
            // Until the session ends calls go on.
            State::Preparing(_) => self.session.map(|session| session.ends),
            State::Asking(_) | State::Deriving(..) => None,
        }
    }

    /// Begins, if it is time.
    pub(crate) fn begin_if_due(&mut self, now: Instant) {
        if let (State::Resting, Some(session), Some(sasl)) = (&self.state, self.session, &self.sasl)
            && session.renew_at <= now
        {
            let (sasl, host) = (sasl.clone(), self.host.clone());
            self.state =
                State::Preparing(Box::pin(async move { Authentication::begin(&sasl, &host, true).await }));
        }
    }

    /// Whether calls have to wait: the broker takes nothing but SASL now.
    pub(crate) fn holds_calls(&self, now: Instant) -> bool {
        match self.state {
            State::Resting | State::Preparing(_) => self.session.is_some_and(|session| session.ends <= now),
            State::Asking(_) | State::Deriving(..) => true,
        }
    }

    /// The next request to write, as soon as there is one. Cancel-safe; waits for ever while none is due.
    pub(crate) async fn next_request(&mut self) -> Result<Request, ConnectError> {
        loop {
            match &mut self.state {
                State::Resting | State::Asking(_) => std::future::pending().await,
                State::Preparing(prepared) => match prepared.await {
                    Ok((authentication, request)) => {
                        self.state = State::Asking(authentication);
                        return Ok(request);
                    }
                    Err(error) => self.postpone(error)?,
                },
                State::Deriving(_, computed) => {
                    let derived = computed.await;
                    let State::Deriving(mut authentication, _) =
                        std::mem::replace(&mut self.state, State::Resting)
                    else {
                        continue;
                    };
                    let derived = derived.map_err(|_| ConnectError::broker("an error in this client"))?;
                    let next = authentication.derived(derived)?;
                    if let Some(request) = self.follow(authentication, next) {
                        return Ok(request);
                    }
                }
            }
        }
    }

    /// The broker answered a request of [`next_request`](Self::next_request). Gives the next one, if it is known already.
    pub(crate) fn on_response(&mut self, response: Response) -> Result<Option<Request>, ConnectError> {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Asking(mut authentication) => {
                let next = authentication.on_response(response)?;
                Ok(self.follow(authentication, next))
            }
            other => {
                self.state = other;
                Ok(None)
            }
        }
    }

    fn follow(&mut self, authentication: Authentication, next: Next) -> Option<Request> {
        match next {
            Next::Ask(request) => {
                self.state = State::Asking(authentication);
                Some(request)
            }
            Next::Derive(derivation) => {
                let computed = tokio::task::spawn_blocking(move || derivation.run());
                self.state = State::Deriving(authentication, computed);
                None
            }
            Next::Accepted(lifetime) => {
                let now = clock::now();
                self.seed = self.seed.wrapping_add(1);
                self.session = lifetime.map(|lifetime| Session::new(now, lifetime, self.seed));
                tracing::debug!(host = %self.host, ?lifetime, "authenticated anew");
                None
            }
        }
    }

    /// The credentials could not be had: they are asked for again while the session lives.
    fn postpone(&mut self, error: ConnectError) -> Result<(), ConnectError> {
        self.state = State::Resting;
        let now = clock::now();
        let left = self.session.map_or(Duration::ZERO, |session| session.ends.saturating_duration_since(now));
        let again = clock::after(now, (left / 4).min(RETRY.0).max(RETRY.1));
        match &mut self.session {
            Some(session) if session.ends > again => {
                if std::mem::replace(&mut session.is_warned, true) {
                    tracing::debug!(host = %self.host, reason = error.reason, "cannot authenticate anew yet");
                } else {
                    tracing::warn!(host = %self.host, reason = error.reason, "cannot authenticate anew yet; trying again");
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
            State::Asking(_) => "Asking",
            State::Deriving(..) => "Deriving",
        };
        write!(f, "Renewal({state}, {:?})", self.session)
    }
}
