//! What a registry has under its subjects, and what is remembered of that for serialisers.

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

/// What is remembered for serialisers.
pub(super) struct Subjects {
    /// The latest version of a subject, and until when it is taken for that.
    latest: Mutex<HashMap<String, (Instant, Arc<SubjectVersion>)>>,
    /// Ids of what was registered or looked up.
    ids: Mutex<HashMap<IdKey, u32>>,
    asking_latest: Shared<String, Arc<SubjectVersion>>,
    registering: Shared<IdKey, u32>,
    looking_up: Shared<IdKey, u32>,
    latest_ttl: Duration,
}

/// Subject, schema, and whether the registry normalises it.
type IdKey = (String, SchemaText, bool);

/// Questions that several may have at once: one of them asks, and the others have the same answer. Where the one who asks is dropped, the next of
/// them asks.
struct Shared<K, T>(Mutex<HashMap<K, Weak<Told<T>>>>);

type Told<T> = AsyncMutex<Option<Result<T, RegistryError>>>;

impl<K: Eq + Hash + Clone, T: Clone> Shared<K, T> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// What is answered is remembered by `ask`, if it is: who comes later asks anew.
    async fn ask<F: Future<Output = Result<T, RegistryError>>>(
        &self,
        key: &K,
        ask: impl FnOnce() -> F,
    ) -> Result<T, RegistryError> {
        let question = self.question(key);
        let mut told = question.lock().await;
        if let Some(told) = &*told {
            return told.clone();
        }
        let answer = ask().await;
        *told = Some(answer.clone());
        lock(&self.0).remove(key);
        answer
    }

    fn question(&self, key: &K) -> Arc<Told<T>> {
        let mut open = lock(&self.0);
        if let Some(question) = open.get(key).and_then(Weak::upgrade) {
            return question;
        }
        open.retain(|_, question| question.strong_count() > 0);
        let question = Arc::default();
        open.insert(key.clone(), Arc::downgrade(&question));
        question
    }
}

/// So many subjects, and ids by text, are remembered.
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
    /// Why they are not known.
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.0.asker.subjects().await
    }

    /// The versions of a subject.
    ///
    /// # Errors
    /// Why they are not known.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        self.0.asker.versions(subject).await
    }

    /// One version of a subject, as it is registered.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn version(&self, subject: &str, version: Version) -> Result<SubjectVersion, RegistryError> {
        self.0.asker.version(subject, version).await
    }

    /// The latest version of a subject, which is kept for `latest.cache.ttl.sec`.
    ///
    /// # Errors
    /// Why there is none.
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

    /// Registers a schema under a subject, unless it is there: its id. `normalize` has the registry bring it into a canonical form before.
    ///
    /// # Errors
    /// [`Incompatible`](crate::RegistryErrorKind::Incompatible) and others: why it is not.
    pub async fn register(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
    ) -> Result<u32, RegistryError> {
        let ask = || self.0.asker.register(subject, schema, normalize);
        self.id_by(&self.0.subjects.registering, (subject.to_owned(), schema.clone(), normalize), ask).await
    }

    /// The id of a schema that is registered under a subject.
    ///
    /// # Errors
    /// [`NotFound`](crate::RegistryErrorKind::NotFound) if it is not.
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
    ) -> Result<u32, RegistryError> {
        let ask = || self.0.asker.lookup(subject, schema, normalize);
        self.id_by(&self.0.subjects.looking_up, (subject.to_owned(), schema.clone(), normalize), ask).await
    }

    async fn id_by<F: Future<Output = Result<u32, RegistryError>>>(
        &self,
        questions: &Shared<IdKey, u32>,
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
                ids.clear(); // who makes so many texts finds none of them again anyway
            }
            ids.insert(key.clone(), id);
            Ok(id)
        };
        questions.ask(&key, ask).await
    }

    /// Whether a schema could be registered under a subject as its next version.
    ///
    /// # Errors
    /// Why the registry does not say: the subject may not be there.
    pub async fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError> {
        self.0.asker.check(subject, schema).await
    }
}
