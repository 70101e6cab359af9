//! [`Setting`]: the value of a property of TLS or SASL.

use std::fmt;

use offtake_net::Secret;

use super::providers::Providers;

/// The value of a property of TLS or SASL: it may be a secret, so it is not printed; it may be stored
/// elsewhere and change there.
#[derive(Clone, PartialEq)]
pub(super) struct Setting {
    /// The value when it was set.
    value: Secret,
    /// The original text, if it refers to a config provider.
    reference: Option<(Secret, Providers)>,
}

impl Setting {
    pub(super) fn new(written: &str, resolved: Option<Secret>, providers: &Providers) -> Self {
        match resolved {
            Some(value) => Self { value, reference: Some((written.into(), providers.clone())) },
            None => Self { value: written.into(), reference: None },
        }
    }

    /// The value as text, without white space around it.
    pub(super) fn text(&self) -> &str {
        self.value.expose_str().unwrap_or_default().trim()
    }

    /// The value without white space around it, as Java takes passwords.
    #[cfg(feature = "_tls")]
    pub(super) fn secret(&self) -> Secret {
        Secret::from(self.text())
    }

    /// The current value: a config provider is queried again. May read a file.
    pub(super) fn current(&self) -> Result<Secret, String> {
        match &self.reference {
            None => Ok(self.value.clone()),
            Some((written, providers)) => {
                let written = written.expose_str().unwrap_or_default();
                Ok(providers.resolve(written)?.unwrap_or_else(|| self.value.clone()))
            }
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reference.is_some() { "Setting(a reference)" } else { "Setting(***)" })
    }
}
