//! The facts about a certificate for errors and warnings.
//!
//! Nothing is decided here: rustls verifies certificates. Whatever can be parsed is reported, even from a certificate that
//! violates the rules.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::der::{
    BIT_STRING, BMP_STRING, BOOLEAN, Element, Elements, GENERALIZED_TIME, IA5_STRING, NUMERIC_STRING,
    OCTET_STRING, OID, PRINTABLE_STRING, SEQUENCE, SET, TELETEX_STRING, UTC_TIME, UTF8_STRING,
    VISIBLE_STRING, context, context_primitive,
};
use crate::calendar;

/// The most characters of a name that are shown, because the peer chooses it.
const LONGEST: usize = 200;
/// The most hosts of a certificate that are shown.
const MOST_HOSTS: usize = 8;

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13]; // 2.5.29.19
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11]; // 2.5.29.17

/// The facts about a certificate for errors and warnings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// As DER, for comparison.
    pub(super) raw_subject: Vec<u8>,
    pub(super) raw_issuer: Vec<u8>,
    /// As DER, with its algorithm.
    pub(super) public_key: Vec<u8>,
    /// Seconds since 1970; 0 for earlier times.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// DNS names and IP addresses, as shown.
    pub(super) hosts: Vec<String>,
    /// Whether there are more hosts.
    pub(super) more_hosts: bool,
    pub(super) is_authority: bool,
    /// Version 1 or 2, without extensions and therefore without hosts.
    pub(super) is_old: bool,
}

impl Certificate {
    /// Returns `None` if it cannot be parsed.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let mut outer = Elements::inside(der, SEQUENCE)?;
        let mut certificate = outer.enter(SEQUENCE)?;
        outer.element(SEQUENCE)?; // the signature algorithm
        outer.value(BIT_STRING)?; // the signature
        let has_version = certificate.begins_with(context(0));
        let version = if has_version { certificate.enter(context(0))?.number()? } else { 0 };
        certificate.any()?; // the serial number
        certificate.element(SEQUENCE)?; // the signature algorithm again
        let issuer = certificate.element(SEQUENCE)?;
        let mut validity = certificate.enter(SEQUENCE)?;
        let (not_before, not_after) = (seconds(validity.any()?)?, seconds(validity.any()?)?);
        let subject = certificate.element(SEQUENCE)?;
        let public_key = certificate.element(SEQUENCE)?;
        let mut read = Self {
            subject: name(subject.value)?,
            issuer: name(issuer.value)?,
            raw_subject: subject.raw.to_vec(),
            raw_issuer: issuer.raw.to_vec(),
            public_key: public_key.raw.to_vec(),
            not_before,
            not_after,
            hosts: Vec::new(),
            more_hosts: false,
            is_authority: false,
            is_old: version != 2,
        };
        while !certificate.is_empty() {
            let field = certificate.any()?;
            if field.tag == context(3) {
                let mut extensions = Elements::inside(field.value, SEQUENCE)?;
                while !extensions.is_empty() {
                    read.note(extensions.enter(SEQUENCE)?)?;
                }
            }
        }
        Some(read)
    }

    /// Stores an extension.
    fn note(&mut self, mut extension: Elements<'_>) -> Option<()> {
        let name = extension.value(OID)?;
        if extension.begins_with(BOOLEAN) {
            extension.any()?; // whether it is critical
        }
        let value = extension.value(OCTET_STRING)?;
        match name {
            BASIC_CONSTRAINTS => {
                let mut constraints = Elements::inside(value, SEQUENCE)?;
                let is_authority = constraints.begins_with(BOOLEAN) && constraints.value(BOOLEAN)? != [0];
                self.is_authority = is_authority;
            }
            SUBJECT_ALTERNATIVE_NAME => {
                let mut names = Elements::inside(value, SEQUENCE)?;
                while !names.is_empty() {
                    let Some(host) = host(names.any()?) else { continue };
                    if self.hosts.len() == MOST_HOSTS {
                        self.more_hosts = true;
                        break;
                    }
                    self.hosts.push(host);
                }
            }
            _ => {}
        }
        Some(())
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.raw_subject == self.raw_issuer
    }
}

/// A DNS name or an IP address.
fn host(name: Element<'_>) -> Option<String> {
    const DNS_NAME: u8 = context_primitive(2);
    const IP_ADDRESS: u8 = context_primitive(7);
    match name.tag {
        DNS_NAME => Some(shown(&String::from_utf8_lossy(name.value))),
        IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(name.value).map(|ip| Ipv4Addr::from(ip).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(name.value).map(|ip| Ipv6Addr::from(ip).to_string())).ok()
        }
        _ => None,
    }
}

/// Formats a distinguished name as tools do: `CN=Test CA, O=Example`.
fn name(name: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut parts = Elements::new(name);
    while !parts.is_empty() {
        let mut attributes = parts.enter(SET)?;
        let mut separator = ", ";
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(SEQUENCE)?;
            let kind = attribute.value(OID)?;
            let value = attribute.any()?;
            if !text.is_empty() {
                text.push_str(separator);
            }
            text.push_str(&attribute_name(kind));
            text.push('=');
            text.push_str(&attribute_value(value));
            separator = " + ";
        }
    }
    Some(shown(&text))
}

fn attribute_name(oid: &[u8]) -> String {
    let known = match oid {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x04] => "SN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "street",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x55, 0x04, 0x0c] => "title",
        [0x55, 0x04, 0x2a] => "GN",
        [0x55, 0x04, 0x61] => "organizationIdentifier",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01" => "UID",
        b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19" => "DC",
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01" => "emailAddress",
        other => return dotted(other),
    };
    known.to_owned()
}

/// Formats an object identifier as `1.2.840.113549`. Numbers of more than 64 bits are cut.
fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut number = 0_u64;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            text += &if text.is_empty() {
                let first = (number / 40).min(2); // the first two numbers are encoded as one
                format!("{first}.{}", number - 40 * first)
            } else {
                format!(".{number}")
            };
            number = 0;
        }
    }
    text
}

fn attribute_value(value: Element<'_>) -> String {
    match value.tag {
        UTF8_STRING | NUMERIC_STRING | PRINTABLE_STRING | TELETEX_STRING | IA5_STRING | VISIBLE_STRING => {
            String::from_utf8_lossy(value.value).into_owned()
        }
        BMP_STRING => {
            let units: Vec<_> =
                value.value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        _ => value.raw.iter().take(LONGEST).map(|byte| format!("{byte:02X}")).collect(),
    }
}

/// A text of a peer's certificate, made short and without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Parses a time of a certificate: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn seconds(time: Element<'_>) -> Option<i64> {
    let digits = time.value.strip_suffix(b"Z")?;
    if digits.len() % 2 != 0 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut pairs =
        digits.chunks_exact(2).map(|pair| u64::from(pair[0] - b'0') * 10 + u64::from(pair[1] - b'0'));
    let mut pair = || pairs.next();
    let year = match time.tag {
        UTC_TIME => pair().map(|year| if year < 50 { 2000 + year } else { 1900 + year })?,
        GENERALIZED_TIME => 100 * pair()? + pair()?,
        _ => return None,
    };
    let (month, day, hour, minute, second) = (pair()?, pair()?, pair()?, pair()?, pair()?);
    let is_time =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if pair().is_some() || !is_time {
        return None;
    }
    let time = calendar::days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    if year < 1970 { Some(0) } else { i64::try_from(time).ok() }
}

/// Formats a time for display: `2031-05-04 17:30 UTC`.
pub(super) fn utc(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let (year, month, day) = calendar::date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds % 86_400 / 3600, seconds % 3600 / 60)
}

/// Converts to the system's time.
pub(super) fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, DnValue, IsCa, KeyPair, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn fixture(name: &str) -> Vec<u8> {
        let text =
            std::fs::read(format!("{}/tests/net/tls/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        crate::tls::pem::sections(&text).unwrap()[0].der.to_vec()
    }

    #[test]
    fn a_certificate_shows_its_subject_hosts_and_validity() {
        let der = certificate(|params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, "broker-1");
            name.push(DnType::OrganizationName, DnValue::BmpString("Bücher".try_into().unwrap()));
            name.push(
                DnType::CustomDnType(vec![0, 9, 2342, 19200300, 100, 1, 25]),
                DnValue::Ia5String("example".try_into().unwrap()),
            );
            name.push(
                DnType::CustomDnType(vec![2, 999, 70_000]),
                DnValue::PrintableString("x".try_into().unwrap()),
            );
            params.not_before = rcgen::date_time_ymd(1999, 12, 31);
            params.not_after = rcgen::date_time_ymd(2051, 3, 1);
            let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
            params.subject_alt_names = vec![
                SanType::Rfc822Name("nobody@example.com".try_into().unwrap()),
                dns("broker-1.example.com"),
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
            ];
        });
        let read = Certificate::parse(&der).unwrap();
        assert_eq!(read.subject, "CN=broker-1, O=Bücher, DC=example, 2.999.70000=x");
        assert!(read.is_self_issued() && read.issuer == read.subject && !read.is_authority && !read.is_old);
        assert_eq!(
            (&*utc(read.not_before), &*utc(read.not_after)),
            ("1999-12-31 00:00 UTC", "2051-03-01 00:00 UTC")
        );
        assert_eq!(moment(read.not_before), UNIX_EPOCH + Duration::from_secs(946_598_400));
        assert_eq!(read.hosts, ["broker-1.example.com", "127.0.0.1", "::1"]);
        assert!(!read.more_hosts);
    }

    #[test]
    fn names_of_a_peer_are_cut_and_have_no_control_characters() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "\u{1b}[2Jä".repeat(100));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let hosts = (0..9).map(|host| SanType::DnsName(format!("host-{host}").try_into().unwrap()));
            params.subject_alt_names = hosts.collect();
        });
        let read = Certificate::parse(&der).unwrap();
        assert!(
            read.subject.starts_with("CN=\\u{1b}[2Jä") && read.subject.ends_with('…'),
            "{}",
            read.subject
        );
        assert!(read.subject.chars().count() < 8 * LONGEST && !read.subject.contains('\u{1b}'));
        assert!(read.is_authority && read.more_hosts && read.hosts.len() == MOST_HOSTS);
    }

    #[test]
    fn certificates_of_openssl_are_read() {
        let read = |name| Certificate::parse(&fixture(name)).unwrap();
        let (authority, old, own) = (read("ca.pem"), read("v1.pem"), read("ec.pem"));
        assert_eq!((&*authority.subject, authority.is_authority), ("CN=Fixture CA", true));
        assert!(old.is_old && old.hosts.is_empty() && old.issuer == "CN=Fixture CA");
        assert_eq!(
            (&*own.subject, own.hosts, own.raw_issuer),
            ("CN=ec", vec!["ec".to_owned()], authority.raw_subject)
        );
        assert_eq!(own.public_key, old.public_key, "they are for the same key");
    }

    #[test]
    fn a_certificate_that_is_damaged_is_read_or_not_and_nothing_else() {
        for mut der in [fixture("ca.pem"), fixture("v1.pem"), fixture("rsa.pem")] {
            for length in 0..der.len() {
                assert_eq!(Certificate::parse(&der[..length]), None, "{length} of {} bytes", der.len());
            }
            let mut refused = 0;
            for at in 0..der.len() {
                for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
                    der[at] ^= flip;
                    refused += usize::from(Certificate::parse(&der).is_none());
                    der[at] ^= flip;
                }
            }
            assert!(refused > 100, "{refused}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let time = |tag, text: &str| seconds(Element { tag, value: text.as_bytes(), raw: &[] });
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "491231235959Z"), time(GENERALIZED_TIME, "20491231235959Z"));
        assert_eq!(time(UTC_TIME, "500101000000Z"), Some(0), "1950");
        assert_eq!(utc(time(GENERALIZED_TIME, "99991231235959Z").unwrap()), "9999-12-31 23:59 UTC");
        for text in [
            "",
            "Z",
            "7001010000Z",
            "700101000000",
            "701301000000Z",
            "700100000000Z",
            "70010100000xZ",
            "70010100000000Z",
        ] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
    }
}
