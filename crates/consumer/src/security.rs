//! How connections are secured, where properties will not do: credentials from a source of your own, and TLS from values instead of
//! files.
//!
//! Most programs set the properties and need nothing of this:
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
//! A refusal is an [`ErrorKind::Authentication`](crate::ErrorKind::Authentication): at once and for good at the start; later it is retried
//! as long as a connection lives, and for a minute after, for credentials may be changed one side after the other.

pub use offtake_client::security::*;
