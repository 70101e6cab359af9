//! [`Oidc`]: tokens from the token endpoint of an OAuth 2.0 or OpenID Connect provider (KIP-768, KIP-1139, KIP-1258).

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hyper::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    ProviderFuture,
    assertion::Assertion,
    credentials::Credentials,
    error::{ProviderError, printable},
    repeats,
    retries::Retries,
    token::{Token, TokenProvider},
    wall_clock,
};
use crate::{
    http::{Answer, Endpoint, Headers, HttpClient, is_loopback},
    secret::Secret,
    tls::TlsConfig,
};

/// A token endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenEndpoint {
    /// `sasl.oauthbearer.token.endpoint.url`: `https`, or `http` on loopback. Redirects are not followed.
    pub url: String,
    /// `sasl.login.connect.timeout.ms`: default 10 s.
    pub connect_timeout: Duration,
    /// `sasl.login.read.timeout.ms`: the timeout for the whole response; default 10 s.
    pub read_timeout: Duration,
    /// `sasl.login.retry.backoff.ms`: the pause before the first retry, which doubles; default 100 ms.
    pub retry_backoff: Duration,
    /// `sasl.login.retry.backoff.max.ms`: the time in which a request is retried; default 10 s.
    pub retry_backoff_max: Duration,
    /// The trusted certificates; by default the system's. For an `https` URL only.
    pub tls: TlsConfig,
}

impl TokenEndpoint {
    /// An endpoint with Java's defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(10),
            tls: TlsConfig::default(),
        }
    }

    /// Checks whether tokens may come from the URL. Reads no file.
    ///
    /// # Errors
    /// If they may not, in one sentence with the name of the property.
    pub fn check(&self) -> Result<(), ProviderError> {
        self.parsed().map(drop)
    }

    #[doc(hidden)] // for those who ask it by an HTTP client of their own
    pub fn parsed(&self) -> Result<Endpoint, ProviderError> {
        Endpoint::parse(&self.url, is_loopback)
            .map_err(|reason| ProviderError::new(format!("sasl.oauthbearer.token.endpoint.url: {reason}")))
    }
}

/// How errors of TLS name the endpoint's TLS properties, which are not those of the cluster.
const TLS_PROPERTIES: &str = "its `ssl.*` are options in `sasl.jaas.config`, or `https.ca.location`";

/// The credentials presented to the endpoint for a token.
#[non_exhaustive]
pub enum Grant {
    /// The client's id and secret: `client_credentials` (KIP-768).
    ClientSecret {
        /// The id and the secret (`sasl.oauthbearer.client.credentials.client.id` and `.client.secret`). They are fetched for
        /// each request, so that a new secret is used without a restart, from a fixed [`UserPassword`](super::UserPassword) or
        /// another source.
        client: Box<dyn Credentials>,
        /// `sasl.oauthbearer.scope`
        scope: Option<String>,
        /// `sasl.oauthbearer.header.urlencode`: whether id and secret are percent-encoded in the header, as RFC 6749 requires and
        /// few providers expect; Java's default is no.
        urlencode_header: bool,
    },
    /// A signed assertion instead of the secret: `client_credentials` (KIP-1258).
    ClientAssertion {
        /// `sasl.oauthbearer.client.credentials.client.id`, if the assertion does not contain it.
        client_id: Option<String>,
        /// The assertion.
        assertion: Assertion,
        /// `sasl.oauthbearer.scope`
        scope: Option<String>,
    },
    /// A signed assertion as the grant: `urn:ietf:params:oauth:grant-type:jwt-bearer` (KIP-1139).
    JwtBearer {
        /// The assertion.
        assertion: Assertion,
        /// `sasl.oauthbearer.scope`
        scope: Option<String>,
    },
}

/// Omits ids and secrets.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, scope) = match self {
            Self::ClientSecret { scope, .. } => ("ClientSecret", scope),
            Self::ClientAssertion { scope, .. } => ("ClientAssertion", scope),
            Self::JwtBearer { scope, .. } => ("JwtBearer", scope),
        };
        f.debug_struct(name).field("scope", scope).finish_non_exhaustive()
    }
}

/// A provider of tokens that uses a token endpoint.
pub struct Oidc {
    http: HttpClient,
    endpoint: Endpoint,
    retries: Retries,
    grant: Grant,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc").field("endpoint", &self.endpoint.shown()).finish_non_exhaustive()
    }
}

impl Oidc {
    /// Checks the settings, and reads the TLS files. Sends nothing yet.
    ///
    /// # Errors
    /// One sentence, with the name of the property.
    pub fn new(endpoint: TokenEndpoint, grant: Grant) -> Result<Self, ProviderError> {
        let (parsed, tls) = (endpoint.parsed()?, endpoint.tls.clone());
        let http = HttpClient::new(&parsed, tls, endpoint.connect_timeout, endpoint.read_timeout)
            .map_err(|error| ProviderError::new(format!("TLS of the token endpoint: {error}")))?
            .with_tls_properties(TLS_PROPERTIES);
        Self::by(http, &endpoint, grant)
    }

    #[doc(hidden)] // for registries, which have TLS and a proxy of their own: those of the endpoint are left alone
    pub fn by(http: HttpClient, endpoint: &TokenEndpoint, grant: Grant) -> Result<Self, ProviderError> {
        let retries = Retries { backoff: endpoint.retry_backoff, limit: endpoint.retry_backoff_max };
        Ok(Self { http, endpoint: endpoint.parsed()?, retries, grant })
    }

    async fn request(&self) -> Result<Token, ProviderError> {
        let now = wall_clock();
        let asked = Asked::of(&self.grant, now).await?;
        let mut headers: Headers = [
            ("accept", "application/json"),
            ("cache-control", "no-cache"),
            ("content-type", "application/x-www-form-urlencoded"),
        ]
        .map(|(name, value)| (name, Zeroizing::new(value.to_owned())))
        .into();
        headers.extend(asked.authorization.map(|value| ("authorization", value)));
        let body = Zeroizing::new(asked.form.as_bytes().to_vec());
        let answer = self.http.call(Method::POST, &self.endpoint, headers, body).await?;
        self.read(answer, &asked.secret, now)
    }

    fn read(&self, answer: Answer, secret: &Secret, now: SystemTime) -> Result<Token, ProviderError> {
        let body = answer.success(&self.endpoint, |body| explain(body, secret))?;
        let unusable =
            |what: &str| ProviderError::new(format!("the answer of {} {what}", self.endpoint.shown()));
        let answer: Value = serde_json::from_slice(&body).map_err(|_| unusable("is not JSON"))?;
        let token = ["access_token", "id_token"]
            .into_iter()
            .find_map(|name| answer.get(name)?.as_str().map(str::trim).filter(|token| !token.is_empty()))
            .ok_or_else(|| unusable("has no access_token"))?;
        let token = Token::new(token);
        if token.expires().is_some() {
            return Ok(token);
        }
        let seconds = answer.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
        Ok(token.with_expiry(seconds.and_then(|life| now.checked_add(life))))
    }
}

impl TokenProvider for Oidc {
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        Box::pin(async move {
            let mut attempts = self.retries.begin();
            loop {
                match self.request().await {
                    Err(error) if attempts.wait_after(&error).await => {}
                    ended => return ended,
                }
            }
        })
    }
}

/// The parts of a request.
struct Asked {
    authorization: Option<Zeroizing<String>>,
    form: Zeroizing<String>,
    /// The secret, which no error may repeat.
    secret: Secret,
}

impl Asked {
    async fn of(grant: &Grant, now: SystemTime) -> Result<Self, ProviderError> {
        match grant {
            Grant::ClientSecret { client, scope, urlencode_header } => {
                let client = client.fetch().await?;
                let (id, secret) = (client.user.trim(), client.password.expose().trim_ascii());
                let needed = [(id.is_empty(), "client.id"), (secret.is_empty(), "client.secret")];
                if let Some((_, name)) = needed.into_iter().find(|(is_missing, _)| *is_missing) {
                    let reason = format!("sasl.oauthbearer.client.credentials.{name} is not set");
                    return Err(ProviderError::new(reason));
                }
                let authorization = basic(id.as_bytes(), secret, *urlencode_header);
                let form = form(&[("grant_type", Some("client_credentials")), ("scope", scope.as_deref())]);
                Ok(Self { authorization: Some(authorization), form, secret: Secret::from(secret) })
            }
            Grant::ClientAssertion { client_id, assertion, scope } => {
                let assertion = assertion.get(now).await?;
                let form = form(&[
                    ("grant_type", Some("client_credentials")),
                    ("client_assertion_type", Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")),
                    ("client_assertion", assertion.expose_str()),
                    ("client_id", client_id.as_deref()),
                    ("scope", scope.as_deref()),
                ]);
                Ok(Self { authorization: None, form, secret: assertion })
            }
            Grant::JwtBearer { assertion, scope } => {
                let assertion = assertion.get(now).await?;
                let form = form(&[
                    ("grant_type", Some("urn:ietf:params:oauth:grant-type:jwt-bearer")),
                    ("assertion", assertion.expose_str()),
                    ("scope", scope.as_deref()),
                ]);
                Ok(Self { authorization: None, form, secret: assertion })
            }
        }
    }
}

/// `Basic …` (RFC 7617).
fn basic(id: &[u8], secret: &[u8], is_encoded: bool) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(Vec::with_capacity(3 * (id.len() + secret.len()) + 1));
    for (part, after) in [(id, &b":"[..]), (secret, b"")] {
        if is_encoded {
            let mut encoded = Zeroizing::new(String::with_capacity(3 * part.len()));
            percent_encode(part, &mut encoded);
            pair.extend_from_slice(encoded.as_bytes());
        } else {
            pair.extend_from_slice(part);
        }
        pair.extend_from_slice(after);
    }
    let mut header = Zeroizing::new(String::with_capacity(pair.len() * 4 / 3 + 12));
    header.push_str("Basic ");
    BASE64.encode_string(&*pair, &mut header);
    header
}

/// Encodes `name=value&…`, without fields that have no value.
fn form(fields: &[(&str, Option<&str>)]) -> Zeroizing<String> {
    let fields = || fields.iter().filter_map(|(name, value)| Some((name, value.map(str::trim)?)));
    let fields = || fields().filter(|(_, value)| !value.is_empty());
    let length = fields().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut form = Zeroizing::new(String::with_capacity(length));
    for (name, value) in fields() {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        percent_encode(value.as_bytes(), &mut form);
    }
    form
}

/// Percent-encodes as in forms: a space becomes a plus, and everything but letters, digits and `-._*` becomes hexadecimal.
fn percent_encode(bytes: &[u8], into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b' ' => into.push('+'),
            b'-' | b'.' | b'_' | b'*' => into.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => into.push(char::from(byte)),
            _ => {
                into.push('%');
                into.push(char::from(DIGITS[usize::from(byte >> 4)]));
                into.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
}

/// The explanation of a refusal (RFC 6749, section 5.2), unless it repeats the secret.
fn explain(body: &[u8], secret: &Secret) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |names: [&str; 2]| names.into_iter().find_map(|name| answer.get(name)?.as_str());
    let error = text(["error", "errorCode"])?;
    let why = match text(["error_description", "errorSummary"]) {
        Some(description) => format!("{error}: {description}"),
        None => error.to_owned(),
    };
    if repeats(&why, secret) {
        return Some("(its message repeats the secret and is not shown)".to_owned());
    }
    Some(printable(&why))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests start servers")]
mod tests;
