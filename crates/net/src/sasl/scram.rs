//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677), as implemented by Kafka's brokers (KIP-84): no channel binding, names
//! and passwords in UTF-8 without normalization.

use std::{mem, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    SaslStep, UserPassword,
    derivation::{Derivation, Derived, KeyCache, Keys},
    error::{Context, SaslError},
    zeroed_after_use,
};

/// The minimum of rounds. With fewer, a password could be guessed too easily from a stolen exchange (RFC 7677; Kafka's own
/// minimum).
const MIN_ITERATIONS: u32 = 4_096;
/// The maximum of rounds. More would cost too much of this client's processor time.
const MAX_ITERATIONS: u32 = 1_000_000;
/// The maximum size of a salt. Kafka's have about 26 bytes.
const MAX_SALT: usize = 1_024;
/// The maximum size of a nonce. Kafka's have about 26 characters more than the client's.
const MAX_NONCE: usize = 1_024;
/// No channel binding, and no authorization id.
const GS2_HEADER: &str = "n,,";
/// The same in Base64.
const CHANNEL_BINDING: &str = "c=biws";

/// The hash that a mechanism is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    pub(super) fn digest(self, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        })
    }

    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Sha256 => hmac::<Hmac<Sha256>>(key, parts),
            Self::Sha512 => hmac::<Hmac<Sha512>>(key, parts),
        }
    }

    /// Derives the keys of a password.
    pub(super) fn derive(self, password: &[u8], salt: &[u8], iterations: u32) -> Keys {
        let salted = match self {
            Self::Sha256 => {
                let mut salted = Zeroizing::new(vec![0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
                salted
            }
            Self::Sha512 => {
                let mut salted = Zeroizing::new(vec![0; 64]);
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
                salted
            }
        };
        Keys { client: self.hmac(&salted, &[b"Client Key"]), server: self.hmac(&salted, &[b"Server Key"]) }
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// A nonce of the client: 144 random bits.
pub(super) fn nonce(context: &Context) -> Result<String, SaslError> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes)
        .map_err(|error| context.cannot_send(format!("the system has no random numbers: {error}")))?;
    Ok(BASE64.encode(bytes))
}

/// One authentication.
pub(super) struct Exchange {
    hash: Hash,
    login: UserPassword,
    nonce: String,
    keys: Arc<KeyCache>,
    state: State,
}

enum State {
    /// Nothing is sent yet.
    Unsent,
    /// The user's name and the client's nonce were sent.
    FirstSent,
    /// The broker has sent salt and iterations, and the keys are being derived.
    Deriving {
        transcript: Transcript,
    },
    /// The client's proof was sent; the broker's is still to come.
    ProofSent {
        server_signature: Zeroizing<Vec<u8>>,
    },
    Over,
}

/// The text that both sides sign.
struct Transcript {
    without_proof: String,
    /// `client-first-message-bare,server-first-message,client-final-message-without-proof`
    auth_message: String,
}

impl Exchange {
    pub(super) fn new(
        context: &Context,
        hash: Hash,
        login: UserPassword,
        nonce: String,
        keys: Arc<KeyCache>,
    ) -> Result<Self, SaslError> {
        if login.user.is_empty() || login.password.is_empty() {
            return Err(context.cannot_send("the user name or the password is empty"));
        }
        if login.user.contains('\0') {
            return Err(context.cannot_send("the user name contains a NUL character"));
        }
        Ok(Self { hash, login, nonce, keys, state: State::Unsent })
    }

    pub(super) fn step(
        &mut self,
        context: &Context,
        challenge: Option<&[u8]>,
    ) -> Result<SaslStep, SaslError> {
        match (mem::replace(&mut self.state, State::Over), challenge) {
            (State::Unsent, None | Some([])) => {
                self.state = State::FirstSent;
                let message = format!("{GS2_HEADER}{}", self.first_bare());
                Ok(SaslStep::Send(message.into()))
            }
            (State::FirstSent, Some(challenge)) => self.on_server_first(context, challenge),
            (State::ProofSent { server_signature }, Some(challenge)) => {
                verify(context, &server_signature, challenge)
            }
            (State::Unsent, Some(_)) => Err(context.bad_server("it speaks first")),
            (State::Deriving { .. }, _) => Err(context.bad_server("it speaks twice")),
            (State::FirstSent | State::ProofSent { .. }, None) | (State::Over, _) => {
                Err(context.bad_server("data after the end of the exchange"))
            }
        }
    }

    fn first_bare(&self) -> String {
        let name = self.login.user.replace('=', "=3D").replace(',', "=2C");
        let extensions = if self.login.is_delegation_token { ",tokenauth=true" } else { "" };
        format!("n={name},r={}{extensions}", self.nonce)
    }

    fn on_server_first(&mut self, context: &Context, challenge: &[u8]) -> Result<SaslStep, SaslError> {
        let first = ServerFirst::parse(challenge, &self.nonce).map_err(|error| context.bad_server(error))?;
        let without_proof = format!("{CHANNEL_BINDING},r={}", first.nonce);
        let auth_message = format!("{},{},{without_proof}", self.first_bare(), first.text);
        let transcript = Transcript { without_proof, auth_message };
        let slot = self.keys.slot(&self.login.password, &first.salt, first.iterations);
        if let Some(keys) = slot.get() {
            return Ok(self.prove(&transcript, keys));
        }
        self.state = State::Deriving { transcript };
        let password = self.login.password.clone();
        Ok(SaslStep::Derive(Derivation::new(self.hash, password, first.salt, first.iterations, slot)))
    }

    pub(super) fn derived(&mut self, context: &Context, derived: Derived) -> Result<SaslStep, SaslError> {
        match mem::replace(&mut self.state, State::Over) {
            State::Deriving { transcript } => Ok(self.prove(&transcript, &derived.0)),
            _ => Err(context.bad_server("no key derivation was pending")),
        }
    }

    fn prove(&mut self, transcript: &Transcript, keys: &Keys) -> SaslStep {
        let auth_message = transcript.auth_message.as_bytes();
        let stored_key = self.hash.digest(&keys.client);
        let signature = self.hash.hmac(&stored_key, &[auth_message]);
        let proof: Zeroizing<Vec<u8>> =
            Zeroizing::new(keys.client.iter().zip(signature.iter()).map(|(key, sign)| key ^ sign).collect());
        let message = format!("{},p={}", transcript.without_proof, BASE64.encode(&*proof));
        self.state = State::ProofSent { server_signature: self.hash.hmac(&keys.server, &[auth_message]) };
        SaslStep::Send(zeroed_after_use(Zeroizing::new(message.into_bytes())))
    }
}

/// The broker's first message.
struct ServerFirst<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Parses `r=…,s=…,i=…` and ignores extensions after it. An extension before it is mandatory, and none is supported.
    fn parse(challenge: &'a [u8], our_nonce: &str) -> Result<Self, String> {
        let text = std::str::from_utf8(challenge).map_err(|_| "its first message is not UTF-8")?;
        let mut fields = text.split(',');
        if text.starts_with("m=") {
            return Err("unknown mandatory extension".to_owned());
        }
        let nonce = field(&mut fields, "r=", "nonce")?;
        let salt = field(&mut fields, "s=", "salt")?;
        let iterations = field(&mut fields, "i=", "number of iterations")?;
        if nonce.len() > MAX_NONCE || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its nonce is too long, or has characters that a nonce cannot have".to_owned());
        }
        match nonce.strip_prefix(our_nonce) {
            Some("") => return Err("its nonce adds nothing to ours".to_owned()),
            Some(_) => {}
            None => return Err("its nonce does not begin with ours".to_owned()),
        }
        let salt = BASE64.decode(salt).map_err(|_| "its salt is not Base64")?;
        if salt.is_empty() || salt.len() > MAX_SALT {
            return Err(format!("its salt has {} bytes", salt.len()));
        }
        let iterations = read_iterations(iterations)?;
        Ok(Self { text, nonce, salt, iterations })
    }
}

fn field<'a>(
    fields: &mut impl Iterator<Item = &'a str>,
    prefix: &str,
    what: &str,
) -> Result<&'a str, String> {
    fields
        .next()
        .and_then(|field| field.strip_prefix(prefix))
        .ok_or_else(|| format!("its first message has no {what} where it belongs"))
}

fn read_iterations(text: &str) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its number of iterations is not a number".to_owned());
    }
    match text.parse() {
        Ok(few) if few < MIN_ITERATIONS => {
            Err(format!("it demands {few} iterations; at least {MIN_ITERATIONS} are safe"))
        }
        Ok(iterations) if iterations <= MAX_ITERATIONS => Ok(iterations),
        _ => Err(format!("it demands more than {MAX_ITERATIONS} iterations")),
    }
}

/// Parses `v=…` or `e=…`, and compares the broker's signature with the expected one.
fn verify(context: &Context, expected: &[u8], challenge: &[u8]) -> Result<SaslStep, SaslError> {
    let text =
        std::str::from_utf8(challenge).map_err(|_| context.bad_server("its last message is not UTF-8"))?;
    let value = text.split(',').next().unwrap_or_default();
    if let Some(error) = value.strip_prefix("e=") {
        return Err(context.refused(error));
    }
    let signature = value
        .strip_prefix("v=")
        .and_then(|signature| BASE64.decode(signature).ok())
        .ok_or_else(|| context.bad_server("its last message has no signature"))?;
    if bool::from(signature.ct_eq(expected)) {
        Ok(SaslStep::Done)
    } else {
        Err(context.bad_server("its signature is wrong: it does not know this user's password"))
    }
}
