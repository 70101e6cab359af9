//! TLS, by rustls: [`Tls`] makes an encrypted connection from any other connection.
//!
//! Certificates and host names are verified, unless [`Verification`] says otherwise. TLS 1.2 and 1.3 are supported, and no older
//! version. Sessions are resumed as long as no file changes.
//!
//! The files of certificates and keys are checked for each new connection, and read again when they have changed. If a changed
//! file is unusable, that is logged (WARN) once, and the previous contents stay in use. If the client's own certificate expires
//! within 14 days, or has expired, that is logged (WARN) once a day, when a connection is made.

mod backend;
mod certificate;
mod config;
mod der;
mod error;
mod files;
mod identity;
mod jks;
mod keystore;
mod material;
mod pbe;
mod pem;
mod pkcs12;
mod published;
mod read_ahead;
mod stream;
mod trust;
mod verifier;
mod versions;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use rustls::pki_types::ServerName;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

pub use config::{Identity, Keystore, Pem, Source, TlsConfig, Trust, Verification};
pub use error::{TlsConfigError, TlsError, describe_alert};

use self::{
    error::describe_handshake,
    material::{Client, Material},
    published::{LogEntry, Published},
    read_ahead::ReadAhead,
    stream::TlsStream,
};
use crate::dial::ByteStream;

/// Makes encrypted connections. Clones share the same state.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    published: Mutex<Published>,
    /// Locked while files are read, only on threads where blocking does no harm.
    material: Mutex<Material>,
    /// Whether files may change.
    has_files: bool,
}

impl Tls {
    /// Reads the configured certificates and keys, and the system's trusted authorities. It blocks for that: some milliseconds,
    /// or up to a second if a key is strongly encrypted. Logs a warning (WARN) if the verification of brokers is limited.
    ///
    /// # Errors
    /// An error in a setting, a file or a password.
    pub fn new(config: TlsConfig) -> Result<Self, TlsConfigError> {
        if let Some(warning) = config.verification.warning() {
            tracing::warn!("{warning}");
        }
        let material = Material::read(config, wall_clock())?;
        let tls = Self(Arc::new(Shared {
            has_files: material.has_files(),
            published: Mutex::new(Published::new(material.client())),
            material: Mutex::new(material),
        }));
        tls.warn_of_ending();
        Ok(tls)
    }

    /// Logs (WARN) that the client's own certificate expires within 14 days, or has expired; at most once a day.
    /// [`connect`](Self::connect) does so too, but connections may live longer than that.
    pub fn warn_of_ending(&self) {
        let news = lock(&self.0.published).take_news(wall_clock());
        news.into_iter().for_each(LogEntry::log);
    }

    #[doc(hidden)] // for our own crates
    /// Makes an encrypted connection to `host`, a name or an address, over an existing one. It has no timeout: the caller drops
    /// the future when its time has ended.
    ///
    /// # Errors
    /// The reason, in a sentence. With TLS 1.3, a broker's refusal of the client's certificate shows only when something is read:
    /// see [`describe_alert`].
    pub async fn connect(
        &self,
        host: &str,
        stream: Box<dyn ByteStream>,
    ) -> Result<Box<dyn ByteStream>, TlsError> {
        Ok(Box::new(self.handshake(host, stream).await?))
    }

    /// The same with the concrete type, which can be queried for its facts.
    pub(crate) async fn handshake(
        &self,
        host: &str,
        stream: Box<dyn ByteStream>,
    ) -> Result<TlsStream, TlsError> {
        let name = server_name(host)?;
        let client = self.current().await;
        let connector = TlsConnector::from(Arc::clone(&client.rustls));
        match connector.connect(name, ReadAhead::new(stream)).await {
            Ok(stream) => Ok(TlsStream::new(stream, client)),
            Err(error) => Err(describe_handshake(&error, &client)),
        }
    }

    /// The configuration for a connection, from the files as they are now. They are read on a thread where blocking does no harm.
    async fn current(&self) -> Arc<Client> {
        if self.0.has_files {
            let shared = Arc::clone(&self.0);
            // A runtime that is shutting down runs nothing any more; it makes no connection either.
            let _ = spawn_blocking(move || shared.refresh()).await;
        }
        self.warn_of_ending();
        lock(&self.0.published).client()
    }
}

impl Shared {
    fn refresh(&self) {
        let mut material = lock(&self.material);
        let news = material.refresh(wall_clock());
        lock(&self.published).update(material.client(), news);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two are equal if they are clones of each other.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The host as in certificates: without the final dot of a full name, and without the brackets or the zone of an IPv6 address.
fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = host.strip_suffix('.').unwrap_or(host);
    let bare = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
    let bare = if bare.contains(':') { bare.split('%').next().unwrap_or(bare) } else { bare };
    ServerName::try_from(bare.to_owned()).map_err(|_| {
        TlsError::lasting("its host is neither a name nor an address that a certificate could be for")
    })
}

/// A signing key from PEM text. It blocks to read the file and to decrypt the key.
#[cfg(feature = "oidc")]
pub(crate) fn signing_key(
    pem: &Pem,
    password: Option<&crate::Secret>,
) -> Result<Arc<dyn rustls::sign::SigningKey>, TlsConfigError> {
    identity::read_key(pem, password)
}

/// The wall clock, by which certificates expire.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates and files are dated by the calendar, and nothing waits for it"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
