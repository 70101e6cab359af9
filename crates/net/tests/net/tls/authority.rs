//! Creates certificates.

use offtake_net::{
    Secret,
    tls::{Identity, Pem, Source, TlsConfig, Trust},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority with its own key.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A key and the chain from its certificate to an authority, which is not included.
pub(super) struct Issued {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) chain_pem: String,
    pub(super) key: KeyPair,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority under this one.
    pub(super) fn authority(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(authority(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for these hosts.
    pub(super) fn issue(&self, hosts: &[&str]) -> Issued {
        self.issue_as(hosts, |_| {})
    }

    /// The same, with changes.
    pub(super) fn issue_as(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue_with(hosts, KeyPair::generate().unwrap(), change)
    }

    /// The same, for this key.
    pub(super) fn issue_with(
        &self,
        hosts: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = params(hosts.first().copied().unwrap_or("nobody"));
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(hosts).unwrap().subject_alt_names;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { chain: vec![certificate.der().clone()], chain_pem: certificate.pem(), key }
    }

    /// A configuration that trusts only this authority.
    pub(super) fn trusted(&self) -> TlsConfig {
        TlsConfig {
            trust: Trust::Pem(inline("ssl.truststore.certificates", &self.pem())),
            ..TlsConfig::default()
        }
    }
}

impl Issued {
    /// Includes the authority's certificate in the chain.
    pub(super) fn through(mut self, authority: &Authority) -> Self {
        self.chain.push(authority.der());
        self.chain_pem += &authority.pem();
        self
    }

    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::Pem {
            chain: inline("ssl.keystore.certificate.chain", &self.chain_pem),
            key: inline("ssl.keystore.key", &self.key.serialize_pem()),
            key_password: None,
        }
    }
}

/// A self-signed certificate.
pub(super) fn self_signed(host: &str, is_authority: bool) -> Issued {
    let mut params = if is_authority { authority(host) } else { params(host) };
    params.subject_alt_names = CertificateParams::new(vec![host.to_owned()]).unwrap().subject_alt_names;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Issued { chain: vec![certificate.der().clone()], chain_pem: certificate.pem(), key }
}

pub(super) fn inline(property: &'static str, text: &str) -> Pem {
    Pem { property, source: Source::Inline(Secret::from(text)) }
}

pub(super) fn file(property: &'static str, path: impl Into<std::path::PathBuf>) -> Pem {
    Pem { property, source: Source::File(path.into()) }
}
