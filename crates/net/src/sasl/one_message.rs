//! One message to the broker and one answer: the whole exchange of PLAIN (RFC 4616) and AWS_MSK_IAM.

use std::mem;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    SaslStep, UserPassword,
    error::{Context, SaslError},
    zeroed_after_use,
};

/// One authentication.
pub(super) struct Exchange {
    answer: Answer,
    state: State,
}

/// The broker's answer if it accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Empty,
    /// Anything, such as a request id for the broker's logs.
    Something,
}

enum State {
    Unsent(Bytes),
    Sent,
    Over,
}

impl Exchange {
    pub(super) fn new(message: Bytes, answer: Answer) -> Self {
        Self { answer, state: State::Unsent(message) }
    }

    pub(super) fn step(
        &mut self,
        context: &Context,
        challenge: Option<&[u8]>,
    ) -> Result<SaslStep, SaslError> {
        match (mem::replace(&mut self.state, State::Over), challenge) {
            (State::Unsent(message), None | Some([])) => {
                self.state = State::Sent;
                Ok(SaslStep::Send(message))
            }
            (State::Unsent(_), Some(_)) => Err(context.bad_server("it speaks first")),
            (State::Sent, Some(answer)) => match (self.answer, answer.is_empty()) {
                (Answer::Empty, true) | (Answer::Something, false) => Ok(SaslStep::Done),
                (Answer::Empty, false) => Err(context.bad_server("unexpected data in the acceptance")),
                (Answer::Something, true) => Err(context.bad_server("its answer is empty")),
            },
            (State::Sent, None) | (State::Over, _) => {
                Err(context.bad_server("data after the end of the exchange"))
            }
        }
    }
}

/// The message of PLAIN: no authorization id, the user, the password.
pub(super) fn plain(context: &Context, login: &UserPassword) -> Result<Bytes, SaslError> {
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
