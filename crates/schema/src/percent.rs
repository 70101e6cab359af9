//! Percent-encoding (RFC 3986), stricter than the crate: a percent sign that is not followed by two digits is an error here.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use zeroize::Zeroizing;

/// The characters that are not allowed in a path segment.
const OF_NO_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Decodes to bytes, which may be secret; `None` if a percent sign is not followed by two digits.
pub(crate) fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let are_digits =
        |after: &str| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(are_digits) {
        return None;
    }
    // At most as long as the text, so that growing leaves no copy of a secret behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    decoded.extend(percent_decode(text.as_bytes()));
    Some(decoded)
}

/// Encodes one path segment.
pub(crate) fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, OF_NO_SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_segment_of_a_path() {
        let subject = "a/b c.é-value_~%";
        assert_eq!(encoded(subject), "a%2Fb%20c.%C3%A9-value_~%25");
        assert_eq!(decoded(&encoded(subject)).unwrap().as_slice(), subject.as_bytes());
        assert_eq!(decoded("%2f%2F").unwrap().as_slice(), b"//");
        for wrong in ["%", "%4", "%zz", "a%é", "%%41", "%+1"] {
            assert!(decoded(wrong).is_none(), "{wrong}");
        }
    }
}
