//! PLAIN, the broker's side: one message, and no answer to it.

use subtle::ConstantTimeEq;

use super::{
    SaslMechanism,
    mechanism::{Refusal, SaslServerStep, other_authorization_id},
    users::{Credential, Users},
};

/// `authorization id NUL user NUL password`.
pub(super) fn evaluate(message: &[u8], users: &Users) -> Result<SaslServerStep, Refusal> {
    let text = std::str::from_utf8(message).map_err(|_| Refusal::Untold)?;
    let parts: Vec<&str> = text.split('\0').collect();
    let [authorization_id, user, password] = parts.as_slice() else { return Err(Refusal::Untold) };
    let told = |why: &str| Err(Refusal::Told(format!("Authentication failed: {why}")));
    if user.is_empty() {
        return told("username not specified");
    }
    if password.is_empty() {
        return told("password not specified");
    }
    let is_right = match users.get(SaslMechanism::Plain, user) {
        Some(Credential::Password(theirs)) => bool::from(theirs.as_bytes().ct_eq(password.as_bytes())),
        Some(Credential::Scram(_) | Credential::Name) | None => false,
    };
    if !is_right {
        return told("Invalid username or password");
    }
    if !authorization_id.is_empty() && authorization_id != user {
        return Err(other_authorization_id());
    }
    Ok(SaslServerStep::Accepted { user: (*user).to_owned(), answer: Vec::new(), ends_ms: None })
}
