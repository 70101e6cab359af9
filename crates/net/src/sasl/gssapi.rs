//! GSSAPI (RFC 4752): both sides prove their identity by Kerberos, then agree on a protection layer: none, which is all that
//! Kafka's brokers support. Encryption is up to TLS.

use std::mem;

use bytes::Bytes;
use krb5::{ClientError, InitiatorContext};

use super::{
    SaslStep,
    error::{Context, SaslError},
};

/// The bit for "no protection layer" in the broker's offer and in the client's choice.
const NO_LAYER: u8 = 1;
/// The client's choice: no protection layer, a maximum message size of 0, and no authorization id other than the ticket's
/// principal.
const CHOICE: [u8; 4] = [NO_LAYER, 0, 0, 0];

/// One authentication.
pub(super) enum Exchange {
    Unsent {
        context: InitiatorContext,
        token: Bytes,
    },
    /// The broker has the ticket, and has to prove that it can read it.
    Introduced(InitiatorContext),
    /// The broker has proved its identity, and has to offer protection layers.
    Proved(InitiatorContext),
    /// The client has made its choice.
    Chosen,
    Over,
}

impl Exchange {
    /// `token` is the first message of `context`.
    pub(super) fn new(context: InitiatorContext, token: Vec<u8>) -> Self {
        Self::Unsent { context, token: token.into() }
    }

    pub(super) fn step(
        &mut self,
        context: &Context,
        challenge: Option<&[u8]>,
    ) -> Result<SaslStep, SaslError> {
        match (mem::replace(self, Self::Over), challenge) {
            (Self::Unsent { context, token }, None | Some([])) => {
                *self = Self::Introduced(context);
                Ok(SaslStep::Send(token))
            }
            (Self::Unsent { .. }, Some(_)) => Err(context.bad_server("it speaks first")),
            (Self::Introduced(mut kerberos), Some(proof)) => {
                kerberos.step(proof).map_err(|error| no_proof(context, &error))?;
                *self = Self::Proved(kerberos);
                Ok(SaslStep::Send(Bytes::new()))
            }
            (Self::Proved(kerberos), Some(offer)) => {
                let answer = choose(&kerberos, offer).map_err(|reason| context.bad_server(reason))?;
                *self = Self::Chosen;
                Ok(SaslStep::Send(answer.into()))
            }
            (Self::Chosen, Some([])) => Ok(SaslStep::Done),
            (Self::Chosen, Some(_)) => Err(context.bad_server("unexpected data in the acceptance")),
            (Self::Introduced(_) | Self::Proved(_) | Self::Chosen, None) | (Self::Over, _) => {
                Err(context.bad_server("data after the end of the exchange"))
            }
        }
    }
}

fn no_proof(context: &Context, error: &ClientError) -> SaslError {
    match error {
        // Such a message of the broker's Kerberos library is not sealed, so that anybody may have written it.
        ClientError::Kdc { .. } => context.refused(&error.to_string()),
        _ => context.bad_server(format!(
            "it does not prove that it is the one that the ticket is for ({error}); another program may listen there"
        )),
    }
}

/// The choice among the broker's offer: a byte of bits, and a size in three bytes, which does not matter without protection.
fn choose(kerberos: &InitiatorContext, offer: &[u8]) -> Result<Vec<u8>, String> {
    let tokens = kerberos.per_message_tokens().map_err(|error| error.to_string())?;
    let offered = tokens.verify_wrap_unsealed(offer).map_err(|error| error.to_string())?.message;
    let [layers, _, _, _] = offered[..] else {
        return Err(format!("the offer of security layers has {} bytes", offered.len()));
    };
    if layers & NO_LAYER == 0 {
        return Err("it demands a Kerberos security layer, which no Kafka broker does".to_owned());
    }
    tokens.emit_wrap_unsealed(kerberos.send_seq(), &CHOICE, 0).map_err(|error| error.to_string())
}
