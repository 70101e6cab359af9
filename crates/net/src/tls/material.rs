//! [`Material`]: what was made of the certificates and keys, and is made anew when their files change.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    ClientConfig,
    client::WebPkiServerVerifier,
    crypto::CryptoProvider,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    TlsConfig, TlsConfigError,
    certificate::{Certificate, utc},
    files::Snapshot,
    identity,
    trust::Roots,
    verifier::Verifier,
    versions::{self, Versions},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// So long before our certificate ends we say so, in seconds.
const ENDS_SOON: i64 = 14 * 24 * 3600;

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
    /// When we said that our certificate ends.
    warned: Option<SystemTime>,
    /// What became of changed files, and is not logged yet.
    news: Vec<News>,
}

/// What became of changed files.
#[derive(Debug)]
enum News {
    /// What they have now is in use.
    Read,
    /// What they had before stays in use.
    Refused(TlsConfigError),
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
            Some(identity) => {
                Some(Part::read(identity.paths(), now, || identity::read(identity, &provider))?)
            }
            None => None,
        };
        let client = Arc::new(client(&config, &provider, versions, &trust, identity.as_ref())?);
        Ok(Self { config, provider, versions, trust, identity, client, warned: None, news: Vec::new() })
    }

    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Whether [`refresh`](Self::refresh) has files to look at.
    pub(super) fn has_files(&self) -> bool {
        !self.trust.paths.is_empty()
            || self.identity.as_ref().is_some_and(|identity| !identity.paths.is_empty())
    }

    /// Reads again what changed. What cannot be read any more stays as it is.
    pub(super) fn refresh(&mut self, now: SystemTime) {
        let news = &mut self.news;
        let mut changed = self.trust.refresh(now, news, || Roots::read(&self.config.trust));
        if let (Some(part), Some(identity)) = (&mut self.identity, &self.config.identity)
            && part.refresh(now, news, || identity::read(identity, &self.provider))
        {
            self.warned = None; // it is another
            changed = true;
        }
        if changed {
            match client(&self.config, &self.provider, self.versions, &self.trust, self.identity.as_ref()) {
                Ok(client) => self.client = Arc::new(client),
                Err(error) => news.push(News::Refused(error)),
            }
        }
    }

    /// Logs what is new: that files changed, and that our certificate ends.
    pub(super) fn log(&mut self, now: SystemTime) {
        for news in self.news.drain(..) {
            match news {
                News::Read => tracing::info!("a TLS file has changed, and is used for new connections"),
                News::Refused(error) => tracing::warn!(
                    "a TLS file has changed and cannot be used, what it had before stays in use: {error}"
                ),
            }
        }
        self.warn_of_ending(now);
    }

    /// Warns, once a day, of a certificate of ours that ends soon.
    fn warn_of_ending(&mut self, now: SystemTime) {
        let Some(own) = &self.client.own else { return };
        let left = own.not_after.saturating_sub(seconds(now));
        let was_said =
            self.warned.is_some_and(|warned| now.duration_since(warned).is_ok_and(|ago| ago < DAY));
        if left > ENDS_SOON || was_said {
            return;
        }
        self.warned = Some(now);
        tracing::warn!(
            "our own certificate ({}) {} on {}: renew it in `{}`",
            own.name,
            if left > 0 { "ends" } else { "ended" },
            utc(own.not_after),
            own.property,
        );
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
        news: &mut Vec<News>,
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
                    news.push(News::Read);
                }
                true
            }
            Err(error) => {
                if self.complaint.as_ref() != Some(&error) {
                    news.push(News::Refused(error.clone()));
                }
                self.complaint = Some(error);
                false
            }
        }
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
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
    let own = identity.and_then(|part| Certificate::parse(part.value.cert.first()?));
    let own = own.zip(config.identity.as_ref()).map(|(own, identity)| OwnCertificate {
        name: format!("`{}`, issued by `{}`", own.subject, own.issuer),
        not_after: own.not_after,
        property: identity.property(),
    });
    Ok(Client { rustls: Arc::new(rustls), own, versions: versions.name() })
}
