//! Reads numbers and strings from the front of a slice.

use crate::common::Failure;

pub fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], Failure> {
    let (taken, rest) = from.split_at_checked(count).ok_or("the answer ends too early")?;
    *from = rest;
    Ok(taken)
}

pub fn fixed<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], Failure> {
    let (taken, rest) = from.split_first_chunk::<N>().ok_or("the answer ends too early")?;
    *from = rest;
    Ok(*taken)
}

pub fn i32(from: &mut &[u8]) -> Result<i32, Failure> {
    fixed(from).map(i32::from_be_bytes)
}

pub fn i64(from: &mut &[u8]) -> Result<i64, Failure> {
    fixed(from).map(i64::from_be_bytes)
}

#[inline]
pub fn unsigned(from: &mut &[u8]) -> Result<u64, Failure> {
    if let Some((first, rest)) = from.split_first()
        && *first < 0x80
    {
        *from = rest;
        return Ok(u64::from(*first));
    }
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = from.split_first().ok_or("a varint ends too early")?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok(number);
        }
        shift += 7;
        if shift > 63 {
            return Err("a varint is too long".into());
        }
    }
}

#[inline]
pub fn varint(from: &mut &[u8]) -> Result<i64, Failure> {
    let number = unsigned(from)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Bytes after their length as a varint, −1 for none.
#[inline]
pub fn bytes<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], Failure> {
    let length = varint(from)?;
    if length < 0 { Ok(&[]) } else { take(from, usize::try_from(length)?) }
}

/// A length or count of a flexible version, which is stored plus one.
pub fn compact(from: &mut &[u8]) -> Result<usize, Failure> {
    Ok(usize::try_from(unsigned(from)?)?.saturating_sub(1))
}

/// Tagged fields, which are ignored.
pub fn tags(from: &mut &[u8]) -> Result<(), Failure> {
    for _ in 0..unsigned(from)? {
        unsigned(from)?;
        let size = usize::try_from(unsigned(from)?)?;
        take(from, size)?;
    }
    Ok(())
}
