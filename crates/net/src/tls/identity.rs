//! The client's own certificate and its key.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer},
    sign::{CertifiedKey, SigningKey},
};
use zeroize::Zeroizing;

use super::{
    Identity, Pem, Source, TlsConfigError, backend,
    certificate::Certificate,
    der::{Elements, SEQUENCE},
    files,
    keystore::KeyWithCertificates,
    pbe::{self, Budget, PbeError},
    pem::{self, PemError, Section},
};
use crate::Secret;

const KEY_PASSWORD: &str = "ssl.key.password";

/// Reads the key and its certificate.
pub(super) fn read(identity: &Identity) -> Result<CertifiedKey, TlsConfigError> {
    match identity {
        Identity::Pem { chain, key, key_password } => {
            let key_text = key.read()?;
            let sections = pem::sections(&key_text).map_err(|error| key.error(error))?;
            let private_key = private_key(key, &sections, key_password.as_ref())?;
            let signer = backend::signing_key(&private_key).ok_or_else(|| key.problem(UNUSABLE_KEY))?;
            let chain_text = chain.read()?;
            let sections = pem::sections(&chain_text).map_err(|error| chain.error(error))?;
            let certificates: Vec<_> = sections
                .iter()
                .filter(|section| section.label.ends_with("CERTIFICATE"))
                .map(|section| CertificateDer::from(section.der.to_vec()))
                .collect();
            if certificates.is_empty() {
                return Err(chain.problem("has no certificate"));
            }
            certified(&certificates, signer).ok_or_else(|| {
                chain.problem(&format!(
                    "has no certificate of the key that {} has (`{}`)",
                    key.name(),
                    key.property
                ))
            })
        }
        Identity::Keystore { keystore, key_password } => {
            let mut is_usable = false;
            for KeyWithCertificates { key, certificates } in keystore.keys(key_password.as_ref())? {
                let Some(signer) = backend::signing_key(&key) else { continue };
                is_usable = true;
                if let Some(certified) = certified(&certificates, signer) {
                    return Ok(certified);
                }
            }
            Err(keystore.problem(if is_usable {
                "has no certificate of its private key"
            } else {
                UNUSABLE_KEY
            }))
        }
    }
}

/// Reads only a key.
#[cfg(feature = "oidc")]
pub(super) fn read_key(pem: &Pem, password: Option<&Secret>) -> Result<Arc<dyn SigningKey>, TlsConfigError> {
    let text = pem.read()?;
    let sections = pem::sections(&text).map_err(|error| pem.error(error))?;
    let key = private_key(pem, &sections, password)?;
    backend::signing_key(&key).ok_or_else(|| pem.problem(UNUSABLE_KEY))
}

/// The first key among the sections.
fn private_key(
    from: &Pem,
    sections: &[Section<'_>],
    password: Option<&Secret>,
) -> Result<Zeroizing<PrivateKeyDer<'static>>, TlsConfigError> {
    for Section { label, der } in sections {
        return Ok(Zeroizing::new(match *label {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(der.to_vec()).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der.to_vec()).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der.to_vec()).into(),
            "ENCRYPTED PRIVATE KEY" => {
                PrivatePkcs8KeyDer::from(decrypted(from, der, password)?.to_vec()).into()
            }
            _ => continue,
        }));
    }
    Err(from.problem("has no private key (PKCS8, PKCS1 or SEC1)"))
}

fn decrypted(
    from: &Pem,
    der: &[u8],
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>, TlsConfigError> {
    let Some(password) = password else {
        let reason = format!("it is not set, and the private key of {} is encrypted", from.name());
        return Err(TlsConfigError::new(KEY_PASSWORD, reason));
    };
    let password =
        password.expose_str().ok_or_else(|| TlsConfigError::new(KEY_PASSWORD, "it is not text (UTF-8)"))?;
    let decrypted = pbe::encrypted_key(der).ok_or(PbeError::Unsupported).and_then(|(algorithm, key)| {
        let key = pbe::decrypt(algorithm, key, password, &mut Budget::new())?;
        Elements::inside(&key, SEQUENCE).ok_or(PbeError::Password)?; // a wrong password may go unnoticed until here
        Ok(key)
    });
    decrypted.map_err(|error| match error {
        PbeError::Unsupported => from.problem(
            "has a private key that is encrypted in a way that is not supported: convert it with \
             `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`",
        ),
        PbeError::TakesTooLong => from.problem("has a private key that takes too long to decrypt"),
        PbeError::Password => {
            let reason = format!("it does not decrypt the private key of {}", from.name());
            TlsConfigError::new(KEY_PASSWORD, reason)
        }
    })
}

const UNUSABLE_KEY: &str = "has a private key that cannot be used: it takes RSA of 2048 bits or more, ECDSA on P-256 or P-384, and \
                            Ed25519";

/// Combines the key with its certificate and the chain from there to an authority, whatever their order.
fn certified(certificates: &[CertificateDer<'static>], key: Arc<dyn SigningKey>) -> Option<CertifiedKey> {
    let public = key.public_key();
    let all = || certificates.iter().filter_map(|der| Some((der, Certificate::parse(der)?)));
    let (own, mut last) =
        all().find(|(_, own)| public.as_ref().is_none_or(|public| own.public_key == public.as_ref()))?;
    let mut chain = vec![own.clone()];
    while !last.is_self_issued()
        && let Some((der, issuer)) = all().find(|(_, issuer)| issuer.raw_subject == last.raw_issuer)
        && !chain.contains(der)
    {
        chain.push(der.clone());
        last = issuer;
    }
    Some(CertifiedKey::new(chain, key))
}

impl Identity {
    /// The files that it is read from.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Pem { chain, key, .. } => [chain.paths(), key.paths()].concat(),
            Self::Keystore { keystore, .. } => vec![keystore.path.clone()],
        }
    }

    /// The property named in warnings.
    pub(super) fn property(&self) -> &'static str {
        match self {
            Self::Pem { chain, .. } => chain.property,
            Self::Keystore { keystore, .. } => keystore.property,
        }
    }
}

impl Pem {
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, TlsConfigError> {
        match &self.source {
            Source::File(path) => files::read(self.property, path),
            Source::Inline(text) => Ok(Zeroizing::new(text.expose().to_vec())),
        }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match &self.source {
            Source::File(path) => vec![path.clone()],
            Source::Inline(_) => Vec::new(),
        }
    }

    /// The name of the source, for use in a sentence.
    pub(super) fn name(&self) -> String {
        match &self.source {
            Source::File(path) => format!("`{}`", path.display()),
            Source::Inline(_) => "the text".to_owned(),
        }
    }

    pub(super) fn error(&self, error: PemError) -> TlsConfigError {
        self.problem(&format!("is not PEM as it should be: {error}"))
    }

    pub(super) fn problem(&self, what: &str) -> TlsConfigError {
        TlsConfigError::new(self.property, format!("{} {what}", self.name()))
    }
}
