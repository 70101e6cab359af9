//! [`Derivation`]: the derivation of SCRAM's keys from a password. The broker determines its cost, within limits. It is made once
//! for all connections.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use zeroize::Zeroizing;

use super::scram::Hash;
use crate::secret::Secret;

/// The number of key sets kept. A broker's salt belongs to the user, not to the connection, so that one is used.
const MAX_KEPT: usize = 8;

/// SCRAM's client key and server key (RFC 5802, section 3).
pub(super) struct Keys {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

/// The keys, once they are derived. Connections that need the same keys share the slot: the first one derives them, the others
/// wait.
type Slot = Arc<OnceLock<Arc<Keys>>>;

/// The derived keys. They are as good as the password, so that they stay in memory only.
#[derive(Default)]
pub(super) struct KeyCache {
    /// The key of the fingerprints, without which they reveal nothing.
    seed: OnceLock<[u8; 32]>,
    slots: Mutex<VecDeque<([u8; 32], Slot)>>,
}

impl KeyCache {
    /// The slot for these keys. Each [`KeyCache`] is for one hash.
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

/// A computation that takes up to a second or two of processor time (the broker determines how long: at most 1,000,000 rounds of
/// PBKDF2). It does no I/O: run it on a thread that may block, and pass the result to
/// [`Exchange::derived`](super::Exchange::derived).
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

    /// The number of rounds that the broker demands.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Derives the keys. If another thread is deriving the same ones, waits for them instead.
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
