//! SaslHandshake: selects the SASL mechanism of a connection (KIP-43, KIP-152).

use crate::{ErrorCode, message::message};

message! {
    0..=1;

    /// Selects a mechanism. In version 0, the mechanism's messages follow as bare bytes, not in requests.
    pub struct SaslHandshakeRequest {
        mechanism: String,
    }

    /// The mechanisms that the listener accepts, whether or not it accepts the selected one.
    pub struct SaslHandshakeResponse {
        error_code: ErrorCode,
        mechanisms: Vec<String>,
    }
}
