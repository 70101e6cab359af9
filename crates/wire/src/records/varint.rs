//! Integers: big-endian ones of fixed width, and the zigzag varints in a v2 record.
//!
//! Each function takes its bytes from the front of a slice; `None` means that the slice was too short or the varint too long. In
//! a record of 100 bytes, every varint has one or two bytes, so that only these cases are inlined.

/// Takes `N` bytes from the front.
#[inline(always)]
pub(super) fn take<const N: usize>(buf: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = buf.split_first_chunk::<N>()?;
    *buf = tail;
    Some(*head)
}

/// Takes `len` bytes from the front.
#[inline(always)]
pub(super) fn take_slice<'a>(buf: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = buf.split_at_checked(len)?;
    *buf = tail;
    Some(head)
}

macro_rules! fixed {
    ($($name:ident: $type:ty),+) => {$(
        #[inline(always)]
        pub(super) fn $name(buf: &mut &[u8]) -> Option<$type> {
            take(buf).map(<$type>::from_be_bytes)
        }
    )+};
}
fixed!(i8: i8, i16: i16, i32: i32, i64: i64, u32: u32);

/// A zigzag varint of at most five bytes.
#[inline(always)]
pub(super) fn varint(buf: &mut &[u8]) -> Option<i32> {
    let raw = match **buf {
        [a, ref rest @ ..] if a < 0x80 => {
            *buf = rest;
            u32::from(a)
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *buf = rest;
            u32::from(a & 0x7f) | u32::from(b) << 7
        }
        // Bits beyond the 32nd are ignored, as by Kafka.
        _ => long(buf, 5)? as u32,
    };
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// A zigzag varint of at most ten bytes.
#[inline(always)]
pub(super) fn varlong(buf: &mut &[u8]) -> Option<i64> {
    let raw = match **buf {
        [a, ref rest @ ..] if a < 0x80 => {
            *buf = rest;
            u64::from(a)
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *buf = rest;
            u64::from(a & 0x7f) | u64::from(b) << 7
        }
        _ => long(buf, 10)?,
    };
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// The next eight bytes in a register, for reading several short varints without checking the end of the slice for each.
pub(super) struct Word {
    bytes: u64,
    /// The number of bytes read.
    pub(super) read: usize,
}

impl Word {
    /// Returns `None` if there are fewer bytes.
    #[inline(always)]
    pub(super) fn front(buf: &[u8]) -> Option<Self> {
        buf.first_chunk().map(|bytes| Self { bytes: u64::from_le_bytes(*bytes), read: 0 })
    }

    #[inline(always)]
    fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.checked_shr(8 * bytes as u32).unwrap_or(0);
        self.read += bytes;
    }

    /// Skips a byte.
    #[inline(always)]
    pub(super) fn skip(&mut self) {
        self.take(1);
    }

    /// A zigzag varint of at most three bytes; `None` if it is longer. Bytes beyond the word read as 0: see
    /// [`whole`](Self::whole).
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Option<i32> {
        let word = self.bytes as u32;
        let raw = if word & 0x80 == 0 {
            self.take(1);
            word & 0x7f
        } else if word & 0x8000 == 0 {
            self.take(2);
            word & 0x7f | word >> 1 & 0x3f80
        } else if word & 0x80_0000 == 0 {
            self.take(3);
            word & 0x7f | word >> 1 & 0x3f80 | word >> 2 & 0x1f_c000
        } else {
            return None;
        };
        Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// The number of bytes read, if all of them were in the word.
    #[inline(always)]
    pub(super) fn whole(&self) -> Option<usize> {
        (self.read <= size_of::<u64>()).then_some(self.read)
    }
}

#[inline(never)]
fn long(buf: &mut &[u8], most: u32) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..most {
        let [byte] = take::<1>(buf)?;
        value |= u64::from(byte & 0x7f).checked_shl(index * 7).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a zigzag varint.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_raw(out, u64::from((value << 1 ^ value >> 31) as u32));
}

/// Appends a zigzag varint of up to ten bytes.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_raw(out, (value << 1 ^ value >> 63) as u64);
}

/// The number of bytes that [`put_varint`] appends.
pub(super) fn varint_len(value: i32) -> usize {
    varlong_len(value.into())
}

/// The number of bytes that [`put_varlong`] appends.
pub(super) fn varlong_len(value: i64) -> usize {
    let raw = (value << 1 ^ value >> 63) as u64;
    (64 - (raw | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_raw(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_as_they_are_written() {
        for bits in 0..64 {
            for value in [1_i64 << bits, (1_i64 << bits).wrapping_sub(1), -(1_i64 << bits >> 1)] {
                let mut out = Vec::new();
                put_varlong(&mut out, value);
                assert_eq!(out.len(), varlong_len(value), "{value}");
                if let Ok(value) = i32::try_from(value) {
                    out.clear();
                    put_varint(&mut out, value);
                    assert_eq!(out.len(), varint_len(value), "{value}");
                }
            }
        }
    }

    #[test]
    fn every_width_of_varint_comes_back() {
        for shift in 0..64 {
            for value in [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()] {
                let mut out = Vec::new();
                put_varlong(&mut out, value);
                let mut buf = &out[..];
                assert_eq!((varlong(&mut buf), buf.len()), (Some(value), 0));

                let narrow = value as i32;
                let mut out = Vec::new();
                put_varint(&mut out, narrow);
                let mut buf = &out[..];
                assert_eq!((varint(&mut buf), buf.len()), (Some(narrow), 0));
            }
        }
    }

    #[test]
    fn short_varints_read_from_a_word_are_those_read_from_a_slice() {
        for value in
            (0..22).flat_map(|shift| [1i32 << shift, (1 << shift) - 1, -(1 << shift), -1 - (1 << shift)])
        {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_varint(&mut out, -7);
            let length = out.len();
            out.resize(8, 0xff);
            let mut word = Word::front(&out).unwrap();
            match length {
                ..=4 => assert_eq!(
                    (word.varint(), word.varint(), word.whole()),
                    (Some(value), Some(-7), Some(length))
                ),
                _ => assert_eq!(word.varint(), None),
            }
        }
        assert!(Word::front(&[0; 7]).is_none());
        let mut word = Word::front(&[0; 8]).unwrap();
        (0..9).for_each(|_| word.skip());
        assert_eq!(word.whole(), None, "beyond its end");
    }

    #[test]
    fn a_varint_that_never_ends_is_refused() {
        assert_eq!(varint(&mut &[0x80; 5][..]), None);
        assert_eq!(varlong(&mut &[0x80; 10][..]), None);
        assert_eq!(varint(&mut &[0x80][..]), None);
        assert_eq!(varint(&mut &[][..]), None);
    }
}
