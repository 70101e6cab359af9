//! [`SecurityConfig`]: `security.protocol`, and the properties of TLS and SASL.

mod kerberos;
mod oauthbearer;
mod providers;
mod sasl;
mod setting;
#[cfg(feature = "_tls")]
mod ssl;

use std::{collections::BTreeMap, fmt};

use offtake_net::{Secret, Security, sasl::Sasl};
use providers::Providers;
pub(super) use providers::refers;
use setting::Setting;

use super::ConfigError;

/// The security of connections, by Java's properties and librdkafka's:
/// [`ClientConfig::set`](super::ClientConfig::set) fills it.
///
/// Values may refer to config providers (KIP-297, KIP-421) that `config.providers` names:
/// `${file:/path:key}`, `${directory:/path:key}`, `${env:NAME}`. Those of passwords and of `sasl.jaas.config`
/// are looked up again at every authentication, so that a new one is used without a restart. SASL extensions
/// (KIP-342), in `sasl.jaas.config` too, are read once, at the start.
///
/// OAUTHBEARER takes its tokens from `sasl.oauthbearer.token.endpoint.url`: a file (`file:///path`), or with
/// the cargo feature `oidc` an OAuth or OpenID Connect provider, over `https` or on loopback. The client
/// sends the provider its id and secret (`sasl.oauthbearer.client.credentials.client.id` and
/// `.client.secret`, librdkafka's `sasl.oauthbearer.client.id` and `.client.secret`, or `clientId` and
/// `clientSecret` in `sasl.jaas.config`; KIP-768), or an assertion (`sasl.oauthbearer.assertion.*`; KIP-1139,
/// KIP-1258). As in Java, `ssl.*` applies to brokers: the provider's certificate is verified according to
/// options of the same names in `sasl.jaas.config`, or librdkafka's `https.ca.location` and `https.ca.pem`;
/// by default by the system's certificate authorities.
///
/// GSSAPI needs the cargo feature `gssapi`. Its tickets are requested with a keytab (`useKeyTab=true`,
/// `keyTab` and `principal` of `Krb5LoginModule` in `sasl.jaas.config`, or librdkafka's
/// `sasl.kerberos.keytab` and `sasl.kerberos.principal`), or read from the cache that `kinit` fills
/// (`useTicketCache=true`, perhaps `ticketCache`; or neither property). `sasl.kerberos.service.name` is
/// `kafka` by default. GSSAPI is the mechanism if `sasl.mechanism` is not set, and one of these is.
#[derive(Clone, Default, PartialEq)]
pub struct SecurityConfig {
    /// `security.protocol`: PLAINTEXT.
    pub protocol: SecurityProtocol,
    /// The TLS configuration, in place of the properties `ssl.*`. If it is set, connections are encrypted,
    /// whatever `security.protocol` is.
    #[cfg(feature = "_tls")]
    pub tls: Option<offtake_net::tls::Tls>,
    /// The authentication, in place of the properties `sasl.*`: for example with credentials from a custom
    /// source. If it is set, connections authenticate, whatever `security.protocol` is.
    pub sasl: Option<Sasl>,
    /// The other properties that were set, by name.
    settings: BTreeMap<&'static str, Setting>,
    providers: Providers,
    /// Each property, including those of a client's own, whose original value may refer to a provider.
    references: BTreeMap<&'static str, Written>,
}

/// The original value of a property.
#[derive(Clone, PartialEq)]
struct Written {
    text: Secret,
    /// Why it could not be set with the providers known so far.
    trouble: Option<ConfigError>,
}

/// The protection of a connection: `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecurityProtocol {
    /// Nothing.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL, unencrypted.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether the client authenticates by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

impl SecurityConfig {
    /// Sets a property of TLS or SASL.
    pub(super) fn put(&mut self, name: &'static str, written: &str) -> Result<(), ConfigError> {
        let resolved = self.resolve(name, written)?;
        self.settings.insert(name, Setting::new(written, resolved, &self.providers));
        Ok(())
    }

    /// Sets `config.providers` and its options; `None` for any other name.
    pub(super) fn set_provider(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        Providers::takes(name).then(|| self.providers.set(name, value))
    }

    /// Notes the original value of a property if it may refer to a provider, and the error that it caused.
    pub(super) fn note(&mut self, name: &'static str, written: &str, trouble: Option<ConfigError>) {
        if refers(written) {
            self.references.insert(name, Written { text: written.into(), trouble });
        } else {
            self.references.remove(name);
        }
    }

    /// The original values that may refer to a provider, by property.
    pub(super) fn references(&self) -> Vec<(&'static str, Secret)> {
        self.references.iter().map(|(name, written)| (*name, written.text.clone())).collect()
    }

    /// The errors of references that could not be resolved when their provider was last set.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = ConfigError> {
        self.references.values().filter_map(|written| written.trouble.clone())
    }

    /// The value with its references replaced; `None` if it has none.
    pub(super) fn resolve(&self, name: &str, written: &str) -> Result<Option<Secret>, ConfigError> {
        self.providers
            .resolve(written)
            .map_err(|reason| ConfigError::Conflict(format!("property `{name}`: {reason}")))
    }

    /// The conflicts that can be detected without reading a file.
    pub(super) fn conflicts(&self) -> Vec<String> {
        let sasl = self.sasl_conflict();
        self.tls_conflict().into_iter().chain(sasl).collect()
    }

    #[doc(hidden)] // for our own crates
    /// The security of connections. Reads the files that the properties name.
    ///
    /// # Errors
    /// An error in a property or in the file that it names, as a sentence.
    pub fn build(&self) -> Result<Security, ConfigError> {
        let unused = self.unused();
        if !unused.is_empty() {
            let (protocol, unused) = (self.protocol, unused.join(", "));
            tracing::warn!("these properties have no effect with security.protocol={protocol}: {unused}");
        }
        let mut security = Security::default();
        #[cfg(feature = "_tls")]
        {
            security.tls = self.build_tls()?;
        }
        security.sasl = self.build_sasl().map_err(ConfigError::Conflict)?;
        Ok(security)
    }

    /// The error if TLS is requested and not compiled in.
    #[cfg(not(feature = "_tls"))]
    fn tls_conflict(&self) -> Option<String> {
        let without = "`security.protocol` asks for TLS, and this program was built without: build it with the cargo feature `tls` of `offtake`";
        self.protocol.has_tls().then(|| without.to_owned())
    }

    /// The properties that were set and have no effect under this `security.protocol`.
    fn unused(&self) -> Vec<&'static str> {
        let (has_tls, has_sasl) = (self.protocol.has_tls(), self.protocol.has_sasl());
        let is_of_sasl = |name: &str| name.starts_with("sasl.") || name.starts_with("https.");
        let is_used = |name: &str| if is_of_sasl(name) { has_sasl } else { has_tls };
        self.settings.keys().copied().filter(|name| !is_used(name)).collect()
    }

    fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name).filter(|setting| !setting.text().is_empty())
    }
}

/// Prints no values, as they may be secret.
impl fmt::Debug for SecurityConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityConfig")
            .field("protocol", &self.protocol)
            .field("sasl", &self.sasl)
            .field("set", &self.settings.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientConfig, ConfigError, is_given, set, set_in_any_order, validate};

    /// All permutations of these.
    fn orders<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
        let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
        let mut all = Vec::new();
        for order in orders(rest) {
            for at in 0..=order.len() {
                let mut longer = order.clone();
                longer.insert(at, first.clone());
                all.push(longer);
            }
        }
        all
    }

    fn password(config: &ClientConfig) -> String {
        let current = config.security.get("sasl.password").unwrap().current().unwrap();
        current.expose_str().unwrap().to_owned()
    }

    #[test]
    fn sec6_the_debug_text_names_what_is_set_and_prints_no_value() {
        let mut config = ClientConfig::default();
        for (name, value) in [("sasl.username", "ann"), ("sasl.password", "hunter2")] {
            set(&mut config, name, value).unwrap();
        }
        let text = format!("{:?}", config.security);
        assert!(text.contains("SecurityConfig") && text.contains("sasl.password"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("ann"), "{text}");
    }

    #[test]
    fn a_reference_is_resolved_whether_its_provider_is_set_before_it_or_after_it() {
        let folder = std::env::temp_dir().join(format!("offtake-references-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("secrets.properties");
        std::fs::write(&file, "pw=hunter2\ntimeout=7000\n").unwrap();
        let (pw, timeout) =
            (format!("${{vault:{}:pw}}", file.display()), format!("${{vault:{}:timeout}}", file.display()));
        let allowed = folder.display().to_string();
        let properties = [
            ("config.providers", "vault"),
            ("config.providers.vault.class", "org.apache.kafka.common.config.provider.FileConfigProvider"),
            ("config.providers.vault.param.allowed.paths", allowed.as_str()),
            ("sasl.password", pw.as_str()),
            ("request.timeout.ms", timeout.as_str()),
        ];
        for order in orders(&properties) {
            let mut config = ClientConfig::default();
            config.set("bootstrap.servers", "b:1").unwrap();
            for (name, value) in &order {
                set_in_any_order(&mut config, name, value).unwrap();
            }
            validate(&config, Vec::new()).unwrap_or_else(|error| panic!("{order:?}: {error}"));
            assert_eq!(password(&config), "hunter2", "{order:?}");
            assert_eq!(config.request_timeout.as_millis(), 7000, "{order:?}");
            assert!(is_given(&config, "request.timeout.ms"));
        }
        // Also one after the other, if errors are reported at once.
        let mut config = ClientConfig::default();
        set(&mut config, "sasl.password", &pw).unwrap();
        assert_eq!(password(&config), pw, "no provider has that name");
        for (name, value) in &properties[..3] {
            set(&mut config, name, value).unwrap();
        }
        assert_eq!(password(&config), "hunter2");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_reference_that_leads_nowhere_in_the_end_is_a_mistake() {
        let mut config = ClientConfig::default();
        config.set("bootstrap.servers", "b:1").unwrap();
        assert!(config.set("sasl.password", "${env:X}").is_err(), "without a builder it is one at once");
        set_in_any_order(&mut config, "request.timeout.ms", "${vault:/run/s:timeout}").unwrap();
        set_in_any_order(&mut config, "sasl.password", "${file:/no/such/file:pw}").unwrap();
        let Err(ConfigError::Several(mistakes)) = validate(&config, Vec::new()) else { panic!() };
        assert!(mistakes[0].to_string().contains("request.timeout.ms"), "{mistakes:?}");
        assert!(mistakes[1].to_string().contains("add `config.providers=file`"), "{mistakes:?}");
        // The errors of overwritten values are forgotten.
        set_in_any_order(&mut config, "request.timeout.ms", "7000").unwrap();
        set_in_any_order(&mut config, "sasl.password", "plain").unwrap();
        set_in_any_order(&mut config, "config.providers", "file,vault").unwrap();
        validate(&config, Vec::new()).unwrap();
        assert_eq!(password(&config), "plain");
        for (name, value) in [("reqest.timeout.ms", "${env:X}"), ("group.id", "${env:X}")] {
            assert!(set_in_any_order(&mut config, name, value).is_err(), "{name}");
        }
    }
}
