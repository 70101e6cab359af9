//! [`Tls`]: the brokers' certificates, given or generated.

use std::{fmt, io, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// The certificate by which brokers prove their identity. Clients need none.
#[derive(Clone)]
pub struct Tls(Source);

#[derive(Clone)]
enum Source {
    Made,
    Given { chain: String, key: String },
}

/// The TLS part of the listeners.
pub(in crate::runtime) struct Listener {
    pub(in crate::runtime) acceptor: TlsAcceptor,
    /// The certificate of the generated authority, in PEM.
    pub(in crate::runtime) authority: Option<String>,
}

impl Tls {
    /// Generates an authority at the start, forgotten at the end, and one certificate of it for all brokers: for
    /// `localhost`, `127.0.0.1`, `::1` and the host names of the brokers at the start. Clients have to trust
    /// [`Cluster::authority`](crate::Cluster::authority).
    pub fn generated() -> Self {
        Self(Source::Made)
    }

    /// Uses this certificate, with its chain up to an authority, and its private key (PKCS8, PKCS1 or SEC 1), all in PEM.
    pub fn from_pem(chain: impl Into<String>, key: impl Into<String>) -> Self {
        Self(Source::Given { chain: chain.into(), key: key.into() })
    }

    pub(in crate::runtime) fn listener(
        &self,
        hosts: impl IntoIterator<Item = String>,
    ) -> io::Result<Listener> {
        let (chain, key, authority) = match &self.0 {
            Source::Made => made(hosts).map_err(|error| invalid("cannot make a certificate", &error))?,
            Source::Given { chain, key } => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| invalid("the certificates cannot be read", &error))?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|error| invalid("the private key cannot be read", &error))?;
                (chain, key, None)
            }
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| invalid("the certificate cannot be used", &error))?;
        Ok(Listener { acceptor: TlsAcceptor::from(Arc::new(config)), authority })
    }
}

fn invalid(what: &str, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what}: {error}"))
}

type Made = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Option<String>);

fn made(hosts: impl IntoIterator<Item = String>) -> Result<Made, rcgen::Error> {
    let mut params = params("Offtake embedded broker CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(hosts);
    names.sort();
    names.dedup();
    let mut params = self::params("Offtake embedded broker");
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    let pem = authority.pem();
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
    Ok((vec![certificate.der().clone()], key, Some(pem)))
}

/// Valid for as long as a test's clock may run.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

/// Leaves out the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Made => "Tls(generated)",
            Source::Given { .. } => "Tls(from PEM)",
        })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
