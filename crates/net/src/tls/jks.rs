//! JKS, the older of Java's formats: reads certificates and keys, and checks the password that protects the whole file.
//!
//! A file is `FEEDFEED`, a version, a number of entries, the entries, and a SHA-1 of the password, a fixed text and all bytes
//! before. A key is protected by a second password, which is often the same: it is XORed with a chain of SHA-1 hashes. That is
//! weak, so that nobody else should be able to read such files.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    der::OID,
    pbe::{encrypted_key, utf16},
};

/// The first bytes of such a file.
pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

const SALT: &[u8] = b"Mighty Aphrodite";
const DIGEST: usize = 20;
/// Java's identifier for the protection of keys: 1.3.6.1.4.1.42.2.17.1.1.
const KEY_PROTECTOR: &[u8] = b"\x2b\x06\x01\x04\x01\x2a\x02\x11\x01\x01";

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Entries<'a> {
    /// Trusted certificates.
    pub(super) trusted: Vec<&'a [u8]>,
    pub(super) keys: Vec<KeyEntry<'a>>,
}

/// A key, still protected, and its certificates.
#[derive(Debug)]
pub(super) struct KeyEntry<'a> {
    protected: &'a [u8],
    pub(super) chain: Vec<&'a [u8]>,
}

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JksError {
    #[error("it is cut short")]
    Cut,
    #[error("it is damaged: {0} bytes are left over")]
    LeftOver(usize),
    #[error("its version is {0}: 1 and 2 exist")]
    Version(u32),
    #[error("it has an entry of an unknown kind, {0}")]
    Kind(u32),
    #[error("its key is protected in a way that is not supported")]
    Protection,
    /// The password is wrong, or the file was changed.
    #[error("the password is wrong")]
    Password,
}

impl<'a> Entries<'a> {
    /// Reads all entries of a file. Without a password, a modification of the file would go unnoticed.
    pub(super) fn read(file: &'a [u8], password: Option<&str>) -> Result<Self, JksError> {
        let (signed, digest) = file.split_last_chunk::<DIGEST>().ok_or(JksError::Cut)?;
        if let Some(password) = password {
            let expected = Sha1::new()
                .chain_update(&*utf16(password))
                .chain_update(SALT)
                .chain_update(signed)
                .finalize();
            if !bool::from(expected.as_slice().ct_eq(digest)) {
                return Err(JksError::Password);
            }
        }
        let mut rest = Bytes(signed);
        rest.take(MAGIC.len())?;
        let version = rest.u32()?;
        if !(1..=2).contains(&version) {
            return Err(JksError::Version(version));
        }
        let mut entries = Self::default();
        for _ in 0..rest.u32()? {
            let kind = rest.u32()?;
            rest.text()?; // its alias
            rest.take(8)?; // its creation time
            match kind {
                1 => {
                    let protected = rest.block()?;
                    let mut chain = Vec::new();
                    for _ in 0..rest.u32()? {
                        chain.extend(rest.certificate(version)?);
                    }
                    entries.keys.push(KeyEntry { protected, chain });
                }
                2 => entries.trusted.extend(rest.certificate(version)?),
                other => return Err(JksError::Kind(other)),
            }
        }
        if rest.0.is_empty() { Ok(entries) } else { Err(JksError::LeftOver(rest.0.len())) }
    }
}

impl KeyEntry<'_> {
    /// The key as PKCS8.
    pub(super) fn reveal(&self, password: &str) -> Result<Zeroizing<Vec<u8>>, JksError> {
        let protected = protected(self.protected).ok_or(JksError::Protection)?;
        let (salt, rest) = protected.split_first_chunk::<DIGEST>().ok_or(JksError::Protection)?;
        let (encrypted, digest) = rest.split_last_chunk::<DIGEST>().ok_or(JksError::Protection)?;
        let password = utf16(password);
        let mut key = Zeroizing::new(encrypted.to_vec());
        let mut pad = Zeroizing::new(*salt);
        for block in key.chunks_mut(DIGEST) {
            *pad = Sha1::new().chain_update(&*password).chain_update(*pad).finalize().into();
            block.iter_mut().zip(pad.iter()).for_each(|(byte, pad)| *byte ^= pad);
        }
        let expected = Sha1::new().chain_update(&*password).chain_update(&*key).finalize();
        if bool::from(expected.as_slice().ct_eq(digest)) { Ok(key) } else { Err(JksError::Password) }
    }
}

/// The protected bytes, if the DER around a key names Java's own protection.
fn protected(der: &[u8]) -> Option<&[u8]> {
    let (mut algorithm, bytes) = encrypted_key(der)?;
    (algorithm.value(OID)? == KEY_PROTECTOR).then_some(bytes)
}

/// The remaining bytes. Nothing is allocated for a length, so that lengths need no check.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], JksError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(JksError::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, JksError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(JksError::Cut)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn block(&mut self) -> Result<&'a [u8], JksError> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| JksError::Cut)?)
    }

    fn text(&mut self) -> Result<&'a [u8], JksError> {
        let (length, rest) = self.0.split_first_chunk().ok_or(JksError::Cut)?;
        self.0 = rest;
        self.take(u16::from_be_bytes(*length).into())
    }

    /// Returns `None` for a certificate that is not X.509.
    fn certificate(&mut self, version: u32) -> Result<Option<&'a [u8]>, JksError> {
        let is_x509 = version == 1 || matches!(self.text()?, b"X.509" | b"X509");
        let certificate = self.block()?;
        Ok(is_x509.then_some(certificate))
    }
}
