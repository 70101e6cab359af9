//! PLAIN (RFC 4616): one message with user and password, and an empty answer.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{Step, UserPassword, error::Context, error::SaslError, zeroed_after_use};

/// One authentication.
pub(super) enum Exchange {
    Unsent(Bytes),
    Sent,
    Over,
}

impl Exchange {
    pub(super) fn new(message: Bytes) -> Self {
        Self::Unsent(message)
    }

    pub(super) fn step(&mut self, context: &Context, challenge: Option<&[u8]>) -> Result<Step, SaslError> {
        match (std::mem::replace(self, Self::Over), challenge) {
            (Self::Unsent(message), None | Some([])) => {
                *self = Self::Sent;
                Ok(Step::Send(message))
            }
            (Self::Sent, Some([])) => Ok(Step::Done),
            (Self::Unsent(_), Some(_)) => Err(context.bad_server("it speaks first")),
            (Self::Sent, Some(_)) => Err(context.bad_server("it answers more than yes")),
            (Self::Sent, None) | (Self::Over, _) => Err(context.bad_server("it goes on after the end")),
        }
    }
}

/// The message: no authorization id, the user, the password.
pub(super) fn message(context: &Context, login: &UserPassword) -> Result<Bytes, SaslError> {
    let (user, password) = (login.user.as_bytes(), login.password.expose());
    if user.is_empty() || password.is_empty() {
        return Err(context.cannot_send("the user name or the password is empty"));
    }
    if user.contains(&0) || password.contains(&0) {
        return Err(context.cannot_send("the user name or the password contains a NUL character"));
    }
    if login.is_delegation_token {
        return Err(context.cannot_send("a delegation token needs a SCRAM mechanism"));
    }
    let mut message = Zeroizing::new(Vec::with_capacity(2 + user.len() + password.len()));
    message.push(0);
    message.extend_from_slice(user);
    message.push(0);
    message.extend_from_slice(password);
    Ok(zeroed_after_use(message))
}
