//! [`TlsConfig`]: the settings of TLS, as configured.

use std::path::PathBuf;

use crate::Secret;

/// The settings for verifying brokers and for authenticating to them. [`Tls::new`](super::Tls::new) checks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The trusted certificates.
    pub trust: Trust,
    /// The client's certificate for brokers that require one (mutual TLS). `None`: no certificate.
    pub identity: Option<Identity>,
    /// How much of a broker's certificate is verified.
    pub verification: Verification,
    /// `ssl.protocol`: `TLSv1.2` disables TLS 1.3, whatever `ssl.enabled.protocols` says; `TLSv1.3` (Java's default) and `None`
    /// disable nothing.
    pub protocol: Option<String>,
    /// `ssl.enabled.protocols`: `TLSv1.2`, `TLSv1.3` or both. Older versions are ignored. Empty: both.
    pub enabled_protocols: Vec<String>,
    /// `ssl.cipher.suites`: names as in IANA's list and in Java, such as `TLS_AES_256_GCM_SHA384`. Unsupported suites are ignored
    /// as long as one remains. Empty: all that are supported.
    pub cipher_suites: Vec<String>,
}

/// The trusted certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The system's trusted authorities, as read at the start.
    #[default]
    System,
    /// The certificates of this PEM text. A directory is read as by OpenSSL: files named by a hash. It is read again after one of
    /// its files changed, appeared or disappeared.
    Pem(Pem),
    /// The trusted certificates of this file.
    Keystore(Keystore),
}

/// A private key, its certificate, and the chain to an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Both in PEM, from one file or two. If there are several keys, the first one is used.
    Pem {
        /// The certificates.
        chain: Pem,
        /// The key: PKCS8, encrypted PKCS8, PKCS1 or SEC 1.
        key: Pem,
        /// `ssl.key.password`, for an encrypted key.
        key_password: Option<Secret>,
    },
    /// The first key of this file that has a certificate.
    Keystore {
        /// The file.
        keystore: Keystore,
        /// `ssl.key.password`, if it is not the file's; PKCS12 has only one.
        key_password: Option<Secret>,
    },
}

/// PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// The property that was set, as named in errors: `ssl.truststore.location`, `ssl.ca.pem`.
    pub property: &'static str,
    /// The text, or its location.
    pub source: Source,
}

/// A text, or its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this file, which is read again after a change.
    File(PathBuf),
    /// Inline.
    Inline(Secret),
}

/// A keystore file of Java's `keytool`: PKCS12 or JKS, as detected from its contents. It is read again after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keystore {
    /// The property that was set, as named in errors: `ssl.truststore.location`, `ssl.keystore.location`.
    pub property: &'static str,
    /// The file's path.
    pub path: PathBuf,
    /// `ssl.truststore.password` or `ssl.keystore.password`. Without one, the trusted certificates of a JKS file are used
    /// unchecked, as in Java: a modification of the file would go unnoticed.
    pub password: Option<Secret>,
}

/// How much of a broker's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Verifies that a trusted authority issued it, that it is valid now, and that it is for the host of the connection.
    #[default]
    Full,
    /// The same without the host (`ssl.endpoint.identification.algorithm=`): anybody with a certificate of a trusted authority
    /// can impersonate a broker.
    WithoutHostName,
    /// Verifies nothing (`enable.ssl.certificate.verification=false`): anybody on the network path can impersonate a broker, and
    /// read and change everything.
    Off,
}

impl Verification {
    /// The warning that [`Tls::new`](super::Tls::new) logs; `None` with [`Full`](Self::Full).
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::WithoutHostName => Some(
                "host names are not compared with brokers' certificates: whoever has any certificate of a trusted authority can \
                 pass for a broker (`ssl.endpoint.identification.algorithm`)",
            ),
            Self::Off => Some(
                "brokers' certificates are not verified: whoever is on the way can pass for a broker, read everything and change \
                 it (`enable.ssl.certificate.verification`)",
            ),
        }
    }
}
