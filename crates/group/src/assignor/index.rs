//! Members, topics, partitions and racks by number: a type for each, so that they cannot be confused, and
//! lists indexed by them.

use std::{iter, marker::PhantomData, ops::Range};

/// A number with a type of its own.
pub(super) trait Index: Copy {
    fn of(number: usize) -> Self;
    fn number(self) -> usize;
}

macro_rules! index_types {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(usize);

        impl Index for $name {
            fn of(number: usize) -> Self {
                Self(number)
            }
            fn number(self) -> usize {
                self.0
            }
        }
    )*};
}

index_types! {
    /// A member of the group, in order of member id.
    MemberIndex;
    /// A topic that members subscribe to, in order of name.
    TopicIndex;
    /// A partition of any topic, in order of topic and partition.
    PartitionIndex;
    /// A rack with members, in order of first mention.
    RackIndex;
    /// A subscriber of one topic, in the order of assignment.
    SubscriberIndex;
}

/// Consecutive numbers.
pub(super) type Indices<I> = iter::Map<Range<usize>, fn(usize) -> I>;

pub(super) fn indices<I: Index>(numbers: Range<usize>) -> Indices<I> {
    numbers.map(I::of as fn(usize) -> I)
}

/// A list with an entry for each number of an index type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexVec<I, T> {
    items: Vec<T>,
    index: PhantomData<I>,
}

impl<I: Index, T> IndexVec<I, T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), index: PhantomData }
    }

    /// A list of `len` copies of `item`.
    pub(super) fn filled(item: T, len: usize) -> Self
    where
        T: Clone,
    {
        Self { items: vec![item; len], index: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, item: T) -> I {
        self.items.push(item);
        I::of(self.items.len() - 1)
    }

    pub(super) fn get(&self, at: I) -> Option<&T> {
        self.items.get(at.number())
    }

    pub(super) fn get_mut(&mut self, at: I) -> Option<&mut T> {
        self.items.get_mut(at.number())
    }

    /// A number without an entry would be a bug of ours: a test fails on it, and a leader ignores it.
    pub(super) fn change(&mut self, at: I, change: impl FnOnce(&mut T)) {
        let item = self.items.get_mut(at.number());
        debug_assert!(item.is_some(), "number {} is of another list", at.number());
        if let Some(item) = item {
            change(item);
        }
    }

    pub(super) fn set(&mut self, at: I, item: T) {
        self.change(at, |entry| *entry = item);
    }

    pub(super) fn indices(&self) -> Indices<I> {
        indices(0..self.items.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (I, &T)> {
        self.indices().zip(&self.items)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (I, T)> {
        self.indices().zip(self.items)
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.items
    }
}

impl<I: Index, T> FromIterator<T> for IndexVec<I, T> {
    fn from_iter<S: IntoIterator<Item = T>>(items: S) -> Self {
        Self { items: items.into_iter().collect(), index: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_changed_by_numbers_of_its_type() {
        let mut owners: IndexVec<PartitionIndex, Option<MemberIndex>> = IndexVec::filled(None, 2);
        let third = owners.push(Some(MemberIndex::of(1)));
        owners.set(PartitionIndex::of(0), Some(MemberIndex::of(0)));
        owners.change(third, |owner| *owner = None);
        let entries: Vec<_> =
            owners.entries().map(|(partition, owner)| (partition.number(), *owner)).collect();
        assert_eq!(entries, [(0, Some(MemberIndex::of(0))), (1, None), (2, None)]);
        assert_eq!(owners.get(PartitionIndex::of(3)), None);
    }

    #[test]
    #[should_panic(expected = "of another list")]
    #[cfg(debug_assertions)]
    fn a_number_of_another_list_fails_a_test() {
        IndexVec::<RackIndex, usize>::filled(0, 1).set(RackIndex::of(1), 5);
    }
}
