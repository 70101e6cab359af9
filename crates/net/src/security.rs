//! [`Security`]: how connections are secured.

use std::io;

#[cfg(feature = "_tls")]
use crate::tls::{Tls, TlsError, describe_alert};
use crate::{handshake::ConnectError, sasl::Sasl};

/// How connections are secured. By default they are not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Security {
    /// Encrypts, and checks who the broker is. `None`: in clear.
    #[cfg(feature = "_tls")]
    pub tls: Option<Tls>,
    /// Tells the broker who we are. `None`: it is not told.
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

    /// Warns of a certificate of our own that ends soon, once a day at most.
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

/// What TLS says of a connection that failed, if that is why: with TLS 1.3 a broker refuses our certificate only after the
/// handshake.
#[cfg(feature = "_tls")]
pub(crate) fn alert(error: &io::Error) -> Option<ConnectError> {
    describe_alert(error).map(ConnectError::from)
}

#[cfg(not(feature = "_tls"))]
pub(crate) fn alert(_error: &io::Error) -> Option<ConnectError> {
    None
}
