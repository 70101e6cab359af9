//! [`TlsStream`]: an encrypted connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    certificate::{Certificate, moment},
    describe_alert,
    error::describe_io,
    material::Client,
    read_ahead::ReadAhead,
    versions::iana_name,
};
use crate::{
    dial::ByteStream,
    probe::{CertificateFacts, TlsFacts},
};

/// The most certificates that are described.
const MOST_CERTIFICATES: usize = 16;

/// The underlying stream.
type InnerStream = ReadAhead<Box<dyn ByteStream>>;

/// An encrypted connection. Its errors describe those of TLS.
pub(crate) struct TlsStream {
    inner: tokio_rustls::client::TlsStream<InnerStream>,
    client: Arc<Client>,
}

impl TlsStream {
    pub(super) fn new(inner: tokio_rustls::client::TlsStream<InnerStream>, client: Arc<Client>) -> Self {
        Self { inner, client }
    }

    /// The result of the handshake.
    pub(crate) fn facts(&self) -> TlsFacts {
        let (_, session) = self.inner.get_ref();
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            other => format!("{other:?}"),
        };
        let suite = session.negotiated_cipher_suite().map(|suite| iana_name(suite.suite()));
        let chain = session.peer_certificates().unwrap_or_default();
        let certificates = chain.iter().filter_map(|der| Certificate::parse(der)).map(facts);
        TlsFacts {
            version,
            cipher_suite: suite.unwrap_or_default(),
            certificates: certificates.take(MOST_CERTIFICATES).collect(),
        }
    }

    /// The error that the peer sent before it closed the connection, after a write failed: for example its refusal of the
    /// client's certificate.
    fn refusal(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        match Pin::new(&mut self.inner).poll_read(cx, &mut ReadBuf::new(&mut [])) {
            Poll::Ready(Err(error)) => {
                let described = describe_io(error, &self.client);
                describe_alert(&described).is_some().then_some(described)
            }
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }
}

/// Converts a certificate to the form for tools.
fn facts(certificate: Certificate) -> CertificateFacts {
    CertificateFacts {
        subject: certificate.subject,
        issuer: certificate.issuer,
        not_before: moment(certificate.not_before),
        not_after: moment(certificate.not_after),
        hosts: certificate.hosts,
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.inner).poll_read(cx, buf)) {
            // The connection ended without a close_notify alert. Each frame has its length, so that a truncation is noticed
            // without that.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result.map_err(|error| describe_io(error, &self.client))),
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        Poll::Ready(
            result.map_err(|error| self.refusal(cx).unwrap_or_else(|| describe_io(error, &self.client))),
        )
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        Poll::Ready(
            result.map_err(|error| self.refusal(cx).unwrap_or_else(|| describe_io(error, &self.client))),
        )
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
