//! [`Verifier`]: decides whether a broker's certificate is accepted, and explains a refusal.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{
    TlsError, Verification,
    certificate::{Certificate, utc},
    trust::Roots,
};

/// How soon a certificate may become valid for the client to wait for that, in seconds, because clocks differ.
const SOON: i64 = 3600;

/// Decides whether a broker's certificate is accepted.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: Arc<Roots>,
    webpki: Arc<WebPkiServerVerifier>,
    verification: Verification,
}

impl Verifier {
    pub(super) fn new(
        roots: Arc<Roots>,
        webpki: Arc<WebPkiServerVerifier>,
        verification: Verification,
    ) -> Self {
        Self { roots, webpki, verification }
    }

    /// Accepts a broker whose certificate is itself trusted, without an authority, as Java's clients do.
    fn verify_trusted(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, CertificateError> {
        let read = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
        if seconds(now) > read.not_after {
            return Err(CertificateError::Expired);
        }
        if seconds(now) < read.not_before {
            return Err(CertificateError::NotValidYet);
        }
        if self.verification == Verification::Full {
            let verdict =
                ParsedCertificate::try_from(certificate).and_then(|parsed| verify_server_name(&parsed, name));
            verdict.map_err(|error| match error {
                Error::InvalidCertificate(why) => why,
                _ => CertificateError::BadEncoding,
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    /// Without verification, the signature proves nothing, because anybody on the network path could present a certificate of
    /// their own.
    fn signature(
        &self,
        verify: impl FnOnce(&WebPkiServerVerifier) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.verification {
            Verification::Off => Ok(HandshakeSignatureValid::assertion()),
            Verification::Full | Verification::WithoutHostName => verify(&self.webpki),
        }
    }

    fn explain(&self, why: &CertificateError, shown: &Shown<'_>) -> TlsError {
        use CertificateError as C;
        let Some(own) = Certificate::parse(shown.certificate) else {
            return TlsError::lasting(format!("the broker's certificate cannot be read ({why})"));
        };
        let now = seconds(shown.now);
        match why {
            C::Expired | C::ExpiredContext { .. } => {
                let (whose, certificate) = shown.first(own, |certificate| certificate.not_after < now);
                TlsError::lasting(format!(
                    "{whose} expired on {}, and it is {} here: the broker has to be given a new one",
                    utc(certificate.not_after),
                    utc(now)
                ))
            }
            C::NotValidYet | C::NotValidYetContext { .. } => {
                let (whose, certificate) = shown.first(own, |certificate| certificate.not_before > now);
                TlsError {
                    reason: format!(
                        "{whose} is not valid before {}, and it is {} here: compare the clocks",
                        utc(certificate.not_before),
                        utc(now)
                    ),
                    is_final: certificate.not_before.saturating_sub(now) > SOON,
                }
            }
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                TlsError::lasting(wrong_host(&own, shown.name))
            }
            C::UnknownIssuer => TlsError::lasting(self.unknown_issuer(own, shown)),
            C::BadSignature => TlsError::lasting(self.other_key(&own)),
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => TlsError::lasting(
                "the broker's certificate is not one for servers (its extended key usage lacks serverAuth): the broker has to be \
                 given another",
            ),
            _ if own.is_self_issued() => TlsError::lasting(self.unknown_issuer(own, shown)),
            _ if own.is_old => TlsError::lasting(
                "the broker's certificate is of X.509 version 1, which names no hosts: the broker has to be given one with a \
                 subject alternative name",
            ),
            _ if own.is_authority => TlsError::lasting(format!(
                "the broker shows an authority's own certificate (`{}`): the broker has to be given one that this authority issued; \
                 or {}",
                own.subject, self.roots.remedy
            )),
            other => TlsError::lasting(format!(
                "the broker's certificate is not accepted ({other}): RSA keys of 2048 bits or more, ECDSA and Ed25519 are, signed \
                 with SHA-256 or better"
            )),
        }
    }

    /// Names the issuer of the last certificate in the broker's chain.
    fn unknown_issuer(&self, own: Certificate, shown: &Shown<'_>) -> String {
        if self.roots.knows_issuer(&own) {
            return self.other_key(&own);
        }
        if own.is_self_issued() {
            return format!(
                "the broker's certificate is its own issuer's (`{}`), which is not trusted: {}",
                own.issuer, self.roots.remedy
            );
        }
        let others: Vec<_> = shown.others.iter().filter_map(|der| Certificate::parse(der)).collect();
        let mut last = &own;
        for _ in 0..others.len() {
            match others.iter().find(|other| other.raw_subject == last.raw_issuer) {
                Some(issuer) if !last.is_self_issued() => last = issuer,
                _ => break,
            }
        }
        if last.raw_subject != own.raw_subject && self.roots.knows_issuer(last) {
            return self.other_key(last);
        }
        format!(
            "the broker's certificate was issued by `{}`, which is not trusted: {}",
            last.issuer, self.roots.remedy
        )
    }

    fn other_key(&self, certificate: &Certificate) -> String {
        format!(
            "the certificate `{}` was not issued by the `{}` that is trusted, but by another authority of that name: {}",
            certificate.subject, certificate.issuer, self.roots.remedy
        )
    }
}

/// The broker's certificates, its claimed host, and the present time.
struct Shown<'a> {
    certificate: &'a CertificateDer<'a>,
    others: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    now: UnixTime,
}

impl Shown<'_> {
    /// The first certificate for which this holds; if there is none, the broker's own.
    fn first(&self, own: Certificate, holds: impl Fn(&Certificate) -> bool) -> (String, Certificate) {
        if !holds(&own) {
            let other =
                self.others.iter().filter_map(|der| Certificate::parse(der)).find(|other| holds(other));
            if let Some(other) = other {
                return (format!("the certificate of the authority `{}`", other.subject), other);
            }
        }
        ("the broker's certificate".to_owned(), own)
    }
}

fn wrong_host(own: &Certificate, name: &ServerName<'_>) -> String {
    let asked = name.to_str();
    if own.hosts.is_empty() {
        return format!(
            "the broker's certificate (`{}`) names no hosts, and `{asked}` was asked for: the broker has to be given one with a \
             subject alternative name",
            own.subject
        );
    }
    let offered: Vec<_> = own.hosts.iter().map(|host| format!("`{host}`")).collect();
    let more = if own.more_hosts { ", …" } else { "" };
    format!(
        "the broker's certificate is for {}{more} and not for `{asked}`, which was asked for: connect by one of those names \
         (`advertised.listeners` of the broker), or have this one added to it",
        offered.join(", ")
    )
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verification == Verification::Off {
            return Ok(ServerCertVerified::assertion());
        }
        let why = match self.webpki.verify_server_cert(certificate, others, name, ocsp_response, now) {
            Err(Error::InvalidCertificate(why)) => why,
            other => return other,
        };
        // webpki compares the name last: everything else was right.
        let is_name = matches!(
            why,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        );
        let verdict = match why {
            _ if is_name && self.verification == Verification::WithoutHostName => {
                Ok(ServerCertVerified::assertion())
            }
            _ if !is_name && self.roots.contains(certificate) => self.verify_trusted(certificate, name, now),
            why => Err(why),
        };
        verdict.map_err(|why| self.explain(&why, &Shown { certificate, others, name, now }).into_rustls())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(|webpki| webpki.verify_tls12_signature(message, certificate, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(|webpki| webpki.verify_tls13_signature(message, certificate, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
