//! [`Kerberos`]: the source of tickets for GSSAPI.
//!
//! A ticket for the realm is obtained with a keytab, kept, and renewed before it expires. Or it is read from a cache, which
//! `kinit` fills, at each authentication. With it, a ticket is requested for each broker. Separate tasks talk to the KDC, so that
//! a mistake in parsing its data ends at most one authentication.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use krb5::{
    AsyncKdcClient, CCache, CacheError, CacheName, ClientError, ConfigError, Credentials, InitiatorContext,
    KdcClient, Keytab, Krb5Conf, Principal,
    initiator::{GSS_C_INTEG_FLAG, GSS_C_MUTUAL_FLAG},
};
use tokio::task::JoinSet;

use super::{
    ProviderFuture,
    error::ProviderError,
    refresh::{Expiring, Refresh, Refreshing, Source},
    wall_clock,
};

/// The timeout for connecting to one KDC, and again for its answer.
const KDC_TIMEOUT: Duration = Duration::from_secs(5);

// Error codes of KDCs (RFC 4120, section 7.5.9).
const CLIENT_UNKNOWN: i32 = 6;
const SERVER_UNKNOWN: i32 = 7;
const NO_COMMON_ENCRYPTION: i32 = 14;
const CLIENT_LOCKED: i32 = 18;
const KEY_EXPIRED: i32 = 23;
const PREAUTH_FAILED: i32 = 24;
const BAD_INTEGRITY: i32 = 31;
const TICKET_EXPIRED: i32 = 32;
const CLOCK_SKEW: i32 = 37;

/// The client's identity in a Kerberos realm, and the broker's service there, for SASL GSSAPI.
///
/// Realms and their KDCs come from `krb5.conf` (`KRB5_CONFIG`, `/etc/krb5.conf`) and DNS, as for other programs. Keys are AES
/// (the encryption types 17 to 20). A broker's principal is `kafka/HOST@REALM`, where the host is the name that the broker
/// advertises; there is no reverse lookup in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kerberos {
    principal: Option<String>,
    keytab: Option<PathBuf>,
    cache: Option<Cache>,
    service: String,
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cache {
    Default,
    Named(String),
}

impl Kerberos {
    fn new() -> Self {
        let service = "kafka".to_owned();
        Self { principal: None, keytab: None, cache: None, service, config: None }
    }

    /// Authenticates as `principal` (`reader@EXAMPLE.COM`, `reader/host@EXAMPLE.COM`; without a realm, that of `default_realm`),
    /// with its key in the keytab at `path`. The file is read whenever a ticket is obtained: at the start, and after four fifths
    /// of a ticket's life.
    pub fn keytab(principal: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { principal: Some(principal.into()), keytab: Some(path.into()), ..Self::new() }
    }

    /// Authenticates as the principal of the last `kinit`, with the ticket that it left in the default cache (`KRB5CCNAME`,
    /// `default_ccache_name`, `/tmp/krb5cc_UID`). The cache is read at every authentication, and not written to.
    pub fn ticket_cache() -> Self {
        Self { cache: Some(Cache::Default), ..Self::new() }
    }

    /// The same with the cache of this name: a path, or `FILE:…`, `DIR:…`, `KCM:…`.
    pub fn ticket_cache_at(name: impl Into<String>) -> Self {
        Self { cache: Some(Cache::Named(name.into())), ..Self::new() }
    }

    /// Requires this principal: a cache with the tickets of another is refused.
    #[must_use]
    pub fn with_principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Falls back to this keytab if the cache has no ticket that still lasts. The principal has to be set.
    #[must_use]
    pub fn or_keytab(mut self, path: impl Into<PathBuf>) -> Self {
        self.keytab = Some(path.into());
        self
    }

    /// Sets the first part of the brokers' principals: Java's `sasl.kerberos.service.name`. Default `kafka`.
    #[must_use]
    pub fn with_service_name(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Reads this file instead of the system's `krb5.conf`.
    #[must_use]
    pub fn with_config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    pub(super) fn user(&self) -> Option<String> {
        self.principal.clone()
    }

    /// Reads the configuration. May block.
    fn read_config(&self) -> Result<Krb5Conf, ProviderError> {
        let read = match &self.config {
            Some(path) => Krb5Conf::load([path]),
            None => Krb5Conf::load_default(),
        };
        read.map_err(|error| ProviderError::new(format!("krb5.conf: {error}")))
    }

    /// Reads the files. May block.
    fn open(&self) -> Result<Opened, ProviderError> {
        let config = self.read_config()?;
        let principal = self.principal.as_deref().map(|name| parse(name, &config)).transpose()?;
        let cached = self.cache.as_ref().map(|cache| read_cache(cache, principal.as_ref(), &config));
        let by = match (cached, &self.keytab) {
            (Some(Ok(cache)), _) => By::Cache(cache),
            (Some(Err(error)), None) => return Err(error),
            (_, Some(path)) => {
                let principal = principal.ok_or_else(|| {
                    ProviderError::new("a keytab needs a principal, as which to use it: name@REALM")
                })?;
                let keytab = read_keytab(path, &principal)?;
                By::Keytab { principal, keytab, path: path.clone() }
            }
            (None, None) => return Err(ProviderError::new("neither a keytab nor a ticket cache is named")),
        };
        Ok(Opened { config, by })
    }
}

/// The contents of the files.
struct Opened {
    config: Krb5Conf,
    by: By,
}

enum By {
    Cache(CCache),
    Keytab { principal: Principal, keytab: Keytab, path: PathBuf },
}

fn parse(name: &str, config: &Krb5Conf) -> Result<Principal, ProviderError> {
    let parsed = match (name.contains('@'), config.default_realm()) {
        (false, Some(realm)) => Principal::parse_in_realm(name, realm),
        _ => Principal::parse(name),
    };
    parsed.map_err(|_| {
        ProviderError::new(format!(
            "{name:?} is not a valid principal: write name@REALM, or name if krb5.conf has a default_realm"
        ))
    })
}

fn read_cache(
    cache: &Cache,
    principal: Option<&Principal>,
    config: &Krb5Conf,
) -> Result<CCache, ProviderError> {
    let named = match cache {
        Cache::Default => CacheName::default(config),
        Cache::Named(name) => CacheName::parse_with(name, config),
    };
    let named = named.map_err(ProviderError::new)?;
    let read = named.read().map_err(|error| match error {
        CacheError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ProviderError::new(format!("there is no ticket cache {named}: run kinit"))
        }
        other => ProviderError::new(format!("cannot read the ticket cache {named}: {other}")),
    })?;
    let owner = &read.principal;
    if let Some(principal) = principal
        && owner.to_string() != principal.to_string()
    {
        return Err(ProviderError::new(format!(
            "the tickets in {named} are those of {owner}, not of {principal}"
        )));
    }
    let now = unix(wall_clock());
    if read.credentials().all(|ticket| ticket.is_expired_at(now)) {
        return Err(ProviderError::new(format!("the tickets of {owner} in {named} have expired: run kinit")));
    }
    Ok(read)
}

fn read_keytab(path: &Path, principal: &Principal) -> Result<Keytab, ProviderError> {
    let shown = path.display();
    File::open(path)
        .map_err(|error| ProviderError::new(format!("cannot read the keytab {shown}: {error}")))?;
    let keytab = Keytab::load(path)
        .map_err(|error| ProviderError::new(format!("the file {shown} is not a valid keytab: {error}")))?;
    let is_ours = |key: &&krb5::ServiceKey| key.principal == principal.name() && key.realm == principal.realm;
    if !keytab.keys().iter().any(|key| is_ours(&key)) {
        let mut others: Vec<_> =
            keytab.keys().iter().map(|key| format!("{}@{}", key.principal, key.realm)).collect();
        others.sort();
        others.dedup();
        let others = if others.is_empty() { "none that is AES".to_owned() } else { others.join(", ") };
        return Err(ProviderError::new(format!(
            "the keytab {shown} has no key of {principal}; it has {others}"
        )));
    }
    Ok(keytab)
}

/// The tickets of one client.
pub(super) struct Tickets {
    login: Refreshing<Login>,
    service: String,
}

impl Tickets {
    pub(super) fn new(kerberos: Kerberos) -> Self {
        let service = kerberos.service.clone();
        Self { login: Refreshing::new(kerberos, Refresh::default()), service }
    }

    /// A ticket for the broker `host`. Returns the client principal, the context, and its first message.
    pub(super) async fn introduce(
        &self,
        host: &str,
    ) -> Result<(String, InitiatorContext, Vec<u8>), ProviderError> {
        let login = self.login.get(wall_clock()).await?;
        let service = Principal::host_service(&self.service, host, &login.config);
        let user = login.principal.to_string();
        let ticket = apart(async move { login.ticket_for(&service).await }).await?;
        let (context, token) = InitiatorContext::new(&ticket, GSS_C_MUTUAL_FLAG | GSS_C_INTEG_FLAG)
            .map_err(|error| ProviderError::new(format!("the ticket cannot be used: {error}")))?;
        Ok((user, context, token))
    }
}

/// Runs `work` in a task of its own, which ends when the future is dropped.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, ProviderError>> + Send + 'static,
) -> Result<T, ProviderError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        _ => Err(ProviderError::retriable("the request for a ticket was given up")),
    }
}

/// The credentials with which tickets for brokers are obtained.
#[derive(Clone)]
struct Login {
    principal: Principal,
    config: Arc<Krb5Conf>,
    by: Arc<Held>,
}

/// Two are equal if they come from the same login.
impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by, &other.by)
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one for all connections, behind an `Arc`")]
enum Held {
    /// The ticket of the realm.
    Realm { kdc: AsyncKdcClient, ticket: Credentials },
    /// The contents of a cache, perhaps with the broker's ticket itself.
    Cache(CCache),
}

impl Login {
    async fn ticket_for(&self, service: &Principal) -> Result<Credentials, ProviderError> {
        let got = match &*self.by {
            Held::Realm { kdc, ticket } => kdc.service_ticket(ticket, service).await,
            Held::Cache(cache) => {
                let now = unix(wall_clock());
                if let Some(ticket) = cache.find(service, now) {
                    return Ok(ticket);
                }
                let ticket = cache.tgt(now).ok_or_else(|| {
                    let principal = &self.principal;
                    ProviderError::new(format!(
                        "the ticket cache has no ticket of {principal} for {}, nor one of the realm to get it with: run kinit",
                        service.name()
                    ))
                })?;
                let kdc = kdc(&self.config, &ticket.server.realm).await?;
                kdc.service_ticket(&ticket, service).await
            }
        };
        got.map_err(|error| no_service_ticket(&error, service))
    }
}

/// A client for the KDCs of a realm.
async fn kdc(config: &Krb5Conf, realm: &str) -> Result<AsyncKdcClient, ProviderError> {
    match AsyncKdcClient::from_config(config, realm).await {
        Ok(client) => {
            let client: KdcClient = client.into_client().with_timeout(KDC_TIMEOUT);
            Ok(client.into())
        }
        Err(error) => Err(no_kdc(&error)),
    }
}

impl Source<Login> for Kerberos {
    fn fetch(&self) -> ProviderFuture<'_, Login> {
        let kerberos = self.clone();
        Box::pin(async move {
            let opened = tokio::task::spawn_blocking(move || kerberos.open()).await;
            let Ok(opened) = opened else {
                return Err(ProviderError::retriable("the look-up was given up"));
            };
            let Opened { config, by } = opened?;
            let (principal, by) = match by {
                By::Cache(cache) => (cache.principal.clone(), Held::Cache(cache)),
                By::Keytab { principal, keytab, path } => {
                    let kdc = kdc(&config, &principal.realm).await?;
                    let ticket = kdc
                        .login_with_keytab(&principal, &keytab)
                        .await
                        .map_err(|error| no_login(&error, &principal, &path))?;
                    (principal, Held::Realm { kdc, ticket })
                }
            };
            Ok(Login { principal, config: Arc::new(config), by: Arc::new(by) })
        })
    }
}

impl Expiring for Login {
    const NAME: &'static str = "the Kerberos ticket";

    /// A cache is read again each time, because it may contain newer tickets.
    fn expires(&self) -> Option<SystemTime> {
        match &*self.by {
            Held::Realm { ticket, .. } => {
                let end = u64::try_from(ticket.endtime).unwrap_or(0);
                UNIX_EPOCH.checked_add(Duration::from_secs(end))
            }
            Held::Cache(_) => None,
        }
    }
}

/// The error if there is no ticket for the realm.
fn no_login(error: &ClientError, principal: &Principal, keytab: &Path) -> ProviderError {
    let (realm, keytab) = (&principal.realm, keytab.display());
    let reason = match error {
        ClientError::Kdc { code: CLIENT_UNKNOWN, .. } => {
            format!("the KDC of {realm} does not know {principal}")
        }
        ClientError::Kdc { code: CLIENT_LOCKED, .. } => format!("the KDC of {realm} has locked {principal}"),
        ClientError::Kdc { code: KEY_EXPIRED, .. } => {
            format!("the KDC of {realm} says that the key of {principal} has expired")
        }
        ClientError::Kdc { code: PREAUTH_FAILED | BAD_INTEGRITY, .. } | ClientError::Crypto(_) => format!(
            "the key in the keytab {keytab} is not, or not any more, that of {principal}: a new keytab has to be made"
        ),
        other => return no_answer(other, realm),
    };
    ProviderError::new(reason)
}

/// The error if there is no ticket for a broker.
fn no_service_ticket(error: &ClientError, service: &Principal) -> ProviderError {
    let name = service.name();
    let reason = match error {
        ClientError::Kdc { code: SERVER_UNKNOWN, .. } => format!(
            "the KDC does not know the service {name}: its first part is `sasl.kerberos.service.name`, its second the name that the \
             broker has for clients"
        ),
        ClientError::Kdc { code: TICKET_EXPIRED, .. } => "the ticket has expired: run kinit".to_owned(),
        other => {
            let error = no_answer(other, &service.realm);
            let reason = format!("no ticket for {name}: {error}");
            return if error.is_retriable() {
                ProviderError::retriable(reason)
            } else {
                ProviderError::new(reason)
            };
        }
    };
    ProviderError::new(reason)
}

/// The errors that any request may have.
fn no_answer(error: &ClientError, realm: &str) -> ProviderError {
    match error {
        ClientError::Unreachable { realm, last } => ProviderError::retriable(format!(
            "no KDC of {realm} answers ({last}): check `kdc` in krb5.conf, and that it is up"
        )),
        ClientError::Config(error) => no_kdc(error),
        ClientError::Kdc { code: CLOCK_SKEW, .. } => ProviderError::new(
            "the KDC says that this machine's clock and its own are too far apart (5 minutes, as a rule)",
        ),
        ClientError::Kdc { code: NO_COMMON_ENCRYPTION, .. } => ProviderError::new(format!(
            "the KDC of {realm} has no key of an encryption type that is supported here: it has to be AES"
        )),
        other => ProviderError::new(other),
    }
}

fn no_kdc(error: &ConfigError) -> ProviderError {
    match error {
        ConfigError::Dns { .. } => ProviderError::retriable(error),
        ConfigError::NoKdcFound { realm, .. } => ProviderError::new(format!(
            "no KDC of the realm {realm} is known: krb5.conf has none, nor has DNS"
        )),
        other => ProviderError::new(format!("krb5.conf: {other}")),
    }
}

fn unix(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
