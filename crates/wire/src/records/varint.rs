//! Integers: big-endian ones of fixed width, and the zigzag varints inside a v2 record.
//!
//! Each takes its bytes off the front of a slice; `None` means the slice was too short or the
//! varint too long. In a record of 100 bytes every varint has one or two bytes, so these two cases
//! are inline and the rest is not.

/// Takes `N` bytes off the front.
#[inline(always)]
pub(super) fn take<const N: usize>(buf: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = buf.split_first_chunk::<N>()?;
    *buf = tail;
    Some(*head)
}

/// Takes `len` bytes off the front.
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
        // Bits beyond the 32nd are dropped, as Kafka drops them.
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
    fn a_varint_that_never_ends_is_refused() {
        assert_eq!(varint(&mut &[0x80; 5][..]), None);
        assert_eq!(varlong(&mut &[0x80; 10][..]), None);
        assert_eq!(varint(&mut &[0x80][..]), None);
        assert_eq!(varint(&mut &[][..]), None);
    }
}
