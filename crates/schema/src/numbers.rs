//! Refuses numbers in JSON texts that this program cannot represent, so that they never become other numbers.
//!
//! A number is represented as an integer of 64 bits, or as a double. A number with more digits than necessary for its double
//! (`0.10000000000000001`) is still the same double; a number that differs from every double printed with as many digits is
//! refused.

use std::ops::Range;

/// The use of numbers with a fraction or an exponent, and of large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// They are used as doubles.
    AsDoubles,
    /// They may be used as decimals, which consist of the fewest digits that identify the double.
    AsDecimals,
}

/// Checks any text; invalid JSON is reported elsewhere.
pub(crate) fn check(text: &[u8], kept: Kept) -> Result<(), String> {
    let mut at = 0;
    while let Some(first) = text.get(at) {
        at = match first {
            b'"' => end_of_string(text, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = text.get(at..).unwrap_or_default();
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = at + rest.iter().take_while(|byte| is_part(byte)).count();
                number(text.get(at..end).unwrap_or_default(), kept)?;
                end.max(at + 1)
            }
            _ => at + 1,
        };
    }
    Ok(())
}

fn end_of_string(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return at,
        }
    }
}

/// The most significant digits of a double; later digits are zeros.
const MOST_DIGITS: usize = 800;

fn number(bytes: &[u8], kept: Kept) -> Result<(), String> {
    // With fewer digits, a number is always representable, unless an exponent makes it too large or too small.
    if bytes.len() <= 15 && !bytes.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return Ok(());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return Ok(());
    }
    let (Some(given), Ok(double)) = (Digits::of(text), text.parse::<f64>()) else { return Ok(()) };
    if given.digits.is_empty() {
        return Ok(()); // zero
    }
    let looks_like = |printed: String| Digits::of(&printed).as_ref() == Some(&given);
    let is_kept = double.is_finite()
        && given.digits.len() <= MOST_DIGITS
        && (looks_like(format!("{double:e}"))
            || kept == Kept::AsDoubles && {
                let behind_point = given.digits.len().saturating_sub(1);
                looks_like(format!("{double:.behind_point$e}"))
            });
    if is_kept {
        return Ok(());
    }
    let shown: String = text.chars().take(40).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    Err(format!(
        "the number {shown}{more} cannot be kept exactly: it is beyond 64 bits, or has too many digits"
    ))
}

/// A number's digits from the first to the last nonzero one, and the power of ten of the first.
#[derive(Debug, PartialEq, Eq)]
struct Digits {
    digits: String,
    power: i64,
}

impl Digits {
    fn of(text: &str) -> Option<Self> {
        let text = text.strip_prefix('-').unwrap_or(text);
        let (number, exponent) = match text.split_once(['e', 'E']) {
            // An exponent that does not fit belongs to a number far from every double.
            Some((number, exponent)) => {
                (number, exponent.parse::<i32>().ok().map_or(i64::from(i32::MAX), i64::from))
            }
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let Range { start, end } = significant(&all);
        let power = exponent + i64::try_from(whole.len()).ok()? - i64::try_from(start).ok()?;
        Some(Self { digits: all.get(start..end).unwrap_or_default().to_owned(), power })
    }
}

fn significant(digits: &str) -> Range<usize> {
    let end = digits.trim_end_matches('0').len();
    let start = digits.len() - digits.trim_start_matches('0').len();
    start.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_kept(text: &str, kept: Kept) -> bool {
        check(text.as_bytes(), kept).is_ok()
    }

    #[test]
    fn numbers_that_print_the_same_are_kept() {
        for text in [
            "0",
            "-0.0",
            "0e999999999999",
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
            "1e22",
            "1e300",
            "100000000000000000000",
            "0.1",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "5e-324",
            "-1234567890.12345",
            "123456789012345000000000",
            "1.100000000000000000000000000000",
        ] {
            assert!(is_kept(text, Kept::AsDoubles) && is_kept(text, Kept::AsDecimals), "{text}");
        }
    }

    #[test]
    fn another_number_is_refused_with_the_one_that_it_was() {
        for text in [
            "18446744073709551617",
            "-9223372036854775809",
            "12345678901234567890123",
            "9007199254740993.0",
            "0.9999999999999999999999",
            "3.14159265358979323846",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "12345678901234567890.12",
        ] {
            for kept in [Kept::AsDoubles, Kept::AsDecimals] {
                let error = check(format!("{{\"a\":[1,{text}]}}").as_bytes(), kept).unwrap_err();
                assert!(error.contains(text), "{error}");
            }
        }
        let long = format!("1.{}", "3".repeat(100_000));
        assert!(check(long.as_bytes(), Kept::AsDoubles).unwrap_err().len() < 200);
    }

    #[test]
    fn a_double_with_all_its_digits_is_the_same_double_and_another_decimal() {
        for text in [
            "18446744073709551616",
            "0.10000000000000001",
            "0.1000000000000000055511151231257827021181583404541015625",
        ] {
            assert!(is_kept(text, Kept::AsDoubles), "{text}");
            assert!(!is_kept(text, Kept::AsDecimals), "{text}");
        }
    }

    #[test]
    fn every_double_is_kept_however_it_is_printed() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let double = f64::from_bits(bits);
            if !double.is_finite() {
                continue;
            }
            for text in [
                format!("{double:e}"),
                format!("{double}"),
                format!("{double:.16e}"),
                format!("{double:.25e}"),
            ] {
                assert!(is_kept(&text, Kept::AsDoubles), "{text}");
            }
            assert!(is_kept(&format!("{double:e}"), Kept::AsDecimals), "{double:e}");
        }
    }

    #[test]
    fn strings_and_invalid_json_are_left_alone() {
        for text in [
            r#"{"1e400": "\"1e400", "a": "\\"}"#,
            r#"["12345678901234567890123\\\""]"#,
            "\"1e400",
            "\"\\",
            "1e400e400e400",
            "--------------------",
            "",
            "-",
        ] {
            assert!(is_kept(text, Kept::AsDoubles), "{text}");
        }
        assert!(!is_kept(r#"{"a\\":1e400}"#, Kept::AsDoubles));
    }
}
