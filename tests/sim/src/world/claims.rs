//! The records beyond its offset that a worker's commit marks as finished, read from the commit's metadata in the format that
//! `crates/worker` documents, with none of its code.

const PREFIX: &str = "ow1.";
const CRC_BYTES: usize = 4;

/// The ranges; none if the text is not in this format.
pub(super) fn beyond(committed: i64, metadata: &str) -> Vec<(i64, i64)> {
    metadata.strip_prefix(PREFIX).and_then(|text| ranges(committed, &bytes(text)?)).unwrap_or_default()
}

/// URL-safe base64 without padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut rest, mut bits) = (Vec::new(), 0u32, 0);
    for digit in text.bytes() {
        let value = u32::try_from(DIGITS.iter().position(|known| *known == digit)?).ok()?;
        (rest, bits) = ((rest << 6 | value) & 0xffff, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(rest >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn ranges(committed: i64, bytes: &[u8]) -> Option<Vec<(i64, i64)>> {
    let (form, rest) = bytes.get(..bytes.len().checked_sub(CRC_BYTES)?)?.split_first()?;
    let mut rest = rest.iter().copied();
    // The leader epoch and the newest timestamp of the finished records.
    number(&mut rest)?;
    number(&mut rest)?;
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    if *form == 0 {
        let mut end = committed;
        while let Some(gap) = number(&mut rest) {
            let from = end + gap;
            end = from + number(&mut rest)?;
            ranges.push((from, end));
        }
    } else {
        for (byte, base) in rest.zip((committed..).step_by(8)) {
            let set = (0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| base + bit);
            ranges.extend(set.map(|offset| (offset, offset + 1)));
        }
    }
    Some(ranges)
}

/// A varint.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value.cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand: the form, epoch 7, no timestamp, the body, and a checksum that is not checked.
    fn text(form: u8, body: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bytes = [&[form, 8, 0][..], body, &[0; 4]].concat();
        let bits: Vec<_> =
            bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
        let digit = |six: &[u8]| six.iter().fold(0, |value, bit| value << 1 | bit) << (6 - six.len());
        let digits = bits.chunks(6).map(|six| char::from(DIGITS[usize::from(digit(six))]));
        format!("ow1.{}", digits.collect::<String>())
    }

    #[test]
    fn both_forms_are_read_and_no_others() {
        assert_eq!(beyond(10, &text(0, &[1, 2, 0x81, 0x01, 1])), [(11, 13), (142, 143)]);
        assert_eq!(beyond(10, &text(1, &[0b110, 1])), [(11, 12), (12, 13), (18, 19)]);
        assert_eq!(beyond(10, "somebody else's"), []);
        assert_eq!(beyond(10, ""), []);
    }
}
