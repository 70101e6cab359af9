//! [`SaslMechanism`], and the parts that all mechanisms share.

use std::{fmt, str::FromStr};

use super::{oauthbearer, plain, scram, users::Users};

/// A SASL mechanism that brokers support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SaslMechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// SCRAM-SHA-256 (RFC 5802, RFC 7677; KIP-84).
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
    /// OAUTHBEARER (RFC 7628; KIP-255), with unsecured tokens: a token with the name of a user as its `sub` is
    /// accepted, whoever made it.
    OAuthBearer,
}

impl SaslMechanism {
    /// All mechanisms.
    pub const ALL: &[Self] = &[Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OAuthBearer];

    /// The mechanism's name in `sasl.mechanism`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error lists the valid names.
impl FromStr for SaslMechanism {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|mechanism| mechanism.name() == name).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|mechanism| mechanism.name()).collect();
            format!("not a mechanism of the embedded broker: it takes {}", all.join(", "))
        })
    }
}

/// One authentication, as the broker sees it.
pub(super) enum Exchange {
    Plain,
    Scram(Box<scram::Exchange>),
    OAuthBearer(oauthbearer::Exchange),
}

/// The broker's reaction to a message.
pub(super) enum SaslServerStep {
    /// The client has to answer this challenge.
    Challenge(Vec<u8>),
    Accepted {
        user: String,
        answer: Vec<u8>,
        /// When the credentials expire, in milliseconds since 1970.
        ends_ms: Option<i64>,
    },
}

/// The reason why a client is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client is sent this reason.
    WithMessage(String),
    /// Kafka reveals only that the credentials are invalid.
    WithoutMessage,
}

impl Exchange {
    /// `nonce` is the broker's, for this exchange alone.
    pub(super) fn begin(mechanism: SaslMechanism, nonce: String) -> Self {
        match mechanism {
            SaslMechanism::Plain => Self::Plain,
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => {
                Self::Scram(Box::new(scram::Exchange::new(mechanism, nonce)))
            }
            SaslMechanism::OAuthBearer => Self::OAuthBearer(oauthbearer::Exchange::default()),
        }
    }

    /// `wall_ms` is the time of day, by which tokens expire.
    pub(super) fn step(
        &mut self,
        message: &[u8],
        users: &Users,
        wall_ms: i64,
    ) -> Result<SaslServerStep, Refusal> {
        match self {
            Self::Plain => plain::evaluate(message, users),
            Self::Scram(exchange) => exchange.step(message, users),
            Self::OAuthBearer(exchange) => exchange.step(message, users, wall_ms),
        }
    }
}

/// The refusal in Kafka's words.
pub(super) fn other_authorization_id() -> Refusal {
    let why = "Authentication failed: Client requested an authorization id that is different from username";
    Refusal::WithMessage(why.to_owned())
}
