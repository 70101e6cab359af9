//! [`Token`] and [`TokenProvider`]: the source of OAUTHBEARER tokens.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    ProviderFuture,
    error::ProviderError,
    oauthbearer::Extensions,
    refresh::{Expiring, Source},
    wall_clock,
};
use crate::secret::Secret;

/// The most that is read of a file or a response with a token.
pub(super) const MAX_TOKEN: u64 = 1 << 20;

/// A bearer token, usually a JWT. `Debug` shows its principal and expiry, not the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    value: Secret,
    principal: Option<String>,
    expires: Option<SystemTime>,
    extensions: Extensions,
}

impl Token {
    /// A token. If it is a JWT, its expiry and principal are read from its claims `exp` and `sub`; nothing is verified.
    pub fn new(value: impl Into<Secret>) -> Self {
        let value = value.into();
        let claims = read_claims(&value);
        let claim = |name| claims.as_ref().and_then(|claims| claims.get(name));
        let principal = claim("sub").and_then(Value::as_str).map(str::to_owned);
        let expires = claim("exp").and_then(Value::as_f64).and_then(after_epoch);
        Self { value, principal, expires, extensions: Extensions::default() }
    }

    /// Sets when the token expires, if its provider knows better than its claims. A token with an unknown expiry is used for one
    /// authentication.
    #[must_use]
    pub fn with_expiry(mut self, expires: Option<SystemTime>) -> Self {
        self.expires = expires;
        self
    }

    /// Sets extensions for the broker (KIP-342). They are sent in addition to those of the configuration, and take precedence.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// The token.
    pub fn value(&self) -> &Secret {
        &self.value
    }

    /// When it expires, if that is known.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Its principal, if it names one.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    pub(super) fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("principal", &self.principal)
            .field("expires", &self.expires)
            .field("extensions", &self.extensions)
            .finish_non_exhaustive()
    }
}

/// The claims of a JWT, unverified: the part between the two dots.
fn read_claims(token: &Secret) -> Option<Map<String, Value>> {
    let mut parts = token.expose_str()?.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&json).ok()
}

/// The time this many seconds after 1970. `None` if there is no such time.
fn after_epoch(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// A source of tokens: a fixed [`Token`], a [`TokenFile`], a closure that returns a future of a token, or a custom type.
///
/// It is called when a connection authenticates and there is no token that lasts: see [`Refresh`](super::Refresh). At most one
/// call is in progress, and all connections get its result.
pub trait TokenProvider: Send + Sync + 'static {
    /// Fetches a new token. It may take a minute, and continues when the connection that needed it is given up.
    fn fetch(&self) -> ProviderFuture<'_, Token>;
}

impl TokenProvider for Token {
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl<F, Fut> TokenProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, ProviderError>> + Send + 'static,
{
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        Box::pin(self())
    }
}

impl Expiring for Token {
    const NAME: &'static str = "the token";

    fn expires(&self) -> Option<SystemTime> {
        self.expires
    }
}

/// A provider of tokens as a [`Source`].
pub(super) struct Tokens(Box<dyn TokenProvider>);

impl Tokens {
    pub(super) fn new(provider: impl TokenProvider) -> Self {
        Self(Box::new(provider))
    }
}

impl Source<Token> for Tokens {
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        self.0.fetch()
    }
}

/// A file that contains only a token and white space, and that another program keeps up to date. It is read at every
/// authentication. Java's notation for it is `sasl.oauthbearer.token.endpoint.url=file:///…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// The file at `path`, up to 1 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl TokenProvider for TokenFile {
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        let path = self.path.clone();
        Box::pin(async move {
            let shown = path.display().to_string();
            let token = read_small_file(path).await.map_err(ProviderError::retriable)?;
            let token = Token::new(Secret::from(token.trim_ascii()));
            if token.value.is_empty() {
                return Err(ProviderError::retriable(format!("the token file {shown} is empty")));
            }
            if let Some(ago) = token.expires.and_then(|end| wall_clock().duration_since(end).ok()) {
                let ago = ago.as_secs();
                return Err(ProviderError::retriable(format!("the token in {shown} ended {ago} s ago")));
            }
            // Not kept, because the file may be newer at the next authentication.
            Ok(token.with_expiry(None))
        })
    }
}

/// Reads a file of up to 1 MiB on a thread that may block. The error names the file.
pub(super) async fn read_small_file(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || read_bounded(&path)).await;
    match read {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(format!("the file {shown} has more than {MAX_TOKEN} bytes")),
        Ok(Err(error)) => Err(format!("cannot read the file {shown}: {error}")),
        Err(error) => Err(format!("cannot read the file {shown}: {error}")),
    }
}

fn read_bounded(path: &std::path::Path) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = File::open(path)?;
    // The buffer has room for everything, so that growing leaves no copy behind.
    let room = usize::try_from(file.metadata()?.len().min(MAX_TOKEN)).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = file.take(MAX_TOKEN + 1).read_to_end(&mut bytes)?;
    Ok((read as u64 <= MAX_TOKEN).then_some(bytes))
}

/// An unsigned token created here, for tests with brokers that accept it, as Kafka's do by default. It authenticates nobody.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsecuredToken {
    claims: Map<String, Value>,
    lifetime: Duration,
}

impl UnsecuredToken {
    /// A token for `principal` that lasts an hour.
    pub fn new(principal: impl Into<String>) -> Self {
        Self::without_claims().with_claim("sub", principal.into())
    }

    pub(super) fn without_claims() -> Self {
        Self { claims: Map::new(), lifetime: Duration::from_secs(3600) }
    }

    /// Adds a claim: a text, a number, or a list of texts.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Claim>) -> Self {
        self.claims.insert(name.into(), value.into().0);
        self
    }

    /// Sets the lifetime of each token.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn token(&self, now: SystemTime) -> Token {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), issued.as_secs().into());
        claims.insert("exp".to_owned(), issued.saturating_add(self.lifetime).as_secs_f64().into());
        let claims = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
        Token::new(format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#)))
    }
}

impl TokenProvider for UnsecuredToken {
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        Box::pin(std::future::ready(Ok(self.token(wall_clock()))))
    }
}

/// The value of a claim of an [`UnsecuredToken`].
#[derive(Clone, Debug, PartialEq)]
pub struct Claim(Value);

impl From<&str> for Claim {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Claim {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<f64> for Claim {
    fn from(number: f64) -> Self {
        Self(number.into())
    }
}

impl From<Vec<String>> for Claim {
    fn from(texts: Vec<String>) -> Self {
        Self(texts.into())
    }
}
