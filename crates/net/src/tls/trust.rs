//! [`Roots`]: the trusted certificates.

use std::{collections::BTreeSet, path::PathBuf};

use rustls::{RootCertStore, pki_types::CertificateDer};

use super::{Pem, Source, TlsConfigError, Trust, certificate::Certificate, pem};

/// The property that errors name when none is set.
const PROPERTY: &str = "ssl.truststore.location";

/// The trusted certificates.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) store: RootCertStore,
    /// The exact certificates: a broker that shows one of them is trusted, whoever issued it. The system's are not among them.
    exact: BTreeSet<Vec<u8>>,
    /// The setting by which an authority becomes trusted, for errors.
    pub(super) remedy: String,
}

impl Roots {
    /// Reads the trusted certificates.
    pub(super) fn read(trust: &Trust) -> Result<Self, TlsConfigError> {
        match trust {
            Trust::System => system(),
            Trust::Pem(Pem { property, source: Source::File(path) }) if path.is_dir() => {
                let read = rustls_native_certs::load_certs_from_paths(None, Some(path));
                let what = format!("the directory `{}`", path.display());
                Self::of(property, &what, read.certs, read.errors.first().map(ToString::to_string))
            }
            Trust::Pem(pem) => {
                let text = pem.read()?;
                let sections = pem::sections(&text).map_err(|error| pem.error(error))?;
                let certificates = sections.iter().filter(|section| section.label.ends_with("CERTIFICATE"));
                let certificates = certificates.map(|section| CertificateDer::from(section.der.to_vec()));
                Self::of(pem.property, &pem.name(), certificates.collect(), None)
            }
            Trust::Keystore(keystore) => {
                let what = format!("`{}`", keystore.path.display());
                Self::of(keystore.property, &what, keystore.trusted()?, None)
            }
        }
    }

    /// Takes the valid ones of `certificates`, at least one.
    fn of(
        property: &'static str,
        what: &str,
        certificates: Vec<CertificateDer<'static>>,
        mut trouble: Option<String>,
    ) -> Result<Self, TlsConfigError> {
        let mut store = RootCertStore::empty();
        let mut exact = BTreeSet::new();
        for certificate in certificates {
            match store.add(certificate.clone()) {
                Ok(()) => {
                    exact.insert(certificate.to_vec());
                }
                Err(error) => trouble = Some(format!("one is ignored, because it cannot be read ({error})")),
            }
        }
        match trouble {
            Some(trouble) if store.is_empty() => Err(TlsConfigError::new(
                property,
                format!("{what} has no certificate that can be trusted: {trouble}"),
            )),
            None if store.is_empty() => Err(TlsConfigError::new(
                property,
                format!(
                    "{what} has no certificate: it takes those of the authorities that issue brokers' certificates"
                ),
            )),
            trouble => {
                if let Some(trouble) = trouble {
                    tracing::warn!("property `{property}`: of the certificates of {what} {trouble}");
                }
                Ok(Self {
                    store,
                    exact,
                    remedy: format!("add that authority's certificate to {what} (`{property}`)"),
                })
            }
        }
    }

    /// Whether this very certificate is trusted.
    pub(super) fn contains(&self, certificate: &[u8]) -> bool {
        self.exact.contains(certificate)
    }

    /// Whether a trusted authority has the name of the issuer of `certificate`.
    pub(super) fn knows_issuer(&self, certificate: &Certificate) -> bool {
        self.store.roots.iter().any(|root| certificate.raw_issuer.ends_with(&root.subject))
    }
}

fn system() -> Result<Roots, TlsConfigError> {
    let read = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(read.certs);
    if store.is_empty() {
        let why = read.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let reason = format!(
            "it is not set, and the system trusts no authority{why}: set it to a file with the certificates to trust, or install \
             the system's (ca-certificates)"
        );
        return Err(TlsConfigError::new(PROPERTY, reason));
    }
    let remedy = "set `ssl.truststore.location` to a file with that authority's certificate (and `ssl.truststore.type=PEM`, if it \
                  is PEM); without it those are trusted that the system trusts";
    Ok(Roots { store, exact: BTreeSet::new(), remedy: remedy.to_owned() })
}

impl Trust {
    /// The files that they are read from.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::System => Vec::new(),
            Self::Pem(pem) => pem.paths(),
            Self::Keystore(keystore) => vec![keystore.path.clone()],
        }
    }
}
