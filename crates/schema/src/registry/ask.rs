//! [`Asker`]: questions to whichever of a registry's URLs answers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use offtake_client::clock;
use offtake_net::http::{Answer, Endpoint};
use tokio::sync::Semaphore;

use super::{
    error::{RegistryError, RegistryErrorKind},
    rest::{self, Compatibility, SubjectVersion, Version},
    transport::{Call, Transport},
};
use crate::{
    id::SchemaId,
    schema::{Reference, Schema, SchemaText},
};

/// So many requests are on their way at once: the ids in records are whatever somebody wrote there.
const MOST_AT_ONCE: usize = 8;
/// So many schemas may be behind the references of one.
const MOST_REFERENCES: usize = 256;

pub(super) struct Asker {
    transport: Box<dyn Transport>,
    /// The URL that answered last.
    current: AtomicUsize,
    timeout: Duration,
    most_bytes: usize,
    permits: Semaphore,
}

impl Asker {
    pub(super) fn new(transport: Box<dyn Transport>, timeout: Duration, most_bytes: usize) -> Self {
        let timeout = timeout.max(Duration::from_millis(1));
        let permits = Semaphore::new(MOST_AT_ONCE);
        Self { transport, current: AtomicUsize::new(0), timeout, most_bytes, permits }
    }

    /// Where it is, for `Debug`.
    pub(super) fn urls(&self) -> Vec<String> {
        let each = (0..self.transport.urls()).filter_map(|url| self.transport.endpoint(url, ""));
        each.map(|endpoint| endpoint.shown()).collect()
    }

    async fn ask<T>(
        &self,
        call: Call,
        read: impl Fn(&Endpoint, &Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        self.ask_now(call, read).await
    }

    /// Asks the URL that answered last, then the others: each answer but "not now" counts.
    async fn ask_now<T>(
        &self,
        call: Call,
        read: impl Fn(&Endpoint, &Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let first = self.current.load(Ordering::Relaxed);
        let mut failures: Vec<String> = Vec::new();
        for nth in 0..self.transport.urls() {
            let url = (first + nth) % self.transport.urls();
            let Some(endpoint) = self.transport.endpoint(url, &call.path) else { continue };
            match self.once(url, &endpoint, &call, &read).await {
                Err(error) if error.is_retriable() => failures.push(error.to_string()),
                answered => {
                    self.current.store(url, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(RegistryError::new(RegistryErrorKind::Unavailable, failures.join("; ")))
    }

    async fn once<T>(
        &self,
        url: usize,
        endpoint: &Endpoint,
        call: &Call,
        read: &impl Fn(&Endpoint, &Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        match clock::timeout(self.timeout, self.transport.call(url, call)).await {
            Some(answer) => read(endpoint, &answer?),
            None => {
                let (shown, limit) = (endpoint.shown(), self.timeout.as_millis());
                let reason = format!("{shown} took longer than {limit} ms");
                Err(RegistryError::new(RegistryErrorKind::Unavailable, reason))
            }
        }
    }

    /// The schema of an id with all that it refers to; and how many bytes these have. `None`: it was not to be asked for any more when its
    /// turn came.
    pub(super) async fn schema(
        &self,
        id: SchemaId,
        may_ask: impl FnOnce() -> bool,
    ) -> Option<Result<(Schema, usize), RegistryError>> {
        let permit = self.permits.acquire().await;
        if !may_ask() {
            return None;
        }
        let text = self.ask_now(rest::schema(id), rest::read_schema).await;
        drop(permit);
        Some(match text {
            Ok(text) => self.complete(id, text).await,
            Err(error) => Err(error),
        })
    }

    /// A schema with all that it refers to, ready to be used.
    pub(super) async fn complete(
        &self,
        id: SchemaId,
        text: SchemaText,
    ) -> Result<(Schema, usize), RegistryError> {
        let references = self.references(&text).await?;
        // Large ones take a while, and others of this runtime go on.
        let made = if text.text.len() > INLINE {
            let made = tokio::task::spawn_blocking(move || made(id, text, &references)).await;
            made.map_err(|error| RegistryError::new(RegistryErrorKind::BadSchema, error))?
        } else {
            made(id, text, &references)
        };
        Ok(made)
    }

    /// The texts of all that a schema refers to, by the names that it calls them by: those that others refer to come before these.
    async fn references(&self, of: &SchemaText) -> Result<Vec<(String, String)>, RegistryError> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut bytes = of.text.len();
        let mut seen = std::collections::HashSet::new();
        let mut waiting: Vec<Reference> = of.references.clone();
        while let Some(next) = waiting.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            let too_many = |what: &str| {
                RegistryError::new(
                    RegistryErrorKind::BadSchema,
                    format!("a schema refers to more than {what}"),
                )
            };
            if seen.len() > MOST_REFERENCES {
                return Err(too_many(&format!("{MOST_REFERENCES} others")));
            }
            let version =
                self.version(&next.subject, Version::Number(next.version)).await.map_err(|error| {
                    let reason =
                        format!("a schema refers to {} version {}: {error}", next.subject, next.version);
                    // That it is not there says nothing of the schema that was asked for, but that it cannot be used.
                    let kind = match error.kind() {
                        RegistryErrorKind::NotFound => RegistryErrorKind::BadSchema,
                        other => other,
                    };
                    RegistryError::new(kind, reason).with_absence(error.is_absence())
                })?;
            bytes = bytes.saturating_add(version.schema.text.len());
            if bytes > self.most_bytes {
                return Err(too_many(&format!("{} bytes", self.most_bytes)));
            }
            waiting.extend(version.schema.references);
            found.push((next.name, version.schema.text));
        }
        found.reverse();
        Ok(found)
    }

    pub(super) async fn names(&self, id: SchemaId) -> Result<Vec<(String, u32)>, RegistryError> {
        match rest::names(id) {
            Some(call) => self.ask(call, rest::read_names).await,
            None => Ok(Vec::new()),
        }
    }

    pub(super) async fn types(&self) -> Result<Vec<String>, RegistryError> {
        self.ask(rest::types(), rest::read_list).await
    }

    pub(super) async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.ask(rest::subjects(), rest::read_list).await
    }

    pub(super) async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        self.ask(rest::versions(subject), rest::read_list).await
    }

    pub(super) async fn version(
        &self,
        subject: &str,
        version: Version,
    ) -> Result<SubjectVersion, RegistryError> {
        let number = match version {
            Version::Latest => 0,
            Version::Number(number) => number,
        };
        let read = |from: &Endpoint, answer: &Answer| rest::read_version(from, answer, subject, number);
        self.ask(rest::version(subject, version), read).await
    }

    pub(super) async fn register(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
    ) -> Result<u32, RegistryError> {
        self.ask(rest::register(subject, schema, normalize), rest::read_id).await
    }

    pub(super) async fn lookup(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
    ) -> Result<u32, RegistryError> {
        self.ask(rest::lookup(subject, schema, normalize), rest::read_id).await
    }

    pub(super) async fn check(
        &self,
        subject: &str,
        schema: &SchemaText,
    ) -> Result<Compatibility, RegistryError> {
        self.ask(rest::check(subject, schema), rest::read_compatibility).await
    }
}

/// Texts up to this many bytes are parsed where they are needed.
const INLINE: usize = 64 << 10;

fn made(id: SchemaId, text: SchemaText, references: &[(String, String)]) -> (Schema, usize) {
    let schema = Schema::new(id, text, references);
    let weight = schema.weight(references);
    (schema, weight)
}
