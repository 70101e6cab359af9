//! Integers as decimal digits, without the cost of `fmt`: a record has three of them.

/// Appends `number`.
pub(crate) fn push(out: &mut Vec<u8>, number: i64) {
    const LONGEST: usize = 20;
    let mut digits = [0; LONGEST];
    let mut left = number.unsigned_abs();
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        used += 1;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend(digits.iter().skip(LONGEST - used));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_fmt_writes_them() {
        for number in [0, 1, 9, 10, -1, -10, 1234567890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
