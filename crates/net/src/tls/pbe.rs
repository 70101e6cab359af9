//! Password-based encryption of keys and keystores: PBES2 (RFC 8018) with PBKDF2 or scrypt, and the schemes of PKCS12 (RFC 7292,
//! appendices B and C), which older tools use.
//!
//! A file determines itself how long it takes to derive a key from the password: a [`Budget`] limits that for the whole file.

use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use hmac::digest::{Digest, block_api::BlockSizeUser};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::der::{Elements, OCTET_STRING, OID, SEQUENCE};

const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"; // 1.2.840.113549.1.5.13
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c"; // 1.2.840.113549.1.5.12
const SCRYPT: &[u8] = b"\x2b\x06\x01\x04\x01\xda\x47\x04\x0b"; // 1.3.6.1.4.1.11591.4.11
const HMAC_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x07"; // 1.2.840.113549.2.7, and those after it
const HMAC_SHA224: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x08";
const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
const HMAC_SHA384: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a";
const HMAC_SHA512: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b";
const AES128_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02"; // 2.16.840.1.101.3.4.1.2, .22 and .42
const AES192_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x16";
const AES256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
const TRIPLE_DES_CBC: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x03\x07"; // 1.2.840.113549.3.7
const SHA1_TRIPLE_DES: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03"; // 1.2.840.113549.1.12.1.3, .5 and .6
const SHA1_RC2_128: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x05";
const SHA1_RC2_40: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06";

/// Why data cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PbeError {
    /// The scheme, or its combination, is not supported.
    Unsupported,
    TakesTooLong,
    /// The password is wrong, or the encrypted data was changed.
    Password,
}

/// The remaining budget of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Hash rounds.
    pub(super) rounds: u32,
    /// Bytes of memory for one key.
    pub(super) memory: u64,
}

impl Budget {
    /// A budget of a second or two.
    pub(super) fn new() -> Self {
        Self { rounds: 10_000_000, memory: 1 << 30 }
    }

    pub(super) fn take(&mut self, rounds: u32) -> Result<(), PbeError> {
        self.rounds = self.rounds.checked_sub(rounds).ok_or(PbeError::TakesTooLong)?;
        Ok(())
    }
}

/// Parses PKCS8's EncryptedPrivateKeyInfo: an algorithm, and the encrypted data.
pub(super) fn encrypted_key(der: &[u8]) -> Option<(Elements<'_>, &[u8])> {
    let mut info = Elements::inside(der, SEQUENCE)?;
    let encrypted = (info.enter(SEQUENCE)?, info.value(OCTET_STRING)?);
    info.is_empty().then_some(encrypted)
}

/// Decrypts data. `algorithm` is the content of an AlgorithmIdentifier.
pub(super) fn decrypt(
    mut algorithm: Elements<'_>,
    encrypted: &[u8],
    password: &str,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeError> {
    let scheme = algorithm.value(OID).ok_or(PbeError::Unsupported)?;
    let parameters = algorithm.enter(SEQUENCE).ok_or(PbeError::Unsupported)?;
    match scheme {
        PBES2 => pbes2(parameters, encrypted, password, budget),
        SHA1_TRIPLE_DES => pkcs12::<des::TdesEde3>(24, parameters, encrypted, password, budget),
        SHA1_RC2_128 => pkcs12::<rc2::Rc2>(16, parameters, encrypted, password, budget),
        SHA1_RC2_40 => pkcs12::<rc2::Rc2>(5, parameters, encrypted, password, budget),
        _ => Err(PbeError::Unsupported),
    }
}

fn pbes2(
    mut parameters: Elements<'_>,
    encrypted: &[u8],
    password: &str,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeError> {
    let mut parts = || Some((parameters.enter(SEQUENCE)?, parameters.enter(SEQUENCE)?));
    let (mut derivation, mut cipher) = parts().ok_or(PbeError::Unsupported)?;
    let mut cipher = || Some((cipher.value(OID)?, cipher.value(OCTET_STRING)?));
    let (cipher, iv) = cipher().ok_or(PbeError::Unsupported)?;
    let length = match cipher {
        AES128_CBC => 16,
        AES192_CBC | TRIPLE_DES_CBC => 24,
        AES256_CBC => 32,
        _ => return Err(PbeError::Unsupported),
    };
    let mut key = Zeroizing::new(vec![0; length]);
    let mut method = || Some((derivation.value(OID)?, derivation.enter(SEQUENCE)?));
    match method() {
        Some((PBKDF2, parameters)) => {
            let function = Pbkdf2::read(parameters, length).ok_or(PbeError::Unsupported)?;
            function.derive(password, &mut key, budget)?;
        }
        Some((SCRYPT, parameters)) => {
            let function = Scrypt::read(parameters, length).ok_or(PbeError::Unsupported)?;
            function.derive(password, &mut key, budget)?;
        }
        _ => return Err(PbeError::Unsupported),
    }
    match cipher {
        AES128_CBC => cbc::<aes::Aes128>(&key, iv, encrypted),
        AES192_CBC => cbc::<aes::Aes192>(&key, iv, encrypted),
        AES256_CBC => cbc::<aes::Aes256>(&key, iv, encrypted),
        _ => cbc::<des::TdesEde3>(&key, iv, encrypted),
    }
}

struct Pbkdf2<'a> {
    salt: &'a [u8],
    rounds: u32,
    /// The object identifier of the hash function.
    hmac: &'a [u8],
}

impl<'a> Pbkdf2<'a> {
    /// Returns `None` if it cannot be parsed, or is for keys of another length.
    fn read(mut parameters: Elements<'a>, length: usize) -> Option<Self> {
        let (salt, rounds) = (parameters.value(OCTET_STRING)?, parameters.number()?);
        if !parameters.is_empty()
            && !parameters.begins_with(SEQUENCE)
            && parameters.number()? as usize != length
        {
            return None;
        }
        let hmac = if parameters.is_empty() { HMAC_SHA1 } else { parameters.enter(SEQUENCE)?.value(OID)? };
        Some(Self { salt, rounds, hmac })
    }

    fn derive(&self, password: &str, key: &mut [u8], budget: &mut Budget) -> Result<(), PbeError> {
        let derive = match self.hmac {
            HMAC_SHA1 => pbkdf2::pbkdf2_hmac::<Sha1>,
            HMAC_SHA224 => pbkdf2::pbkdf2_hmac::<Sha224>,
            HMAC_SHA256 => pbkdf2::pbkdf2_hmac::<Sha256>,
            HMAC_SHA384 => pbkdf2::pbkdf2_hmac::<Sha384>,
            HMAC_SHA512 => pbkdf2::pbkdf2_hmac::<Sha512>,
            _ => return Err(PbeError::Unsupported),
        };
        budget.take(self.rounds)?;
        derive(password.as_bytes(), self.salt, self.rounds, key);
        Ok(())
    }
}

struct Scrypt<'a> {
    salt: &'a [u8],
    /// The binary logarithm of the cost.
    cost: u8,
    block: u32,
    parallel: u32,
}

impl<'a> Scrypt<'a> {
    /// Returns `None` if it cannot be parsed, or is for keys of another length.
    fn read(mut parameters: Elements<'a>, length: usize) -> Option<Self> {
        let (salt, cost) = (parameters.value(OCTET_STRING)?, parameters.number()?);
        let (block, parallel) = (parameters.number()?, parameters.number()?);
        if !parameters.is_empty() && parameters.number()? as usize != length || !cost.is_power_of_two() {
            return None;
        }
        Some(Self { salt, cost: u8::try_from(cost.ilog2()).ok()?, block, parallel })
    }

    fn derive(&self, password: &str, key: &mut [u8], budget: &mut Budget) -> Result<(), PbeError> {
        // All of the memory is traversed twice, once more for each lane of the parallelism.
        let memory = 128_u64.saturating_mul(u64::from(self.block) << self.cost.min(31));
        if memory.saturating_mul(self.parallel.into()) > budget.memory {
            return Err(PbeError::TakesTooLong);
        }
        budget.take(u32::try_from(memory / 1024 * u64::from(self.parallel)).unwrap_or(u32::MAX))?;
        let parameters =
            scrypt::Params::new(self.cost, self.block, self.parallel).map_err(|_| PbeError::Unsupported)?;
        scrypt::scrypt(password.as_bytes(), self.salt, &parameters, key).map_err(|_| PbeError::Unsupported)
    }
}

fn pkcs12<C: BlockCipherDecrypt + KeyInit>(
    length: usize,
    mut parameters: Elements<'_>,
    encrypted: &[u8],
    password: &str,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeError> {
    let mut parts = || Some((parameters.value(OCTET_STRING)?, parameters.number()?));
    let (salt, rounds) = parts().ok_or(PbeError::Unsupported)?;
    let key = derive_pkcs12::<Sha1>(Purpose::Key, password, salt, rounds, length, budget)?;
    let iv = derive_pkcs12::<Sha1>(Purpose::Iv, password, salt, rounds, 8, budget)?;
    cbc::<C>(&key, &iv, encrypted)
}

fn cbc<C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    iv: &[u8],
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, PbeError> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| PbeError::Unsupported)?;
    let mut bytes = Zeroizing::new(encrypted.to_vec());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut bytes).map_err(|_| PbeError::Password)?.len();
    bytes.truncate(length);
    Ok(bytes)
}

/// The purpose of a key derived by PKCS12's own function.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Derives a key by PKCS12's own function (RFC 7292, appendix B.2).
pub(super) fn derive_pkcs12<D: Digest + BlockSizeUser>(
    purpose: Purpose,
    password: &str,
    salt: &[u8],
    rounds: u32,
    length: usize,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeError> {
    let size = D::block_size();
    let mut password = utf16(password);
    password.extend([0; 2]);
    let mut input = Zeroizing::new(Vec::with_capacity(salt.len() + password.len() + 2 * size)); // allocated once, so that the password is never copied
    for part in [salt, &*password] {
        input.extend(part.iter().cycle().take(part.len().next_multiple_of(size)));
    }
    let mut key = Zeroizing::new(vec![0; length]);
    for part in key.chunks_mut(<D as Digest>::output_size()) {
        budget.take(rounds)?;
        let mut hash = D::new().chain_update(vec![purpose as u8; size]).chain_update(&*input).finalize();
        for _ in 1..rounds {
            hash = D::digest(&hash);
        }
        part.copy_from_slice(&hash[..part.len()]);
        // Adds the repeated hash plus one to each block of the input; both are numbers as long as a block.
        for block in input.chunks_mut(size) {
            let mut carry = 1;
            for (at, byte) in block.iter_mut().enumerate().rev() {
                let sum = u16::from(*byte) + u16::from(hash[at % hash.len()]) + carry;
                *byte = sum.to_be_bytes()[1];
                carry = sum >> 8;
            }
        }
    }
    Ok(key)
}

/// Converts a password to bytes as PKCS12 and JKS do.
pub(super) fn utf16(password: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * password.len() + 2)); // allocated once, so that the password is never copied
    password.encode_utf16().for_each(|unit| bytes.extend(unit.to_be_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of less than 128 bytes.
    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        [&[tag, u8::try_from(value.len()).unwrap()][..], &value].concat()
    }

    fn number(number: u32) -> Vec<u8> {
        element(0x02, &[&[0], &number.to_be_bytes()])
    }

    /// PBES2 with AES-256, and a key derived by this method.
    fn algorithm(method: &[u8], parameters: &[&[u8]]) -> Vec<u8> {
        let derivation = element(SEQUENCE, &[&element(OID, &[method]), &element(SEQUENCE, parameters)]);
        let cipher = element(SEQUENCE, &[&element(OID, &[AES256_CBC]), &element(OCTET_STRING, &[&[0; 16]])]);
        [element(OID, &[PBES2]), element(SEQUENCE, &[&derivation, &cipher])].concat()
    }

    fn result(algorithm: &[u8]) -> Result<Zeroizing<Vec<u8>>, PbeError> {
        decrypt(Elements::new(algorithm), &[0; 32], "secret", &mut Budget::new())
    }

    #[test]
    fn an_expensive_key_derivation_is_refused_before_it_begins() {
        let salt = element(OCTET_STRING, &[b"salt"]);
        for rounds in [10_000_001, u32::MAX] {
            assert_eq!(result(&algorithm(PBKDF2, &[&salt, &number(rounds)])), Err(PbeError::TakesTooLong));
            let parameters = element(SEQUENCE, &[&salt, &number(rounds)]);
            let old = [element(OID, &[SHA1_TRIPLE_DES]), parameters].concat();
            assert_eq!(result(&old), Err(PbeError::TakesTooLong));
        }
        for (cost, block, parallel) in [
            (1 << 20, 16, 1),
            (1 << 31, 8, 1),
            (2, 1 << 31, 1),
            (1 << 31, u32::MAX, u32::MAX),
            (1 << 14, 8, 65),
        ] {
            let parameters = [salt.clone(), number(cost), number(block), number(parallel)];
            let parameters: Vec<_> = parameters.iter().map(Vec::as_slice).collect();
            assert_eq!(
                result(&algorithm(SCRYPT, &parameters)),
                Err(PbeError::TakesTooLong),
                "{cost} {block} {parallel}"
            );
        }
    }

    #[test]
    fn an_unknown_algorithm_is_reported_as_unsupported() {
        let salt = element(OCTET_STRING, &[b"salt"]);
        let function = element(SEQUENCE, &[&element(OID, &[b"\x2a\x86\x48\x86\xf7\x0d\x02\x05"])]); // HMAC-MD5
        let zero = [salt.clone(), number(0), number(0), number(0)];
        let zero: Vec<_> = zero.iter().map(Vec::as_slice).collect();
        for algorithm in [
            algorithm(PBKDF2, &[&salt, &number(1), &function]),
            algorithm(PBKDF2, &[&salt, &number(1), &number(16)]), // a key that is too short for AES-256
            algorithm(PBKDF2, &[&salt]),
            algorithm(SCRYPT, &zero),
            algorithm(PBES2, &[&salt, &number(1)]),
            [
                element(OID, &[b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03"]),
                element(SEQUENCE, &[&salt, &number(1)]),
            ]
            .concat(), // MD5 and DES
            Vec::new(),
        ] {
            assert_eq!(result(&algorithm), Err(PbeError::Unsupported), "{algorithm:x?}");
        }
        // A supported algorithm shows whether the password is right: here nothing was encrypted with it.
        assert_eq!(result(&algorithm(PBKDF2, &[&salt, &number(1), &number(32)])), Err(PbeError::Password));
    }
}
