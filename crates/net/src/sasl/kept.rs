//! [`KeptToken`]: a bearer token that is kept fresh, for servers other than brokers.

use super::{
    error::ProviderError,
    refresh::{Refresh, Refreshing},
    token::{Token, TokenProvider, Tokens},
    wall_clock,
};

/// A token from a provider, which is called again before the token expires. Clones share it.
#[derive(Clone)]
pub struct KeptToken(Refreshing<Token>);

impl KeptToken {
    /// Creates it without calling the provider.
    pub fn new(provider: impl TokenProvider, refresh: Refresh) -> Self {
        Self(Refreshing::new(Tokens::new(provider), refresh))
    }

    /// A token that is valid now.
    ///
    /// # Errors
    /// The reason.
    pub async fn get(&self) -> Result<Token, ProviderError> {
        self.0.get(wall_clock()).await
    }

    /// Notes that the token was refused: unless it has just been fetched, the next call returns a new one.
    pub fn refused(&self, token: &Token) {
        self.0.refused(token, wall_clock());
    }
}
