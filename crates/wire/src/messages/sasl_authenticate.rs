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
        /// The time until the connection has to re-authenticate; 0: no limit.
        session_lifetime_ms: i64 [ignorable 1..],
    }
}
