//! Percent-encoding (RFC 3986).

use zeroize::Zeroizing;

/// The bytes, which may be a secret's; `None` where a percent sign has no two digits behind it.
pub(crate) fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        decoded.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    Some(decoded)
}

/// As one segment of a path.
pub(crate) fn encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_segment_of_a_path() {
        let subject = "a/b c.é-value";
        assert_eq!(encoded(subject), "a%2Fb%20c.%C3%A9-value");
        assert_eq!(decoded(&encoded(subject)).unwrap().as_slice(), subject.as_bytes());
        for wrong in ["%", "%4", "%zz", "a%é"] {
            assert!(decoded(wrong).is_none(), "{wrong}");
        }
    }
}
