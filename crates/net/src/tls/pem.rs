//! PEM: sections of base64 between `-----BEGIN …-----` and `-----END …-----`.
//!
//! Lines may have any length, and a text may be on one line, as in `.properties` files. Text between sections is ignored.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

/// A section: its label and its bytes.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) label: &'a str,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// Why a text is not PEM.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    #[error(
        "it is not text (where it is PKCS12 or JKS, `ssl.truststore.type` or `ssl.keystore.type` has to say so)"
    )]
    NotText,
    #[error("its `{0}` has no end")]
    NoEnd(String),
    #[error("its `{0}` is not base64")]
    NotBase64(String),
    /// RFC 1421: encrypted under a key that one round of MD5 derives from the password.
    #[error(
        "its key is encrypted in OpenSSL's old form (`Proc-Type: 4,ENCRYPTED`), which is not safe and not supported: convert it with \
         `openssl pkcs8 -topk8 -in OLD -out NEW`"
    )]
    OldEncryption,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// All sections, in order.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section<'_>>, PemError> {
    let mut rest = std::str::from_utf8(text).map_err(|_| PemError::NotText)?;
    let mut sections = Vec::new();
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let cut = || PemError::NoEnd(shown(begun));
        let (label, body) = begun.split_once(DASHES).ok_or_else(cut)?;
        let end = format!("-----END {label}-----");
        let (body, after) = body.split_once(&end).ok_or_else(|| PemError::NoEnd(shown(label)))?;
        rest = after;
        if body.contains("Proc-Type:") {
            return Err(PemError::OldEncryption);
        }
        let mut compact = Zeroizing::new(String::with_capacity(body.len())); // allocated once, so that the key is never copied
        compact.extend(body.split_ascii_whitespace());
        let der =
            BASE64_STANDARD.decode(compact.as_bytes()).map_err(|_| PemError::NotBase64(shown(label)))?;
        sections.push(Section { label, der: Zeroizing::new(der) });
    }
    Ok(sections)
}

/// A label for an error. It may be anything, even a key that lost its line breaks, so that only part of it is shown.
fn shown(label: &str) -> String {
    label.chars().take_while(|c| c.is_ascii_uppercase() || *c == ' ').take(24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(&str, Vec<u8>)> {
        sections(text.as_bytes()).unwrap().into_iter().map(|s| (s.label, s.der.to_vec())).collect()
    }

    #[test]
    fn sections_are_read_whatever_stands_between_them() {
        let text = "subject=CN = a\n-----BEGIN CERTIFICATE-----\nAQID\nBA==\n-----END CERTIFICATE-----\nissuer=b\r\n\
                    -----BEGIN PRIVATE KEY-----\r\nBQ==\r\n-----END PRIVATE KEY-----\r\n";
        assert_eq!(labels(text), [("CERTIFICATE", vec![1, 2, 3, 4]), ("PRIVATE KEY", vec![5])]);
        assert_eq!(labels("nothing"), []);
        assert_eq!(labels(""), []);
    }

    #[test]
    fn a_text_may_be_on_one_line_as_in_properties() {
        let text = "-----BEGIN CERTIFICATE----- AQID BA== -----END CERTIFICATE----------BEGIN CERTIFICATE-----BQ==-----END CERTIFICATE-----";
        assert_eq!(labels(text), [("CERTIFICATE", vec![1, 2, 3, 4]), ("CERTIFICATE", vec![5])]);
    }

    #[test]
    fn truncated_pem_or_invalid_base64_is_refused() {
        let error = |text: &str| sections(text.as_bytes()).unwrap_err();
        assert_eq!(error("-----BEGIN CERTIFICATE-----\nAQID"), PemError::NoEnd("CERTIFICATE".into()));
        assert_eq!(error("-----BEGIN CERT"), PemError::NoEnd("CERT".into()));
        assert_eq!(error("-----BEGIN A-----\nAQID\n-----END B-----"), PemError::NoEnd("A".into()));
        assert_eq!(error("-----BEGIN A-----\nA!\n-----END A-----"), PemError::NotBase64("A".into()));
        assert_eq!(sections(&[0xff]).unwrap_err(), PemError::NotText);
    }

    #[test]
    fn the_old_encryption_is_refused_with_the_way_out() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAQID\n-----END RSA PRIVATE KEY-----";
        assert!(sections(text.as_bytes()).unwrap_err().to_string().contains("openssl pkcs8 -topk8"));
    }

    #[test]
    fn an_error_shows_nothing_of_a_key_that_lost_its_dashes() {
        let error = sections(b"-----BEGIN PRIVATE KEYs3cr3t").unwrap_err().to_string();
        assert!(error.contains("PRIVATE KEY") && !error.contains("s3cr3t"), "{error}");
    }
}
