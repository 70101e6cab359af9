//! [`KeptToken`]: a bearer token that is kept fresh, for those who show it to others than brokers.

use super::{
    error::ProviderError,
    refresh::{Refresh, Refreshing},
    token::{Token, TokenProvider, Tokens},
    wall_clock,
};

/// A token of a provider, which is asked again ahead of its end. Clones share it.
#[derive(Clone)]
pub struct KeptToken(Refreshing<Token>);

impl KeptToken {
    /// Nothing is asked for yet.
    pub fn new(provider: impl TokenProvider, refresh: Refresh) -> Self {
        Self(Refreshing::new(Tokens::new(provider), refresh))
    }

    /// One that is good now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<Token, ProviderError> {
        self.0.get(wall_clock()).await
    }

    /// It was refused: unless it has just been fetched, the next one is a new one.
    pub fn refused(&self, token: &Token) {
        self.0.refused(token, wall_clock());
    }
}
