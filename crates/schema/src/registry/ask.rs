//! [`Asker`]: questions to whichever of a registry's URLs answers.

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

/// So many requests are on their way at once: the ids in records are whatever somebody wrote there.
const MOST_AT_ONCE: usize = 8;
/// So many schemas may be behind the references of one.
const MOST_REFERENCES: usize = 256;

/// What is to be done about a reference.
enum Step {
    Ask(Reference),
    /// Its name and its text.
    Found(String, String),
}

pub(super) struct Asker {
    transport: Box<dyn Transport>,
    /// The URL that answered last.
    current: AtomicUsize,
    /// For how many milliseconds nobody has had an answer, of questions whose askers went away.
    silent_ms: AtomicU64,
    timeout: Duration,
    most_bytes: usize,
    permits: Semaphore,
}

impl Asker {
    pub(super) fn new(transport: Box<dyn Transport>, timeout: Duration, most_bytes: usize) -> Self {
        let timeout = timeout.max(Duration::from_millis(1));
        let permits = Semaphore::new(MOST_AT_ONCE);
        let (current, silent_ms) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { transport, current, silent_ms, timeout, most_bytes, permits }
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
        self.ask_now(call, None, read).await
    }

    /// Asks the URL that answered last, then the others: each answer of a registry counts, but "not now". Who asks waits until the deadline.
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
            // One that is silent leaves the others their share of the time.
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
        let mut waiting = Waiting { asker: self, since: Some((url, clock::now())) };
        let answer = clock::timeout(limit, self.transport.call(url, call)).await;
        waiting.since = None;
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

    /// The schema of an id with all that it refers to; and how many bytes these have. `None`: it was not to be asked for any more when its
    /// turn came.
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
    pub(super) async fn references(&self, of: &SchemaText) -> Result<Vec<(String, String)>, RegistryError> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut bytes = of.text.len();
        let mut seen = std::collections::HashSet::new();
        // Each is found when all that it refers to is: what it refers to lies above it.
        let mut waiting: Vec<Step> = of.references.iter().cloned().map(Step::Ask).collect();
        while let Some(step) = waiting.pop() {
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
            waiting.push(Step::Found(next.name, version.schema.text));
            waiting.extend(version.schema.references.into_iter().map(Step::Ask));
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

/// A question that a URL has not answered yet. Where those who ask have gone away for a while without an answer, another URL is asked first from then
/// on: else one that is silent would be asked again and again by those who wait for less than a request may take, and the others never.
struct Waiting<'a> {
    asker: &'a Asker,
    /// Which URL, and since when.
    since: Option<(usize, Instant)>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some((url, since)) = self.since else { return };
        let waited =
            u64::try_from(clock::now().saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let silent = self.asker.silent_ms.fetch_add(waited, Ordering::Relaxed).saturating_add(waited);
        if u128::from(silent) >= (self.asker.timeout / SILENT).as_millis() {
            self.asker.silent_ms.store(0, Ordering::Relaxed);
            let next = (url + 1) % self.asker.transport.urls().max(1);
            // Another may have found one that answers meanwhile.
            let _ = self.asker.current.compare_exchange(url, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// This part of the time of a request without an answer is a while, and no URL has less where others are to have their share.
const SILENT: u32 = 4;

/// Why one URL after the other was of no use.
#[derive(Default)]
struct Failures {
    unavailable: Vec<RegistryError>,
    /// What is no registry's answer says nothing of what the others have, also of those that do not answer.
    malformed: Option<RegistryError>,
}

impl Failures {
    /// Whether another URL may answer what this one did not.
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
        // The first that wants to be asked again is.
        let retry_after = self.unavailable.iter().map(RegistryError::retry_after).min().flatten();
        RegistryError::new(RegistryErrorKind::Unavailable, reasons.join("; ")).with_retry_after(retry_after)
    }
}

/// Texts up to this many bytes are parsed where they are needed.
const INLINE: usize = 64 << 10;

fn made(id: SchemaId, text: SchemaText, references: &[(String, String)]) -> (Schema, usize) {
    let schema = Schema::new(id, text, references);
    let weight = schema.weight(references);
    (schema, weight)
}
