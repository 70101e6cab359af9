//! [`TlsConfig`]: the settings of TLS, as they are written.

use std::path::PathBuf;

use crate::Secret;

/// How brokers prove who they are, and what they are shown in turn. [`Tls::new`](super::Tls::new) checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// What proves to brokers who we are, where they ask for it (mutual TLS). `None`: nothing.
    pub identity: Option<Identity>,
    /// How much of a broker's certificate is verified.
    pub verification: Verification,
    /// `ssl.protocol`: `TLSv1.2` leaves TLS 1.3 out, whatever `ssl.enabled.protocols` says; `TLSv1.3` (Java's default) and `None`
    /// leave nothing out.
    pub protocol: Option<String>,
    /// `ssl.enabled.protocols`: `TLSv1.2`, `TLSv1.3` or both. Older versions are left out. Empty: both.
    pub enabled_protocols: Vec<String>,
    /// `ssl.cipher.suites`: IANA's names, as Java's, such as `TLS_AES_256_GCM_SHA384`. Those that are not supported here are left
    /// out as long as one remains. Empty: all that are supported.
    pub cipher_suites: Vec<String>,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that the system trusts, as read at the start.
    #[default]
    System,
    /// The certificates of this PEM text. A directory is read as OpenSSL does: files that are named by a hash; it is read again after
    /// one of them changed, came or went.
    Pem(Pem),
    /// The trusted certificates of this file.
    Keystore(Keystore),
}

/// What proves to brokers who we are: a private key, its certificate, and those that lead to an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Both as PEM, of one file or of two. Of several keys the first is taken.
    Pem {
        /// The certificates.
        chain: Pem,
        /// The key: PKCS8, encrypted PKCS8, PKCS1 or SEC 1.
        key: Pem,
        /// `ssl.key.password`, of an encrypted key.
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
    /// The property that says so, by which errors call it: `ssl.truststore.location`, `ssl.ca.pem`.
    pub property: &'static str,
    /// The text, or where it is.
    pub source: Source,
}

/// A text, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this file, which is read again after it changed.
    File(PathBuf),
    /// Here.
    Inline(Secret),
}

/// A file of Java's `keytool`: PKCS12 or JKS, whichever it turns out to be. It is read again after it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keystore {
    /// The property that says so, by which errors call it: `ssl.truststore.location`, `ssl.keystore.location`.
    pub property: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// `ssl.truststore.password` or `ssl.keystore.password`. Without one the trusted certificates of a JKS file are taken as they
    /// are, as Java does: nobody notices whether the file was changed.
    pub password: Option<Secret>,
}

/// How much of a broker's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// That a trusted authority issued it, that it is valid now, and that it is for the host that was asked for.
    #[default]
    Full,
    /// The same without the host (`ssl.endpoint.identification.algorithm=`): whoever has any certificate of a trusted authority
    /// can pass for a broker.
    WithoutHostName,
    /// Nothing (`enable.ssl.certificate.verification=false`): whoever is on the way can pass for a broker, read everything and
    /// change it.
    Off,
}

impl Verification {
    /// What [`Tls::new`](super::Tls::new) warns of; `None` with [`Full`](Self::Full).
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
