//! [`RequestSender`]: sends requests to whichever of a registry's URLs responds.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
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

/// The most concurrent requests, because the ids in records may be arbitrary.
const MOST_AT_ONCE: usize = 8;
/// The most schemas that one schema may refer to, directly or indirectly.
const MOST_REFERENCES: usize = 256;

/// A step in resolving a reference.
enum Step {
    Ask(Reference),
    /// The name and the text of a reference.
    Found(String, String),
}

pub(super) struct RequestSender {
    transport: Box<dyn Transport>,
    /// The URL that responded last.
    current: AtomicUsize,
    /// How many milliseconds the current URL has not responded, in requests that were dropped.
    silent_ms: AtomicU64,
    timeout: Duration,
    most_bytes: usize,
    permits: Semaphore,
}

impl RequestSender {
    pub(super) fn new(transport: Box<dyn Transport>, timeout: Duration, most_bytes: usize) -> Self {
        let timeout = timeout.max(Duration::from_millis(1));
        let permits = Semaphore::new(MOST_AT_ONCE);
        let (current, silent_ms) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { transport, current, silent_ms, timeout, most_bytes, permits }
    }

    /// The URLs, for `Debug`.
    pub(super) fn urls(&self) -> Vec<String> {
        let each = (0..self.transport.urls()).filter_map(|url| self.transport.endpoint(url, ""));
        each.map(|endpoint| endpoint.shown()).collect()
    }

    async fn ask<T>(
        &self,
        call: Call,
        read: impl Fn(&Endpoint, &Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        self.ask_now(call, None, read).await
    }

    /// Sends the request to the URL that responded last, then to the others. Any response of a registry counts, except "not now".
    /// The caller waits until the deadline.
    async fn ask_now<T>(
        &self,
        call: Call,
        deadline: Option<Instant>,
        read: impl Fn(&Endpoint, &Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let first = self.current.load(Ordering::Relaxed);
        let urls = self.transport.urls();
        let mut failures = Failures::default();
        for (left, url) in (1..=urls).rev().zip((first..).map(|url| url % urls)) {
            let Some(endpoint) = self.transport.endpoint(url, &call.path) else { continue };
            // A silent URL must not use up the time of the others.
            let share = match (left, deadline) {
                (2.., Some(deadline)) => {
                    let left = u32::try_from(left).unwrap_or(u32::MAX);
                    (deadline.saturating_duration_since(clock::now()) / left).max(self.timeout / SILENT)
                }
                _ => self.timeout,
            };
            match self.once(url, &endpoint, &call, self.timeout.min(share), &read).await {
                Err(error) if failures.takes(&error) => {}
                answered => {
                    self.current.store(url, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(failures.into_error())
    }

    async fn once<T>(
        &self,
        url: usize,
        endpoint: &Endpoint,
        call: &Call,
        limit: Duration,
        read: &impl Fn(&Endpoint, &Answer) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut pending = PendingRequest { sender: self, since: Some((url, clock::now())) };
        let answer = clock::timeout(limit, self.transport.call(url, call)).await;
        pending.since = None;
        self.silent_ms.store(0, Ordering::Relaxed);
        match answer {
            Some(answer) => read(endpoint, &answer?),
            None => {
                let (shown, limit) = (endpoint.shown(), limit.as_millis());
                let reason = format!("{shown} took longer than {limit} ms");
                Err(RegistryError::new(RegistryErrorKind::Unavailable, reason))
            }
        }
    }

    /// The schema of an id with everything that it refers to, and the total size in bytes. Returns `None` if the schema was no
    /// longer wanted when the request had its turn.
    pub(super) async fn schema(
        &self,
        id: SchemaId,
        deadline: Option<Instant>,
        may_ask: impl FnOnce() -> bool,
    ) -> Option<Result<(Schema, usize), RegistryError>> {
        let permit = self.permits.acquire().await;
        if !may_ask() {
            return None;
        }
        let text = self.ask_now(rest::schema(id), deadline, rest::read_schema).await;
        drop(permit);
        Some(match text {
            Ok(text) => self.complete(id, text).await,
            Err(error) => Err(error),
        })
    }

    /// Compiles a schema with everything that it refers to.
    pub(super) async fn complete(
        &self,
        id: SchemaId,
        text: SchemaText,
    ) -> Result<(Schema, usize), RegistryError> {
        let references = self.references(&text).await?;
        // Compiling a large schema takes a while, in which other tasks of this runtime go on.
        let made = if text.text.len() > INLINE {
            let made = tokio::task::spawn_blocking(move || made(id, text, &references)).await;
            made.map_err(|error| RegistryError::new(RegistryErrorKind::BadSchema, error))?
        } else {
            made(id, text, &references)
        };
        Ok(made)
    }

    /// The texts of everything that a schema refers to, with the names used for them. A schema's own references come before it.
    pub(super) async fn references(&self, of: &SchemaText) -> Result<Vec<(String, String)>, RegistryError> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut bytes = of.text.len();
        let mut seen = std::collections::HashSet::new();
        // A reference is complete when everything that it refers to is complete; its own references are above it on the stack.
        let mut pending: Vec<Step> = of.references.iter().cloned().map(Step::Ask).collect();
        while let Some(step) = pending.pop() {
            let next = match step {
                Step::Ask(next) if seen.insert(next.clone()) => next,
                Step::Ask(_) => continue,
                Step::Found(name, text) => {
                    found.push((name, text));
                    continue;
                }
            };
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
                    // A missing reference does not mean that the requested schema is missing, only that it cannot be used.
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
            pending.push(Step::Found(next.name, version.schema.text));
            pending.extend(version.schema.references.into_iter().map(Step::Ask));
        }
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

/// A request without a response so far. If requests to a URL are dropped repeatedly without a response, another URL becomes the first.
/// Otherwise a silent URL would be tried again and again by callers with short timeouts, and the others never.
struct PendingRequest<'a> {
    sender: &'a RequestSender,
    /// The URL, and the start of the request.
    since: Option<(usize, Instant)>,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        let Some((url, since)) = self.since else { return };
        let waited =
            u64::try_from(clock::now().saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let silent = self.sender.silent_ms.fetch_add(waited, Ordering::Relaxed).saturating_add(waited);
        if u128::from(silent) >= (self.sender.timeout / SILENT).as_millis() {
            self.sender.silent_ms.store(0, Ordering::Relaxed);
            let next = (url + 1) % self.sender.transport.urls().max(1);
            // Another request may have found a working URL meanwhile.
            let _ = self.sender.current.compare_exchange(url, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// The fraction of the request timeout after which a URL counts as silent. It is also the least share of the time that a URL gets
/// when there are several.
const SILENT: u32 = 4;

/// The failures of the URLs tried so far.
#[derive(Default)]
struct Failures {
    unavailable: Vec<RegistryError>,
    /// An invalid response says nothing about the schemas of other URLs, including those that do not respond.
    malformed: Option<RegistryError>,
}

impl Failures {
    /// Whether another URL may have the result that this one did not return.
    fn takes(&mut self, error: &RegistryError) -> bool {
        match error.kind() {
            RegistryErrorKind::Unavailable => self.unavailable.push(error.clone()),
            RegistryErrorKind::Malformed => drop(self.malformed.get_or_insert_with(|| error.clone())),
            RegistryErrorKind::Refused
            | RegistryErrorKind::NotFound
            | RegistryErrorKind::Incompatible
            | RegistryErrorKind::Invalid
            | RegistryErrorKind::BadSchema
            | RegistryErrorKind::Config => return false,
        }
        true
    }

    fn into_error(self) -> RegistryError {
        if let (Some(malformed), []) = (&self.malformed, self.unavailable.as_slice()) {
            return malformed.clone();
        }
        let all = self.unavailable.iter().chain(&self.malformed);
        let reasons: Vec<String> = all.map(RegistryError::to_string).collect();
        // The earliest time at which any URL wants to be asked again.
        let retry_after = self.unavailable.iter().map(RegistryError::retry_after).min().flatten();
        RegistryError::new(RegistryErrorKind::Unavailable, reasons.join("; ")).with_retry_after(retry_after)
    }
}

/// Texts up to this size are compiled in place.
const INLINE: usize = 64 << 10;

fn made(id: SchemaId, text: SchemaText, references: &[(String, String)]) -> (Schema, usize) {
    let schema = Schema::new(id, text, references);
    let weight = schema.weight(references);
    (schema, weight)
}
