//! [`Material`]: the certificates and keys in use, loaded again when their files change.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use rustls::{
    ClientConfig,
    client::WebPkiServerVerifier,
    crypto::CryptoProvider,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    TlsConfig, TlsConfigError,
    certificate::Certificate,
    files::Snapshot,
    identity,
    published::LogEntry,
    trust::Roots,
    verifier::Verifier,
    versions::{self, Versions},
};

/// The configuration of connections.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) rustls: Arc<ClientConfig>,
    pub(super) own: Option<OwnCertificate>,
    /// The offered versions, as named in errors.
    pub(super) versions: &'static str,
}

/// The facts about the client's own certificate for errors.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    /// The certificate's subject and issuer.
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    /// The property that set it.
    pub(super) property: &'static str,
}

/// The certificates and keys in use.
#[derive(Debug)]
pub(super) struct Material {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    versions: Versions,
    trust: Part<Roots>,
    identity: Option<Part<CertifiedKey>>,
    client: Arc<Client>,
}

/// The value loaded from some files.
#[derive(Debug)]
struct Part<T> {
    value: Arc<T>,
    paths: Vec<PathBuf>,
    /// The state of the files when they were last read, with or without success.
    snapshot: Snapshot,
    /// The error in their present contents, as it was logged.
    logged_error: Option<TlsConfigError>,
}

impl Material {
    pub(super) fn read(config: TlsConfig, now: SystemTime) -> Result<Self, TlsConfigError> {
        let versions = Versions::of(&config)?;
        let provider = Arc::new(versions::provider(&config, versions)?);
        let trust = Part::read(config.trust.paths(), now, || Roots::read(&config.trust))?;
        let identity = match &config.identity {
            Some(identity) => Some(Part::read(identity.paths(), now, || identity::read(identity))?),
            None => None,
        };
        let client = Arc::new(client(&config, &provider, versions, &trust, identity.as_ref())?);
        Ok(Self { config, provider, versions, trust, identity, client })
    }

    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Whether [`refresh`](Self::refresh) has files to check.
    pub(super) fn has_files(&self) -> bool {
        !self.trust.paths.is_empty()
            || self.identity.as_ref().is_some_and(|identity| !identity.paths.is_empty())
    }

    /// Reads changed files again, and returns log entries with the results. A file that cannot be used keeps its previous value.
    pub(super) fn refresh(&mut self, now: SystemTime) -> Vec<LogEntry> {
        let mut news = Vec::new();
        let mut changed = self.trust.refresh(now, &mut news, || Roots::read(&self.config.trust));
        if let (Some(part), Some(identity)) = (&mut self.identity, &self.config.identity) {
            changed |= part.refresh(now, &mut news, || identity::read(identity));
        }
        if changed {
            match client(&self.config, &self.provider, self.versions, &self.trust, self.identity.as_ref()) {
                Ok(client) => self.client = Arc::new(client),
                Err(error) => news.push(LogEntry::Refused(error)),
            }
        }
        news
    }
}

impl<T> Part<T> {
    fn read(
        paths: Vec<PathBuf>,
        now: SystemTime,
        read: impl FnOnce() -> Result<T, TlsConfigError>,
    ) -> Result<Self, TlsConfigError> {
        let snapshot = Snapshot::take(&paths, now); // taken before reading, so that a change meanwhile is noticed
        Ok(Self { value: Arc::new(read()?), paths, snapshot, logged_error: None })
    }

    /// Reads the files again if they have changed. Returns whether there is a new value.
    fn refresh(
        &mut self,
        now: SystemTime,
        news: &mut Vec<LogEntry>,
        read: impl FnOnce() -> Result<T, TlsConfigError>,
    ) -> bool {
        let snapshot = Snapshot::take(&self.paths, now);
        if snapshot.is_same(&self.snapshot) {
            return false;
        }
        let is_known = snapshot.looks_same(&self.snapshot);
        self.snapshot = snapshot;
        match read() {
            Ok(value) => {
                self.value = Arc::new(value);
                if self.logged_error.take().is_some() || !is_known {
                    news.push(LogEntry::Read);
                }
                true
            }
            Err(error) => {
                if self.logged_error.as_ref() != Some(&error) {
                    news.push(LogEntry::Refused(error.clone()));
                }
                self.logged_error = Some(error);
                false
            }
        }
    }
}

fn client(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
    versions: Versions,
    trust: &Part<Roots>,
    identity: Option<&Part<CertifiedKey>>,
) -> Result<Client, TlsConfigError> {
    let roots = Arc::new(trust.value.store.clone());
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    let webpki = webpki.map_err(|error| TlsConfigError::new("ssl.truststore.location", error.to_string()))?;
    let verifier = Verifier::new(Arc::clone(&trust.value), webpki, config.verification);
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions.supported())
        .map_err(|error| TlsConfigError::new("ssl.cipher.suites", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let rustls = match identity {
        Some(part) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&part.value))))
        }
        None => builder.with_no_client_auth(),
    };
    if cfg!(feature = "fips") && !rustls.fips() {
        let reason = "with these the cryptography would not be what FIPS 140 approves, which this build is for (feature `fips`)";
        return Err(TlsConfigError::new("ssl.cipher.suites", reason));
    }
    let own = identity.and_then(|part| Certificate::parse(part.value.cert.first()?));
    let own = own.zip(config.identity.as_ref()).map(|(own, identity)| OwnCertificate {
        name: format!("`{}`, issued by `{}`", own.subject, own.issuer),
        not_after: own.not_after,
        property: identity.property(),
    });
    Ok(Client { rustls: Arc::new(rustls), own, versions: versions.name() })
}
