//! PKCS12 (RFC 7292): reads certificates and keys, and checks the password that protects the whole file.
//!
//! A file is a list of safes, encrypted or not, and a MAC over the list. A safe is a list of bags: certificates, keys, and keys
//! that are encrypted once more. Other kinds of bags are ignored.

use hmac::{
    Hmac, KeyInit, Mac,
    digest::{Digest, block_api::BlockSizeUser},
};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use zeroize::Zeroizing;

use super::{
    der::{Elements, OCTET_STRING, OID, SEQUENCE, SET, context, context_primitive},
    pbe::{self, Budget, PbeError, Purpose},
};

const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"; // 1.2.840.113549.1.7.1
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"; // 1.2.840.113549.1.7.6
const KEY_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01"; // 1.2.840.113549.1.12.10.1.1, and the next two
const ENCRYPTED_KEY_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
const CERTIFICATE_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03";
const X509: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01"; // 1.2.840.113549.1.9.22.1
/// Java's mark for a trusted certificate: 2.16.840.1.113894.746875.1.1.
const TRUSTED: &[u8] = b"\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01";

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// In PKCS8.
    pub(super) keys: Vec<Zeroizing<Vec<u8>>>,
    pub(super) certificates: Vec<StoredCertificate>,
}

#[derive(Debug)]
pub(super) struct StoredCertificate {
    pub(super) der: Vec<u8>,
    /// Whether it is marked as trusted.
    pub(super) is_trusted: bool,
}

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pkcs12Error {
    /// The file is damaged, or not PKCS12.
    Damaged,
    /// Its MAC, or the encryption of something in it, is not supported.
    Unsupported,
    TakesTooLong,
    /// The password is wrong, or the file was changed.
    Password,
}

impl From<PbeError> for Pkcs12Error {
    fn from(error: PbeError) -> Self {
        match error {
            PbeError::Unsupported => Self::Unsupported,
            PbeError::TakesTooLong => Self::TakesTooLong,
            PbeError::Password => Self::Password,
        }
    }
}

impl Contents {
    /// Reads the contents of a file. A modification of a file without a MAC goes unnoticed.
    pub(super) fn read(file: &[u8], password: &str, mut budget: Budget) -> Result<Self, Pkcs12Error> {
        let (safes, mac) = outer(file).ok_or(Pkcs12Error::Damaged)?;
        if let Some(mac) = mac {
            mac.verify(safes, password, &mut budget)?;
        }
        let mut contents = Self::default();
        let mut safes = Elements::inside(safes, SEQUENCE).ok_or(Pkcs12Error::Damaged)?;
        while !safes.is_empty() {
            match Safe::read(&mut safes).ok_or(Pkcs12Error::Damaged)? {
                Safe::Open(bags) => contents.add(bags, password, &mut budget)?,
                Safe::Encrypted { algorithm, bags } => {
                    let bags = pbe::decrypt(algorithm, bags, password, &mut budget)?;
                    contents.add(&bags, password, &mut budget).map_err(|error| match error {
                        // A wrong password may go unnoticed until here.
                        Pkcs12Error::Damaged => Pkcs12Error::Password,
                        other => other,
                    })?;
                }
            }
        }
        Ok(contents)
    }

    fn add(&mut self, bags: &[u8], password: &str, budget: &mut Budget) -> Result<(), Pkcs12Error> {
        let mut bags = Elements::inside(bags, SEQUENCE).ok_or(Pkcs12Error::Damaged)?;
        while !bags.is_empty() {
            match Bag::read(&mut bags).ok_or(Pkcs12Error::Damaged)? {
                Bag::Certificate { der, is_trusted } => {
                    self.certificates.push(StoredCertificate { der: der.to_vec(), is_trusted });
                }
                Bag::Key(key) => self.keys.push(Zeroizing::new(key.to_vec())),
                Bag::EncryptedKey { algorithm, key } => {
                    let key = pbe::decrypt(algorithm, key, password, budget)?;
                    Elements::inside(&key, SEQUENCE).ok_or(Pkcs12Error::Password)?;
                    self.keys.push(key);
                }
                Bag::Other => {}
            }
        }
        Ok(())
    }
}

/// The list of safes, and the MAC over it.
fn outer(file: &[u8]) -> Option<(&[u8], Option<MacData<'_>>)> {
    let mut file = Elements::inside(file, SEQUENCE)?;
    if file.number()? != 3 {
        return None;
    }
    let mut content = file.enter(SEQUENCE)?;
    if content.value(OID)? != DATA {
        return None;
    }
    let mut safes = content.enter(context(0))?;
    let safes = safes.value(OCTET_STRING)?;
    let mac = if file.is_empty() { None } else { Some(MacData::read(file.enter(SEQUENCE)?)?) };
    file.is_empty().then_some((safes, mac))
}

struct MacData<'a> {
    /// The object identifier of its hash.
    hash: &'a [u8],
    mac: &'a [u8],
    salt: &'a [u8],
    rounds: u32,
}

impl<'a> MacData<'a> {
    fn read(mut parts: Elements<'a>) -> Option<Self> {
        let mut digest = parts.enter(SEQUENCE)?;
        let hash = digest.enter(SEQUENCE)?.value(OID)?;
        let mac = digest.value(OCTET_STRING)?;
        let salt = parts.value(OCTET_STRING)?;
        let rounds = if parts.is_empty() { 1 } else { parts.number()? };
        Some(Self { hash, mac, salt, rounds })
    }

    fn verify(&self, safes: &[u8], password: &str, budget: &mut Budget) -> Result<(), Pkcs12Error> {
        match self.hash {
            b"\x2b\x0e\x03\x02\x1a" => self.verify_by::<Sha1>(safes, password, budget), // 1.3.14.3.2.26
            b"\x60\x86\x48\x01\x65\x03\x04\x02\x01" => self.verify_by::<Sha256>(safes, password, budget), // 2.16.840.1.101.3.4.2.1
            b"\x60\x86\x48\x01\x65\x03\x04\x02\x02" => self.verify_by::<Sha384>(safes, password, budget),
            b"\x60\x86\x48\x01\x65\x03\x04\x02\x03" => self.verify_by::<Sha512>(safes, password, budget),
            b"\x60\x86\x48\x01\x65\x03\x04\x02\x04" => self.verify_by::<Sha224>(safes, password, budget),
            b"\x60\x86\x48\x01\x65\x03\x04\x02\x05" => self.verify_by::<Sha512_224>(safes, password, budget),
            b"\x60\x86\x48\x01\x65\x03\x04\x02\x06" => self.verify_by::<Sha512_256>(safes, password, budget),
            _ => Err(Pkcs12Error::Unsupported),
        }
    }

    fn verify_by<D>(&self, safes: &[u8], password: &str, budget: &mut Budget) -> Result<(), Pkcs12Error>
    where
        D: Digest + BlockSizeUser + hmac::EagerHash,
    {
        let length = <D as Digest>::output_size();
        let key = pbe::derive_pkcs12::<D>(Purpose::Mac, password, self.salt, self.rounds, length, budget)?;
        let mac = <Hmac<D> as KeyInit>::new_from_slice(&key).map_err(|_| Pkcs12Error::Unsupported)?;
        mac.chain_update(safes).verify_slice(self.mac).map_err(|_| Pkcs12Error::Password)
    }
}

enum Safe<'a> {
    Open(&'a [u8]),
    Encrypted { algorithm: Elements<'a>, bags: &'a [u8] },
}

impl<'a> Safe<'a> {
    fn read(safes: &mut Elements<'a>) -> Option<Self> {
        let mut safe = safes.enter(SEQUENCE)?;
        let kind = safe.value(OID)?;
        let mut content = safe.enter(context(0))?;
        match kind {
            DATA => content.value(OCTET_STRING).map(Self::Open),
            ENCRYPTED_DATA => {
                let mut encrypted = content.enter(SEQUENCE)?;
                encrypted.number()?; // the version
                let mut info = encrypted.enter(SEQUENCE)?;
                info.value(OID)?; // the content type: bags
                let algorithm = info.enter(SEQUENCE)?;
                Some(Self::Encrypted { algorithm, bags: info.value(context_primitive(0))? })
            }
            _ => None,
        }
    }
}

enum Bag<'a> {
    Certificate { der: &'a [u8], is_trusted: bool },
    Key(&'a [u8]),
    EncryptedKey { algorithm: Elements<'a>, key: &'a [u8] },
    Other,
}

impl<'a> Bag<'a> {
    fn read(bags: &mut Elements<'a>) -> Option<Self> {
        let mut bag = bags.enter(SEQUENCE)?;
        let kind = bag.value(OID)?;
        let value = bag.value(context(0))?;
        match kind {
            CERTIFICATE_BAG => {
                let mut certificate = Elements::inside(value, SEQUENCE)?;
                if certificate.value(OID)? != X509 {
                    return Some(Self::Other);
                }
                let mut der = certificate.enter(context(0))?;
                Some(Self::Certificate { der: der.value(OCTET_STRING)?, is_trusted: is_marked(bag)? })
            }
            KEY_BAG => {
                Elements::inside(value, SEQUENCE)?;
                Some(Self::Key(value))
            }
            ENCRYPTED_KEY_BAG => {
                let (algorithm, key) = pbe::encrypted_key(value)?;
                Some(Self::EncryptedKey { algorithm, key })
            }
            _ => Some(Self::Other),
        }
    }
}

/// Whether the rest of a bag, its attributes, contains the mark of trust.
fn is_marked(mut bag: Elements<'_>) -> Option<bool> {
    if bag.is_empty() {
        return Some(false);
    }
    let mut attributes = bag.enter(SET)?;
    let mut is_marked = false;
    while !attributes.is_empty() {
        is_marked |= attributes.enter(SEQUENCE)?.value(OID)? == TRUSTED;
    }
    Some(is_marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, budget: Budget) -> Result<(usize, usize), Pkcs12Error> {
        let file =
            std::fs::read(format!("{}/tests/net/tls/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let contents = Contents::read(&file, "changeit", budget)?;
        Ok((contents.keys.len(), contents.certificates.len()))
    }

    #[test]
    fn a_file_has_a_budget_for_all_that_it_encrypts() {
        // One key and two certificates: one round each for the MAC, the certificates and the key.
        let rounds = |rounds| read("openssl-cheap.p12", Budget { rounds, ..Budget::new() });
        assert_eq!(rounds(3), Ok((1, 2)));
        assert_eq!(rounds(2), Err(Pkcs12Error::TakesTooLong));
        // Current Java uses 10,000 rounds each. Older Java used 100,000 for the MAC and 50,000 for the others, each twice or
        // more.
        let of_java = |name, rounds| read(name, Budget { rounds, ..Budget::new() });
        assert_eq!(of_java("java.p12", 30_000), Ok((1, 2)));
        assert_eq!(of_java("java.p12", 29_999), Err(Pkcs12Error::TakesTooLong));
        assert!(read("java-legacy.p12", Budget::new()).is_ok());
    }
}
