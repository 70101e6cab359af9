//! What a registry has under its subjects, and what is remembered of that for serialisers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use offtake_client::clock;

use super::{Compatibility, RegistryError, SchemaRegistry, SubjectVersion, Version, lock};
use crate::schema::SchemaText;

/// What is remembered for serialisers.
pub(super) struct Subjects {
    /// The latest version of a subject, and until when it is taken for that.
    latest: Mutex<HashMap<String, (Instant, Arc<SubjectVersion>)>>,
    /// Ids of what was registered or looked up.
    ids: Mutex<HashMap<(String, SchemaText, bool), u32>>,
    latest_ttl: Duration,
}

/// So many subjects, and ids by text, are remembered.
const MOST_REMEMBERED: usize = 1000;

impl Subjects {
    pub(super) fn new(latest_ttl: Duration) -> Self {
        Self { latest: Mutex::default(), ids: Mutex::default(), latest_ttl }
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
        let now = clock::now();
        if let Some((until, latest)) = lock(&subjects.latest).get(subject)
            && now < *until
        {
            return Ok(Arc::clone(latest));
        }
        let latest = Arc::new(self.version(subject, Version::Latest).await?);
        let until = clock::after(subjects.latest_ttl);
        let mut all = lock(&subjects.latest);
        if all.len() >= MOST_REMEMBERED {
            all.retain(|_, (until, _)| now < *until);
        }
        if all.len() < MOST_REMEMBERED {
            all.insert(subject.to_owned(), (until, Arc::clone(&latest)));
        }
        Ok(latest)
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
        self.id_by(subject, schema, normalize, || self.0.asker.register(subject, schema, normalize)).await
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
        self.id_by(subject, schema, normalize, || self.0.asker.lookup(subject, schema, normalize)).await
    }

    async fn id_by<F: Future<Output = Result<u32, RegistryError>>>(
        &self,
        subject: &str,
        schema: &SchemaText,
        normalize: bool,
        ask: impl FnOnce() -> F,
    ) -> Result<u32, RegistryError> {
        let key = (subject.to_owned(), schema.clone(), normalize);
        if let Some(id) = lock(&self.0.subjects.ids).get(&key) {
            return Ok(*id);
        }
        let id = ask().await?;
        let mut ids = lock(&self.0.subjects.ids);
        if ids.len() >= MOST_REMEMBERED {
            ids.clear(); // who makes so many texts finds none of them again anyway
        }
        ids.insert(key, id);
        Ok(id)
    }

    /// Whether a schema could be registered under a subject as its next version.
    ///
    /// # Errors
    /// Why the registry does not say: the subject may not be there.
    pub async fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError> {
        self.0.asker.check(subject, schema).await
    }
}
