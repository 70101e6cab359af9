//! HTTPS.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a client may take for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The monitor's certificate and its key.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
}

impl ServerTls {
    /// Loads a certificate chain and its private key, both PEM, possibly from one file. They are read once: call this again after
    /// a change.
    ///
    /// # Errors
    ///
    /// A file cannot be read or contains no certificate or key, or the key does not belong to the certificate. The message names
    /// the file.
    pub fn load(certificates: &Path, key: &Path) -> io::Result<Self> {
        let bad = |path: &Path, why: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
        };
        let read = |path: &Path| std::fs::read(path).map_err(|error| bad(path, error.to_string()));
        let chain = CertificateDer::pem_slice_iter(&read(certificates)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(certificates, error.to_string()))?;
        if chain.is_empty() {
            return Err(bad(certificates, "no certificate in it".to_owned()));
        }
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| bad(key, "no private key in it that is not encrypted".to_owned()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
            .map_err(|error| bad(key, error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await?
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}
