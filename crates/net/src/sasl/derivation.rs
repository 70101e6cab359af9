//! [`Derivation`]: SCRAM's keys from a password, which takes as long as the broker wants, within bounds. Computed once for all
//! connections.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use zeroize::Zeroizing;

use super::scram::Hash;
use crate::secret::Secret;

/// So many sets of keys are kept. A broker's salt belongs to the user, not to the connection, so that one is used.
const MAX_KEPT: usize = 8;

/// SCRAM's client key and server key (RFC 5802, section 3).
pub(super) struct Keys {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

/// The keys, once they are derived. Those who need the same ones share it: the first derives, the others wait for it.
type Slot = Arc<OnceLock<Arc<Keys>>>;

/// The keys that were derived: as good as the password, so that they stay in memory only.
#[derive(Default)]
pub(super) struct KeyCache {
    /// Keys the fingerprints, so that they say nothing to a reader of this process's memory who does not have it.
    seed: OnceLock<[u8; 32]>,
    slots: Mutex<VecDeque<([u8; 32], Slot)>>,
}

impl KeyCache {
    /// Where the keys for these are, or will be. Each [`KeyCache`] is for one hash.
    pub(super) fn slot(&self, password: &Secret, salt: &[u8], iterations: u32) -> Slot {
        let Some(fingerprint) = self.fingerprint(password, salt, iterations) else {
            return Slot::default(); // derived for this connection only
        };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = slots.iter().find(|(of, _)| *of == fingerprint) {
            return slot.clone();
        }
        slots.truncate(MAX_KEPT - 1);
        let slot = Slot::default();
        slots.push_front((fingerprint, slot.clone()));
        slot
    }

    fn fingerprint(&self, password: &Secret, salt: &[u8], iterations: u32) -> Option<[u8; 32]> {
        let seed = match self.seed.get() {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).ok()?;
                self.seed.get_or_init(|| seed)
            }
        };
        let lengths = [iterations.to_be_bytes(), u32::try_from(salt.len()).ok()?.to_be_bytes()].concat();
        Hash::Sha256.hmac(seed, &[&lengths, salt, password.expose()]).as_slice().try_into().ok()
    }
}

/// A computation that takes up to a second or two of a processor (the broker chooses: at most 1,000,000 rounds of PBKDF2). It is plain
/// work without I/O: run it on a thread that may block, and give the result to [`Exchange::derived`](super::Exchange::derived).
pub struct Derivation {
    hash: Hash,
    password: Secret,
    salt: Vec<u8>,
    iterations: u32,
    slot: Slot,
}

/// The result of a [`Derivation`].
pub struct Derived(pub(super) Arc<Keys>);

impl Derivation {
    pub(super) fn new(hash: Hash, password: Secret, salt: Vec<u8>, iterations: u32, slot: Slot) -> Self {
        Self { hash, password, salt, iterations, slot }
    }

    /// How many rounds the broker demands.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Derives the keys. If another thread derives the same ones at the moment, waits for them instead.
    pub fn derive(self) -> Derived {
        let keys = self
            .slot
            .get_or_init(|| Arc::new(self.hash.derive(self.password.expose(), &self.salt, self.iterations)));
        Derived(keys.clone())
    }
}

impl fmt::Debug for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derivation").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived(..)")
    }
}
