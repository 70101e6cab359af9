//! [`Sasl`]: which users may log in, and for how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{SaslMechanism, scram};
use crate::random::Random;

/// The SASL state of the listeners. SASL is off until there is a user.
#[derive(Debug)]
pub(in crate::runtime) struct Sasl {
    pub(in crate::runtime) users: Users,
    pub(in crate::runtime) session_lifetime: Option<Duration>,
    random: Random,
}

impl Sasl {
    pub(in crate::runtime) fn new(session_lifetime: Option<Duration>, seed: u64) -> Self {
        // Different numbers from those of the model's ids.
        let random = Random::new(seed ^ u64::from_be_bytes(*b"SASLSALT"));
        Self { users: Users::default(), session_lifetime, random }
    }

    /// Whether connections have to authenticate.
    pub(in crate::runtime) fn is_on(&self) -> bool {
        !self.users.mechanisms.is_empty()
    }

    /// A nonce, or a part of one.
    pub(super) fn nonce(&mut self) -> String {
        BASE64.encode(self.bytes())
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..3).flat_map(|_| self.random.next().to_be_bytes()).collect()
    }

    pub(in crate::runtime) fn set_user(&mut self, mechanism: SaslMechanism, name: &str, password: &str) {
        let salt = self.bytes();
        self.users.set(mechanism, name, password, salt);
    }
}

/// The users that may log in.
#[derive(Default)]
pub(in crate::runtime) struct Users {
    all: BTreeMap<(SaslMechanism, String), Credential>,
    /// The enabled mechanisms, also when no user is left.
    mechanisms: BTreeSet<SaslMechanism>,
}

/// A user's credential at the broker.
pub(super) enum Credential {
    Password(String),
    Scram(scram::Keys),
    /// Only that the user exists.
    Name,
}

impl Users {
    pub(super) fn set(&mut self, mechanism: SaslMechanism, name: &str, password: &str, salt: Vec<u8>) {
        let credential = match mechanism {
            SaslMechanism::Plain => Credential::Password(password.to_owned()),
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => {
                Credential::Scram(scram::Keys::derive(mechanism, password, salt))
            }
            SaslMechanism::OAuthBearer => Credential::Name,
        };
        self.mechanisms.insert(mechanism);
        self.all.insert((mechanism, name.to_owned()), credential);
    }

    pub(in crate::runtime) fn remove(&mut self, mechanism: SaslMechanism, name: &str) {
        self.all.remove(&(mechanism, name.to_owned()));
    }

    pub(super) fn get(&self, mechanism: SaslMechanism, name: &str) -> Option<&Credential> {
        self.all.get(&(mechanism, name.to_owned()))
    }

    pub(super) fn mechanisms(&self) -> impl Iterator<Item = SaslMechanism> {
        self.mechanisms.iter().copied()
    }
}

/// Leaves out the credentials.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all.keys()).finish()
    }
}
