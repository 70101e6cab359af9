//! [`Credentials`]: a source of user names and passwords.

use std::pin::Pin;

use super::error::ProviderError;
use crate::secret::Secret;

/// The future that a source of credentials returns.
pub type ProviderFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserPassword {
    /// The name. Kafka's brokers accept ASCII names only for SCRAM.
    pub user: String,
    /// The password: UTF-8, sent or hashed unchanged, as by Java's client (no SASLprep).
    pub password: Secret,
    /// Whether these are the id and the HMAC of a delegation token (KIP-48; SCRAM only).
    pub is_delegation_token: bool,
}

impl UserPassword {
    /// A user and its password.
    pub fn new(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { user: user.into(), password: password.into(), is_delegation_token: false }
    }

    /// The id of a delegation token, and its HMAC in Base64 (KIP-48). SCRAM only.
    pub fn delegation_token(id: impl Into<String>, hmac: impl Into<Secret>) -> Self {
        Self { is_delegation_token: true, ..Self::new(id, hmac) }
    }
}

/// A source of user names and passwords: a fixed [`UserPassword`], a closure that returns a future of one, or a custom type.
///
/// It is called at every authentication and re-authentication, so that a changed password is used without a restart.
pub trait Credentials: Send + Sync + 'static {
    /// Fetches the current credentials. The caller has a timeout, and drops the future when that ends.
    fn fetch(&self) -> ProviderFuture<'_, UserPassword>;

    /// The user's name, if it is known beforehand, for `Debug` and messages.
    fn user(&self) -> Option<String> {
        None
    }
}

impl Credentials for UserPassword {
    fn fetch(&self) -> ProviderFuture<'_, UserPassword> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }

    fn user(&self) -> Option<String> {
        Some(self.user.clone())
    }
}

impl<F, Fut> Credentials for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<UserPassword, ProviderError>> + Send + 'static,
{
    fn fetch(&self) -> ProviderFuture<'_, UserPassword> {
        Box::pin(self())
    }
}
