//! [`RegistryConfig`]: the addresses of a registry, and the client's credentials.

use std::{fmt, time::Duration};

use offtake_net::{Secret, http::Proxy, tls::Tls};

use super::url;

/// The configuration of a registry's client. [`SchemaRegistry::with_config`](super::SchemaRegistry::with_config) takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct RegistryConfig {
    /// `schema.registry.url`: one or more URLs. If one does not respond, or returns something that is no response of a registry
    /// (a web page, a redirect), the next is tried. A path is part of a URL (`http://localhost:8080/apis/ccompat/v7`); a user and
    /// a password may be (`https://user:password@host`).
    pub urls: Vec<String>,
    /// The client's credentials.
    pub credentials: Credentials,
    /// `proxy.host`, `proxy.port`: an HTTP proxy for all URLs and for the token endpoint; none by default. A password for the
    /// proxy is not supported.
    pub proxy: Option<Proxy>,
    /// The verification of certificates for `https` URLs; by default with the system's trusted authorities.
    pub tls: Option<Tls>,
    /// The timeout of one request, including its connection: 5 s. Each URL has this time, or a share of the caller's time if that
    /// is too short for all of them.
    pub request_timeout: Duration,
    /// The size limit of a response: 10 MiB. It also limits the texts of a schema and everything that it refers to.
    pub max_answer_bytes: usize,
    /// The number of schemas that are found without a lock: 1,000. Some more, those used last, are kept in addition.
    pub cache_entries: usize,
    /// The size limit of these schemas in bytes: 64 MiB.
    pub cache_bytes: usize,
    /// `missing.id.wait.ms` (Offtake's own): how long callers that wait for an id which the registry does not have retry, with
    /// `backoff` in between: 3 s. This helps because a replica of a registry returns "not found" for a moment after a
    /// registration elsewhere. Zero: no retry. When the time has ended, the id is not waited for again.
    pub missing_wait: Duration,
    /// `missing.id.cache.ttl.sec`: how long an absent schema is remembered before it is requested again: 10 s.
    pub missing_ttl: Duration,
    /// `latest.cache.ttl.sec`: how long the latest version of a subject is cached: 60 s. For serializers.
    pub latest_ttl: Duration,
    /// `schema.registry.retries.wait.ms`: the first pause after a registry did not respond: 100 ms. It doubles.
    pub backoff: Duration,
    /// `schema.registry.retries.max.wait.ms`: the longest pause: 10 s. It also limits a pause requested by the registry
    /// (`Retry-After`).
    pub backoff_max: Duration,
}

/// The client's credentials for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// None, unless they are in the URL.
    #[default]
    None,
    /// `basic.auth.user.info`: a user and a password.
    Basic {
        /// The user; for Confluent Cloud the key.
        user: String,
        /// The password; for Confluent Cloud the secret.
        password: Secret,
    },
    /// `bearer.auth.token`
    Bearer {
        /// The token.
        token: Secret,
        /// `bearer.auth.logical.cluster`: the header `target-sr-cluster`.
        logical_cluster: Option<String>,
        /// `bearer.auth.identity.pool.id`: the header `Confluent-Identity-Pool-Id`.
        identity_pool: Option<String>,
    },
    /// `bearer.auth.credentials.source=OAUTHBEARER`: tokens from an OAuth 2.0 provider, with the client's id and secret
    /// (`client_credentials`).
    OAuth {
        /// The token endpoint, and the credentials for it.
        client: OAuthClient,
        /// Like that of [`Bearer`](Self::Bearer).
        logical_cluster: Option<String>,
        /// Like that of [`Bearer`](Self::Bearer).
        identity_pool: Option<String>,
    },
}

/// A client of an OAuth 2.0 provider. A token is fetched when a request needs one, kept, and renewed before it expires, or when
/// the registry has refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthClient {
    /// `bearer.auth.issuer.endpoint.url`: the token endpoint, `https`, or `http` on loopback. Requests to it use the same
    /// [`tls`](RegistryConfig::tls) as the registry, for trust and for the client's certificate, and with `https` the same
    /// [`proxy`](RegistryConfig::proxy).
    pub endpoint: String,
    /// `bearer.auth.client.id`
    pub id: String,
    /// `bearer.auth.client.secret`
    pub secret: Secret,
    /// `bearer.auth.scope`
    pub scope: Option<String>,
    /// `bearer.auth.cache.expiry.buffer.seconds`: how long before its expiry a token is renewed, if it lasts longer than that;
    /// Confluent's default is 300 s.
    pub expiry_buffer: Duration,
}

impl RegistryConfig {
    /// Sets the URLs. Each item may contain several with commas between them, as in `schema.registry.url`.
    pub fn set_urls<U: AsRef<str>>(&mut self, urls: impl IntoIterator<Item = U>) {
        self.urls = urls.into_iter().flat_map(|urls| url::split(urls.as_ref())).collect();
    }
}

/// Omits users and passwords in URLs.
impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| url::shown(url)).collect();
        f.debug_struct("RegistryConfig")
            .field("urls", &urls)
            .field("credentials", &self.credentials)
            .field("proxy", &self.proxy)
            .field("tls", &self.tls)
            .field("request_timeout", &self.request_timeout)
            .field("max_answer_bytes", &self.max_answer_bytes)
            .field("cache_entries", &self.cache_entries)
            .field("cache_bytes", &self.cache_bytes)
            .field("missing_wait", &self.missing_wait)
            .field("missing_ttl", &self.missing_ttl)
            .field("latest_ttl", &self.latest_ttl)
            .field("backoff", &self.backoff)
            .field("backoff_max", &self.backoff_max)
            .finish()
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            credentials: Credentials::None,
            proxy: None,
            tls: None,
            request_timeout: Duration::from_secs(5),
            max_answer_bytes: 10 << 20,
            cache_entries: 1000,
            cache_bytes: 64 << 20,
            missing_wait: Duration::from_secs(3),
            missing_ttl: Duration::from_secs(10),
            latest_ttl: Duration::from_secs(60),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}
