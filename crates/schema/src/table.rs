//! [`Table`]: values by id, for any number of readers without a lock.
//!
//! A slot is written once and never changed, so that a reader needs only one atomic load. The table is bounded: entries that do
//! not fit are kept in a list behind a lock, which evicts the least recently used one; but an entry that is still in use is
//! found.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    ops::Deref,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The most entries behind the lock.
const MOST_BEHIND_LOCK: usize = 64;

/// A slot, written once.
type Slot<K, T> = OnceLock<(K, Arc<T>)>;

pub(crate) struct Table<K, T> {
    slots: Box<[Slot<K, T>]>,
    hasher: Multiplier,
    /// The number of further entries that may be written into slots.
    room: AtomicUsize,
    /// The bytes of further entries that may be written into slots.
    bytes: AtomicUsize,
    rest: Mutex<Rest<K, T>>,
}

struct Rest<K, T> {
    /// The most recently used entry is the last.
    entries: Vec<(K, Arc<T>, usize)>,
    bytes: usize,
    most_bytes: usize,
    /// Evicted entries that were still in use.
    lent: HashMap<K, Weak<T>>,
    /// The number of these at which unused ones are removed.
    sweep_at: usize,
}

/// An entry that was found.
pub(crate) enum Hit<'a, T> {
    InSlot(&'a Arc<T>),
    BehindLock(Arc<T>),
}

impl<T> Deref for Hit<'_, T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        match self {
            Self::InSlot(found) => found,
            Self::BehindLock(found) => found,
        }
    }
}

impl<K: Hash + Eq + Copy, T> Table<K, T> {
    /// A table for this many entries, of this many bytes in all, that are found without a lock, and some more.
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        let entries = entries.clamp(1, 1 << 20);
        let slots = (2 * entries).next_power_of_two();
        Self {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            hasher: Multiplier,
            room: AtomicUsize::new(entries),
            bytes: AtomicUsize::new(bytes),
            rest: Mutex::new(Rest {
                entries: Vec::new(),
                bytes: 0,
                most_bytes: bytes,
                lent: HashMap::new(),
                sweep_at: MOST_BEHIND_LOCK,
            }),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<Hit<'_, T>> {
        for slot in self.path(key) {
            match slot.get() {
                Some((held, found)) if held == key => return Some(Hit::InSlot(found)),
                Some(_) => {}
                None => break,
            }
        }
        if self.room.load(Ordering::Relaxed) > 0 && self.bytes.load(Ordering::Relaxed) > 0 {
            return None; // there is nothing behind the lock except entries that were too large, which are checked below
        }
        self.behind_lock(key)
    }

    #[cold]
    fn behind_lock(&self, key: &K) -> Option<Hit<'_, T>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).find(key).map(Hit::BehindLock)
    }

    /// Stores a value under this key, unless there is one already.
    pub(crate) fn insert(&self, key: K, value: Arc<T>, bytes: usize) -> Arc<T> {
        if let Some(kept) = self.get(&key) {
            return Arc::clone(&kept);
        }
        if take(&self.room, 1) {
            if take(&self.bytes, bytes) {
                return self.insert_in_slot(key, value);
            }
            // The table is permanently full: readers check behind the lock from now on.
            self.bytes.store(0, Ordering::Relaxed);
        }
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have been added since the search, and its users have to share it.
        if let Some(kept) = rest.find(&key) {
            return kept;
        }
        rest.entries.push((key, Arc::clone(&value), bytes));
        rest.bytes = rest.bytes.saturating_add(bytes);
        while rest.entries.len() > 1
            && (rest.entries.len() > MOST_BEHIND_LOCK || rest.bytes > rest.most_bytes)
        {
            let (key, forgotten, bytes) = rest.entries.remove(0);
            rest.bytes = rest.bytes.saturating_sub(bytes);
            rest.lend(key, &forgotten);
        }
        value
    }

    fn insert_in_slot(&self, key: K, value: Arc<T>) -> Arc<T> {
        for slot in self.path(&key) {
            let (held, kept) = slot.get_or_init(|| (key, Arc::clone(&value)));
            if *held == key {
                return Arc::clone(kept);
            }
        }
        value // there is always a free slot, as there are twice as many as entries
    }

    /// The slots in which a key may be, in order.
    #[inline]
    fn path(&self, key: &K) -> impl Iterator<Item = &Slot<K, T>> {
        let at = (self.hasher.hash_one(key) >> 32) as usize & (self.slots.len() - 1);
        let (before, from) = self.slots.split_at(at);
        from.iter().chain(before)
    }
}

impl<K: Hash + Eq, T> Rest<K, T> {
    /// Finds an entry, and marks it as the most recently used.
    fn find(&mut self, key: &K) -> Option<Arc<T>> {
        let Some(at) = self.entries.iter().position(|(held, ..)| held == key) else {
            return self.lent.get(key).and_then(Weak::upgrade);
        };
        let entry = self.entries.remove(at);
        let found = Arc::clone(&entry.1);
        self.entries.push(entry);
        Some(found)
    }

    fn lend(&mut self, key: K, forgotten: &Arc<T>) {
        if Arc::strong_count(forgotten) > 1 {
            self.lent.insert(key, Arc::downgrade(forgotten));
        }
        if self.lent.len() >= self.sweep_at {
            self.lent.retain(|_, lent| lent.strong_count() > 0);
            self.sweep_at = MOST_BEHIND_LOCK.max(2 * self.lent.len());
        }
    }
}

/// Takes this amount, if it is available.
fn take(from: &AtomicUsize, much: usize) -> bool {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(much)).is_ok()
}

/// Ids are small numbers, so that one multiplication distributes them.
struct Multiplier;

impl BuildHasher for Multiplier {
    type Hasher = Multiplied;

    #[inline]
    fn build_hasher(&self) -> Multiplied {
        Multiplied(0)
    }
}

struct Multiplied(u64);

impl std::hash::Hasher for Multiplied {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_entries_are_found_and_no_others() {
        let table = Table::new(1000, usize::MAX);
        for id in 0..1000_u32 {
            table.insert(id * 3, Arc::new(id), 1);
        }
        for id in 0..3000_u32 {
            let found = table.get(&id).map(|found| **found);
            assert_eq!(found, (id % 3 == 0).then_some(id / 3), "{id}");
        }
    }

    #[test]
    fn the_first_of_two_stays() {
        let table = Table::new(4, usize::MAX);
        assert_eq!(*table.insert(1_u32, Arc::new("first"), 1), "first");
        assert_eq!(*table.insert(1, Arc::new("second"), 1), "first");
    }

    #[test]
    fn a_full_table_forgets_of_the_rest_what_was_not_used_for_longest() {
        let table = Table::new(2, usize::MAX);
        for id in 0..2 + MOST_BEHIND_LOCK as u32 {
            table.insert(id, Arc::new(id), 1);
        }
        assert!(table.get(&2).is_some(), "used again");
        table.insert(1000, Arc::new(1000), 1);
        assert!(table.get(&0).is_some() && table.get(&1).is_some() && table.get(&2).is_some());
        assert!(table.get(&3).is_none());
        assert_eq!(table.get(&1000).map(|found| **found), Some(1000));
    }

    #[test]
    fn an_entry_that_is_still_in_use_is_found_and_is_forgotten_with_its_users() {
        let table = Table::new(1, usize::MAX);
        table.insert(0_u32, Arc::new(0), 1);
        let kept: Vec<Arc<u32>> = (1..1_000).map(|id| table.insert(id, Arc::new(id), 1)).collect();
        for id in 1..1_000 {
            assert_eq!(table.get(&id).map(|found| **found), Some(id));
        }
        let first = Arc::clone(&kept[0]);
        drop(kept);
        assert!(Arc::ptr_eq(&table.insert(1, Arc::new(7), 1), &first), "the one that is there stays");
        let left = (1..1_000).filter(|id| table.get(id).is_some()).count();
        assert_eq!(left, 1 + MOST_BEHIND_LOCK);
        for id in 1_000..100_000 {
            table.insert(id, Arc::new(id), 1);
        }
        assert!(table.rest.lock().unwrap().lent.len() <= 2_000, "what was lent is swept out");
        assert!(table.get(&1).is_some());
    }

    #[test]
    fn bytes_are_bounded_and_the_last_one_is_always_kept() {
        let table = Table::new(1000, 100);
        table.insert(1_u32, Arc::new(()), 90);
        table.insert(2, Arc::new(()), 90);
        table.insert(3, Arc::new(()), 90);
        table.insert(4, Arc::new(()), 1000);
        let kept: Vec<u32> = (1..=4).filter(|id| table.get(id).is_some()).collect();
        assert_eq!(kept, [1, 4]);
    }

    #[test]
    fn many_threads_agree() {
        agree(&Table::new(1024, usize::MAX));
        let full = Table::new(1, usize::MAX);
        full.insert(u32::MAX, Arc::new((u32::MAX, 0)), 1);
        agree(&full);
    }

    fn agree(table: &Table<u32, (u32, u32)>) {
        std::thread::scope(|scope| {
            for thread in 0..8_u32 {
                scope.spawn(move || {
                    for id in 0..MOST_BEHIND_LOCK as u32 {
                        let kept = table.insert(id, Arc::new((id, thread)), 1);
                        assert_eq!(kept.0, id);
                        assert_eq!(**table.get(&id).unwrap(), *kept, "what is kept is never replaced");
                    }
                });
            }
        });
    }
}
