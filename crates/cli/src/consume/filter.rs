//! `--key-contains`, `--value-contains`, `--header-contains`: which records are printed.

use offtake::Record;
use regex::bytes::Regex;

use super::print::Decoded;
use crate::{args::Consume, failure::Failure};

/// A record passes if all conditions hold; bytes are compared as they are.
#[derive(Default)]
pub(super) struct Filter {
    key: Option<Finder>,
    value: Option<Finder>,
    header: Option<Header>,
}

struct Header {
    name: String,
    /// `None`: any value, even null.
    value: Option<Finder>,
}

/// A text to search for in bytes.
pub(crate) struct Finder(Regex);

impl Filter {
    pub(super) fn of(args: &Consume) -> Result<Self, Failure> {
        let finder = |text: Option<&str>| text.map(Finder::new).transpose();
        let header = |text: &String| {
            let (name, value) =
                text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
            finder(value).map(|value| Header { name: name.to_owned(), value })
        };
        Ok(Self {
            key: finder(args.key_contains.as_deref())?,
            value: finder(args.value_contains.as_deref())?,
            header: args.header_contains.as_ref().map(header).transpose()?,
        })
    }

    /// Decoded keys and values are searched in the form in which they are printed.
    pub(super) fn passes(&self, record: &Record<'_>, decoded: &Decoded) -> bool {
        let (key, value) = (decoded.key.text().or(record.key()), decoded.value.text().or(record.value()));
        let headers = record.headers().map(|header| (header.key, header.value));
        self.key.as_ref().is_none_or(|wanted| wanted.is_in(key))
            && self.value.as_ref().is_none_or(|wanted| wanted.is_in(value))
            && self.header.as_ref().is_none_or(|wanted| wanted.is_among(headers))
    }
}

impl Header {
    fn is_among<'a>(&self, mut headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> bool {
        headers.any(|(name, value)| {
            name == self.name.as_bytes() && self.value.as_ref().is_none_or(|wanted| wanted.is_in(value))
        })
    }
}

impl Finder {
    /// A literal pattern, which is the fastest search in bytes available here.
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        let pattern = Regex::new(&regex::escape(text));
        pattern.map(Self).map_err(|error| Failure::Usage(format!("cannot search for `{text}`: {error}")))
    }

    /// Null contains nothing, not even the empty text.
    pub(crate) fn is_in(&self, bytes: Option<&[u8]>) -> bool {
        bytes.is_some_and(|bytes| self.0.is_match(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_searched_for_as_it_is() {
        let wanted = Finder::new("a.c+é").unwrap();
        assert!(wanted.is_in(Some("\u{ff}xa.c+éx".as_bytes())));
        assert!(wanted.is_in(Some(b"\xffa.c+\xc3\xa9")), "among bytes that are not text");
        assert!(!wanted.is_in(Some("abcé".as_bytes())));
        assert!(!Finder::new("").unwrap().is_in(None));
        assert!(Finder::new("").unwrap().is_in(Some(b"")));
    }

    #[test]
    fn a_header_is_found_by_its_name_and_what_its_value_contains() {
        let headers: [(&[u8], Option<&[u8]>); 3] =
            [(b"trace", Some(b"abc")), (b"trace", None), (b"null", None)];
        let found = |name: &str, value: Option<&str>| {
            let value = value.map(|text| Finder::new(text).unwrap());
            Header { name: name.to_owned(), value }.is_among(headers.into_iter())
        };
        assert!(found("trace", None) && found("trace", Some("bc")) && found("null", None));
        assert!(!found("trac", None) && !found("trace", Some("x")) && !found("null", Some("")));
    }
}
