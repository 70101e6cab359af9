//! [`Transport`]: sends requests to a registry and receives the responses.

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
use super::{
    config::{Credentials, RegistryConfig},
    error::{RegistryError, RegistryErrorKind, conflict},
    url::RegistryUrl,
};

/// The content type of the registry API.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The path after that of the URL, possibly with a query.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

pub(super) type CallFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, RegistryError>> + Send + 'a>>;

/// Sends requests to one of the registry's URLs and receives the responses.
pub(super) trait Transport: Send + Sync {
    /// The number of URLs.
    fn urls(&self) -> usize;

    /// The URL with this path, as shown in errors.
    fn endpoint(&self, url: usize, path: &str) -> Option<Endpoint>;

    fn call<'a>(&'a self, url: usize, call: &'a Call) -> CallFuture<'a>;
}

/// HTTP, over TLS if the URL requires it.
pub(super) struct Http {
    client: HttpClient,
    urls: Vec<RegistryUrl>,
    /// The headers for the credentials.
    headers: Headers,
    tokens: Option<Tokens>,
}

impl Http {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let urls: Vec<RegistryUrl> =
            config.urls.iter().map(|url| RegistryUrl::parse(url)).collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(conflict("a registry needs a URL (`schema.registry.url`)"));
        }
        let timeout = config.request_timeout.max(Duration::from_millis(1));
        let headers = headers(&config.credentials)?;
        let has_credentials = !matches!(config.credentials, Credentials::None);
        for url in &urls {
            let stays_here = config.proxy.is_none() && offtake_net::http::is_loopback(url.base.host());
            let is_exposed = !url.base.is_https() && !stays_here;
            if is_exposed && (has_credentials || url.authorization.is_some()) {
                tracing::warn!(
                    "credentials go to the schema registry {} in clear: use https",
                    url.base.shown()
                );
            }
        }
        let endpoint = match &config.credentials {
            Credentials::OAuth { client, .. } => Some(tokens::endpoint(client)?),
            Credentials::None | Credentials::Basic { .. } | Credentials::Bearer { .. } => None,
        };
        let needs_tls = urls.iter().map(|url| &url.base).chain(endpoint.as_ref()).any(Endpoint::is_https);
        let tls = match &config.tls {
            _ if !needs_tls => None,
            Some(tls) => Some(tls.clone()),
            None => Some(Tls::new(TlsConfig::default()).map_err(conflict)?),
        };
        let client = || {
            HttpClient::with_tls(tls.clone(), timeout, timeout)
                .with_proxy(config.proxy.clone())
                .with_tls_properties("`schema.registry.ssl.*`")
        };
        let tokens = match (&config.credentials, endpoint) {
            (Credentials::OAuth { client: of, .. }, Some(endpoint)) => {
                // A plain-text endpoint is on this machine, and not behind a proxy.
                let http = if endpoint.is_https() { client() } else { client().with_proxy(None) };
                Some(Tokens::new(of, http, timeout)?)
            }
            _ => None,
        };
        Ok(Self { client: client().with_max_body(config.max_answer_bytes), urls, headers, tokens })
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
            return Err(conflict("no such URL"));
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

/// The headers for the credentials.
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
            let token = token.expose_str().ok_or_else(|| conflict("`bearer.auth.token` is not text"))?;
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
pub(super) fn basic(user: &[u8], password: &[u8]) -> Zeroizing<String> {
    let pair = Zeroizing::new([user, b":", password].concat());
    let mut header = Zeroizing::new(String::with_capacity(pair.len() * 4 / 3 + 12));
    header.push_str("Basic ");
    STANDARD.encode_string(&*pair, &mut header);
    header
}
