//! Protocol versions and cipher suites: converts Java's names to rustls's.

use rustls::{
    CipherSuite, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::CryptoProvider,
    version::{TLS12, TLS13},
};

use super::{TlsConfig, TlsConfigError, backend};

/// Versions that are known, but not supported here.
const OLD: [&str; 6] = ["TLSv1", "TLSv1.1", "SSLv2Hello", "SSLv2", "SSLv3", "SSL"];

/// The offered versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    tls12: bool,
    tls13: bool,
}

impl Versions {
    pub(super) fn of(config: &TlsConfig) -> Result<Self, TlsConfigError> {
        let mut versions =
            Self { tls12: config.enabled_protocols.is_empty(), tls13: config.enabled_protocols.is_empty() };
        for name in &config.enabled_protocols {
            match name.as_str() {
                "TLSv1.2" => versions.tls12 = true,
                "TLSv1.3" => versions.tls13 = true,
                old if OLD.contains(&old) => {}
                other => return Err(unknown_version("ssl.enabled.protocols", other)),
            }
        }
        match config.protocol.as_deref() {
            None | Some("TLS" | "TLSv1.3") => {}
            Some("TLSv1.2") => versions.tls13 = false,
            Some(other) => return Err(unknown_version("ssl.protocol", other)),
        }
        match versions {
            Self { tls12: false, tls13: false } => Err(TlsConfigError::new(
                "ssl.enabled.protocols",
                "no version is left: it takes TLSv1.2 and TLSv1.3, and with `ssl.protocol=TLSv1.2` only that",
            )),
            versions => Ok(versions),
        }
    }

    /// The versions for rustls.
    pub(super) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [(self.tls12, &TLS12), (self.tls13, &TLS13)];
        both.into_iter().filter_map(|(on, version)| on.then_some(version)).collect()
    }

    /// The versions for errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self { tls12: true, tls13: true } => "TLS 1.2 and 1.3",
            Self { tls13: true, .. } => "only TLS 1.3",
            Self { .. } => "only TLS 1.2",
        }
    }
}

fn unknown_version(property: &'static str, name: &str) -> TlsConfigError {
    let reason = if OLD.contains(&name) {
        format!("{name} is not safe any more and not supported: use TLSv1.2 or TLSv1.3")
    } else {
        format!("`{}` is not a supported version of TLS: use TLSv1.2 or TLSv1.3", shown(name))
    };
    TlsConfigError::new(property, reason)
}

/// The cryptography provider with the configured cipher suites.
pub(super) fn provider(config: &TlsConfig, versions: Versions) -> Result<CryptoProvider, TlsConfigError> {
    let mut provider = backend::provider();
    if !config.cipher_suites.is_empty() {
        provider.cipher_suites = cipher_suites(&config.cipher_suites, &provider.cipher_suites, versions)?;
    }
    Ok(provider)
}

/// The suites of `supported` that were requested and belong to an offered version, in the requested order.
fn cipher_suites(
    names: &[String],
    supported: &[SupportedCipherSuite],
    versions: Versions,
) -> Result<Vec<SupportedCipherSuite>, TlsConfigError> {
    const PROPERTY: &str = "ssl.cipher.suites";
    let offered = versions.supported();
    let usable = |suite: &&SupportedCipherSuite| offered.contains(&suite.version());
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for name in names {
        let Some(suite) = by_name(name) else {
            let reason = if name.starts_with("TLS_") || name.starts_with("SSL_") {
                format!("there is no cipher suite `{}`", shown(name))
            } else {
                format!(
                    "`{}` is a list in OpenSSL's form: give the suites by IANA's names, separated by commas, such as \
                     TLS_AES_256_GCM_SHA384, or remove the property",
                    shown(name)
                )
            };
            return Err(TlsConfigError::new(PROPERTY, reason));
        };
        let suite = supported.iter().filter(usable).find(|known| known.suite() == suite);
        chosen.extend(suite.filter(|suite| !chosen.contains(suite)).copied());
    }
    if chosen.is_empty() {
        let known: Vec<_> = supported.iter().filter(usable).map(|suite| iana_name(suite.suite())).collect();
        let reason =
            format!("none of these is supported with {}, only {}", versions.name(), known.join(", "));
        return Err(TlsConfigError::new(PROPERTY, reason));
    }
    Ok(chosen)
}

/// The suite of this name, supported or not. Signalling values are no suites, but Java's lists may contain them.
fn by_name(name: &str) -> Option<CipherSuite> {
    let name = name.strip_prefix("SSL_").map_or(name.to_owned(), |rest| format!("TLS_{rest}"));
    (0..=u16::MAX).map(CipherSuite::from).find(|suite| iana_name(*suite) == name)
}

/// The IANA name of a suite. For those of TLS 1.3, rustls uses a different name.
pub(super) fn iana_name(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    name.strip_prefix("TLS13_").map_or(name.to_owned(), |rest| format!("TLS_{rest}"))
}

/// Text of a configuration for quoting: short, without control characters.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(protocol: Option<&str>, enabled: &[&str], suites: &[&str]) -> TlsConfig {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        TlsConfig {
            protocol: protocol.map(str::to_owned),
            enabled_protocols: strings(enabled),
            cipher_suites: strings(suites),
            ..Default::default()
        }
    }

    fn versions(protocol: Option<&str>, enabled: &[&str]) -> Result<&'static str, String> {
        Versions::of(&config(protocol, enabled, &[])).map(Versions::name).map_err(|error| error.to_string())
    }

    fn suites(enabled: &[&str], names: &[&str]) -> Result<Vec<String>, String> {
        let config = config(None, enabled, names);
        let chosen = provider(&config, Versions::of(&config).unwrap());
        let names =
            |provider: CryptoProvider| provider.cipher_suites.iter().map(|s| iana_name(s.suite())).collect();
        chosen.map(names).map_err(|error| error.to_string())
    }

    #[test]
    fn versions_are_called_as_java_calls_them() {
        assert_eq!(versions(None, &[]).unwrap(), "TLS 1.2 and 1.3");
        assert_eq!(versions(Some("TLSv1.3"), &["TLSv1.2", "TLSv1.3"]).unwrap(), "TLS 1.2 and 1.3");
        assert_eq!(versions(Some("TLSv1.3"), &["TLSv1.2"]).unwrap(), "only TLS 1.2");
        assert_eq!(versions(Some("TLS"), &["TLSv1.3"]).unwrap(), "only TLS 1.3");
        assert_eq!(versions(Some("TLSv1.2"), &["TLSv1.2", "TLSv1.3"]).unwrap(), "only TLS 1.2");
        assert_eq!(versions(None, &["TLSv1", "TLSv1.1", "TLSv1.2"]).unwrap(), "only TLS 1.2");
    }

    #[test]
    fn sec1_versions_that_are_not_safe_are_refused_when_nothing_else_is_left() {
        assert!(versions(Some("TLSv1.2"), &["TLSv1.3"]).unwrap_err().contains("no version is left"));
        assert!(versions(None, &["TLSv1.1"]).unwrap_err().contains("no version is left"));
        assert!(versions(Some("TLSv1.1"), &[]).unwrap_err().contains("TLSv1.1 is not safe any more"));
        assert!(versions(None, &["1.3"]).unwrap_err().contains("`1.3` is not a supported version of TLS"));
    }

    #[test]
    fn suites_are_called_as_iana_calls_them() {
        let three = [
            "TLS_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ];
        assert_eq!(suites(&[], &three).unwrap(), three);
        assert_eq!(suites(&["TLSv1.3"], &three).unwrap(), three[..1]);
        assert!(suites(&[], &[]).unwrap().len() > 3, "none asked for: all");
    }

    #[test]
    fn suites_that_are_not_supported_are_left_out_while_one_remains() {
        let cbc = "TLS_RSA_WITH_AES_128_CBC_SHA";
        assert_eq!(suites(&[], &[cbc, "TLS_AES_128_GCM_SHA256"]).unwrap(), ["TLS_AES_128_GCM_SHA256"]);
        let error = suites(&["TLSv1.2"], &[cbc, "TLS_AES_128_GCM_SHA256"]).unwrap_err();
        assert!(error.contains("only TLS 1.2, only TLS_ECDHE_"), "{error}");
    }

    #[test]
    fn lists_of_openssl_and_names_of_nothing_are_refused() {
        for list in ["HIGH:!aNULL", "ECDHE-RSA-AES128-GCM-SHA256", "DEFAULT"] {
            let error = suites(&[], &[list]).unwrap_err();
            assert!(error.contains(list) && error.contains("IANA"), "{error}");
        }
        assert!(
            suites(&[], &["TLS_NONSENSE"]).unwrap_err().contains("there is no cipher suite `TLS_NONSENSE`")
        );
    }
}
