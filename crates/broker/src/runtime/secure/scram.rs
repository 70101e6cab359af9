//! SCRAM, the broker's side (RFC 5802): the broker also proves that it knows the password.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{
    SaslMechanism,
    mechanism::{Refusal, SaslServerStep, other_authorization_id},
    users::{Credential, Users},
};

/// Kafka's default, which is also its minimum.
pub(super) const ITERATIONS: u32 = 4096;

/// The keys that a broker derives from a password and stores.
pub(super) struct Keys {
    salt: Vec<u8>,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    pub(super) fn derive(mechanism: SaslMechanism, password: &str, salt: Vec<u8>) -> Self {
        let password = password.as_bytes();
        let salted = if mechanism == SaslMechanism::ScramSha512 {
            pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, &salt, ITERATIONS).to_vec()
        } else {
            pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, &salt, ITERATIONS).to_vec()
        };
        let client = hmac(mechanism, &salted, b"Client Key");
        let server = hmac(mechanism, &salted, b"Server Key");
        Self { salt, stored: hash(mechanism, &client), server }
    }
}

fn hash(mechanism: SaslMechanism, bytes: &[u8]) -> Vec<u8> {
    if mechanism == SaslMechanism::ScramSha512 {
        Sha512::digest(bytes).to_vec()
    } else {
        Sha256::digest(bytes).to_vec()
    }
}

fn hmac(mechanism: SaslMechanism, key: &[u8], message: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn with<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }
    if mechanism == SaslMechanism::ScramSha512 {
        with::<Hmac<Sha512>>(key, message)
    } else {
        with::<Hmac<Sha256>>(key, message)
    }
}

/// One authentication.
pub(super) struct Exchange {
    mechanism: SaslMechanism,
    /// The broker's part of the nonce.
    nonce: String,
    state: State,
}

enum State {
    /// Before the client's first message.
    Begun,
    /// The client has to prove that it knows the password.
    Challenged {
        user: String,
        gs2_header: String,
        nonce: String,
        first_messages: String,
    },
    Over,
}

impl Exchange {
    pub(super) fn new(mechanism: SaslMechanism, nonce: String) -> Self {
        Self { mechanism, nonce, state: State::Begun }
    }

    pub(super) fn step(&mut self, message: &[u8], users: &Users) -> Result<SaslServerStep, Refusal> {
        let text = std::str::from_utf8(message).map_err(|_| Refusal::WithoutMessage)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begun => self.on_first(text, users),
            State::Challenged { user, gs2_header, nonce, first_messages } => {
                let signed = format!("c={},r={nonce}", BASE64.encode(gs2_header));
                self.on_final(text, user, &signed, &first_messages, users)
            }
            State::Over => Err(Refusal::WithoutMessage),
        }
    }

    /// `n,[a=authorization id],n=user,r=nonce[,extensions]`.
    fn on_first(&mut self, text: &str, users: &Users) -> Result<SaslServerStep, Refusal> {
        let mut header = text.splitn(3, ',');
        let (Some("n"), Some(authorization_id), Some(bare)) = (header.next(), header.next(), header.next())
        else {
            return Err(Refusal::WithoutMessage);
        };
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(Refusal::WithoutMessage)?;
        let nonce =
            fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Refusal::WithoutMessage)?;
        let user = unescaped(user);
        if !authorization_id.is_empty()
            && authorization_id.strip_prefix("a=").map(unescaped) != Some(user.clone())
        {
            return Err(other_authorization_id());
        }
        // A client with a delegation token names the token, not a user.
        if fields.any(|extension| extension == "tokenauth=true") || nonce.is_empty() {
            return Err(Refusal::WithoutMessage);
        }
        let Some(Credential::Scram(keys)) = users.get(self.mechanism, &user) else {
            return Err(Refusal::WithoutMessage);
        };
        let nonce = format!("{nonce}{}", self.nonce);
        let challenge = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(&keys.salt));
        self.state = State::Challenged {
            user,
            gs2_header: format!("n,{authorization_id},"),
            nonce,
            first_messages: format!("{bare},{challenge}"),
        };
        Ok(SaslServerStep::Challenge(challenge.into_bytes()))
    }

    /// `c=header,r=nonce,p=proof`. The keys are looked up again: if the password changed meanwhile, the new one counts.
    fn on_final(
        &self,
        text: &str,
        user: String,
        signed: &str,
        first_messages: &str,
        users: &Users,
    ) -> Result<SaslServerStep, Refusal> {
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Refusal::WithoutMessage)?;
        let proof = BASE64.decode(proof).map_err(|_| Refusal::WithoutMessage)?;
        let Some(Credential::Scram(keys)) = users.get(self.mechanism, &user) else {
            return Err(Refusal::WithoutMessage);
        };
        let transcript = format!("{first_messages},{without_proof}");
        let signature = hmac(self.mechanism, &keys.stored, transcript.as_bytes());
        if without_proof != signed || proof.len() != signature.len() {
            return Err(Refusal::WithoutMessage);
        }
        let client: Vec<u8> = proof.iter().zip(&signature).map(|(proof, sign)| proof ^ sign).collect();
        if !bool::from(hash(self.mechanism, &client).ct_eq(&keys.stored)) {
            return Err(Refusal::WithoutMessage);
        }
        let ours = hmac(self.mechanism, &keys.server, transcript.as_bytes());
        let answer = format!("v={}", BASE64.encode(ours)).into_bytes();
        Ok(SaslServerStep::Accepted { user, answer, ends_ms: None })
    }
}

fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}
