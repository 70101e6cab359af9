//! [`SchemaRegistry`]: a registry's schemas, by id and by subject.

mod ask;
mod config;
mod error;
mod misses;
mod properties;
mod rest;
mod subjects;
#[cfg(test)]
mod tests;
mod transport;
mod url;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use offtake_client::clock;
use tokio::sync::Mutex as AsyncMutex;

pub use config::{Credentials, OAuthClient, RegistryConfig};
pub(crate) use error::printable;
pub use error::{RegistryError, RegistryErrorKind};
pub use offtake_net::http::Proxy;
pub use rest::{Compatibility, SubjectVersion, Version};

use self::{
    ask::RequestSender,
    misses::{Misses, NextStep},
    subjects::Subjects,
    transport::{Http, Transport},
    url::split,
};
use crate::{
    id::SchemaId,
    schema::{Schema, SchemaText},
    table::{Hit, Table},
};

/// An event of a registry's client, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// None of its URLs responds. Reported once, however many requests fail; it is also logged (WARN).
    Unavailable {
        /// The reason.
        reason: String,
    },
    /// The registry responds again (INFO).
    Available {
        /// The duration of the outage.
        after: Duration,
    },
}

/// A schema registry with Confluent's API: Confluent's own, Apicurio's (`/apis/ccompat/v7`), Karapace, Redpanda's. Clones share
/// the same state.
///
/// A schema is requested once, by the first caller that needs its id; others that need it wait for the same result. It is then
/// cached, because the schema of an id never changes. [`cached`](Self::cached) takes no lock.
///
/// Redirects are not followed.
#[derive(Clone)]
pub struct SchemaRegistry(Arc<Inner>);

struct Inner {
    sender: RequestSender,
    schemas: Table<SchemaId, Schema>,
    misses: Mutex<Misses>,
    /// Determines which caller requests an id.
    turns: Mutex<HashMap<SchemaId, Weak<AsyncMutex<()>>>>,
    subjects: Subjects,
    events: Box<dyn Fn(RegistryEvent) + Send + Sync>,
}

impl SchemaRegistry {
    /// A registry at these URLs, with commas between them, and with the defaults of [`RegistryConfig`]. Sends nothing yet.
    ///
    /// # Errors
    /// A URL that cannot be used.
    pub fn new(urls: &str) -> Result<Self, RegistryError> {
        Self::with_config(RegistryConfig { urls: split(urls), ..RegistryConfig::default() })
    }

    /// A registry with this configuration.
    ///
    /// # Errors
    /// The configuration is invalid.
    pub fn with_config(config: RegistryConfig) -> Result<Self, RegistryError> {
        Self::with_events(config, |_| ())
    }

    /// The same with a handler of events. It is called by the task that sent the request, and should return at once.
    ///
    /// # Errors
    /// The configuration is invalid.
    pub fn with_events(
        config: RegistryConfig,
        events: impl Fn(RegistryEvent) + Send + Sync + 'static,
    ) -> Result<Self, RegistryError> {
        let transport = Http::new(&config)?;
        Ok(Self::over(Box::new(transport), &config, Box::new(events)))
    }

    fn over(
        transport: Box<dyn Transport>,
        config: &RegistryConfig,
        events: Box<dyn Fn(RegistryEvent) + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Inner {
            sender: RequestSender::new(transport, config.request_timeout, config.max_answer_bytes),
            schemas: Table::new(config.cache_entries, config.cache_bytes),
            misses: Mutex::new(Misses::new(config)),
            turns: Mutex::default(),
            subjects: Subjects::new(config.latest_ttl),
            events,
        }))
    }

    /// The schema of an id, if it is cached. Takes no lock, and some nanoseconds.
    #[inline]
    pub fn cached(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.hit(&id).map(|hit| Arc::clone(&hit))
    }

    #[inline]
    pub(crate) fn hit(&self, id: &SchemaId) -> Option<Hit<'_, Schema>> {
        self.0.schemas.get(id)
    }

    /// Why an id is unknown, according to earlier requests.
    pub(crate) fn reason(&self, id: SchemaId) -> Option<RegistryError> {
        lock(&self.0.misses).reason(id).cloned()
    }

    /// The schema of an id. Fails at once if the registry does not respond, or does not have it.
    ///
    /// # Errors
    /// The reason.
    pub async fn schema(&self, id: impl Into<SchemaId>) -> Result<Arc<Schema>, RegistryError> {
        self.find(id.into(), None).await
    }

    /// The schema of an id, with retries until the limit if the registry does not respond. The limit may be [`Duration::MAX`]. If
    /// the registry responds that it has no such schema, it is retried for at most [`RegistryConfig::missing_wait`].
    ///
    /// # Errors
    /// The reason.
    pub async fn schema_within(
        &self,
        id: impl Into<SchemaId>,
        limit: Duration,
    ) -> Result<Arc<Schema>, RegistryError> {
        self.find(id.into(), Some(clock::after(limit))).await
    }

    async fn find(&self, id: SchemaId, deadline: Option<Instant>) -> Result<Arc<Schema>, RegistryError> {
        loop {
            if let Some(found) = self.cached(id) {
                return Ok(found);
            }
            let turn = self.turn(id);
            let Some(own) = until(deadline, turn.lock()).await else { return Err(self.too_late(id)) };
            if let Some(found) = self.cached(id) {
                return Ok(found);
            }
            match self.next_step(id) {
                NextStep::Refuse(error) => return Err(error),
                NextStep::Wait(not_before, error) => {
                    drop(own);
                    match deadline {
                        Some(deadline) if not_before < deadline => {
                            // The result does not matter: the time has come.
                            let _ = clock::timeout_at(not_before, std::future::pending::<()>()).await;
                        }
                        Some(deadline) => {
                            let _ = clock::timeout_at(deadline, std::future::pending::<()>()).await;
                            return Err(error);
                        }
                        None => return Err(error),
                    }
                }
                NextStep::Ask => {
                    // Meanwhile, other callers may have found that the registry does not respond.
                    let may_ask = || self.next_step(id) == NextStep::Ask;
                    let asked = match until(deadline, self.0.sender.schema(id, deadline, may_ask)).await {
                        Some(Some(asked)) => asked,
                        Some(None) => continue,
                        None => return Err(self.too_late(id)),
                    };
                    match asked {
                        Ok((schema, weight)) => {
                            self.note(|misses, now| misses.found(now, id));
                            return Ok(self.0.schemas.insert(id, Arc::new(schema), weight));
                        }
                        Err(error) => {
                            self.note(|misses, now| misses.failed(now, id, &error));
                            if deadline.is_none() || !lock(&self.0.misses).may_come(id, &error) {
                                return Err(error);
                            }
                        }
                    }
                }
            }
        }
    }

    fn next_step(&self, id: SchemaId) -> NextStep {
        lock(&self.0.misses).next_step(clock::now(), id)
    }

    fn too_late(&self, id: SchemaId) -> RegistryError {
        lock(&self.0.misses).overdue(clock::now(), id)
    }

    /// One of the callers that need an id sends the request, and the others wait for it. If that one is dropped, the next sends
    /// the request.
    fn turn(&self, id: SchemaId) -> Arc<AsyncMutex<()>> {
        let mut turns = lock(&self.0.turns);
        if let Some(turn) = turns.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(AsyncMutex::new(()));
        turns.insert(id, Arc::downgrade(&turn));
        turn
    }

    fn note(&self, what: impl FnOnce(&mut Misses, Instant) -> Option<RegistryEvent>) {
        let event = what(&mut lock(&self.0.misses), clock::now());
        match &event {
            Some(RegistryEvent::Unavailable { reason }) => {
                tracing::warn!("the schema registry does not answer: {reason}");
            }
            Some(RegistryEvent::Available { after }) => {
                tracing::info!("the schema registry answers again after {after:?}");
            }
            None => {}
        }
        if let Some(event) = event {
            (self.0.events)(event);
        }
    }

    /// Requests the subjects and versions of a schema for messages. They are left out if that fails.
    pub(crate) async fn learn_names(&self, schema: &Schema) {
        if !schema.names().is_known()
            && let Ok(names) = self.0.sender.names(schema.id()).await
        {
            schema.names().set(names);
        }
    }

    /// Checks that the registry responds, and accepts the credentials.
    ///
    /// # Errors
    /// The reason.
    pub async fn check_reachable(&self) -> Result<(), RegistryError> {
        match self.0.sender.types().await {
            // Old registries lack this endpoint; a server that is no registry lacks all others too.
            Err(error)
                if matches!(error.kind(), RegistryErrorKind::NotFound | RegistryErrorKind::Malformed) =>
            {
                self.0.sender.subjects().await.map(drop)
            }
            told => told.map(drop),
        }
    }

    /// Compiles a schema as if the registry had it under this id. The schemas that it refers to are fetched.
    ///
    /// # Errors
    /// Why a referenced schema could not be fetched.
    pub async fn prepare(&self, id: u32, schema: &SchemaText) -> Result<Arc<Schema>, RegistryError> {
        let id = SchemaId::Id(id);
        if let Some(found) = self.cached(id) {
            return Ok(found);
        }
        let (schema, weight) = self.0.sender.complete(id, schema.clone()).await?;
        Ok(self.0.schemas.insert(id, Arc::new(schema), weight))
    }
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaRegistry").field("urls", &self.0.sender.urls()).finish_non_exhaustive()
    }
}

async fn until<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => clock::timeout_at(deadline, future).await,
        None => Some(future.await),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
