//! TLS: rustls with the cryptography of ring and its defaults, over a socket that is read 64 KiB at a time.

use std::io::{BufReader, Read, Result, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::Failure;

pub struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.get_mut().flush()
    }
}

pub fn over(
    stream: TcpStream,
    address: &str,
    authority: &str,
) -> std::result::Result<StreamOwned<ClientConnection, Socket>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host)?)?;
    Ok(StreamOwned::new(connection, Socket(BufReader::with_capacity(64 << 10, stream))))
}
