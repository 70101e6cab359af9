//! [`Phase`]: how far a connection is that is being made, for calls that give up waiting for it.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use crate::{establish::took_too_long, handshake::ConnectError};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nobody has accepted it.
    Connecting,
    /// TLS begins.
    Encrypting,
    /// ApiVersions was asked for.
    Negotiating,
    /// Credentials are asked for, and the broker is asked to accept them.
    Authenticating,
}

impl Phase {
    /// Why a call that waited for so long has no connection; `None` before anybody accepted it.
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

/// A [`Phase`] that changes while others look at it.
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
