//! [`RegistryConfig`]: where a registry is, and what it is told of us.

use std::{fmt, time::Duration};

use offtake_net::{Secret, http::Proxy, tls::Tls};

use super::url;

/// Where a registry is, and what it is told of us. [`SchemaRegistry::with_config`](super::SchemaRegistry::with_config) takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct RegistryConfig {
    /// `schema.registry.url`: one or more, of which the next is asked where one does not answer, or answers what is none of a registry (a page, a redirect). A path is part of it
    /// (`http://localhost:8080/apis/ccompat/v7`); a user and a password may be (`https://user:password@host`).
    pub urls: Vec<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// `proxy.host`, `proxy.port`: an HTTP proxy by way of which all URLs are asked, and the endpoint of tokens; by default none is. It is told no password.
    pub proxy: Option<Proxy>,
    /// What verifies the certificates of `https` URLs; by default the authorities that the system trusts do.
    pub tls: Option<Tls>,
    /// How long one request may take, its connection included: 5 s. Each URL has as long, or its share of the time of who waits for less than all of
    /// them may take.
    pub request_timeout: Duration,
    /// How large an answer may be: 10 MiB. The texts of a schema and of all that it refers to are as large at most.
    pub max_answer_bytes: usize,
    /// How many schemas are found without a lock: 1,000. Some more are kept, those that were used last.
    pub cache_entries: usize,
    /// How many bytes of schemas: 64 MiB.
    pub cache_bytes: usize,
    /// `missing.id.wait.ms` (ours): how long an id that the registry does not have is asked for again by those who wait for it, with `backoff`
    /// between: 3 s, as a replica of a registry that has just registered it elsewhere answers "not found" for a moment. Zero: it is taken for
    /// absent at once. Once the time is over it is waited for no more.
    pub missing_wait: Duration,
    /// `missing.id.cache.ttl.sec`: how long it is remembered that there is no such schema, before it is asked for again: 10 s.
    pub missing_ttl: Duration,
    /// `latest.cache.ttl.sec`: how long the latest version of a subject is taken for that: 60 s. For serialisers.
    pub latest_ttl: Duration,
    /// `schema.registry.retries.wait.ms`: how long a registry that does not answer is left alone, at first: 100 ms. It doubles.
    pub backoff: Duration,
    /// `schema.registry.retries.max.wait.ms`: and at most: 10 s. Also one that says when it wants to be asked again (`Retry-After`).
    pub backoff_max: Duration,
}

/// Who a registry is told we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Nobody, unless the URL says it.
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
    /// `bearer.auth.credentials.source=OAUTHBEARER`: tokens of an OAuth 2.0 provider, by the client's id and secret (`client_credentials`).
    OAuth {
        /// Where tokens come from, and what is shown there.
        client: OAuthClient,
        /// As of [`Bearer`](Self::Bearer).
        logical_cluster: Option<String>,
        /// As of [`Bearer`](Self::Bearer).
        identity_pool: Option<String>,
    },
}

/// A client of an OAuth 2.0 provider. A token is fetched when a request needs one, kept, and fetched anew ahead of its end, or when the registry
/// has refused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthClient {
    /// `bearer.auth.issuer.endpoint.url`: the token endpoint, `https`, or `http` on loopback. It is asked as the registry is: by
    /// [`tls`](RegistryConfig::tls), which is whom to trust and our own certificate, and with `https` by [`proxy`](RegistryConfig::proxy).
    pub endpoint: String,
    /// `bearer.auth.client.id`
    pub id: String,
    /// `bearer.auth.client.secret`
    pub secret: Secret,
    /// `bearer.auth.scope`
    pub scope: Option<String>,
    /// `bearer.auth.cache.expiry.buffer.seconds`: so long before its end a token is fetched anew, if it lasts for longer; Confluent's default is
    /// 300 s.
    pub expiry_buffer: Duration,
}

impl RegistryConfig {
    /// Asks these URLs, each of which may be several with commas between them, as in `schema.registry.url`.
    pub fn set_urls<U: AsRef<str>>(&mut self, urls: impl IntoIterator<Item = U>) {
        self.urls = urls.into_iter().flat_map(|urls| url::split(urls.as_ref())).collect();
    }
}

/// Without what a URL says of a user.
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
