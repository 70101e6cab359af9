//! Security settings that properties cannot express: a custom source of credentials, and TLS from values
//! instead of files.
//!
//! Most programs set properties, and need nothing from this module:
//!
//! ```no_run
//! # async fn run() -> Result<(), offtake::Error> {
//! let consumer = offtake::Consumer::builder("broker:9093")
//!     .group("orders")
//!     .property("security.protocol", "SASL_SSL")
//!     .property("sasl.mechanism", "SCRAM-SHA-512")
//!     .property("sasl.username", "alice")
//!     .property("sasl.password", std::env::var("PASSWORD").unwrap_or_default())
//!     .property("ssl.ca.location", "/etc/ssl/our-ca.pem") // default: the system's certificate authorities
//!     .build()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Java's names and forms are accepted too (`sasl.jaas.config`, `ssl.truststore.*`, `ssl.keystore.*`), and
//! values may be stored elsewhere ([`SecurityConfig`]). A custom source of credentials is queried at every
//! authentication:
//!
//! ```no_run
//! # async fn password() -> Result<String, offtake::security::ProviderError> { Ok(String::new()) }
//! # async fn run() -> Result<(), offtake::Error> {
//! use offtake::security::{Sasl, UserPassword};
//!
//! let sasl = Sasl::scram_sha512(|| async { Ok(UserPassword::new("alice", password().await?)) });
//! let consumer = offtake::Consumer::builder("broker:9093")
//!     .property("security.protocol", "SASL_SSL")
//!     .configure(|config| config.client.security.sasl = Some(sasl))
//!     .build()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Credentials that are refused result in [`ErrorKind::Authentication`](crate::ErrorKind::Authentication). At
//! the start that is final. Once a broker has accepted them, a refusal is retried while any connection lives
//! and for a minute after: credentials may be changed at the broker and at the client at different times.

pub use offtake_client::security::*;
