//! Converts decimals, durations and UUIDs to text and back.

use std::fmt::Write;

use super::moments::Text;

/// The most bytes of a decimal, without those that only repeat its sign: more than twice the limit for schemas (a precision of
/// 1,000), because not all writers check it. The work grows with the square of it.
const MAX_BYTES: usize = 1_024;

/// The text of a decimal, or `None` if it is too long.
pub(super) fn format(unscaled: &[u8], scale: u32) -> Option<String> {
    let (negative, digits) = digits(unscaled)?;
    let scale = scale as usize;
    let mut text = String::with_capacity(digits.len().max(scale) + 3);
    if negative {
        text.push('-');
    }
    let (whole, fraction) = match digits.len().checked_sub(scale) {
        Some(point) => digits.split_at_checked(point).unwrap_or((&digits, "")),
        None => ("", digits.as_str()),
    };
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.extend(std::iter::repeat_n('0', scale - fraction.len()));
        text.push_str(fraction);
    }
    Some(text)
}

/// The sign and the decimal digits of a big-endian two's complement number.
fn digits(bytes: &[u8]) -> Option<(bool, String)> {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let padding = if negative { 0xff } else { 0 };
    let padded = bytes.iter().take_while(|byte| **byte == padding).count();
    // One byte of padding may contain the sign.
    let bytes = bytes.get(padded.saturating_sub(1)..).unwrap_or_default();
    if bytes.len() <= 16 {
        let filler = if negative { -1_i128 } else { 0 };
        let value = bytes.iter().fold(filler, |value, byte| (value << 8) | i128::from(*byte));
        return Some((negative, value.unsigned_abs().to_string()));
    }
    if bytes.len() > MAX_BYTES {
        return None;
    }
    // The magnitude, in pieces of 32 bits from the most significant on, then nine digits at a time.
    let mut magnitude: Vec<u8> = bytes.to_vec();
    if negative {
        negate(&mut magnitude);
    }
    let mut words: Vec<u32> = magnitude
        .rchunks(4)
        .rev()
        .map(|word| word.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte)))
        .collect();
    let mut groups: Vec<u32> = Vec::new();
    while words.iter().any(|word| *word != 0) {
        let mut remainder = 0_u64;
        for word in &mut words {
            let value = (remainder << 32) | u64::from(*word);
            *word = u32::try_from(value / 1_000_000_000).unwrap_or(u32::MAX);
            remainder = value % 1_000_000_000;
        }
        groups.push(u32::try_from(remainder).unwrap_or(u32::MAX));
    }
    let mut text = String::with_capacity(groups.len() * 9);
    for (nth, group) in groups.iter().rev().enumerate() {
        let written = if nth == 0 { write!(text, "{group}") } else { write!(text, "{group:09}") };
        written.ok()?;
    }
    Some((negative, text))
}

/// Two's complement of a big-endian number.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (negated, overflow) = (!*byte).overflowing_add(u8::from(carry));
        *byte = negated;
        carry = overflow;
    }
}

/// Parses a decimal to its unscaled number: big-endian two's complement of minimal length.
pub(super) fn parse(text: &str, precision: u32, scale: u32) -> Result<Vec<u8>, String> {
    let wrong = || "it is not a decimal number".to_owned();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, exponent) = match rest.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i64>().map_err(|_| wrong())?),
        None => (rest, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    // The number is digits × 10^-decimals.
    let fraction = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let decimals = fraction.saturating_sub(exponent);
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading);
    if digits.is_empty() {
        return Ok(vec![0]);
    }
    let missing = i64::from(scale).saturating_sub(decimals);
    if missing < 0 {
        let surplus = usize::try_from(missing.unsigned_abs()).unwrap_or(usize::MAX);
        let kept = digits.len().saturating_sub(surplus);
        if surplus > digits.len() || digits.iter().skip(kept).any(|digit| *digit != b'0') {
            return Err(format!("it has more than {scale} digits after the point"));
        }
        digits.truncate(kept);
    } else {
        let zeros = usize::try_from(missing).unwrap_or(usize::MAX);
        if zeros <= precision as usize {
            digits.extend(std::iter::repeat_n(b'0', zeros));
        } else {
            return Err(format!("it has more than {precision} digits"));
        }
    }
    if digits.len() > precision as usize {
        return Err(format!("it has more than {precision} digits"));
    }
    let mut magnitude: Vec<u8> = vec![0]; // the least significant first, with room for the sign at the end
    for digit in digits {
        let mut carry = u16::from(digit - b'0');
        for byte in &mut magnitude {
            let value = u16::from(*byte) * 10 + carry;
            *byte = (value & 0xff) as u8;
            carry = value >> 8;
        }
        if carry > 0 {
            magnitude.push((carry & 0xff) as u8);
        }
    }
    magnitude.push(0);
    magnitude.reverse();
    if negative {
        negate(&mut magnitude);
    }
    Ok(shortest(&magnitude).to_vec())
}

/// The same number without bytes that only repeat its sign.
fn shortest(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        match (first, rest.first()) {
            (0, Some(next)) if *next < 0x80 => bytes = rest,
            (0xff, Some(next)) if *next >= 0x80 => bytes = rest,
            _ => break,
        }
    }
    bytes
}

/// The number in exactly `size` bytes, if it fits.
pub(super) fn widen(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let sign = bytes.first().is_some_and(|first| *first >= 0x80);
    let missing = size.checked_sub(bytes.len())?;
    let mut wide = vec![if sign { 0xff } else { 0 }; missing];
    wide.extend_from_slice(bytes);
    Some(wide)
}

/// Months, days and milliseconds.
pub(super) fn duration_parts(bytes: &[u8]) -> [u32; 3] {
    let part = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    [part(0), part(4), part(8)]
}

/// Formats a duration in ISO 8601: `P1M2DT3.500S`.
pub(super) fn format_duration(bytes: &[u8]) -> Text {
    let [months, days, millis] = duration_parts(bytes);
    let mut text = Text::new();
    let mut write = || {
        text.write_char('P')?;
        if months > 0 {
            write!(text, "{months}M")?;
        }
        if days > 0 {
            write!(text, "{days}D")?;
        }
        match (millis / 1_000, millis % 1_000) {
            (0, 0) if months > 0 || days > 0 => Ok(()),
            (seconds, 0) => write!(text, "T{seconds}S"),
            (seconds, fraction) => write!(text, "T{seconds}.{fraction:03}S"),
        }
    };
    let _ = write(); // three numbers fit
    text
}

/// Parses a duration such as `P1Y2M3W4DT5H6M7.008S` to its twelve bytes.
pub(super) fn parse_duration(text: &str) -> Option<[u8; 12]> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty())?;
    let (mut months, mut days, mut millis) = (0_u64, 0_u64, 0_u64);
    let mut in_time = false;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            if in_time || time.is_empty() {
                return None;
            }
            (rest, in_time) = (time, true);
            continue;
        }
        let end = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
        let (number, unit) = (rest.get(..end)?, rest.get(end..=end)?);
        rest = rest.get(end + 1..)?;
        if unit == "S" && in_time {
            let (seconds, fraction) = number.split_once('.').unwrap_or((number, ""));
            let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if fraction.len() > 3 || !all_digits(fraction) || !all_digits(seconds) {
                return None;
            }
            let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
            millis = millis
                .checked_add(seconds.parse::<u64>().ok()?.checked_mul(1_000)?)?
                .checked_add(fraction)?;
            continue;
        }
        let number: u64 = number.parse::<u32>().ok()?.into();
        match (unit, in_time) {
            ("Y", false) => months += number * 12,
            ("M", false) => months += number,
            ("W", false) => days += number * 7,
            ("D", false) => days += number,
            ("H", true) => millis += number * 3_600_000,
            ("M", true) => millis += number * 60_000,
            _ => return None,
        }
    }
    let mut bytes = [0; 12];
    for (to, part) in bytes.chunks_exact_mut(4).zip([months, days, millis]) {
        to.copy_from_slice(&u32::try_from(part).ok()?.to_le_bytes());
    }
    Some(bytes)
}

/// Formats a UUID of 16 bytes with hyphens.
pub(super) fn format_uuid(bytes: &[u8]) -> Text {
    let mut text = Text::new();
    for (nth, byte) in bytes.iter().take(16).enumerate() {
        let hyphen = if matches!(nth, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(text, "{hyphen}{byte:02x}"); // 36 letters fit
    }
    text
}

/// Parses a UUID, with or without hyphens, to its 16 bytes.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let hyphens = bytes.len() == 36;
    if !hyphens && bytes.len() != 32 {
        return None;
    }
    let mut value: u128 = 0;
    for (nth, byte) in bytes.iter().enumerate() {
        if hyphens && matches!(nth, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        value = (value << 4) | u128::from(char::from(*byte).to_digit(16)?);
    }
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back_as_they_were() {
        for (text, precision, scale, bytes) in [
            ("0", 4, 0, &[0][..]),
            ("0.00", 4, 2, &[0]),
            ("1.27", 4, 2, &[127]),
            ("1.28", 4, 2, &[0, 128]),
            ("-1.28", 4, 2, &[128]),
            ("-1.29", 4, 2, &[0xff, 0x7f]),
            ("-0.05", 4, 2, &[0xfb]),
            ("12345678901234567890", 20, 0, &[0, 0xab, 0x54, 0xa9, 0x8c, 0xeb, 0x1f, 0x0a, 0xd2]),
        ] {
            assert_eq!(parse(text, precision, scale).as_deref(), Ok(bytes), "{text}");
            assert_eq!(format(bytes, scale).as_deref(), Some(text));
        }
    }

    #[test]
    fn decimals_of_hundreds_of_digits_come_back_too() {
        for length in [38, 39, 40, 77, 300, 1_000] {
            for sign in ["", "-"] {
                let text = format!("{sign}{}", "9876543210".repeat(100).get(..length).unwrap());
                let bytes = parse(&text, 1_000, 0).unwrap();
                assert_eq!(format(&bytes, 0).as_deref(), Some(text.as_str()));
                // Padding changes nothing.
                let wide = widen(&bytes, bytes.len() + 40).unwrap();
                assert_eq!(format(&wide, 0).as_deref(), Some(text.as_str()));
            }
        }
    }

    #[test]
    fn a_decimal_takes_exponents_and_refuses_what_it_would_round() {
        assert_eq!(parse("1.5e2", 5, 1), parse("150", 5, 1));
        assert_eq!(parse("1.500", 5, 1), parse("1.5", 5, 1));
        assert_eq!(parse("00001.5", 2, 1), parse("1.5", 2, 1));
        for wrong in [
            "1.55",
            "",
            "-",
            ".",
            "1,5",
            "abc",
            "1e",
            "1e99999999999999999999",
            "1e9999",
            "1e-9999",
            "123456",
        ] {
            assert!(parse(wrong, 5, 1).is_err(), "{wrong}");
        }
        assert_eq!(parse("0e-99999", 5, 1).as_deref(), Ok(&[0][..]));
    }

    #[test]
    fn a_decimal_of_a_megabyte_is_refused_but_its_padding_is_not() {
        assert_eq!(format(&vec![1; 1 << 20], 0), None);
        assert_eq!(format(&vec![0; 1 << 20], 0).as_deref(), Some("0"));
        assert_eq!(format(&vec![0xff; 1 << 20], 1).as_deref(), Some("-0.1"));
        assert_eq!(format(&[], 2).as_deref(), Some("0.00"));
    }

    #[test]
    fn durations_come_back() {
        for (text, parts) in [
            ("PT0S", [0, 0, 0]),
            ("P1M", [1, 0, 0]),
            ("P14M3DT4.005S", [14, 3, 4_005]),
            ("PT4294967.295S", [0, 0, u32::MAX]),
        ] {
            let bytes = parse_duration(text).unwrap();
            assert_eq!(duration_parts(&bytes), parts);
            assert_eq!(format_duration(&bytes).as_str(), text);
        }
        assert_eq!(parse_duration("P1Y2W1DT1H1M1S").map(|b| duration_parts(&b)), Some([12, 15, 3_661_000]));
        for wrong in
            ["", "P", "PT", "P1", "1M", "P1S", "PT1D", "P-1D", "P4294967296D", "PT1TS", "PTé", "PT1.2345S"]
        {
            assert!(parse_duration(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn uuids_come_back() {
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        let bytes = parse_uuid(text).unwrap();
        assert_eq!(format_uuid(&bytes).as_str(), text);
        assert_eq!(parse_uuid(&text.replace('-', "")), Some(bytes));
        for wrong in ["", "01234567-89ab-cdef-0123-456789abcdeg", "0123456789abcdef-0123-456789abcdef-01"] {
            assert!(parse_uuid(wrong).is_none(), "{wrong}");
        }
    }
}
