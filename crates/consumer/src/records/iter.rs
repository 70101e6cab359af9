//! Iterators over records.

use std::{iter::FusedIterator, slice};

use offtake_wire::records as wire;

use super::{OwnedRecord, PartitionRecords, Record};

/// The records of one [`PartitionRecords`].
#[derive(Clone, Debug)]
pub struct PartitionIter<'a> {
    pub(super) of: &'a PartitionRecords,
    pub(super) rows: slice::Iter<'a, wire::Row>,
}

impl<'a> Iterator for PartitionIter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let row = self.rows.next()?;
        Some(Record { of: self.of, row })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<Record<'a>> {
        let row = self.rows.nth(n)?;
        Some(Record { of: self.of, row })
    }

    #[inline]
    fn fold<B, F: FnMut(B, Record<'a>) -> B>(self, init: B, mut each: F) -> B {
        let of = self.of;
        self.rows.fold(init, |so_far, row| each(so_far, Record { of, row }))
    }
}

impl ExactSizeIterator for PartitionIter<'_> {}
impl FusedIterator for PartitionIter<'_> {}

/// The records of one [`Records`](crate::Records).
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    pub(super) parts: slice::Iter<'a, PartitionRecords>,
    pub(super) current: Option<PartitionIter<'a>>,
    pub(super) left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            if let Some(record) = self.current.as_mut().and_then(Iterator::next) {
                self.left = self.left.saturating_sub(1);
                return Some(record);
            }
            self.current = Some(self.parts.next()?.iter());
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    #[inline]
    fn fold<B, F: FnMut(B, Record<'a>) -> B>(self, init: B, mut each: F) -> B {
        let begun = self.current.into_iter().flatten().fold(init, &mut each);
        self.parts.fold(begun, |so_far, part| part.iter().fold(so_far, &mut each))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

/// The records of one [`Records`](crate::Records) or [`PartitionRecords`](crate::PartitionRecords), as owned
/// records.
#[derive(Clone, Debug)]
pub struct OwnedIter {
    pub(super) parts: std::vec::IntoIter<PartitionRecords>,
    /// The records of the part that was begun.
    pub(super) current: std::vec::IntoIter<OwnedRecord>,
    pub(super) left: usize,
}

impl Iterator for OwnedIter {
    type Item = OwnedRecord;

    fn next(&mut self) -> Option<OwnedRecord> {
        loop {
            if let Some(record) = self.current.next() {
                self.left = self.left.saturating_sub(1);
                return Some(record);
            }
            let part = self.parts.next()?;
            self.current = part.iter().map(|record| record.detach()).collect::<Vec<_>>().into_iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for OwnedIter {}
impl FusedIterator for OwnedIter {}
