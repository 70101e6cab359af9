//! The cryptography provider: `aws-lc-rs` if it was compiled in, otherwise `ring`.

use std::sync::Arc;

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as backend;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as backend;
use rustls::{crypto::CryptoProvider, pki_types::PrivateKeyDer, sign::SigningKey};

pub(super) fn provider() -> CryptoProvider {
    backend::default_provider()
}

/// Returns `None` if the type or length of the key is not supported. It makes no copy of the text, which the caller overwrites.
pub(super) fn signing_key(key: &PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    backend::sign::any_supported_type(key).ok()
}
