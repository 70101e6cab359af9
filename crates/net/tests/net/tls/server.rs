//! A TLS server in memory.

use std::sync::Arc;

use offtake_net::{
    ByteStream,
    tls::{Tls, TlsConfig, TlsError},
};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Issued};

/// A server that sends back whatever it reads.
#[derive(Clone)]
pub(super) struct Server(TlsAcceptor);

/// The server's view of a client: the requested name, the handshake, and the client's certificate.
pub(super) struct Seen {
    pub(super) name: Option<String>,
    pub(super) kind: Option<HandshakeKind>,
    pub(super) certificate: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
pub(super) enum Clients<'a> {
    Anybody,
    Of(&'a Authority),
    /// The authority of this certificate.
    OfPem(&'a str),
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

fn verifier(
    authority: CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().unwrap()
}

impl Server {
    pub(super) fn new(issued: &Issued) -> Self {
        Self::of(issued, Clients::Anybody, &[&TLS12, &TLS13])
    }

    pub(super) fn of(
        issued: &Issued,
        clients: Clients<'_>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::with(issued, clients, versions, provider())
    }

    pub(super) fn with(
        issued: &Issued,
        clients: Clients<'_>,
        versions: &[&'static SupportedProtocolVersion],
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Of(authority) => builder.with_client_cert_verifier(verifier(authority.der(), &provider)),
            Clients::OfPem(pem) => {
                let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
                builder.with_client_cert_verifier(verifier(der, &provider))
            }
        };
        // rustls would compare the two, but cannot parse a certificate of version 1.
        let key = provider.key_provider.load_private_key(issued.key_der()).unwrap();
        let own = SingleCertAndKey::from(CertifiedKey::new(issued.chain.clone(), key));
        let config = builder.with_cert_resolver(Arc::new(own));
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    /// Serves one client: sends back its data until it closes the connection.
    pub(super) fn serve(&self, stream: DuplexStream) -> JoinHandle<std::io::Result<Seen>> {
        let acceptor = self.0.clone();
        tokio::spawn(async move {
            let mut stream = acceptor.accept(stream).await?;
            let seen = {
                let (_, session) = stream.get_ref();
                Seen {
                    name: session.server_name().map(str::to_owned),
                    kind: session.handshake_kind(),
                    certificate: session.peer_certificates().map(|chain| chain[0].to_vec()),
                }
            };
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    n => stream.write_all(&buffer[..n]).await?,
                }
                stream.flush().await?;
            }
            stream.shutdown().await?;
            Ok(seen)
        })
    }

    /// Connects and exchanges one message. Returns the server's view.
    pub(super) async fn meet(&self, tls: &Tls, host: &str) -> Result<Seen, TlsError> {
        let (near, far) = duplex(8 * 1024);
        let serving = self.serve(far);
        let mut stream = tls.connect(host, Box::new(near)).await?;
        echo(&mut stream, 100_000).await.map_err(|error| {
            offtake_net::tls::describe_alert(&error).unwrap_or_else(|| panic!("not TLS's: {error}"))
        })?;
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        Ok(serving.await.unwrap().unwrap())
    }

    /// The error of a client with this configuration.
    pub(super) async fn refuses(&self, config: TlsConfig, host: &str) -> TlsError {
        match self.meet(&Tls::new(config).unwrap(), host).await {
            Ok(_) => panic!("connected"),
            Err(error) => error,
        }
    }
}

/// Sends this many bytes and reads them back.
pub(super) async fn echo(stream: &mut Box<dyn ByteStream>, length: usize) -> std::io::Result<()> {
    let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut received = vec![0; length];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (read, written) = tokio::join!(reader.read_exact(&mut received), async {
        writer.write_all(&sent).await?;
        writer.flush().await
    });
    read?;
    written?;
    assert!(sent == received);
    Ok(())
}
