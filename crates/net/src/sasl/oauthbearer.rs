//! OAUTHBEARER (RFC 7628, KIP-255): one message with a token. The answer is empty, or a JSON object with the reason of a refusal,
//! which the client has to acknowledge.

use std::{collections::BTreeMap, fmt, mem};

use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    ProviderError, SaslStep,
    error::{Context, SaslError, printable},
    token::Token,
    zeroed_after_use,
};

/// The separator of the parts of a message.
const SEPARATOR: u8 = 1;

/// Names and values sent to the broker with the token (KIP-342).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Extensions(BTreeMap<String, String>);

impl Extensions {
    /// Checks `extensions`: names of ASCII letters except `auth`; values of printable ASCII characters, spaces, tabs and line
    /// ends.
    ///
    /// # Errors
    /// If an extension cannot be sent. The error does not contain values.
    pub fn new<K, V>(extensions: impl IntoIterator<Item = (K, V)>) -> Result<Self, ProviderError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let extensions: BTreeMap<String, String> =
            extensions.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        for (name, value) in &extensions {
            if name == "auth" {
                return Err(ProviderError::new(
                    "a SASL extension cannot have the name auth, as the token has it",
                ));
            }
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(ProviderError::new(format!(
                    "the name of the SASL extension {name:?} has other characters than ASCII letters"
                )));
            }
            if value.is_empty()
                || !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
            {
                return Err(ProviderError::new(format!(
                    "the value of the SASL extension {name} is empty or has other characters than printable ASCII"
                )));
            }
        }
        Ok(Self(extensions))
    }

    /// Whether there are no extensions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Omits the values, which may be secret.
impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One authentication.
pub(super) enum Exchange {
    Unsent(Bytes),
    Sent,
    /// The broker has sent the reason of its refusal, and the client has acknowledged it; the refusal itself is still to come.
    Acknowledged {
        reason: String,
    },
    Over,
}

impl Exchange {
    pub(super) fn new(message: Bytes) -> Self {
        Self::Unsent(message)
    }

    pub(super) fn step(
        &mut self,
        context: &Context,
        challenge: Option<&[u8]>,
    ) -> Result<SaslStep, SaslError> {
        match (mem::replace(self, Self::Over), challenge) {
            (Self::Unsent(message), None | Some([])) => {
                *self = Self::Sent;
                Ok(SaslStep::Send(message))
            }
            (Self::Sent, Some([])) => Ok(SaslStep::Done),
            (Self::Sent, Some(refusal)) => {
                *self = Self::Acknowledged { reason: read_refusal(context, refusal) };
                Ok(SaslStep::Send(Bytes::from_static(&[SEPARATOR])))
            }
            (Self::Acknowledged { reason }, _) => Err(context.refused_because(&reason)),
            (Self::Unsent(_), Some(_)) => Err(context.bad_server("it speaks first")),
            (Self::Sent, None) | (Self::Over, _) => {
                Err(context.bad_server("data after the end of the exchange"))
            }
        }
    }

    /// The error for a refusal. Kafka's brokers repeat the reason in it.
    pub(super) fn refused(&self, context: &Context, said: &str) -> SaslError {
        match self {
            Self::Acknowledged { reason } => context.refused_because(reason),
            _ => context.refused_because(&read_refusal(context, said.as_bytes())),
        }
    }
}

/// Parses the reason of a refusal: `{"status":"invalid_token","scope":"…","openid-configuration":"…"}` (RFC 7628, section 3.2.2),
/// or any text.
fn read_refusal(context: &Context, bytes: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(bytes) else {
        return context.shown(&String::from_utf8_lossy(bytes));
    };
    // Sorts the fields, because a feature of serde_json, which any crate in the program may enable, decides whether objects keep
    // their order.
    let fields: BTreeMap<&str, &str> =
        object.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
    let others =
        fields.iter().filter(|(name, _)| **name != "status").map(|(name, value)| format!("{name}: {value}"));
    let said: Vec<String> =
        fields.get("status").map(|status| (*status).to_owned()).into_iter().chain(others).collect();
    context.shown(&said.join(", "))
}

/// The message: no authorization id, the token, and the extensions, of which those of the token take precedence.
pub(super) fn message(context: &Context, token: &Token, extensions: &Extensions) -> Result<Bytes, SaslError> {
    let value = token.value().expose();
    if !is_token(value) {
        return Err(context.cannot_send("the token is empty or has characters that no token has"));
    }
    let mut all: BTreeMap<&String, &String> = extensions.0.iter().collect();
    all.extend(&token.extensions().0);
    let length: usize = all.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut message = Zeroizing::new(Vec::with_capacity(length + value.len() + 18));
    message.extend_from_slice(b"n,,\x01auth=Bearer ");
    message.extend_from_slice(value);
    message.push(SEPARATOR);
    for (name, value) in all {
        message.extend_from_slice(name.as_bytes());
        message.push(b'=');
        message.extend_from_slice(value.as_bytes());
        message.push(SEPARATOR);
    }
    message.push(SEPARATOR);
    Ok(zeroed_after_use(message))
}

/// Whether it is a `b64token` of RFC 6750, as JWTs are.
fn is_token(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
        })
}

/// The user for messages: a claim of the token, cut and without control characters.
pub(super) fn principal(token: &Token) -> Option<String> {
    token.principal().map(printable)
}
