//! OAUTHBEARER with unsecured tokens, the broker's side (RFC 7628, and Kafka's
//! OAuthBearerUnsecuredValidatorCallbackHandler).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::Value;

use super::{
    SaslMechanism,
    mechanism::{Refusal, SaslServerStep, other_authorization_id},
    users::Users,
};

/// The challenge for a client whose token is not valid.
const INVALID_TOKEN: &str = r#"{"status":"invalid_token"}"#;

/// One authentication.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The client was sent that its token is not valid, and has to acknowledge it.
    refused: bool,
}

impl Exchange {
    pub(super) fn step(
        &mut self,
        message: &[u8],
        users: &Users,
        wall_ms: i64,
    ) -> Result<SaslServerStep, Refusal> {
        if self.refused {
            return Err(Refusal::WithMessage(INVALID_TOKEN.to_owned()));
        }
        let text = std::str::from_utf8(message).map_err(|_| Refusal::WithoutMessage)?;
        let (header, fields) = text.split_once('\x01').ok_or(Refusal::WithoutMessage)?;
        let authorization_id = header
            .strip_prefix("n,")
            .and_then(|header| header.strip_suffix(','))
            .ok_or(Refusal::WithoutMessage)?;
        let token = fields
            .split('\x01')
            .find_map(|field| field.strip_prefix("auth="))
            .and_then(|auth| auth.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .ok_or(Refusal::WithoutMessage)?
            .1;
        let Some((user, ends_ms)) = validated(token, wall_ms)
            .filter(|(user, _)| users.get(SaslMechanism::OAuthBearer, user).is_some())
        else {
            self.refused = true;
            return Ok(SaslServerStep::Challenge(INVALID_TOKEN.into()));
        };
        if !authorization_id.is_empty() && authorization_id.strip_prefix("a=") != Some(&user) {
            return Err(other_authorization_id());
        }
        Ok(SaslServerStep::Accepted { user, answer: Vec::new(), ends_ms: Some(ends_ms) })
    }
}

/// The token's user, and when it expires, in milliseconds since 1970; `None` if it is not valid.
fn validated(token: &str, wall_ms: i64) -> Option<(String, i64)> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (json(parts.next()?)?, json(parts.next()?)?, parts.next()?);
    let is_unsecured = header.get("alg")?.as_str() == Some("none") && signature.is_empty();
    if !is_unsecured || parts.next().is_some() {
        return None;
    }
    let millis = |name: &str| Some((claims.get(name)?.as_f64()? * 1000.0) as i64);
    let ends_ms = millis("exp")?;
    let begins_ms = if claims.get("iat").is_some() { millis("iat")? } else { i64::MIN };
    let user = claims.get("sub")?.as_str().filter(|user| !user.is_empty())?;
    (begins_ms <= wall_ms && wall_ms < ends_ms).then(|| (user.to_owned(), ends_ms))
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64.decode(part.trim_end_matches('=')).ok()?).ok()
}
