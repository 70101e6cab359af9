//! [`Keystore`]s: PKCS12 and JKS, distinguished by their first bytes, as in Java, whatever type is configured.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{
    Keystore, TlsConfigError, files,
    jks::{self, Entries, JksError},
    pbe::Budget,
    pkcs12::{Contents, Pkcs12Error},
};
use crate::Secret;

/// A key in PKCS8, and certificates, among which its own should be.
pub(super) struct KeyWithCertificates {
    pub(super) key: Zeroizing<PrivateKeyDer<'static>>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// The property of a file's password.
#[derive(Clone, Copy)]
enum Password {
    Truststore,
    Keystore,
}

impl Password {
    fn property(self) -> &'static str {
        match self {
            Self::Truststore => "ssl.truststore.password",
            Self::Keystore => "ssl.keystore.password",
        }
    }

    /// The property that distinguishes a PEM file from a keystore.
    fn kind(self) -> &'static str {
        match self {
            Self::Truststore => "ssl.truststore.type=PEM",
            Self::Keystore => "ssl.keystore.type=PEM",
        }
    }
}

enum Format {
    Pkcs12,
    Jks,
}

impl Keystore {
    /// The trusted certificates.
    pub(super) fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        self.trusted_in(&files::read(self.property, &self.path)?)
    }

    fn trusted_in(&self, file: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let of = Password::Truststore;
        let trusted: Vec<_> = match self.format(file, of)? {
            Format::Jks => {
                let entries =
                    Entries::read(file, self.text(of)?).map_err(|error| self.jks_error(error, of))?;
                entries.trusted.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect()
            }
            Format::Pkcs12 => {
                let Contents { keys, certificates } = self.contents(file, of)?;
                // Java marks trusted certificates; other tools write only trusted ones into such a file.
                let all = keys.is_empty() && !certificates.iter().any(|stored| stored.is_trusted);
                let trusted = certificates.into_iter().filter(|stored| all || stored.is_trusted);
                trusted.map(|stored| CertificateDer::from(stored.der)).collect()
            }
        };
        if trusted.is_empty() {
            return Err(self.problem(
                "has no trusted certificate: import those of the authorities that issue brokers' certificates with \
                 `keytool -importcert`",
            ));
        }
        Ok(trusted)
    }

    /// The keys of the file, with their certificates.
    pub(super) fn keys(
        &self,
        key_password: Option<&Secret>,
    ) -> Result<Vec<KeyWithCertificates>, TlsConfigError> {
        self.keys_in(&files::read(self.property, &self.path)?, key_password)
    }

    fn keys_in(
        &self,
        file: &[u8],
        key_password: Option<&Secret>,
    ) -> Result<Vec<KeyWithCertificates>, TlsConfigError> {
        let of = Password::Keystore;
        let keys: Vec<_> = match self.format(file, of)? {
            Format::Jks => {
                let entries =
                    Entries::read(file, self.text(of)?).map_err(|error| self.jks_error(error, of))?;
                let (property, password) = match key_password {
                    Some(password) => ("ssl.key.password", text("ssl.key.password", password)?),
                    None => (of.property(), self.text(of)?.unwrap_or_default()),
                };
                let keys = entries.keys.into_iter().map(|entry| {
                    let key = entry.reveal(password).map_err(|error| match error {
                        JksError::Password => TlsConfigError::new(
                            property,
                            format!(
                                "it is not the password of the key in `{}`, which `ssl.key.password` sets if it is not the \
                                 file's own",
                                self.path.display()
                            ),
                        ),
                        other => self.jks_error(other, of),
                    })?;
                    let certificates = entry.chain.into_iter().map(|der| CertificateDer::from(der.to_vec()));
                    Ok(KeyWithCertificates {
                        key: pkcs8(&key),
                        certificates: certificates.collect(),
                    })
                });
                keys.collect::<Result<_, TlsConfigError>>()?
            }
            Format::Pkcs12 => {
                let Contents { keys, certificates } = self.contents(file, of)?;
                let certificates: Vec<_> =
                    certificates.into_iter().map(|stored| CertificateDer::from(stored.der)).collect();
                let keys = keys
                    .iter()
                    .map(|key| KeyWithCertificates { key: pkcs8(key), certificates: certificates.clone() });
                keys.collect()
            }
        };
        if keys.is_empty() { Err(self.problem("has no private key")) } else { Ok(keys) }
    }

    fn format(&self, bytes: &[u8], of: Password) -> Result<Format, TlsConfigError> {
        match bytes {
            bytes if bytes.starts_with(&jks::MAGIC) => Ok(Format::Jks),
            [0x30, 0x80, ..] => Err(self.convert("is PKCS12 in BER, which is not supported")),
            [0x30, ..] => Ok(Format::Pkcs12),
            [0xce, 0xce, 0xce, 0xce, ..] => Err(self.convert("is JCEKS, which is not supported")),
            bytes if bytes.windows(11).take(4096).any(|window| window == b"-----BEGIN ") => {
                Err(self.problem(&format!("is PEM: set `{}`", of.kind())))
            }
            _ => Err(self.problem("is neither PKCS12 nor JKS")),
        }
    }

    fn contents(&self, file: &[u8], of: Password) -> Result<Contents, TlsConfigError> {
        let password = self.text(of)?.unwrap_or_default();
        Contents::read(file, password, Budget::new()).map_err(|error| match error {
            Pkcs12Error::Password => self.wrong_password(of),
            Pkcs12Error::Unsupported => self.convert("is encrypted in a way that is not supported"),
            Pkcs12Error::TakesTooLong => self.convert("takes too long to decrypt"),
            Pkcs12Error::Damaged => self.problem("is not PKCS12 as it should be: it is cut short or damaged"),
        })
    }

    fn jks_error(&self, error: JksError, of: Password) -> TlsConfigError {
        match error {
            JksError::Password => self.wrong_password(of),
            other => self.problem(&format!("is not JKS as it should be: {other}")),
        }
    }

    fn wrong_password(&self, of: Password) -> TlsConfigError {
        let reason = match self.password {
            Some(_) => format!("it is not the password of `{}`, or the file is damaged", self.path.display()),
            None => format!("it is not set, and `{}` has one", self.path.display()),
        };
        TlsConfigError::new(of.property(), reason)
    }

    fn text(&self, of: Password) -> Result<Option<&str>, TlsConfigError> {
        self.password.as_ref().map(|password| text(of.property(), password)).transpose()
    }

    fn convert(&self, what: &str) -> TlsConfigError {
        self.problem(&format!(
            "{what}: convert it with `keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12`"
        ))
    }

    pub(super) fn problem(&self, what: &str) -> TlsConfigError {
        TlsConfigError::new(self.property, format!("`{}` {what}", self.path.display()))
    }
}

fn pkcs8(key: &[u8]) -> Zeroizing<PrivateKeyDer<'static>> {
    Zeroizing::new(PrivatePkcs8KeyDer::from(key.to_vec()).into())
}

fn text<'a>(property: &'static str, password: &'a Secret) -> Result<&'a str, TlsConfigError> {
    password.expose_str().ok_or_else(|| TlsConfigError::new(property, "it is not text (UTF-8)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/net/tls/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn keystore(password: Option<&str>) -> Keystore {
        Keystore {
            property: "ssl.keystore.location",
            path: "file".into(),
            password: password.map(Secret::from),
        }
    }

    /// Everything read, for comparison.
    fn contents(keystore: &Keystore, file: &[u8]) -> Option<Vec<Vec<u8>>> {
        let keys = keystore.keys_in(file, Some(&Secret::from("keykey"))).ok();
        let trusted = keystore.trusted_in(file).ok();
        let keys = keys.into_iter().flatten().flat_map(|entry| {
            let certificates = entry.certificates.into_iter().map(|der| der.to_vec());
            [entry.key.secret_der().to_vec()].into_iter().chain(certificates)
        });
        let all: Vec<_> = keys.chain(trusted.into_iter().flatten().map(|der| der.to_vec())).collect();
        (!all.is_empty()).then_some(all)
    }

    #[test]
    fn a_file_that_is_cut_is_refused_wherever_it_was_cut() {
        for name in
            ["java.jks", "java-trust.jks", "openssl-cheap.p12", "openssl-plain.p12", "java-trust-plain.p12"]
        {
            let file = fixture(name);
            for password in [Some("changeit"), None] {
                let keystore = keystore(password);
                for length in 0..file.len() {
                    assert!(
                        contents(&keystore, &file[..length]).is_none(),
                        "{name}: {length} of {} bytes",
                        file.len()
                    );
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_where_a_password_protects_the_file() {
        let keystore = keystore(Some("changeit"));
        for name in ["java.jks", "java-trust.jks", "openssl-cheap.p12"] {
            let mut file = fixture(name);
            let whole = contents(&keystore, &file).unwrap();
            for at in 0..file.len() {
                for flip in [0x01, 0x80] {
                    file[at] ^= flip;
                    let read = contents(&keystore, &file);
                    assert!(read.is_none_or(|read| read == whole), "{name}: byte {at} ^ {flip}");
                    file[at] ^= flip;
                }
            }
        }
    }

    /// Nothing protects this file: it may be read or refused, in bounded time, and nothing else may happen.
    #[test]
    fn a_changed_byte_does_no_harm_where_nothing_protects_the_file() {
        for (name, password) in [
            ("java.jks", None),
            ("java-trust.jks", None),
            ("java-trust-plain.p12", None),
            ("openssl-plain.p12", None),
            ("openssl-nomac.p12", Some("changeit")),
        ] {
            let keystore = keystore(password);
            let mut file = fixture(name);
            let mut refused = 0;
            for at in 0..file.len() {
                for flip in [0x01, 0x80] {
                    file[at] ^= flip;
                    refused += usize::from(contents(&keystore, &file).is_none());
                    file[at] ^= flip;
                }
            }
            assert!(refused > 0, "{name}");
        }
    }

    #[test]
    fn numbers_that_cannot_be_cost_nothing() {
        let mut file = fixture("java.jks");
        file[8..12].copy_from_slice(&[0xff; 4]); // a huge number of entries
        assert_eq!(contents(&keystore(None), &file), None);
        let mut file = fixture("java-trust.jks");
        let length = file.len() - 20 - fixture_certificate_length() - 4;
        file[length..length + 4].copy_from_slice(&[0xff; 4]); // a certificate with a huge length
        assert_eq!(Entries::read(&file, None).unwrap_err(), JksError::Cut);
    }

    fn fixture_certificate_length() -> usize {
        Entries::read(&fixture("java-trust.jks"), None).unwrap().trusted[0].len()
    }
}
