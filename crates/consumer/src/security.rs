//! What properties cannot say of how connections are secured: credentials from a source of your own, and TLS from values instead
//! of files.
//!
//! Most programs set properties, and need nothing of this module:
//!
//! ```no_run
//! # async fn run() -> Result<(), offtake::Error> {
//! let consumer = offtake::Consumer::builder("broker:9093")
//!     .group("orders")
//!     .property("security.protocol", "SASL_SSL")
//!     .property("sasl.mechanism", "SCRAM-SHA-512")
//!     .property("sasl.username", "alice")
//!     .property("sasl.password", std::env::var("PASSWORD").unwrap_or_default())
//!     .property("ssl.ca.location", "/etc/ssl/our-ca.pem") // without it: the authorities that the system trusts
//!     .build()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Java's names and forms are understood too (`sasl.jaas.config`, `ssl.truststore.*`, `ssl.keystore.*`), and values may stand elsewhere
//! ([`SecurityConfig`]). A source of credentials of your own is asked at every authentication:
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
//! Credentials that are refused are an [`ErrorKind::Authentication`](crate::ErrorKind::Authentication). At the start it is final. Once a
//! broker has accepted them, a refusal is retried while any connection lives and for a minute after: credentials may be changed at the
//! broker and at the client at different times.

pub use offtake_client::security::*;
