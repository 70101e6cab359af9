//! SASL: the mechanisms by which a client authenticates.
//!
//! A [`Sasl`] is a mechanism with the source of its credentials. [`Sasl::begin`] fetches them, and creates an [`Exchange`]: one
//! authentication on one connection, a state machine without socket and clock. [`Exchange::step`] takes the broker's message and
//! returns what to send next. The caller puts the bytes into SaslAuthenticate requests (KIP-152), and passes a refusal to
//! [`Exchange::refused`].
//!
//! Always true:
//! - credentials are fetched at each authentication, so that new ones are used without a restart;
//! - no message of a broker makes a step panic, or take longer than reading it. The one long computation, SCRAM's key derivation,
//!   is returned as a [`Derivation`], is bounded, and is done once for all connections of a client;
//! - an authentication is done only when the broker has proved whatever its mechanism lets it prove;
//! - secrets are in no `Debug` output, no error and no log. Kept secrets are overwritten when they are dropped; the frame that
//!   carries one to the broker is not, nor are a library's copies of a token response or of Kerberos keys.

#[cfg(feature = "oidc")]
mod assertion;
mod aws;
mod aws_default;
#[cfg(feature = "msk-iam")]
mod aws_remote;
mod credentials;
mod derivation;
mod error;
#[cfg(feature = "gssapi")]
mod gssapi;
mod jaas;
#[cfg(feature = "oidc")]
mod kept;
#[cfg(feature = "gssapi")]
mod kerberos;
mod msk_iam;
mod oauthbearer;
#[cfg(feature = "oidc")]
mod oidc;
mod one_message;
mod refresh;
#[cfg(feature = "oidc")]
mod retries;
mod scram;
mod token;

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;

#[cfg(feature = "msk-iam")]
pub use self::aws_remote::{AwsContainer, AwsInstance, AwsRole, AwsWebIdentity};
#[cfg(feature = "oidc")]
#[doc(hidden)] // for our own crates
pub use self::kept::KeptToken;
#[cfg(feature = "gssapi")]
pub use self::kerberos::Kerberos;
#[cfg(feature = "oidc")]
pub use self::{
    assertion::{Algorithm, Assertion, SignedAssertion},
    oidc::{Grant, Oidc, TokenEndpoint},
};
use self::{
    aws::AwsKeys,
    derivation::KeyCache,
    error::Context,
    one_message::Answer,
    refresh::{Expiring, Refreshing},
    scram::Hash,
    token::Tokens,
};
pub use self::{
    aws::{AwsCredentials, AwsCredentialsProvider, AwsEnvironment, AwsProfile},
    aws_default::AwsDefault,
    credentials::{Credentials, ProviderFuture, UserPassword},
    derivation::{Derivation, Derived},
    error::{ProviderError, SaslError, SaslErrorKind},
    jaas::{Jaas, JaasError, LoginModule},
    oauthbearer::Extensions,
    refresh::Refresh,
    token::{Claim, Token, TokenFile, TokenProvider, UnsecuredToken},
};
use crate::secret::Secret;

/// The size limit of a challenge. Kafka's own have a few hundred bytes.
const MAX_CHALLENGE: usize = 64 * 1024;

/// A SASL mechanism and the source of its credentials. Clones are cheap and share derived keys and fetched tokens.
#[derive(Clone)]
pub struct Sasl(Arc<Mechanism>);

enum Mechanism {
    Plain {
        credentials: Box<dyn Credentials>,
    },
    Scram {
        hash: Hash,
        credentials: Box<dyn Credentials>,
        keys: Arc<KeyCache>,
    },
    OAuthBearer {
        tokens: Refreshing<Token>,
        extensions: Extensions,
    },
    AwsMskIam {
        keys: Refreshing<AwsCredentials>,
        region: Option<String>,
    },
    #[cfg(feature = "gssapi")]
    Gssapi {
        tickets: kerberos::Tickets,
        user: Option<String>,
    },
}

impl Sasl {
    /// PLAIN (RFC 4616): the broker learns the password, so that it should be used over TLS only.
    pub fn plain(credentials: impl Credentials) -> Self {
        Self::new(Mechanism::Plain { credentials: Box::new(credentials) })
    }

    /// SCRAM-SHA-256 (RFC 5802, RFC 7677): the password stays here, and the broker proves that it knows it too.
    pub fn scram_sha256(credentials: impl Credentials) -> Self {
        Self::scram(Hash::Sha256, credentials)
    }

    /// SCRAM-SHA-512: like [`scram_sha256`](Self::scram_sha256), with a longer hash.
    pub fn scram_sha512(credentials: impl Credentials) -> Self {
        Self::scram(Hash::Sha512, credentials)
    }

    fn scram(hash: Hash, credentials: impl Credentials) -> Self {
        Self::new(Mechanism::Scram { hash, credentials: Box::new(credentials), keys: Arc::default() })
    }

    /// OAUTHBEARER (RFC 7628): the broker gets a token from a third party, so that it should be used over TLS only. The token is
    /// kept for all connections, and renewed before it expires, by the defaults of [`Refresh`].
    pub fn oauthbearer(tokens: impl TokenProvider) -> Self {
        Self::oauthbearer_with(tokens, Extensions::default(), Refresh::default())
    }

    /// Like [`oauthbearer`](Self::oauthbearer), with extensions sent with the token, and settings for its renewal.
    pub fn oauthbearer_with(tokens: impl TokenProvider, extensions: Extensions, refresh: Refresh) -> Self {
        Self::new(Mechanism::OAuthBearer {
            tokens: Refreshing::new(Tokens::new(tokens), refresh),
            extensions,
        })
    }

    /// AWS_MSK_IAM, the mechanism of Amazon MSK: a signature made with AWS credentials, whose secret does not leave this process.
    /// `region` is the cluster's; if it is `None`, it is taken from the name of each broker, then from `AWS_REGION`,
    /// `AWS_DEFAULT_REGION` and the profile.
    pub fn aws_msk_iam(credentials: impl AwsCredentialsProvider, region: Option<String>) -> Self {
        let keys = Refreshing::new(AwsKeys::new(credentials), Refresh::default());
        Self::new(Mechanism::AwsMskIam { keys, region })
    }

    /// GSSAPI (RFC 4752): Kerberos 5. No key leaves this process, and the broker proves its identity too. The following traffic
    /// is neither encrypted nor signed, so that it should be used over TLS.
    #[cfg(feature = "gssapi")]
    pub fn gssapi(kerberos: Kerberos) -> Self {
        let user = kerberos.user();
        Self::new(Mechanism::Gssapi { tickets: kerberos::Tickets::new(kerberos), user })
    }

    fn new(mechanism: Mechanism) -> Self {
        Self(Arc::new(mechanism))
    }

    /// The mechanism's name, as in SaslHandshake and `sasl.mechanism`.
    pub fn mechanism(&self) -> &'static str {
        match &*self.0 {
            Mechanism::Plain { .. } => "PLAIN",
            Mechanism::Scram { hash, .. } => hash.mechanism(),
            Mechanism::OAuthBearer { .. } => "OAUTHBEARER",
            Mechanism::AwsMskIam { .. } => "AWS_MSK_IAM",
            #[cfg(feature = "gssapi")]
            Mechanism::Gssapi { .. } => "GSSAPI",
        }
    }

    /// The user, if it is known before the credentials are fetched.
    pub fn user(&self) -> Option<String> {
        match &*self.0 {
            Mechanism::Plain { credentials } | Mechanism::Scram { credentials, .. } => credentials.user(),
            Mechanism::OAuthBearer { .. } | Mechanism::AwsMskIam { .. } => None,
            #[cfg(feature = "gssapi")]
            Mechanism::Gssapi { user, .. } => user.clone(),
        }
    }

    #[doc(hidden)] // for our own crates
    /// Begins an authentication at the broker `host`, for which it fetches the credentials. The future may be dropped at any
    /// time.
    ///
    /// # Errors
    /// [`SaslErrorKind::Credentials`] if there are none, or the mechanism cannot send them.
    pub async fn begin(&self, host: &str) -> Result<Exchange, SaslError> {
        let mechanism = self.mechanism();
        match &*self.0 {
            Mechanism::Plain { credentials } => {
                let login = fetch(mechanism, &**credentials).await?;
                let context = Context::new(mechanism, Some(login.user.clone()), login.password.clone());
                let message = one_message::plain(&context, &login)?;
                Ok(Exchange::one_message(context, message, Answer::Empty))
            }
            Mechanism::Scram { hash, credentials, keys } => {
                let login = fetch(mechanism, &**credentials).await?;
                let context = Context::new(mechanism, Some(login.user.clone()), login.password.clone());
                let nonce = scram::nonce(&context)?;
                let exchange = scram::Exchange::new(&context, *hash, login, nonce, keys.clone())?;
                Ok(Exchange::new(context, State::Scram(exchange)))
            }
            Mechanism::OAuthBearer { tokens, extensions } => {
                let token = tokens
                    .get(wall_clock())
                    .await
                    .map_err(|error| SaslError::no_credentials(mechanism, &error))?;
                let context = Context::new(mechanism, oauthbearer::principal(&token), token.value().clone());
                let message = oauthbearer::message(&context, &token, extensions)?;
                let exchange = oauthbearer::Exchange::new(message);
                Ok(Exchange::new(context, State::OAuthBearer(exchange)).of(tokens, token))
            }
            Mechanism::AwsMskIam { keys, region } => {
                let now = wall_clock();
                let kept = keys;
                let keys =
                    kept.get(now).await.map_err(|error| SaslError::no_credentials(mechanism, &error))?;
                let user = Some(keys.access_key_id.clone());
                let mut context = Context::new(mechanism, user, keys.secret_access_key.clone());
                if let Some(token) = &keys.session_token {
                    context.add_secret(token.clone());
                }
                let region = match region.as_deref().or_else(|| msk_iam::region_of(host)) {
                    Some(region) => region.to_owned(),
                    None => aws::default_region().await.ok_or_else(|| {
                        context.cannot_send(
                            "the region is known neither from the broker's name nor from AWS_REGION",
                        )
                    })?,
                };
                let message = msk_iam::message(&keys, &region, host.trim_end_matches('.'), now);
                Ok(Exchange::one_message(context, message, Answer::Something).of(kept, keys))
            }
            #[cfg(feature = "gssapi")]
            Mechanism::Gssapi { tickets, .. } => {
                let (user, kerberos, token) = tickets
                    .introduce(host)
                    .await
                    .map_err(|error| SaslError::no_credentials(mechanism, &error))?;
                let context = Context::new(mechanism, Some(user), Secret::from(""));
                Ok(Exchange::new(context, State::Gssapi(Box::new(gssapi::Exchange::new(kerberos, token)))))
            }
        }
    }
}

async fn fetch(mechanism: &'static str, from: &dyn Credentials) -> Result<UserPassword, SaslError> {
    from.fetch().await.map_err(|error| SaslError::no_credentials(mechanism, &error))
}

/// Two are equal if they are clones of each other.
impl PartialEq for Sasl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sasl {}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism()).field("user", &self.user()).finish()
    }
}

/// The next step of an [`Exchange`].
pub enum SaslStep {
    /// Send this to the broker, and pass its answer to [`Exchange::step`]. The memory is overwritten when the last clone of the
    /// bytes is dropped.
    Send(Bytes),
    /// Run this on a thread where it may take a second of processor time, and pass the result to [`Exchange::derived`].
    Derive(Derivation),
    /// The connection is authenticated.
    Done,
}

/// Omits the bytes, which may be the password.
impl fmt::Debug for SaslStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(_) => f.write_str("Send(..)"),
            Self::Derive(derivation) => f.debug_tuple("Derive").field(derivation).finish(),
            Self::Done => f.write_str("Done"),
        }
    }
}

/// One authentication on one connection.
///
/// Drive it by [`step`](Self::step), first with `None`, then with the broker's answer to each message, until it returns
/// [`SaslStep::Done`]. After an error it is over.
pub struct Exchange {
    context: Context,
    state: State,
    /// Reports a refusal to the source of the credentials.
    on_refusal: Option<OnRefusal>,
}

type OnRefusal = Box<dyn Fn() + Send + Sync>;

enum State {
    OneMessage(one_message::Exchange),
    Scram(scram::Exchange),
    OAuthBearer(oauthbearer::Exchange),
    #[cfg(feature = "gssapi")]
    Gssapi(Box<gssapi::Exchange>),
}

impl Exchange {
    fn new(context: Context, state: State) -> Self {
        Self { context, state, on_refusal: None }
    }

    /// An exchange with `value`, which came from `kept`. If the value is refused, `kept` fetches another one.
    fn of<T: Expiring>(self, kept: &Refreshing<T>, value: T) -> Self {
        let kept = kept.clone();
        Self { on_refusal: Some(Box::new(move || kept.refused(&value, wall_clock()))), ..self }
    }

    fn one_message(context: Context, message: Bytes, answer: Answer) -> Self {
        Self::new(context, State::OneMessage(one_message::Exchange::new(message, answer)))
    }

    /// The mechanism's name.
    pub fn mechanism(&self) -> &'static str {
        self.context.mechanism
    }

    /// The user, if the mechanism knows it.
    pub fn user(&self) -> Option<&str> {
        self.context.user.as_deref()
    }

    /// The next step, after the broker's message; `None` at the beginning.
    ///
    /// # Errors
    /// [`SaslErrorKind::BadServer`] if the message breaks the mechanism's rules, [`SaslErrorKind::Refused`] if it is a refusal.
    pub fn step(&mut self, challenge: Option<&[u8]>) -> Result<SaslStep, SaslError> {
        let context = &self.context;
        if let Some(length) = challenge.map(<[u8]>::len).filter(|&length| length > MAX_CHALLENGE) {
            return Err(context.bad_server(format!("its message has {length} bytes")));
        }
        let step = match &mut self.state {
            State::OneMessage(exchange) => exchange.step(context, challenge),
            State::Scram(exchange) => exchange.step(context, challenge),
            State::OAuthBearer(exchange) => exchange.step(context, challenge),
            #[cfg(feature = "gssapi")]
            State::Gssapi(exchange) => exchange.step(context, challenge),
        };
        if step.as_ref().is_err_and(|error| error.kind() == SaslErrorKind::Refused) {
            self.tell_source();
        }
        step
    }

    /// The next step, after a [`SaslStep::Derive`].
    ///
    /// # Errors
    /// [`SaslErrorKind::BadServer`] if no derivation was requested.
    pub fn derived(&mut self, derived: Derived) -> Result<SaslStep, SaslError> {
        match &mut self.state {
            State::Scram(exchange) => exchange.derived(&self.context, derived),
            State::OneMessage(_) | State::OAuthBearer(_) => {
                Err(self.context.bad_server("no key derivation was pending"))
            }
            #[cfg(feature = "gssapi")]
            State::Gssapi(_) => Err(self.context.bad_server("no key derivation was pending")),
        }
    }

    /// The error for a refusal by the broker: `said` is the message in its response. It is cut, stripped of control characters,
    /// and left out if it repeats the secret.
    pub fn refused(&self, said: Option<&str>) -> SaslError {
        self.tell_source();
        let said = said.unwrap_or_default();
        match &self.state {
            State::OneMessage(_) | State::Scram(_) => self.context.refused(said),
            State::OAuthBearer(exchange) => exchange.refused(&self.context, said),
            #[cfg(feature = "gssapi")]
            State::Gssapi(_) => self.context.refused(said),
        }
    }

    /// Reports to the source that the credentials were refused.
    fn tell_source(&self) {
        if let Some(tell) = &self.on_refusal {
            tell();
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("mechanism", &self.mechanism())
            .field("user", &self.user())
            .finish_non_exhaustive()
    }
}

/// The wall clock, which determines when tokens expire.
#[expect(clippy::disallowed_methods, reason = "tokens and signatures carry the time of day, not the loop's")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Bytes that are overwritten when their last clone is dropped.
fn zeroed_after_use(bytes: zeroize::Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(bytes)
}

/// Whether `text` contains the secret.
fn repeats(text: &str, secret: &Secret) -> bool {
    let secret = secret.expose();
    !secret.is_empty() && text.as_bytes().windows(secret.len()).any(|window| window == secret)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "how long hostile messages take is measured")]
mod tests;
