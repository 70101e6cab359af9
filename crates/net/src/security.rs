//! [`Security`]: the encryption and authentication of connections.

use std::io;

#[cfg(feature = "_tls")]
use crate::tls::{Tls, TlsError, describe_alert};
use crate::{handshake::ConnectError, sasl::Sasl};

/// The encryption and authentication of connections. By default there is neither.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Security {
    /// Encrypts, and checks the broker's identity. `None`: in clear.
    #[cfg(feature = "_tls")]
    pub tls: Option<Tls>,
    /// Authenticates this client. `None`: no authentication.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Whether connections are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        #[cfg(feature = "_tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "_tls"))]
        false
    }

    /// Warns if the client's own certificate expires soon, at most once a day.
    pub(crate) fn warn_of_ending(&self) {
        #[cfg(feature = "_tls")]
        if let Some(tls) = &self.tls {
            tls.warn_of_ending();
        }
    }
}

#[cfg(feature = "_tls")]
impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        Self::authentication(error.reason, error.is_final)
    }
}

/// The TLS alert that ended a connection, if there was one: with TLS 1.3 a broker refuses the client's certificate only after the
/// handshake.
#[cfg(feature = "_tls")]
pub(crate) fn alert(error: &io::Error) -> Option<ConnectError> {
    describe_alert(error).map(ConnectError::from)
}

#[cfg(not(feature = "_tls"))]
pub(crate) fn alert(_error: &io::Error) -> Option<ConnectError> {
    None
}
