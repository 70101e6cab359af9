//! PLAIN, the broker's side: one message, and no answer to it.

use subtle::ConstantTimeEq;

use super::{
    SaslMechanism,
    mechanism::{Refusal, SaslServerStep, other_authorization_id},
    users::{Credential, Users},
};

/// `authorization id NUL user NUL password`.
pub(super) fn evaluate(message: &[u8], users: &Users) -> Result<SaslServerStep, Refusal> {
    let text = std::str::from_utf8(message).map_err(|_| Refusal::WithoutMessage)?;
    let parts: Vec<&str> = text.split('\0').collect();
    let [authorization_id, user, password] = parts.as_slice() else { return Err(Refusal::WithoutMessage) };
    let refuse = |why: &str| Err(Refusal::WithMessage(format!("Authentication failed: {why}")));
    if user.is_empty() {
        return refuse("username not specified");
    }
    if password.is_empty() {
        return refuse("password not specified");
    }
    let is_right = match users.get(SaslMechanism::Plain, user) {
        Some(Credential::Password(theirs)) => bool::from(theirs.as_bytes().ct_eq(password.as_bytes())),
        Some(Credential::Scram(_) | Credential::Name) | None => false,
    };
    if !is_right {
        return refuse("Invalid username or password");
    }
    if !authorization_id.is_empty() && authorization_id != user {
        return Err(other_authorization_id());
    }
    Ok(SaslServerStep::Accepted { user: (*user).to_owned(), answer: Vec::new(), ends_ms: None })
}
