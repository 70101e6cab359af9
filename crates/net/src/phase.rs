//! [`Phase`]: the progress of a connection being made, for calls that give up waiting for it.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use crate::{establish::took_too_long, handshake::ConnectError};

/// The progress of a connection being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// No peer has accepted it.
    Connecting,
    /// TLS begins.
    Encrypting,
    /// ApiVersions was sent.
    Negotiating,
    /// Credentials are being fetched, or the broker is checking them.
    Authenticating,
}

impl Phase {
    /// Why a call has no connection after waiting this long; `None` before any peer accepted the connection.
    pub(crate) fn took_too_long(self, limit: Duration) -> Option<String> {
        match self {
            Self::Connecting => None,
            Self::Encrypting => Some(took_too_long("the TLS handshake", limit)),
            Self::Negotiating => Some(ConnectError::silent(limit).reason),
            Self::Authenticating => {
                Some(took_too_long("getting the credentials and authenticating by SASL", limit))
            }
        }
    }
}

/// A [`Phase`] that is updated while others read it.
#[derive(Debug, Default)]
pub(crate) struct PhaseCell(AtomicU8);

impl PhaseCell {
    pub(crate) fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Relaxed);
    }

    pub(crate) fn get(&self) -> Phase {
        match self.0.load(Relaxed) {
            1 => Phase::Encrypting,
            2 => Phase::Negotiating,
            3 => Phase::Authenticating,
            _ => Phase::Connecting,
        }
    }
}
