//! Security settings that properties cannot express: credentials from a custom source ([`Credentials`],
//! [`TokenProvider`], [`AwsCredentialsProvider`]), and TLS from values instead of files.
//!
//! Most programs set the properties `security.protocol`, `ssl.*` and `sasl.*` ([`SecurityConfig`]) and need
//! nothing from this module.

pub use offtake_net::Secret;
#[cfg(feature = "gssapi")]
pub use offtake_net::sasl::Kerberos;
#[cfg(feature = "oidc")]
pub use offtake_net::sasl::{Algorithm, Assertion, Grant, Oidc, SignedAssertion, TokenEndpoint};
#[cfg(feature = "msk-iam")]
pub use offtake_net::sasl::{AwsContainer, AwsInstance, AwsRole, AwsWebIdentity};
pub use offtake_net::sasl::{
    AwsCredentials, AwsCredentialsProvider, AwsDefault, AwsEnvironment, AwsProfile, Claim, Credentials,
    Extensions, ProviderError, ProviderFuture, Refresh, Sasl, Token, TokenFile, TokenProvider,
    UnsecuredToken, UserPassword,
};
#[cfg(feature = "_tls")]
pub use offtake_net::tls::{
    Identity, Keystore, Pem, Source, Tls, TlsConfig, TlsConfigError, Trust, Verification,
};

pub use crate::config::{SecurityConfig, SecurityProtocol};
