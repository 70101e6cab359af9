//! SaslAuthenticate: one step of a SASL mechanism (KIP-152, KIP-368).

use crate::{AuthBytes, ErrorCode, message::message};

message! {
    0..=2, flexible 2..;

    /// The mechanism's next message.
    pub struct SaslAuthenticateRequest {
        auth_bytes: AuthBytes,
    }

    /// The mechanism's answer.
    pub struct SaslAuthenticateResponse {
        error_code: ErrorCode,
        error_message: Option<String>,
        auth_bytes: AuthBytes,
        /// For so long the connection may be used before it has to authenticate anew; 0: for ever.
        session_lifetime_ms: i64 [ignorable 1..],
    }
}
