//! Errors in the settings of TLS, and the reasons of failed handshakes.

use std::{io, path::Path, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved,
};

use super::{
    certificate::utc,
    material::{Client, OwnCertificate},
    published::seconds,
    wall_clock,
};

/// An error in a TLS setting, or in the file that it names. The text includes the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("property `{property}`: {reason}")]
#[non_exhaustive]
pub struct TlsConfigError {
    /// The property.
    pub property: &'static str,
    /// The error and its remedy.
    pub reason: String,
    unreadable: Option<String>,
}

impl TlsConfigError {
    pub(super) fn new(property: &'static str, reason: impl Into<String>) -> Self {
        Self { property, reason: reason.into(), unreadable: None }
    }

    /// The error for a file that cannot be read; the setting may be right.
    pub(super) fn unreadable(property: &'static str, path: &Path, why: &str) -> Self {
        let path = path.display();
        let reason = format!("`{path}` cannot be read: {why}");
        Self { property, reason, unreadable: Some(format!("`{path}`: {why}")) }
    }

    #[doc(hidden)] // for the configuration of clients: which file cannot be read, and why
    pub fn unreadable_file(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }
}

/// Why a TLS connection could not be made, or broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct TlsError {
    /// A sentence that follows "cannot connect to host:port: ", with the remedy where it is known.
    pub reason: String,
    /// Whether waiting cannot help, because a setting or a certificate has to be changed.
    pub is_final: bool,
}

impl TlsError {
    /// An error that waiting cannot fix.
    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: true }
    }

    /// An error that may pass.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false }
    }

    /// Converts to the error type of rustls's certificate verifier.
    pub(super) fn into_rustls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// The TLS alert because of which a read or a write failed, if there was one. With TLS 1.3, a broker refuses the client's
/// certificate in this way, because it checks the certificate after the client has finished the handshake.
pub fn describe_alert(error: &io::Error) -> Option<TlsError> {
    error.get_ref()?.downcast_ref::<TlsError>().cloned()
}

/// The reason of a failed handshake.
pub(super) fn describe_handshake(error: &io::Error, client: &Client) -> TlsError {
    match tls_cause(error) {
        Some(cause) => describe(cause, client),
        // A broker's PLAINTEXT listener reads the first bytes as a length that is too large, and closes the connection.
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => TlsError::passing(
                "the broker closed the connection during the TLS handshake, as a listener does that speaks no TLS: compare \
                 `security.protocol` and the port with the broker's `listeners`",
            ),
            _ => TlsError::passing(format!(
                "the TLS handshake failed: {}",
                crate::frames::describe_io_error(error)
            )),
        },
    }
}

/// Converts the error of an established connection: an alert becomes an error that [`describe_alert`] knows.
pub(super) fn describe_io(error: io::Error, client: &Client) -> io::Error {
    match tls_cause(&error) {
        Some(Error::AlertReceived(alert)) => io::Error::new(error.kind(), describe_refusal(*alert, client)),
        Some(other) => {
            io::Error::new(error.kind(), format!("the TLS connection was damaged on the way ({other})"))
        }
        None => error,
    }
}

fn tls_cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn describe(error: &Error, client: &Client) -> TlsError {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            match other.downcast_ref::<TlsError>() {
                Some(error) => error.clone(),
                None => TlsError::lasting(format!("the broker's certificate is not accepted: {other}")),
            }
        }
        Error::AlertReceived(alert) => describe_refusal(*alert, client),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => no_common_version(client),
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
        )
        | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite) => no_common_cipher(client),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => TlsError::lasting(
            "what answers there does not speak TLS: compare `security.protocol` and the port with the broker's `listeners`",
        ),
        other => TlsError::passing(format!("TLS failed: {other}")),
    }
}

/// The meaning of a broker's alert. It can only be about the client's versions, cipher suites and certificate.
fn describe_refusal(alert: AlertDescription, client: &Client) -> TlsError {
    use AlertDescription as A;
    match (alert, &client.own) {
        (A::ProtocolVersion, _) => no_common_version(client),
        (A::InsufficientSecurity, _) => no_common_cipher(client),
        (A::HandshakeFailure, own) => TlsError::lasting(format!(
            "the broker refused the TLS handshake: it has no cipher suite in common with us ({OFFER}), or {}",
            match own {
                None => "requires a client certificate (`ssl.keystore.location`)".to_owned(),
                Some(own) => format!("does not accept our certificate ({})", own.name),
            }
        )),
        (A::UnrecognisedName, _) => TlsError::lasting(
            "the broker, or a proxy before it, knows no host of this name (SNI): connect by one of its own names",
        ),
        (A::CertificateRequired | A::BadCertificate | A::CertificateUnknown, None) => TlsError::lasting(
            "the broker requires a client certificate (`ssl.client.auth=required`): set `ssl.keystore.location`",
        ),
        (
            A::CertificateRequired
            | A::BadCertificate
            | A::CertificateUnknown
            | A::UnknownCA
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::UnsupportedCertificate
            | A::AccessDenied
            | A::DecryptError,
            Some(own),
        ) => TlsError::lasting(refused(alert, own)),
        (alert, _) => TlsError::passing(format!(
            "the broker ended TLS with the alert {}: its log says why",
            name(alert)
        )),
    }
}

/// Why a broker refused the client's certificate. Java's brokers send `certificate_unknown` for every reason.
fn refused(alert: AlertDescription, own: &OwnCertificate) -> String {
    use AlertDescription as A;
    let OwnCertificate { name: own_name, not_after, property } = own;
    match alert {
        _ if *not_after < seconds(wall_clock()) => format!(
            "the broker refused our certificate ({own_name}), which ended on {}: renew it in `{property}`",
            utc(*not_after)
        ),
        A::CertificateExpired => format!(
            "the broker refused our certificate ({own_name}) as not valid now: compare the clocks, or renew it in `{property}`"
        ),
        A::CertificateRequired => format!(
            "the broker requires a client certificate and takes none that is signed like ours ({own_name}): set another in \
             `{property}`"
        ),
        A::UnknownCA | A::CertificateUnknown => format!(
            "the broker refused our certificate ({own_name}), probably as it does not trust who issued it: have that authority \
             added to the broker's `ssl.truststore.location`, or set another certificate in `{property}`"
        ),
        _ => format!(
            "the broker refused our certificate ({own_name}) with the alert {}: its log says why; set another in `{property}`",
            name(alert)
        ),
    }
}

/// The cipher suites that this client offers: all that rustls supports.
const OFFER: &str = "AES-GCM and ChaCha20-Poly1305, or what `ssl.cipher.suites` leaves of them";

fn no_common_version(client: &Client) -> TlsError {
    TlsError::lasting(format!(
        "the broker speaks no version of TLS that we offer ({}): compare `ssl.enabled.protocols` here and there",
        client.versions
    ))
}

fn no_common_cipher(client: &Client) -> TlsError {
    TlsError::lasting(format!(
        "the broker has no cipher suite in common with us ({OFFER}; {}): compare `ssl.cipher.suites` here and there",
        client.versions
    ))
}

/// Formats an alert as in the RFCs: `certificate_unknown`.
fn name(alert: AlertDescription) -> String {
    let Some(camel) = alert.as_str() else { return u8::from(alert).to_string() };
    let mut name = String::new();
    for (at, c) in camel.char_indices() {
        if at > 0 && c.is_ascii_uppercase() && !name.ends_with("_c") {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}
