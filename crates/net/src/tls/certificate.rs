//! What errors and warnings say about a certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    time::ASN1Time,
    x509::{X509Name, X509Version},
};

use crate::probe::CertificateFacts;

/// The most that is shown of a name, in characters. It is the peer's to choose.
const LONGEST: usize = 200;
/// And of the hosts that a certificate is for.
const MOST_HOSTS: usize = 8;

/// What errors and warnings say about a certificate.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// DER, to be compared.
    pub(super) raw_subject: Vec<u8>,
    pub(super) raw_issuer: Vec<u8>,
    /// DER, with its algorithm.
    pub(super) public_key: Vec<u8>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// DNS names and IP addresses, as shown.
    pub(super) hosts: Vec<String>,
    /// Whether there are more of them.
    pub(super) more_hosts: bool,
    pub(super) is_authority: bool,
    /// Version 1 or 2: without extensions, and so without hosts.
    pub(super) is_old: bool,
}

impl Certificate {
    /// `None` if it cannot be read.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let (hosts, more_hosts) = hosts(&parsed);
        Some(Self {
            subject: name(parsed.subject()),
            issuer: name(parsed.issuer()),
            raw_subject: parsed.subject().as_raw().to_vec(),
            raw_issuer: parsed.issuer().as_raw().to_vec(),
            public_key: parsed.public_key().raw.to_vec(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            hosts,
            more_hosts,
            is_authority: parsed.is_ca(),
            is_old: parsed.version() != X509Version::V3,
        })
    }

    /// As tools are told of it.
    pub(super) fn into_facts(self) -> CertificateFacts {
        CertificateFacts {
            subject: self.subject,
            issuer: self.issuer,
            not_before: moment(self.not_before),
            not_after: moment(self.not_after),
            hosts: self.hosts,
        }
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.raw_subject == self.raw_issuer
    }
}

fn moment(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment =
        if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moment.unwrap_or(UNIX_EPOCH)
}

fn hosts(certificate: &X509Certificate<'_>) -> (Vec<String>, bool) {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut hosts = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|ip| std::net::Ipv4Addr::from(ip).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|ip| std::net::Ipv6Addr::from(ip).to_string()))
                .ok()
        }
        _ => None,
    });
    (hosts.by_ref().take(MOST_HOSTS).collect(), hosts.next().is_some())
}

fn name(name: &X509Name<'_>) -> String {
    shown(&name.to_string())
}

/// Text of a peer's certificate: short, without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// A time as it is shown: `2031-05-04 17:30 UTC`.
pub(super) fn utc(seconds: i64) -> String {
    match ASN1Time::from_timestamp(seconds).map(|time| time.to_datetime()) {
        Ok(t) => {
            let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
            format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", t.hour(), t.minute())
        }
        Err(_) => format!("{seconds} s after 1970"),
    }
}
