//! The security of listeners: TLS around the bytes, and SASL in front of the model, which knows nothing of either.

mod gate;
mod mechanism;
mod oauthbearer;
mod plain;
mod scram;
#[cfg(feature = "tls")]
mod tls;
mod users;

#[cfg(test)]
mod tests;

pub(super) use gate::{Decision, Gate, Now};
pub use mechanism::SaslMechanism;
#[cfg(feature = "tls")]
pub(super) use tls::Listener;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub(super) use users::Sasl;
