//! [`RegistryConfig`]: where a registry is, and what it is told of us.

use std::{collections::BTreeMap, fmt, time::Duration};

use offtake_client::{
    ClientConfig,
    config::{ConfigError, SecurityProtocol},
};
use offtake_net::{Secret, tls::Tls};

use super::error::{RegistryError, RegistryErrorKind};

/// Where a registry is, and what it is told of us. [`SchemaRegistry::with_config`](super::SchemaRegistry::with_config) takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct RegistryConfig {
    /// `schema.registry.url`: one or more, of which the next is asked where one does not answer. A path is part of it
    /// (`http://localhost:8080/apis/ccompat/v7`); a user and a password may be (`https://user:password@host`).
    pub urls: Vec<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// What verifies the certificates of `https` URLs; by default the authorities that the system trusts do.
    pub tls: Option<Tls>,
    /// How long one request may take, its connection included: 5 s. Each URL has as long.
    pub request_timeout: Duration,
    /// How large an answer may be: 10 MiB. The texts of a schema and of all that it refers to are as large at most.
    pub max_answer_bytes: usize,
    /// How many schemas are found without a lock: 1,000. Some more are kept, those that were used last.
    pub cache_entries: usize,
    /// How many bytes of schemas: 64 MiB.
    pub cache_bytes: usize,
    /// `missing.id.cache.ttl.sec`: how long it is remembered that there is no such schema: 10 s.
    pub missing_ttl: Duration,
    /// `latest.cache.ttl.sec`: how long the latest version of a subject is taken for that: 60 s. For serialisers.
    pub latest_ttl: Duration,
    /// `schema.registry.retries.wait.ms`: how long a registry that does not answer is left alone, at first: 100 ms. It doubles.
    pub backoff: Duration,
    /// `schema.registry.retries.max.wait.ms`: and at most: 10 s.
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
}

/// Without what a URL says of a user.
impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| without_user(url)).collect();
        f.debug_struct("RegistryConfig")
            .field("urls", &urls)
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .field("request_timeout", &self.request_timeout)
            .field("max_answer_bytes", &self.max_answer_bytes)
            .field("cache_entries", &self.cache_entries)
            .field("cache_bytes", &self.cache_bytes)
            .field("missing_ttl", &self.missing_ttl)
            .field("latest_ttl", &self.latest_ttl)
            .field("backoff", &self.backoff)
            .field("backoff_max", &self.backoff_max)
            .finish()
    }
}

fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        (_, None) => url.to_owned(),
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            credentials: Credentials::None,
            tls: None,
            request_timeout: Duration::from_secs(5),
            max_answer_bytes: 10 << 20,
            cache_entries: 1000,
            cache_bytes: 64 << 20,
            missing_ttl: Duration::from_secs(10),
            latest_ttl: Duration::from_secs(60),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
        }
    }
}

/// Stands before properties of TLS, and may stand before the others.
const PREFIX: &str = "schema.registry.";

impl RegistryConfig {
    /// Whether a property is one of these.
    pub fn knows(name: &str) -> bool {
        match name.strip_prefix(PREFIX) {
            Some(bare) => bare.starts_with("ssl.") || NAMES.contains(&bare),
            // Without the prefix others are a client's, or nobody's.
            None => {
                let is_of_registries = ["basic.auth.", "bearer.auth.", "missing.", "latest."]
                    .iter()
                    .any(|one| name.starts_with(one));
                is_of_registries && NAMES.contains(&name)
            }
        }
    }

    /// The defaults, changed by these properties of Confluent's names. Those of others are left alone. Files that TLS needs are read.
    ///
    /// # Errors
    /// A value that its property does not take, or that contradicts another.
    pub fn from_properties<N: AsRef<str>, V: AsRef<str>>(
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, RegistryError> {
        let mut found = BTreeMap::new();
        let mut ssl = Vec::new();
        for (name, value) in properties {
            let (name, value) = (name.as_ref().trim(), value.as_ref().trim());
            if !Self::knows(name) {
                continue;
            }
            let bare = name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
            if bare.starts_with("ssl.") {
                ssl.push((bare, value.to_owned()));
            } else {
                found.insert(bare, value.to_owned());
            }
        }
        let properties = Found(found);
        let mut config = Self::default();
        if let Some(urls) = properties.get("url") {
            config.urls = split(urls);
        }
        config.credentials = properties.credentials()?;
        for (name, unit, field) in [
            ("request.timeout.ms", 1, &mut config.request_timeout),
            ("missing.id.cache.ttl.sec", 1000, &mut config.missing_ttl),
            ("latest.cache.ttl.sec", 1000, &mut config.latest_ttl),
            ("retries.wait.ms", 1, &mut config.backoff),
            ("retries.max.wait.ms", 1, &mut config.backoff_max),
        ] {
            if let Some(text) = properties.get(name) {
                let number: u32 =
                    text.parse().map_err(|_| conflict(format!("`{name}` takes a whole number")))?;
                *field = Duration::from_millis(u64::from(number).saturating_mul(unit));
            }
        }
        if !ssl.is_empty() {
            config.tls = Some(tls(ssl)?);
        }
        Ok(config)
    }
}

/// The names after the prefix, but those of TLS.
const NAMES: &[&str] = &[
    "url",
    "request.timeout.ms",
    "missing.id.cache.ttl.sec",
    "latest.cache.ttl.sec",
    "retries.wait.ms",
    "retries.max.wait.ms",
    "basic.auth.credentials.source",
    "basic.auth.user.info",
    "bearer.auth.credentials.source",
    "bearer.auth.token",
    "bearer.auth.logical.cluster",
    "bearer.auth.identity.pool.id",
];

/// URLs, with commas between them.
pub(super) fn split(urls: &str) -> Vec<String> {
    urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

struct Found(BTreeMap<String, String>);

impl Found {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn credentials(&self) -> Result<Credentials, RegistryError> {
        let basic = self.get("basic.auth.user.info");
        let token = self.get("bearer.auth.token");
        match (self.get("basic.auth.credentials.source"), self.get("bearer.auth.credentials.source")) {
            (Some(_), Some(_)) => Err(conflict(
                "`basic.auth.credentials.source` and `bearer.auth.credentials.source` exclude one another",
            )),
            (Some("USER_INFO"), None) => match basic {
                Some(info) => user_info(info),
                None => {
                    Err(conflict("`basic.auth.credentials.source=USER_INFO` needs `basic.auth.user.info`"))
                }
            },
            (Some("URL"), None) => Ok(Credentials::None),
            (Some(_), None) => Err(conflict("`basic.auth.credentials.source` takes USER_INFO or URL here")),
            (None, Some("STATIC_TOKEN")) => match token {
                Some(token) => Ok(self.bearer(token)),
                None => {
                    Err(conflict("`bearer.auth.credentials.source=STATIC_TOKEN` needs `bearer.auth.token`"))
                }
            },
            (None, Some(_)) => Err(conflict("`bearer.auth.credentials.source` takes STATIC_TOKEN here")),
            // As librdkafka's users write it, without the source.
            (None, None) => match (basic, token) {
                (Some(_), Some(_)) => {
                    Err(conflict("`basic.auth.user.info` and `bearer.auth.token` exclude one another"))
                }
                (Some(info), None) => user_info(info),
                (None, Some(token)) => Ok(self.bearer(token)),
                (None, None) => Ok(Credentials::None),
            },
        }
    }

    fn bearer(&self, token: &str) -> Credentials {
        let owned = |name| self.get(name).map(str::to_owned);
        Credentials::Bearer {
            token: Secret::from(token),
            logical_cluster: owned("bearer.auth.logical.cluster"),
            identity_pool: owned("bearer.auth.identity.pool.id"),
        }
    }
}

fn user_info(info: &str) -> Result<Credentials, RegistryError> {
    let (user, password) =
        info.split_once(':').ok_or_else(|| conflict("`basic.auth.user.info` takes USER:PASSWORD"))?;
    Ok(Credentials::Basic { user: user.to_owned(), password: Secret::from(password) })
}

/// What `ssl.*` say, as of brokers.
fn tls(properties: Vec<(String, String)>) -> Result<Tls, RegistryError> {
    let wrong = |error: &ConfigError| {
        let reason = format!("`schema.registry.ssl.*`: {error}");
        if error.is_unreadable() { RegistryError::unreadable(reason) } else { conflict(reason) }
    };
    let mut config = ClientConfig::default();
    for (name, value) in properties {
        config.set(&name, &value).map_err(|error| wrong(&error))?;
    }
    config.security.protocol = SecurityProtocol::Ssl;
    let security = config.security.build().map_err(|error| wrong(&error))?;
    security.tls.ok_or_else(|| conflict("`schema.registry.ssl.*`: there is no TLS"))
}

pub(super) fn conflict(reason: impl std::fmt::Display) -> RegistryError {
    RegistryError::new(RegistryErrorKind::Config, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &[(&str, &str)]) -> Result<RegistryConfig, RegistryError> {
        RegistryConfig::from_properties(properties.iter().copied())
    }

    #[test]
    fn confluents_names_are_understood_and_others_are_left_alone() {
        let config = of(&[
            ("schema.registry.url", "http://a:8081, http://b:8081"),
            ("basic.auth.credentials.source", "USER_INFO"),
            ("schema.registry.basic.auth.user.info", "key:hun:ter2"),
            ("schema.registry.request.timeout.ms", "1500"),
            ("request.timeout.ms", "9"),
            ("latest.cache.ttl.sec", "7"),
            ("group.id", "g"),
        ])
        .unwrap();
        assert_eq!(config.urls, ["http://a:8081", "http://b:8081"]);
        let expected = Credentials::Basic { user: "key".to_owned(), password: Secret::from("hun:ter2") };
        assert_eq!(config.credentials, expected);
        assert_eq!(config.request_timeout, Duration::from_millis(1500));
        assert_eq!(config.latest_ttl, Duration::from_secs(7));
        assert!(!format!("{config:?}").contains("ter2"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (properties, said) in [
            (&[("basic.auth.credentials.source", "USER_INFO")][..], "needs `basic.auth.user.info`"),
            (&[("basic.auth.credentials.source", "SASL_INHERIT")], "takes USER_INFO or URL"),
            (&[("basic.auth.user.info", "nobody")], "USER:PASSWORD"),
            (&[("bearer.auth.token", "t"), ("basic.auth.user.info", "a:b")], "exclude one another"),
            (&[("schema.registry.retries.wait.ms", "soon")], "whole number"),
            (
                &[
                    ("schema.registry.ssl.truststore.location", "/nonexistent.pem"),
                    ("schema.registry.ssl.truststore.type", "PEM"),
                ],
                "/nonexistent.pem",
            ),
            (&[("schema.registry.ssl.trustore.location", "x")], "did you mean"),
        ] {
            let error = of(properties).unwrap_err();
            assert_eq!(error.kind(), RegistryErrorKind::Config);
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn a_clients_own_properties_are_not_the_registrys() {
        for name in ["request.timeout.ms", "ssl.truststore.location", "url", "group.id"] {
            assert!(!RegistryConfig::knows(name), "{name}");
        }
    }
}
