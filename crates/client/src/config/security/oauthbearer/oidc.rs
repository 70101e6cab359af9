//! A token endpoint from properties: Java's (KIP-768, KIP-1139, KIP-1258) and librdkafka's.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use offtake_net::{
    sasl::{Algorithm, Assertion, Grant, Jaas, SignedAssertion, TokenEndpoint},
    tls::{Pem, Source, TlsConfig, Trust},
};

use super::{
    super::{
        SecurityConfig,
        sasl::{Login, LoginSource},
        setting::Setting,
    },
    CLIENT_ID, RETRIEVER, Retriever, TokenSource, URL,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const FILE: &str = "sasl.oauthbearer.assertion.file";
const KEY_FILE: &str = "sasl.oauthbearer.assertion.private.key.file";
const ISSUER: &str = "sasl.oauthbearer.assertion.claim.iss";

/// The TLS options that Java reads from `sasl.jaas.config`: the endpoint is not a broker, so the brokers'
/// `ssl.*` do not apply. The name in the certificate is always verified.
const TLS_OPTIONS: [&str; 13] = [
    "ssl.protocol",
    "ssl.enabled.protocols",
    "ssl.cipher.suites",
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.key",
    "ssl.keystore.certificate.chain",
    "ssl.key.password",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.certificates",
];

impl SecurityConfig {
    pub(super) fn endpoint(&self, jaas: Option<&Jaas>, retriever: Retriever) -> Result<TokenSource, String> {
        let mut endpoint = TokenEndpoint::new(self.text(URL).unwrap_or_default());
        let millis = |name, least, default: Duration| {
            self.whole_number(name, least, u64::from(u32::MAX), default.as_millis() as u64)
                .map(Duration::from_millis)
        };
        endpoint.connect_timeout = millis("sasl.login.connect.timeout.ms", 1, endpoint.connect_timeout)?;
        endpoint.read_timeout = millis("sasl.login.read.timeout.ms", 1, endpoint.read_timeout)?;
        endpoint.retry_backoff = millis("sasl.login.retry.backoff.ms", 0, endpoint.retry_backoff)?;
        endpoint.retry_backoff_max =
            millis("sasl.login.retry.backoff.max.ms", 0, endpoint.retry_backoff_max)?;
        endpoint.tls = self.endpoint_tls(jaas)?;
        endpoint.check().map_err(|error| error.to_string())?;
        Ok(TokenSource::Endpoint(endpoint, self.grant(jaas, retriever)?))
    }

    /// Which certificates to trust at the endpoint, and which one to send.
    fn endpoint_tls(&self, jaas: Option<&Jaas>) -> Result<TlsConfig, String> {
        let mut options = BTreeMap::new();
        for name in TLS_OPTIONS {
            if let Some(value) = jaas.and_then(|jaas| jaas.text(name)) {
                options.insert(name, Setting::new(value, None, &self.providers));
            }
        }
        let of_jaas = Self { settings: options, ..Self::default() };
        let mut tls = of_jaas.tls_config().map_err(|reason| format!("`sasl.jaas.config`: {reason}"))?;
        let trust = match (self.get("https.ca.location"), self.get("https.ca.pem")) {
            (None, None) => return Ok(tls),
            (Some(location), None) if location.text() == "probe" => Trust::System,
            (Some(location), None) => {
                let source = Source::File(location.text().into());
                Trust::Pem(Pem { property: "https.ca.location", source })
            }
            (None, Some(pem)) => {
                Trust::Pem(Pem { property: "https.ca.pem", source: Source::Inline(pem.secret()) })
            }
            (Some(_), Some(_)) => {
                return Err(
                    "`https.ca.location` and `https.ca.pem` say the same thing twice: keep one of them"
                        .to_owned(),
                );
            }
        };
        if tls.trust != Trust::System {
            return Err("`https.ca.*` and the truststore in `sasl.jaas.config` say the same thing twice: keep one of them".to_owned());
        }
        tls.trust = trust;
        Ok(tls)
    }

    fn grant(&self, jaas: Option<&Jaas>, retriever: Retriever) -> Result<Grant, String> {
        let of_librdkafka = match self.text("sasl.oauthbearer.grant.type") {
            None => None,
            Some("client_credentials") => Some(Retriever::ClientCredentials),
            Some(JWT_BEARER) => Some(Retriever::JwtBearer),
            Some(_) => {
                return Err(format!(
                    "`sasl.oauthbearer.grant.type` takes client_credentials or {JWT_BEARER}"
                ));
            }
        };
        let retriever = match (retriever, of_librdkafka) {
            (Retriever::Default, Some(grant)) => grant,
            (one, Some(another)) if one != another => {
                return Err(format!(
                    "`{RETRIEVER}` and `sasl.oauthbearer.grant.type` name two different grants: keep one of them"
                ));
            }
            (one, _) => one,
        };
        let scope = self.text("sasl.oauthbearer.scope").map(str::to_owned);
        if retriever == Retriever::JwtBearer {
            return Ok(Grant::JwtBearer { assertion: self.assertion()?, scope });
        }
        let of_jaas = |name| jaas.and_then(|jaas| jaas.text(name)).map(str::to_owned);
        let scope = scope.or_else(|| of_jaas("scope"));
        // Like Java, an assertion from a file is preferred, then one that is signed here, if its issuer is
        // configured, and then the secret.
        let has_assertion = self.get(FILE).is_some() || self.get(ISSUER).is_some();
        let client = LoginSource::Client {
            jaas: self.get("sasl.jaas.config").cloned(),
            id: self.get(CLIENT_ID).cloned(),
            secret: self.get(super::CLIENT_SECRET).cloned(),
        };
        if has_assertion || (self.get(KEY_FILE).is_some() && !client.has_secret(jaas)) {
            let client_id = self.text(CLIENT_ID).map(str::to_owned).or_else(|| of_jaas("clientId"));
            return Ok(Grant::ClientAssertion { client_id, assertion: self.assertion()?, scope });
        }
        let urlencode_header = self.truth("sasl.oauthbearer.header.urlencode")?;
        Ok(Grant::ClientSecret { client: Box::new(Login::new(client)?), scope, urlencode_header })
    }

    /// The assertion that a client signs, or has had signed, in place of a secret.
    fn assertion(&self) -> Result<Assertion, String> {
        if let Some(file) = self.text(FILE) {
            return Ok(Assertion::File(file.into()));
        }
        let Some(key) = self.text(KEY_FILE) else {
            return Err(format!(
                "an assertion needs `{KEY_FILE}`, the key that it is signed with, or `{FILE}`"
            ));
        };
        let mut assertion = SignedAssertion::new(key);
        assertion.passphrase =
            self.get("sasl.oauthbearer.assertion.private.key.passphrase").map(Setting::secret);
        if let Some(name) = self.text("sasl.oauthbearer.assertion.algorithm") {
            assertion.algorithm = Algorithm::by_name(name)
                .ok_or("`sasl.oauthbearer.assertion.algorithm` takes RS256 or ES256")?;
        }
        assertion.template_file = self.text("sasl.oauthbearer.assertion.template.file").map(Into::into);
        for (claim, name) in [
            ("aud", "sasl.oauthbearer.assertion.claim.aud"),
            ("iss", ISSUER),
            ("sub", "sasl.oauthbearer.assertion.claim.sub"),
        ] {
            assertion.claims.extend(self.text(name).map(|value| (claim.to_owned(), value.to_owned())));
        }
        let seconds = |name, most, default: Duration| {
            self.whole_number(name, 0, most, default.as_secs()).map(Duration::from_secs)
        };
        assertion.lifetime =
            seconds("sasl.oauthbearer.assertion.claim.exp.seconds", 86_400, assertion.lifetime)?;
        assertion.not_before =
            seconds("sasl.oauthbearer.assertion.claim.nbf.seconds", 3600, assertion.not_before)?;
        assertion.has_id = self.truth("sasl.oauthbearer.assertion.claim.jti.include")?;
        Ok(Assertion::Signed(Box::new(assertion)))
    }

    fn whole_number(&self, name: &str, least: u64, most: u64, default: u64) -> Result<u64, String> {
        match self.text(name).map(u64::from_str) {
            None => Ok(default),
            Some(Ok(number)) if (least..=most).contains(&number) => Ok(number),
            Some(_) => Err(format!("property `{name}` takes a whole number from {least} to {most}")),
        }
    }

    /// False unless it is set.
    fn truth(&self, name: &str) -> Result<bool, String> {
        match self.text(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(format!("property `{name}` takes true or false")),
        }
    }
}
