//! [`Material`]: what was made of the certificates and keys, and is made anew when their files change.

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

/// What connections are made with.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) rustls: Arc<ClientConfig>,
    pub(super) own: Option<OwnCertificate>,
    /// The versions we offer, as errors call them.
    pub(super) versions: &'static str,
}

/// What errors say about our certificate.
#[derive(Debug)]
pub(super) struct OwnCertificate {
    /// It and its issuer.
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    /// Where it was set.
    pub(super) property: &'static str,
}

/// What was made of the certificates and keys.
#[derive(Debug)]
pub(super) struct Material {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    versions: Versions,
    trust: Part<Roots>,
    identity: Option<Part<CertifiedKey>>,
    client: Arc<Client>,
}

/// What was made of some files.
#[derive(Debug)]
struct Part<T> {
    value: Arc<T>,
    paths: Vec<PathBuf>,
    /// The files when they were last read, in vain or not.
    snapshot: Snapshot,
    /// What is wrong with what they contain now, as it was logged.
    complaint: Option<TlsConfigError>,
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

    /// Whether [`refresh`](Self::refresh) has files to look at.
    pub(super) fn has_files(&self) -> bool {
        !self.trust.paths.is_empty()
            || self.identity.as_ref().is_some_and(|identity| !identity.paths.is_empty())
    }

    /// Reads again what changed, and says what became of it. What cannot be read any more stays as it is.
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
        let snapshot = Snapshot::take(&paths, now); // before it reads: what changes meanwhile is read again
        Ok(Self { value: Arc::new(read()?), paths, snapshot, complaint: None })
    }

    /// Whether there is a new value.
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
                if self.complaint.take().is_some() || !is_known {
                    news.push(LogEntry::Read);
                }
                true
            }
            Err(error) => {
                if self.complaint.as_ref() != Some(&error) {
                    news.push(LogEntry::Refused(error.clone()));
                }
                self.complaint = Some(error);
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
