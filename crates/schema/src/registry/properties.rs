//! [`RegistryConfig`] from properties with Confluent's names.

use std::{collections::BTreeMap, time::Duration};

use offtake_client::{
    ClientConfig,
    config::{ConfigError, SecurityProtocol},
};
use offtake_net::{Secret, http::Proxy, tls::Tls};

use super::{
    config::{Credentials, OAuthClient, RegistryConfig},
    error::{RegistryError, conflict},
    url::split,
};

/// The prefix of TLS properties, which the others may have too.
const PREFIX: &str = "schema.registry.";

impl RegistryConfig {
    /// Whether this is a registry's property.
    pub fn knows(name: &str) -> bool {
        match name.strip_prefix(PREFIX) {
            Some(bare) => bare.starts_with("ssl.") || NAMES.contains(&bare),
            // Without the prefix, other names belong to a client, or are unknown.
            None => {
                let is_of_registries = ["basic.auth.", "bearer.auth.", "missing.", "latest.", "proxy."]
                    .iter()
                    .any(|one| name.starts_with(one));
                is_of_registries && NAMES.contains(&name)
            }
        }
    }

    /// The defaults, changed by these properties with Confluent's names. Other properties are ignored. Reads the TLS files.
    ///
    /// # Errors
    /// A value that is invalid for its property, or that contradicts another.
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
        config.proxy = properties.proxy()?;
        for (name, unit, field) in [
            ("request.timeout.ms", 1, &mut config.request_timeout),
            ("missing.id.wait.ms", 1, &mut config.missing_wait),
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

/// The names after the prefix, except those of TLS.
const NAMES: &[&str] = &[
    "url",
    "request.timeout.ms",
    "missing.id.wait.ms",
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
    "bearer.auth.issuer.endpoint.url",
    "bearer.auth.client.id",
    "bearer.auth.client.secret",
    "bearer.auth.scope",
    "bearer.auth.cache.expiry.buffer.seconds",
    // These are meant for the registry's own inspection of tokens.
    "bearer.auth.scope.claim.name",
    "bearer.auth.sub.claim.name",
    "proxy.host",
    "proxy.port",
];

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
            (None, Some("OAUTHBEARER")) => self.oauth(),
            (None, Some(_)) => {
                Err(conflict("`bearer.auth.credentials.source` takes STATIC_TOKEN or OAUTHBEARER here"))
            }
            // The usual form for librdkafka, without the source.
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

    fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    fn bearer(&self, token: &str) -> Credentials {
        Credentials::Bearer {
            token: Secret::from(token),
            logical_cluster: self.owned("bearer.auth.logical.cluster"),
            identity_pool: self.owned("bearer.auth.identity.pool.id"),
        }
    }

    fn oauth(&self) -> Result<Credentials, RegistryError> {
        let needed = |name: &str| {
            let missing = || conflict(format!("`bearer.auth.credentials.source=OAUTHBEARER` needs `{name}`"));
            self.get(name).ok_or_else(missing)
        };
        const BUFFER: &str = "bearer.auth.cache.expiry.buffer.seconds";
        let buffer: u32 = match self.get(BUFFER) {
            Some(text) => text.parse().map_err(|_| conflict(format!("`{BUFFER}` takes a whole number")))?,
            None => 300,
        };
        let client = OAuthClient {
            endpoint: needed("bearer.auth.issuer.endpoint.url")?.to_owned(),
            id: needed("bearer.auth.client.id")?.to_owned(),
            secret: Secret::from(needed("bearer.auth.client.secret")?),
            scope: self.owned("bearer.auth.scope"),
            expiry_buffer: Duration::from_secs(buffer.into()),
        };
        let logical_cluster = self.owned("bearer.auth.logical.cluster");
        Ok(Credentials::OAuth {
            client,
            logical_cluster,
            identity_pool: self.owned("bearer.auth.identity.pool.id"),
        })
    }

    fn proxy(&self) -> Result<Option<Proxy>, RegistryError> {
        match (self.get("proxy.host"), self.get("proxy.port")) {
            (None, None) => Ok(None),
            (Some(host), _) if host.contains(['/', '@']) => {
                Err(conflict("`proxy.host` takes a name or an address"))
            }
            (Some(host), Some(port)) => match port.parse() {
                Ok(port @ 1..) => Ok(Some(Proxy { host: host.trim_matches(['[', ']']).to_owned(), port })),
                _ => Err(conflict("`proxy.port` takes a port, from 1 to 65535")),
            },
            _ => Err(conflict("`proxy.host` and `proxy.port` go together")),
        }
    }
}

fn user_info(info: &str) -> Result<Credentials, RegistryError> {
    let (user, password) =
        info.split_once(':').ok_or_else(|| conflict("`basic.auth.user.info` takes USER:PASSWORD"))?;
    Ok(Credentials::Basic { user: user.to_owned(), password: Secret::from(password) })
}

/// The settings of `ssl.*`, which have the same meaning as for brokers.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistryErrorKind;

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
    fn invalid_properties_are_refused() {
        for (properties, said) in [
            (&[("basic.auth.credentials.source", "USER_INFO")][..], "needs `basic.auth.user.info`"),
            (&[("basic.auth.credentials.source", "SASL_INHERIT")], "takes USER_INFO or URL"),
            (&[("basic.auth.user.info", "nobody")], "USER:PASSWORD"),
            (
                &[("bearer.auth.credentials.source", "SASL_OAUTHBEARER_INHERIT")],
                "STATIC_TOKEN or OAUTHBEARER",
            ),
            (&[("bearer.auth.credentials.source", "OAUTHBEARER")], "needs `bearer.auth.issuer.endpoint.url`"),
            (
                &[
                    ("bearer.auth.credentials.source", "OAUTHBEARER"),
                    ("bearer.auth.issuer.endpoint.url", "https://idp/token"),
                    ("bearer.auth.client.id", "id"),
                ],
                "needs `bearer.auth.client.secret`",
            ),
            (&[("proxy.host", "proxy")], "go together"),
            (&[("proxy.host", "http://proxy"), ("proxy.port", "3128")], "a name or an address"),
            (&[("proxy.host", "proxy"), ("proxy.port", "0")], "from 1 to 65535"),
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
    fn oauth_and_a_proxy_are_told_by_confluents_names() {
        let config = of(&[
            ("bearer.auth.credentials.source", "OAUTHBEARER"),
            ("bearer.auth.issuer.endpoint.url", "https://idp/token"),
            ("schema.registry.bearer.auth.client.id", "id"),
            ("bearer.auth.client.secret", "hunter2"),
            ("bearer.auth.scope", "schemas"),
            ("bearer.auth.logical.cluster", "lsrc-1"),
            ("bearer.auth.identity.pool.id", "pool-1"),
            ("proxy.host", "proxy"),
            ("schema.registry.proxy.port", "3128"),
        ])
        .unwrap();
        let client = OAuthClient {
            endpoint: "https://idp/token".to_owned(),
            id: "id".to_owned(),
            secret: Secret::from("hunter2"),
            scope: Some("schemas".to_owned()),
            expiry_buffer: Duration::from_secs(300),
        };
        let (logical_cluster, identity_pool) = (Some("lsrc-1".to_owned()), Some("pool-1".to_owned()));
        assert_eq!(config.credentials, Credentials::OAuth { client, logical_cluster, identity_pool });
        assert_eq!(config.proxy, Some(Proxy { host: "proxy".to_owned(), port: 3128 }));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_clients_own_properties_are_not_the_registrys() {
        for name in ["request.timeout.ms", "ssl.truststore.location", "url", "group.id"] {
            assert!(!RegistryConfig::knows(name), "{name}");
        }
    }
}
