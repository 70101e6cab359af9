//! A registry's subjects, and the cache of them for serializers.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use offtake_client::clock;
use tokio::sync::Mutex as AsyncMutex;

use super::{Compatibility, RegistryError, SchemaRegistry, SubjectVersion, Version, lock};
use crate::schema::SchemaText;

/// The cache for serializers.
pub(super) struct Subjects {
    /// The latest version of each subject, with its expiry.
    latest: Mutex<HashMap<String, (Instant, Arc<SubjectVersion>)>>,
    /// The ids of schemas that were registered or looked up.
    ids: Mutex<HashMap<IdKey, u32>>,
    asking_latest: Shared<String, Arc<SubjectVersion>>,
    registering: Shared<IdKey, u32>,
    looking_up: Shared<IdKey, u32>,
    latest_ttl: Duration,
}

/// The subject, the schema, and whether the registry normalizes it.
type IdKey = (String, SchemaText, bool);

/// Requests that several callers may make at once: one of them sends the request, and the others get the same result. If that one
/// is dropped, the next sends the request.
struct Shared<K, T>(Mutex<HashMap<K, Weak<SharedResult<T>>>>);

type SharedResult<T> = AsyncMutex<Option<Result<T, RegistryError>>>;

impl<K: Eq + Hash + Clone, T: Clone> Shared<K, T> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Only `ask` may cache the result: later callers send a new request.
    async fn ask<F: Future<Output = Result<T, RegistryError>>>(
        &self,
        key: &K,
        ask: impl FnOnce() -> F,
    ) -> Result<T, RegistryError> {
        let entry = self.entry(key);
        let mut result = entry.lock().await;
        if let Some(result) = &*result {
            return result.clone();
        }
        let answer = ask().await;
        *result = Some(answer.clone());
        lock(&self.0).remove(key);
        answer
    }

    fn entry(&self, key: &K) -> Arc<SharedResult<T>> {
        let mut open = lock(&self.0);
        if let Some(entry) = open.get(key).and_then(Weak::upgrade) {
            return entry;
        }
        open.retain(|_, entry| entry.strong_count() > 0);
        let entry = Arc::default();
        open.insert(key.clone(), Arc::downgrade(&entry));
        entry
    }
}

/// The most subjects, and ids by text, that are cached.
const MOST_REMEMBERED: usize = 1000;

impl Subjects {
    pub(super) fn new(latest_ttl: Duration) -> Self {
        let (latest, ids) = (Mutex::default(), Mutex::default());
        let (asking_latest, registering, looking_up) = (Shared::new(), Shared::new(), Shared::new());
        Self { latest, ids, asking_latest, registering, looking_up, latest_ttl }
    }
}

impl Subjects {
    fn keep_latest(&self, subject: &str, latest: &Arc<SubjectVersion>) {
        let now = clock::now();
        let mut all = lock(&self.latest);
        if all.len() >= MOST_REMEMBERED {
            all.retain(|_, (until, _)| now < *until);
        }
        if all.len() < MOST_REMEMBERED || all.contains_key(subject) {
            all.insert(subject.to_owned(), (clock::later(now, self.latest_ttl), Arc::clone(latest)));
        }
    }
}

impl SchemaRegistry {
    /// The names of all subjects.
    ///
    /// # Errors
    /// The reason.
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.0.sender.subjects().await
    }

    /// The versions of a subject.
    ///
    /// # Errors
    /// The reason.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        self.0.sender.versions(subject).await
    }

    /// A registered version of a subject.
    ///
    /// # Errors
    /// The reason.
    pub async fn version(&self, subject: &str, version: Version) -> Result<SubjectVersion, RegistryError> {
        self.0.sender.version(subject, version).await
    }

    /// The latest version of a subject, cached for `latest.cache.ttl.sec`.
    ///
    /// # Errors
    /// The reason.
    pub async fn latest(&self, subject: &str) -> Result<Arc<SubjectVersion>, RegistryError> {
        let subjects = &self.0.subjects;
        if let Some((until, latest)) = lock(&subjects.latest).get(subject)
            && clock::now() < *until
        {
            return Ok(Arc::clone(latest));
        }
        let ask = || async {
            let latest = Arc::new(self.version(subject, Version::Latest).await?);
            subjects.keep_latest(subject, &latest);
            Ok(latest)
        };
        subjects.asking_latest.ask(&subject.to_owned(), ask).await
    }

    /// Registers a schema under a subject, unless it is registered already. Returns its id. With `normalize`, the registry
    /// converts it to a canonical form first.
    ///
    /// # Errors
    /// [`Incompatible`](crate::RegistryErrorKind::Incompatible) and others.
    pub async fn register(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
    ) -> Result<u32, RegistryError> {
        let ask = || self.0.sender.register(subject, schema, normalize);
        self.id_by(&self.0.subjects.registering, (subject.to_owned(), schema.clone(), normalize), ask).await
    }

    /// The id of a schema that is registered under a subject.
    ///
    /// # Errors
    /// [`NotFound`](crate::RegistryErrorKind::NotFound) if it is not registered.
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
    ) -> Result<u32, RegistryError> {
        let ask = || self.0.sender.lookup(subject, schema, normalize);
        self.id_by(&self.0.subjects.looking_up, (subject.to_owned(), schema.clone(), normalize), ask).await
    }

    async fn id_by<F: Future<Output = Result<u32, RegistryError>>>(
        &self,
        requests: &Shared<IdKey, u32>,
        key: IdKey,
        ask: impl FnOnce() -> F,
    ) -> Result<u32, RegistryError> {
        if let Some(id) = lock(&self.0.subjects.ids).get(&key) {
            return Ok(*id);
        }
        let ask = || async {
            let id = ask().await?;
            let mut ids = lock(&self.0.subjects.ids);
            if ids.len() >= MOST_REMEMBERED {
                ids.clear(); // with so many texts, hardly any would be found again anyway
            }
            ids.insert(key.clone(), id);
            Ok(id)
        };
        requests.ask(&key, ask).await
    }

    /// Whether a schema could be registered under a subject as its next version.
    ///
    /// # Errors
    /// Why the registry cannot tell, for example because the subject does not exist.
    pub async fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError> {
        self.0.sender.check(subject, schema).await
    }
}
