//! [`Assertion`]: a signed JWT that identifies a client (RFC 7523, KIP-1139).

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::SignatureScheme;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::{error::ProviderError, token::read_small_file};
use crate::{
    secret::Secret,
    tls::{Pem, Source, TlsConfigError, signing_key},
};

const KEY_FILE: &str = "sasl.oauthbearer.assertion.private.key.file";
const PASSPHRASE: &str = "sasl.oauthbearer.assertion.private.key.passphrase";

/// The source of assertions. Files are read for each one.
#[derive(Clone, Debug)]
pub enum Assertion {
    /// `sasl.oauthbearer.assertion.file`: a file with a JWT that was signed elsewhere.
    File(PathBuf),
    /// The assertion is created and signed here.
    Signed(Box<SignedAssertion>),
}

/// An assertion that is created and signed here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignedAssertion {
    /// `sasl.oauthbearer.assertion.private.key.file`: PEM, PKCS8, PKCS1 or SEC 1.
    pub private_key_file: PathBuf,
    /// `sasl.oauthbearer.assertion.private.key.passphrase`, for an encrypted key.
    pub passphrase: Option<Secret>,
    /// `sasl.oauthbearer.assertion.algorithm`: default RS256.
    pub algorithm: Algorithm,
    /// `sasl.oauthbearer.assertion.template.file`: a JSON file with `header` and `payload`, to which the claims below are added.
    pub template_file: Option<PathBuf>,
    /// `sasl.oauthbearer.assertion.claim.aud`, `.iss`, `.sub` and others.
    pub claims: Vec<(String, String)>,
    /// `sasl.oauthbearer.assertion.claim.exp.seconds`: the lifetime; default 300 s.
    pub lifetime: Duration,
    /// `sasl.oauthbearer.assertion.claim.nbf.seconds`: how far in the past its validity begins, for clocks that are late; default
    /// 60 s.
    pub not_before: Duration,
    /// `sasl.oauthbearer.assertion.claim.jti.include`: whether it has an id of its own; default no.
    pub has_id: bool,
}

/// The signature algorithm of an assertion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with SHA-256.
    #[default]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// Finds an algorithm by its name in `sasl.oauthbearer.assertion.algorithm`: `RS256` or `ES256`.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Es256].into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    fn scheme(self) -> SignatureScheme {
        match self {
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        }
    }
}

impl SignedAssertion {
    /// An assertion signed with this key, with Java's defaults.
    pub fn new(private_key_file: impl Into<PathBuf>) -> Self {
        Self {
            private_key_file: private_key_file.into(),
            passphrase: None,
            algorithm: Algorithm::default(),
            template_file: None,
            claims: Vec::new(),
            lifetime: Duration::from_secs(300),
            not_before: Duration::from_secs(60),
            has_id: false,
        }
    }

    async fn make(&self, now: SystemTime) -> Result<Secret, ProviderError> {
        let (mut header, mut payload) = match &self.template_file {
            Some(path) => read_template(path.clone()).await?,
            None => (Map::new(), Map::new()),
        };
        header.insert("alg".to_owned(), self.algorithm.name().into());
        header.insert("typ".to_owned(), "JWT".into());
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        payload.extend(self.claims.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        payload.insert("iat".to_owned(), now.as_secs().into());
        payload.insert("exp".to_owned(), now.saturating_add(self.lifetime).as_secs().into());
        payload.insert("nbf".to_owned(), now.saturating_sub(self.not_before).as_secs().into());
        if self.has_id {
            payload.insert("jti".to_owned(), random_id()?.into());
        }
        let encode = |part: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(part).to_string());
        let mut jwt = format!("{}.{}", encode(header), encode(payload));
        let signature = self.sign(jwt.clone().into_bytes()).await?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(Secret::from(jwt))
    }

    /// Reads the key and signs on a thread that may block, because decrypting a key takes a while.
    async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, ProviderError> {
        let pem = Pem { property: KEY_FILE, source: Source::File(self.private_key_file.clone()) };
        let (passphrase, algorithm) = (self.passphrase.clone(), self.algorithm);
        let signed = spawn_blocking(move || {
            let key = signing_key(&pem, passphrase.as_ref()).map_err(key_error)?;
            let signer = key.choose_scheme(&[algorithm.scheme()]).ok_or_else(|| {
                let name = algorithm.name();
                ProviderError::new(format!("{KEY_FILE}: the key is not one for {name}"))
            })?;
            let signature = signer.sign(&message).map_err(ProviderError::new)?;
            match algorithm {
                Algorithm::Rs256 => Ok(signature),
                Algorithm::Es256 => raw_signature(&signature).ok_or_else(|| {
                    ProviderError::new(format!("{KEY_FILE}: the key signs in an unknown form"))
                }),
            }
        });
        signed.await.map_err(ProviderError::retriable)?
    }
}

impl Assertion {
    /// An assertion that is valid `now`.
    pub(super) async fn get(&self, now: SystemTime) -> Result<Secret, ProviderError> {
        match self {
            Self::File(path) => {
                let text = read_small_file(path.clone()).await.map_err(ProviderError::retriable)?;
                match Secret::from(text.trim_ascii()) {
                    empty if empty.is_empty() => {
                        let reason = format!("the file {} of the assertion is empty", path.display());
                        Err(ProviderError::retriable(reason))
                    }
                    assertion => Ok(assertion),
                }
            }
            Self::Signed(assertion) => assertion.make(now).await,
        }
    }
}

/// Converts a TLS error so that it names the properties of assertions.
fn key_error(error: TlsConfigError) -> ProviderError {
    let property = if error.property == KEY_FILE { KEY_FILE } else { PASSPHRASE };
    ProviderError::new(format!("property `{property}`: {}", error.reason))
}

async fn read_template(path: PathBuf) -> Result<(Map<String, Value>, Map<String, Value>), ProviderError> {
    let wrong = format!(
        "the file {} (sasl.oauthbearer.assertion.template.file) is not a JSON object with header and payload",
        path.display()
    );
    let text = read_small_file(path).await.map_err(ProviderError::new)?;
    let Ok(Value::Object(mut template)) = serde_json::from_slice(&text) else {
        return Err(ProviderError::new(wrong));
    };
    let mut take = |name| match template.remove(name) {
        Some(Value::Object(part)) => Ok(part),
        None => Ok(Map::new()),
        Some(_) => Err(ProviderError::new(&wrong)),
    };
    Ok((take("header")?, take("payload")?))
}

/// A random UUID.
fn random_id() -> Result<String, ProviderError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ProviderError::retriable(format!("the system has no random numbers: {error}")))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(<[String]>::concat).join("-"))
}

/// The two numbers of an ECDSA signature, 32 bytes each, as in JWTs (RFC 7518), from a DER SEQUENCE of two INTEGERs.
fn raw_signature(der: &[u8]) -> Option<Vec<u8>> {
    let (0x30, mut numbers, []) = read_der(der)? else { return None };
    let mut raw = Vec::with_capacity(64);
    for _ in 0..2 {
        let (0x02, number, rest) = read_der(numbers)? else { return None };
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        raw.extend(std::iter::repeat_n(0, 32_usize.checked_sub(number.len())?));
        raw.extend_from_slice(number);
        numbers = rest;
    }
    numbers.is_empty().then_some(raw)
}

/// Splits off the first element: its tag, its content (up to 127 bytes), and the rest.
fn read_der(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (content, rest) = rest.split_at_checked(length.into()).filter(|_| length < 0x80)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_der_becomes_two_numbers() {
        let der = [&[0x30, 0x44, 0x02, 0x21, 0x00][..], &[0xff; 32], &[0x02, 0x1f], &[0x01; 31]].concat();
        let raw = raw_signature(&der).unwrap();
        assert_eq!(raw, [&[0xff; 32][..], &[0], &[1; 31]].concat());
        for cut in 0..der.len() {
            assert_eq!(raw_signature(&der[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn ids_are_uuids() {
        let id = random_id().unwrap();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_ne!(id, random_id().unwrap());
    }
}
