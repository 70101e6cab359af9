//! [`Tokens`]: bearer tokens from an OAuth 2.0 provider, for a registry.

use std::time::Duration;

use offtake_client::clock;
use offtake_net::{
    http::{Answer, Endpoint, HttpClient},
    sasl::{Grant, KeptToken, Oidc, Refresh, Token, TokenEndpoint, UserPassword},
};

use crate::registry::{
    config::OAuthClient,
    error::{RegistryError, RegistryErrorKind, conflict},
};

pub(super) struct Tokens {
    kept: KeptToken,
    endpoint: String,
    /// How long a request waits for a token; the rest of its time is for the registry.
    patience: Duration,
}

/// The property in errors of the shared client, which has another name here.
const BROKERS_URL: &str = "sasl.oauthbearer.token.endpoint.url";

fn mistake(error: impl std::fmt::Display) -> RegistryError {
    conflict(error.to_string().replace(BROKERS_URL, "`bearer.auth.issuer.endpoint.url`"))
}

/// The token endpoint, if the URL is allowed.
pub(super) fn endpoint(client: &OAuthClient) -> Result<Endpoint, RegistryError> {
    TokenEndpoint::new(&client.endpoint).parsed().map_err(mistake)
}

impl Tokens {
    /// Uses this HTTP client.
    pub(super) fn new(
        client: &OAuthClient,
        http: HttpClient,
        request_timeout: Duration,
    ) -> Result<Self, RegistryError> {
        let endpoint = TokenEndpoint::new(&client.endpoint);
        let shown = endpoint.parsed().map_err(mistake)?.shown();
        for (text, name) in [(client.id.as_bytes(), "id"), (client.secret.expose(), "secret")] {
            if text.trim_ascii().is_empty() {
                return Err(conflict(format!("`bearer.auth.client.{name}` is empty")));
            }
        }
        let grant = Grant::ClientSecret {
            client: Box::new(UserPassword::new(&client.id, client.secret.clone())),
            scope: client.scope.clone(),
            urlencode_header: false,
        };
        let oidc = Oidc::by(http, &endpoint, grant).map_err(mistake)?;
        let refresh = Refresh { buffer: client.expiry_buffer, ..Refresh::default() };
        let kept = KeptToken::new(oidc, refresh);
        Ok(Self { kept, endpoint: shown, patience: request_timeout / 4 * 3 })
    }

    pub(super) async fn get(&self) -> Result<Token, RegistryError> {
        match clock::timeout(self.patience, self.kept.get()).await {
            Some(Ok(token)) => Ok(token),
            Some(Err(error)) => {
                let kind = match error.is_retriable() {
                    true => RegistryErrorKind::Unavailable,
                    false => RegistryErrorKind::Refused,
                };
                Err(RegistryError::new(kind, format!("there is no token for the registry: {error}")))
            }
            None => {
                let reason =
                    format!("there is no token for the registry yet: {} has not answered", self.endpoint);
                Err(RegistryError::new(RegistryErrorKind::Unavailable, reason))
            }
        }
    }

    /// Another token, if the registry has refused this one and there is another.
    pub(super) async fn instead_of(&self, token: &Token, answer: &Answer) -> Option<Token> {
        if answer.status != 401 {
            return None;
        }
        self.kept.refused(token);
        let another = self.get().await.ok()?;
        (another != *token).then_some(another)
    }
}
