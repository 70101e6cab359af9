//! [`Refreshing`]: one token, or one set of keys, for all connections of a client, renewed before it expires.
//!
//! No timer runs. A connection that authenticates requests the token. A token that a broker refuses is due for renewal. If a
//! renewal is due, the connection waits for it, and falls back on the old token if there is no new one in time. Brokers end a
//! session with its token (KIP-368), so that connections request a token before the old one expires.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::{ProviderFuture, error::ProviderError};
use crate::clock;

/// The timeout of a provider.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after its timeout a fetch that has not ended counts as stuck.
const MARGIN: Duration = Duration::from_secs(1);
/// How long a connection waits for the new token while the old one lasts.
const PATIENCE: Duration = Duration::from_secs(5);
/// While the old token lasts: how long after a failure the provider is called again, and how long after its fetch a refused token
/// is replaced.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// A token that expires within this time is not used any more, because it has to reach the broker.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// The most fetches per request: a fetch may die or stop with the runtime that began it, and another one replaces it.
const MAX_FETCHES: usize = 3;

/// The settings for renewing a token: Java's `sasl.login.refresh.*`.
#[derive(Clone, Debug, PartialEq)]
pub struct Refresh {
    /// `sasl.login.refresh.window.factor`: the part of the token's life after which it is renewed. 0.5 to 1; default 0.8.
    pub window_factor: f64,
    /// `sasl.login.refresh.window.jitter`: a random delay of up to this part of its life. 0 to 0.25; default 0.05.
    pub window_jitter: f64,
    /// `sasl.login.refresh.min.period.seconds`: the least time since the previous renewal. 0 to 900 s; default 60 s.
    pub min_period: Duration,
    /// `sasl.login.refresh.buffer.seconds`: the least time before the token's expiry. 0 to 3,600 s; default 300 s. If the token
    /// does not last for `min_period` and `buffer` together, neither applies.
    pub buffer: Duration,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            window_factor: 0.8,
            window_jitter: 0.05,
            min_period: Duration::from_secs(60),
            buffer: Duration::from_secs(300),
        }
    }
}

impl Refresh {
    /// When to renew a token that was fetched `now` and expires at `expires`. `chance` is between 0 and 1.
    fn due(&self, now: SystemTime, expires: SystemTime, chance: f64) -> SystemTime {
        let life = expires.duration_since(now).unwrap_or_default();
        let part = self.window_factor + self.window_jitter * chance;
        let mut after = Duration::try_from_secs_f64(life.as_secs_f64() * part).unwrap_or(life);
        if let Some(unbuffered) = life.checked_sub(self.buffer)
            && self.min_period <= unbuffered
        {
            after = after.min(unbuffered).max(self.min_period);
        }
        now + after.min(life)
    }
}

/// A value that expires.
pub(super) trait Expiring: Clone + PartialEq + Send + Sync + 'static {
    /// Its name, for messages.
    const NAME: &'static str;

    /// When it expires. A value with an unknown expiry is used once.
    fn expires(&self) -> Option<SystemTime>;
}

/// A provider of one of the public kinds, as used here.
pub(super) trait Source<T>: Send + Sync + 'static {
    fn fetch(&self) -> ProviderFuture<'_, T>;
}

/// The token of one client, and its renewal.
pub(super) struct Refreshing<T>(Arc<Shared<T>>);

struct Shared<T> {
    source: Box<dyn Source<T>>,
    refresh: Refresh,
    state: Mutex<State<T>>,
}

struct State<T> {
    kept: Option<Kept<T>>,
    fetch: Option<Fetch<T>>,
}

struct Kept<T> {
    value: T,
    fetched: SystemTime,
    expires: SystemTime,
    /// When a renewal is due.
    due: SystemTime,
}

/// How long to wait for a new one while the old one lasts, which must not expire meanwhile.
fn patience<T: Expiring>(old: &T, now: SystemTime) -> Duration {
    let left = old.expires().and_then(|expires| expires.duration_since(now).ok()).unwrap_or_default();
    left.saturating_sub(LAST_MOMENT).min(PATIENCE)
}

/// A fetch in progress.
struct Fetch<T> {
    /// Receives the result; closed without one if the task was ended.
    result: watch::Receiver<Option<Result<T, ProviderError>>>,
    /// When it is over, by the clock of the waiting connection. The fetch's own timeout stops with its runtime: the
    /// current-thread runtime of another client does not run between two of its `block_on`.
    over_at: Instant,
}

impl<T> Clone for Fetch<T> {
    fn clone(&self) -> Self {
        Self { result: self.result.clone(), over_at: self.over_at }
    }
}

impl<T> Fetch<T> {
    fn is_under_way(&self, now: Instant) -> bool {
        self.result.has_changed().is_ok() && now < self.over_at
    }
}

impl<T: Expiring> Refreshing<T> {
    pub(super) fn new(source: impl Source<T>, refresh: Refresh) -> Self {
        let state = Mutex::new(State { kept: None, fetch: None });
        Self(Arc::new(Shared { source: Box::new(source), refresh, state }))
    }

    /// A value that is valid `now`.
    pub(super) async fn get(&self, now: SystemTime) -> Result<T, ProviderError> {
        for _ in 0..MAX_FETCHES {
            let (mut fetch, old) = match self.0.look_up(now) {
                LookUp::Kept(value) => return Ok(value),
                LookUp::Fetching { fetch, old } => (fetch, old),
            };
            let wait = fetch.result.wait_for(Option::is_some);
            let ended = match old {
                None => timeout_at(fetch.over_at, wait).await,
                Some(old) => match timeout(patience(&old, now), wait).await {
                    Ok(Ok(result)) if matches!(&*result, Some(Ok(_))) => Ok(Ok(result)),
                    _ => return Ok(old),
                },
            };
            if let Ok(Ok(result)) = ended
                && let Some(result) = &*result
            {
                return result.clone();
            }
        }
        Err(ProviderError::retriable(format!("the request for {} was ended again and again", T::NAME)))
    }

    /// Notes that a broker refused the value `now`: it may have been revoked, or its key changed, so that the provider may have
    /// another. Until then it stays in use, because the broker may be the one that is behind.
    pub(super) fn refused(&self, value: &T, now: SystemTime) {
        let mut state = self.0.state();
        if let Some(kept) = state.kept.as_mut().filter(|kept| kept.value == *value) {
            kept.due = kept.due.min(now.max(kept.fetched + RETRY_AFTER));
        }
    }
}

impl<T> Clone for Refreshing<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

enum LookUp<T> {
    Kept(T),
    /// A renewal is due. `old` is set if it can still be used.
    Fetching {
        fetch: Fetch<T>,
        old: Option<T>,
    },
}

impl<T: Expiring> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(self: &Arc<Self>, now: SystemTime) -> LookUp<T> {
        let mut state = self.state();
        let old = match &state.kept {
            Some(kept) if now < kept.due => return LookUp::Kept(kept.value.clone()),
            Some(kept) if now + LAST_MOMENT < kept.expires => Some(kept.value.clone()),
            _ => None,
        };
        // A fetch whose task was ended is closed without a result.
        let begins = clock::now();
        if let Some(fetch) = state.fetch.as_ref().filter(|fetch| fetch.is_under_way(begins)) {
            return LookUp::Fetching { fetch: fetch.clone(), old };
        }
        let fetch = Fetch { result: self.begin_fetch(now), over_at: begins + FETCH_TIMEOUT + MARGIN };
        state.fetch = Some(fetch.clone());
        LookUp::Fetching { fetch, old }
    }

    /// Calls the provider in a task of its own, so that it survives a connection that is given up.
    #[expect(clippy::disallowed_methods, reason = "the fetch outlives the connection that needs it first")]
    fn begin_fetch(self: &Arc<Self>, now: SystemTime) -> watch::Receiver<Option<Result<T, ProviderError>>> {
        let (result, receiver) = watch::channel(None);
        let shared = self.clone();
        tokio::spawn(async move {
            let fetched = match timeout(FETCH_TIMEOUT, shared.source.fetch()).await {
                Ok(fetched) => fetched,
                Err(_) => Err(ProviderError::retriable(format!(
                    "the provider of {} did not answer within {} s",
                    T::NAME,
                    FETCH_TIMEOUT.as_secs()
                ))),
            };
            shared.end_fetch(now, &fetched, &result.subscribe());
            result.send_replace(Some(fetched));
        });
        receiver
    }

    fn end_fetch(
        &self,
        now: SystemTime,
        fetched: &Result<T, ProviderError>,
        of: &watch::Receiver<Option<Result<T, ProviderError>>>,
    ) {
        let mut state = self.state();
        if state.fetch.take_if(|fetch| fetch.result.same_channel(of)).is_none() {
            return; // another fetch has replaced this one, and may have ended with a newer result
        }
        match fetched {
            Ok(value) => {
                state.kept = value.expires().map(|expires| Kept {
                    value: value.clone(),
                    fetched: now,
                    expires,
                    due: self.refresh.due(now, expires, chance()),
                });
            }
            Err(error) => {
                if let Some(kept) = state.kept.as_mut().filter(|kept| now + LAST_MOMENT < kept.expires) {
                    let left = kept.expires.duration_since(now).unwrap_or_default().as_secs();
                    tracing::warn!(%error, left_s = left, "cannot renew {}; what there is is used while it lasts", T::NAME);
                    kept.due = (now + RETRY_AFTER).min(kept.expires);
                }
            }
        }
    }
}

/// A random number between 0 and 1, so that the clients of a service do not all renew at once.
fn chance() -> f64 {
    let mut bytes = [0; 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests;
