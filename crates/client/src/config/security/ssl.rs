//! `ssl.*`: which certificates to trust, and which one to send.

use offtake_net::tls::{Identity, Keystore, Pem, Source, Tls, TlsConfig, Trust, Verification};

use super::SecurityConfig;
use crate::config::ConfigError;

#[cfg(test)]
mod tests;

impl SecurityConfig {
    /// The TLS configuration, if connections are to be encrypted. Reads the files that the properties name.
    pub(super) fn build_tls(&self) -> Result<Option<Tls>, ConfigError> {
        if let Some(tls) = &self.tls {
            return Ok(Some(tls.clone()));
        }
        if !self.protocol.has_tls() {
            return Ok(None);
        }
        let config = self.tls_config().map_err(ConfigError::Conflict)?;
        Tls::new(config).map(Some).map_err(|error| match error.unreadable_file() {
            Some(why) => {
                ConfigError::Unreadable(why.to_owned()).within(format!("property `{}`", error.property))
            }
            None => ConfigError::Conflict(error.to_string()),
        })
    }

    /// The conflict that can be detected without reading a file.
    pub(super) fn tls_conflict(&self) -> Option<String> {
        if self.protocol.has_tls() && self.tls.is_none() { self.tls_config().err() } else { None }
    }

    /// The TLS configuration of the properties, or the error in it.
    pub(super) fn tls_config(&self) -> Result<TlsConfig, String> {
        let list = |name| {
            let text = self.text(name).unwrap_or_default();
            text.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned).collect()
        };
        Ok(TlsConfig {
            trust: self.trust()?,
            identity: self.identity()?,
            verification: self.verification()?,
            protocol: self.text("ssl.protocol").map(str::to_owned),
            enabled_protocols: list("ssl.enabled.protocols"),
            cipher_suites: list("ssl.cipher.suites"),
        })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|setting| setting.text())
    }

    fn trust(&self) -> Result<Trust, String> {
        let given = self.one_of(&[
            "ssl.truststore.certificates",
            "ssl.truststore.location",
            "ssl.ca.pem",
            "ssl.ca.location",
        ])?;
        match given {
            None => Ok(Trust::System),
            Some("ssl.ca.location") if self.text("ssl.ca.location") == Some("probe") => Ok(Trust::System),
            Some("ssl.truststore.location") if !self.is_pem("ssl.truststore.type")? => {
                Ok(Trust::Keystore(self.keystore("ssl.truststore.location", "ssl.truststore.password")))
            }
            Some(property) => Ok(Trust::Pem(self.pem(property))),
        }
    }

    fn identity(&self) -> Result<Option<Identity>, String> {
        let chain = self.one_of(&[
            "ssl.keystore.certificate.chain",
            "ssl.keystore.location",
            "ssl.certificate.pem",
            "ssl.certificate.location",
        ])?;
        let key =
            self.one_of(&["ssl.keystore.key", "ssl.keystore.location", "ssl.key.pem", "ssl.key.location"])?;
        let key_password = || self.get("ssl.key.password").map(|setting| setting.secret());
        match (chain, key) {
            (None, None) => Ok(None),
            (Some("ssl.keystore.location"), Some("ssl.keystore.location"))
                if !self.is_pem("ssl.keystore.type")? =>
            {
                let keystore = self.keystore("ssl.keystore.location", "ssl.keystore.password");
                Ok(Some(Identity::Keystore { keystore, key_password: key_password() }))
            }
            (Some(chain), Some(key)) => {
                let (chain, key) = (self.pem(chain), self.pem(key));
                Ok(Some(Identity::Pem { chain, key, key_password: key_password() }))
            }
            (Some(chain), None) => {
                Err(format!("`{chain}` is set, and the certificate's key is not: {}", key_of(chain)))
            }
            (None, Some(key)) => {
                Err(format!("`{key}` is set, and the key's certificate is not: {}", chain_of(key)))
            }
        }
    }

    fn verification(&self) -> Result<Verification, String> {
        match self.text("enable.ssl.certificate.verification").map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => {}
            Some("false") => return Ok(Verification::Off),
            Some(_) => return Err("`enable.ssl.certificate.verification` takes true or false".to_owned()),
        }
        // Java disables it by an empty value, librdkafka by `none`.
        let algorithm =
            self.settings.get("ssl.endpoint.identification.algorithm").map(|setting| setting.text());
        match algorithm.map(str::to_ascii_lowercase).as_deref() {
            None | Some("https") => Ok(Verification::Full),
            Some("" | "none") => Ok(Verification::WithoutHostName),
            Some(_) => {
                Err("`ssl.endpoint.identification.algorithm` takes https, or nothing, which switches it off"
                    .to_owned())
            }
        }
    }

    /// The one of these properties that is set: at most one may be.
    fn one_of(&self, names: &[&'static str]) -> Result<Option<&'static str>, String> {
        let mut given = names.iter().copied().filter(|name| self.get(name).is_some());
        match (given.next(), given.next()) {
            (Some(one), Some(another)) => {
                Err(format!("`{one}` and `{another}` say the same thing twice: keep one of them"))
            }
            (one, _) => Ok(one),
        }
    }

    /// Whether a store is PEM rather than JKS or PKCS12, which are recognized by their contents.
    fn is_pem(&self, property: &str) -> Result<bool, String> {
        match self.text(property).map(str::to_ascii_uppercase).as_deref() {
            Some("PEM") => Ok(true),
            None | Some("JKS" | "PKCS12") => Ok(false),
            Some(_) => Err(format!("`{property}` takes JKS, PKCS12 or PEM")),
        }
    }

    fn keystore(&self, property: &'static str, password: &str) -> Keystore {
        let path = self.text(property).unwrap_or_default().into();
        Keystore { property, path, password: self.get(password).map(|setting| setting.secret()) }
    }

    fn pem(&self, property: &'static str) -> Pem {
        let source = match self.get(property) {
            Some(setting) if property.ends_with(".location") => Source::File(setting.text().into()),
            Some(setting) => Source::Inline(setting.secret()),
            None => Source::Inline(offtake_net::Secret::from("")),
        };
        Pem { property, source }
    }
}

/// The advice if the key of a certificate is missing.
fn key_of(chain: &str) -> &'static str {
    if chain.starts_with("ssl.keystore") {
        "set `ssl.keystore.key`"
    } else {
        "set `ssl.key.location` or `ssl.key.pem`"
    }
}

/// The advice if the certificate of a key is missing.
fn chain_of(key: &str) -> &'static str {
    if key.starts_with("ssl.keystore") {
        "set `ssl.keystore.certificate.chain`"
    } else {
        "set `ssl.certificate.location` or `ssl.certificate.pem`"
    }
}
