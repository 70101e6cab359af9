//! [`Transport`]: how a request gets to a registry, and an answer back.

mod tokens;

use std::{pin::Pin, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use offtake_net::{
    http::{Answer, Endpoint, Headers, HttpClient, HttpError, Method},
    sasl::Token,
    tls::{Tls, TlsConfig},
};
use zeroize::Zeroizing;

use self::tokens::Tokens;
use super::config::{Credentials, RegistryConfig, conflict};
use super::error::{RegistryError, RegistryErrorKind};

/// What the API of registries is spoken in.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// After the URL's own path, with a query perhaps.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

pub(super) type CallFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, RegistryError>> + Send + 'a>>;

/// How a request gets to one of the registry's URLs, and an answer back.
pub(super) trait Transport: Send + Sync {
    /// How many URLs there are.
    fn urls(&self) -> usize;

    /// Of the URL, as errors call it, with the path.
    fn endpoint(&self, url: usize, path: &str) -> Option<Endpoint>;

    fn call<'a>(&'a self, url: usize, call: &'a Call) -> CallFuture<'a>;
}

/// HTTP, over TLS where the URL says so.
pub(super) struct Http {
    client: HttpClient,
    urls: Vec<Url>,
    /// What follows from the credentials.
    headers: Headers,
    tokens: Option<Tokens>,
}

struct Url {
    base: Endpoint,
    /// The user and the password that the URL has.
    authorization: Option<Zeroizing<String>>,
}

impl Http {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let urls: Vec<Url> = config.urls.iter().map(|url| Url::parse(url)).collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(conflict("a registry needs a URL (`schema.registry.url`)"));
        }
        let timeout = config.request_timeout.max(Duration::from_millis(1));
        let headers = headers(&config.credentials)?;
        let tokens = match &config.credentials {
            Credentials::OAuth { client, .. } => Some(Tokens::new(client, timeout)?),
            Credentials::None | Credentials::Basic { .. } | Credentials::Bearer { .. } => None,
        };
        for url in &urls {
            let stays_here = config.proxy.is_none() && offtake_net::http::is_loopback(url.base.host());
            let is_exposed = !url.base.is_https() && !stays_here;
            if is_exposed && (!headers.is_empty() || tokens.is_some() || url.authorization.is_some()) {
                tracing::warn!(
                    "credentials go to the schema registry {} in clear: use https",
                    url.base.shown()
                );
            }
        }
        let tls = match &config.tls {
            _ if !urls.iter().any(|url| url.base.is_https()) => None,
            Some(tls) => Some(tls.clone()),
            None => Some(Tls::new(TlsConfig::default()).map_err(conflict)?),
        };
        let client = HttpClient::with_tls(tls, timeout, timeout)
            .with_max_body(config.max_answer_bytes)
            .with_proxy(config.proxy.clone())
            .with_tls_properties("`schema.registry.ssl.*`");
        Ok(Self { client, urls, headers, tokens })
    }
}

impl Transport for Http {
    fn urls(&self) -> usize {
        self.urls.len()
    }

    fn endpoint(&self, url: usize, path: &str) -> Option<Endpoint> {
        let base = &self.urls.get(url)?.base;
        Some(base.with_path(format!("{}{path}", base.path())))
    }

    fn call<'a>(&'a self, url: usize, call: &'a Call) -> CallFuture<'a> {
        Box::pin(async move {
            let Some(tokens) = &self.tokens else { return self.send(url, call, None).await };
            let token = tokens.get().await?;
            let answer = self.send(url, call, Some(&token)).await?;
            match tokens.instead_of(&token, &answer).await {
                Some(another) => self.send(url, call, Some(&another)).await,
                None => Ok(answer),
            }
        })
    }
}

impl Http {
    async fn send(&self, url: usize, call: &Call, token: Option<&Token>) -> Result<Answer, RegistryError> {
        let (Some(to), Some(of)) = (self.endpoint(url, &call.path), self.urls.get(url)) else {
            return Err(conflict("there is no such URL"));
        };
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            headers.push(("authorization", bearer(token.value().expose_str().unwrap_or_default())));
        }
        let is_told = headers.iter().any(|(name, _)| *name == "authorization");
        if let (false, Some(authorization)) = (is_told, &of.authorization) {
            headers.push(("authorization", authorization.clone()));
        }
        let accept = "application/vnd.schemaregistry.v1+json, application/json";
        headers.push(("accept", Zeroizing::new(accept.to_owned())));
        headers.push(("user-agent", Zeroizing::new("offtake".to_owned())));
        if !call.body.is_empty() {
            headers.push(("content-type", Zeroizing::new(CONTENT_TYPE.to_owned())));
        }
        let answer = self.client.call(call.method.clone(), &to, headers, Zeroizing::new(call.body.clone()));
        answer.await.map_err(no_answer)
    }
}

fn no_answer(error: HttpError) -> RegistryError {
    let kind =
        if error.is_retriable() { RegistryErrorKind::Unavailable } else { RegistryErrorKind::Malformed };
    RegistryError::new(kind, error)
}

impl Url {
    fn parse(text: &str) -> Result<Self, RegistryError> {
        let text = text.trim();
        // What stands before the last @ of the authority is no part of an endpoint, and may be a secret.
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => ("http://".to_owned(), text), // `localhost:8081`, as people write it
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        let shown = format!("{scheme}{host}{path}");
        let wrong = |reason: &str| conflict(format!("the registry's URL {shown} cannot be used: {reason}"));
        if path.contains(['?', '#']) {
            return Err(wrong("it has a query or a fragment"));
        }
        let base = Endpoint::parse(&shown, |_| true).map_err(|reason| wrong(&reason))?;
        let base = base.with_path(path.trim_end_matches('/'));
        let authorization = match user_info.map(|info| info.split_once(':')) {
            None => None,
            Some(None) => return Err(wrong("its user has no password")),
            Some(Some((user, password))) => {
                let decoded = |text| {
                    percent_decoded(text).ok_or_else(|| wrong("its user or password is wrongly encoded"))
                };
                Some(basic(&decoded(user)?, &decoded(password)?))
            }
        };
        Ok(Self { base, authorization })
    }
}

/// What follows from the credentials.
fn headers(credentials: &Credentials) -> Result<Headers, RegistryError> {
    let mut headers = Headers::new();
    match credentials {
        Credentials::None => {}
        Credentials::Basic { user, password } => {
            if user.contains(':') {
                return Err(conflict("a user of basic authentication has no colon in its name"));
            }
            headers.push(("authorization", basic(user.as_bytes(), password.expose())));
        }
        Credentials::Bearer { token, logical_cluster, identity_pool } => {
            let token = token.expose_str().ok_or_else(|| conflict("`bearer.auth.token` is no text"))?;
            headers.push(("authorization", bearer(token)));
            headers.extend(of_confluent_cloud(logical_cluster.as_ref(), identity_pool.as_ref()));
        }
        Credentials::OAuth { logical_cluster, identity_pool, .. } => {
            headers.extend(of_confluent_cloud(logical_cluster.as_ref(), identity_pool.as_ref()));
        }
    }
    Ok(headers)
}

fn of_confluent_cloud(logical_cluster: Option<&String>, identity_pool: Option<&String>) -> Headers {
    let headers = [("target-sr-cluster", logical_cluster), ("confluent-identity-pool-id", identity_pool)];
    let told = headers.into_iter().filter_map(|(name, value)| Some((name, Zeroizing::new(value?.clone()))));
    told.collect()
}

fn bearer(token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {}", token.trim()))
}

/// `Basic …` (RFC 7617).
fn basic(user: &[u8], password: &[u8]) -> Zeroizing<String> {
    let pair = Zeroizing::new([user, b":", password].concat());
    let mut header = Zeroizing::new(String::with_capacity(pair.len() * 4 / 3 + 12));
    header.push_str("Basic ");
    STANDARD.encode_string(&*pair, &mut header);
    header
}

fn percent_decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        decoded.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    Some(decoded)
}

/// A subject in a path.
pub(super) fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Http, RegistryError> {
        Http::new(&RegistryConfig { urls: vec![url.to_owned()], ..RegistryConfig::default() })
    }

    #[test]
    fn a_url_may_have_a_path_a_user_and_no_scheme() {
        for (url, shown, authorization) in [
            ("localhost:8081", "http://localhost:8081/subjects", None),
            ("http://h:8080/apis/ccompat/v7/", "http://h:8080/apis/ccompat/v7/subjects", None),
            ("http://a:b%40c@h/x", "http://h/x/subjects", Some("Basic YTpiQGM=")),
            ("http://[::1]:1", "http://[::1]:1/subjects", None),
        ] {
            let http = of(url).unwrap();
            assert_eq!(http.endpoint(0, "/subjects").unwrap().shown(), shown);
            assert_eq!(http.urls[0].authorization.as_deref().map(String::as_str), authorization);
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_shown_without_its_password() {
        for url in [
            "",
            "ftp://a:hunter2@h",
            "http://hunter2@h",
            "http://a:hunter2@h/x?y=z",
            "http://a:hunter2@",
            "http://a:%zz@h",
        ] {
            let Err(error) = of(url) else { panic!("{url} is taken") };
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_subject_is_one_segment_of_a_path() {
        assert_eq!(percent_encoded("a/b c.é-value"), "a%2Fb%20c.%C3%A9-value");
    }
}
