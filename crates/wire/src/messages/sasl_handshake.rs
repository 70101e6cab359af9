//! SaslHandshake: which SASL mechanism the connection will authenticate with (KIP-43, KIP-152).

use crate::{ErrorCode, message::message};

message! {
    0..=1;

    /// Chooses a mechanism. In version 0 the mechanism's messages follow as bare bytes, not in requests.
    pub struct SaslHandshakeRequest {
        mechanism: String,
    }

    /// The mechanisms that the listener takes, whether it takes the one that was chosen or not.
    pub struct SaslHandshakeResponse {
        error_code: ErrorCode,
        mechanisms: Vec<String>,
    }
}
