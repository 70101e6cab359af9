//! DER, the encoding of certificates and keys: [`Elements`] reads one element after the other.
//!
//! Every element is a slice of its input: nothing is allocated, and no length is trusted. Tags have one byte, like all tags that
//! are needed here; indefinite lengths (BER) are refused.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const NUMERIC_STRING: u8 = 0x12;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const TELETEX_STRING: u8 = 0x14;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const VISIBLE_STRING: u8 = 0x1a;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag `[number]` of an explicitly tagged value, or of a constructed one.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The tag `[number]` of a primitive value.
pub(super) const fn context_primitive(number: u8) -> u8 {
    0x80 | number
}

/// An element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) value: &'a [u8],
    /// The whole element, with its tag and its length.
    pub(super) raw: &'a [u8],
}

/// The remaining elements. A method that returns `None` found another element, an incomplete one, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Consecutive elements.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The elements inside the single element `der`.
    pub(super) fn inside(der: &'a [u8], tag: u8) -> Option<Self> {
        let mut outer = Self(der);
        let inner = outer.enter(tag)?;
        outer.is_empty().then_some(inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next element has this tag.
    pub(super) fn begins_with(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The next element, whatever its tag.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (u32::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | u32::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let raw = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element { tag, value, raw })
    }

    /// The next element, if it has this tag.
    pub(super) fn element(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.begins_with(tag) { self.any() } else { None }
    }

    /// The value of the next element, if it has this tag.
    pub(super) fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        Some(self.element(tag)?.value)
    }

    /// The elements inside the next element, if it has this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.value(tag).map(Self)
    }

    /// A non-negative number.
    pub(super) fn number(&mut self) -> Option<u32> {
        let bytes = self.value(INTEGER)?;
        let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        let fits = digits.len() <= 4 && bytes.first().is_some_and(|first| *first < 0x80);
        fits.then(|| digits.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_one_after_the_other() {
        let mut elements = Elements::new(b"\x30\x07\x02\x01\x7f\x04\x02ab\x05\x00");
        let mut inner = elements.enter(SEQUENCE).unwrap();
        assert_eq!((inner.number(), inner.value(OCTET_STRING)), (Some(127), Some(&b"ab"[..])));
        assert!(inner.is_empty() && inner.any().is_none());
        assert!(!elements.begins_with(SEQUENCE) && elements.element(SEQUENCE).is_none());
        assert_eq!(elements.any().unwrap().raw, b"\x05\x00", "what was refused is still there");
        assert!(elements.is_empty());
    }

    #[test]
    fn lengths_may_be_long_and_are_not_believed() {
        let long = [&b"\x04\x82\x01\x00"[..], &[7; 256]].concat();
        assert_eq!(Elements::new(&long).value(OCTET_STRING).unwrap().len(), 256);
        for length in 0..long.len() {
            assert!(Elements::new(&long[..length]).any().is_none(), "{length}");
        }
        for der in [
            &b"\x04\x80\x00\x00"[..],
            b"\x04\x84\xff\xff\xff\xff",
            b"\x04\x85\x00\x00\x00\x00\x00",
            b"\x04\xff",
        ] {
            assert!(Elements::new(der).any().is_none(), "{der:?}");
        }
        assert!(Elements::inside(b"\x30\x00\x00", SEQUENCE).is_none(), "something follows");
    }

    #[test]
    fn numbers_are_those_that_fit() {
        let number = |der: &[u8]| Elements::new(der).number();
        assert_eq!(number(b"\x02\x01\x00"), Some(0));
        assert_eq!(number(b"\x02\x02\x00\x80"), Some(128));
        assert_eq!(number(b"\x02\x05\x00\xff\xff\xff\xff"), Some(u32::MAX));
        for der in [&b"\x02\x00"[..], b"\x02\x01\x80", b"\x02\x05\x01\x00\x00\x00\x00", b"\x04\x01\x00"] {
            assert_eq!(number(der), None, "{der:?}");
        }
    }
}
