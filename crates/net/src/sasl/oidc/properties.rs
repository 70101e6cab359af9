//! [`Oidc::from_properties`]: a provider by Java's and librdkafka's names.

use std::time::Duration;

use super::{Grant, Oidc, TokenEndpoint};
use crate::{
    sasl::{Algorithm, Assertion, Jaas, ProviderError, SignedAssertion},
    secret::Secret,
    tls::TlsConfig,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const RETRIEVER: &str = "sasl.oauthbearer.jwt.retriever.class";
const GRANT_TYPE: &str = "sasl.oauthbearer.grant.type";
const ID: &str = "sasl.oauthbearer.client.credentials.client.id";
const SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";
const ASSERTION_FILE: &str = "sasl.oauthbearer.assertion.file";
const KEY_FILE: &str = "sasl.oauthbearer.assertion.private.key.file";

impl Oidc {
    /// A provider as the properties describe it, by their names in Java and librdkafka, and as the options `clientId`, `clientSecret` and
    /// `scope` of an `OAuthBearerLoginModule` do, which count less. `get` gives the value of a property that is set.
    ///
    /// The grant is what `sasl.oauthbearer.grant.type` (librdkafka) or `sasl.oauthbearer.jwt.retriever.class` (Java) names, by default the
    /// client's id and secret, or an assertion where there is no secret. `tls` says whose certificates the endpoint may have.
    ///
    /// # Errors
    /// One sentence, with the name of the property.
    pub fn from_properties(
        get: impl Fn(&str) -> Option<Secret>,
        jaas: Option<&Jaas>,
        tls: TlsConfig,
    ) -> Result<Self, ProviderError> {
        let properties = Properties { get: &get, jaas };
        Self::new(properties.endpoint(tls)?, properties.grant()?)
    }
}

struct Properties<'a> {
    get: &'a dyn Fn(&str) -> Option<Secret>,
    jaas: Option<&'a Jaas>,
}

impl Properties<'_> {
    fn endpoint(&self, tls: TlsConfig) -> Result<TokenEndpoint, ProviderError> {
        const URL: &str = "sasl.oauthbearer.token.endpoint.url";
        let url = self.text(&[URL])?.ok_or_else(|| missing(URL))?;
        let new = TokenEndpoint::new(url);
        let ms = |name, default| self.number(name, Duration::from_millis, default);
        Ok(TokenEndpoint {
            connect_timeout: ms("sasl.login.connect.timeout.ms", new.connect_timeout)?,
            read_timeout: ms("sasl.login.read.timeout.ms", new.read_timeout)?,
            retry_backoff: ms("sasl.login.retry.backoff.ms", new.retry_backoff)?,
            retry_backoff_max: ms("sasl.login.retry.backoff.max.ms", new.retry_backoff_max)?,
            tls,
            ..new
        })
    }

    fn grant(&self) -> Result<Grant, ProviderError> {
        let scope = match self.text(&["sasl.oauthbearer.scope"])? {
            None => self.option("scope").map(str::to_owned),
            scope => scope,
        };
        if self.is_jwt_bearer()? {
            let assertion = self.assertion()?.ok_or_else(|| {
                ProviderError::new(format!("the JWT bearer grant needs {ASSERTION_FILE} or {KEY_FILE}"))
            })?;
            return Ok(Grant::JwtBearer { assertion, scope });
        }
        let client_id = match self.text(&[ID, "sasl.oauthbearer.client.id"])? {
            None => self.option("clientId").map(str::to_owned),
            id => id,
        };
        let client_secret = (self.get)(SECRET)
            .or_else(|| (self.get)("sasl.oauthbearer.client.secret"))
            .or_else(|| self.jaas?.option("clientSecret").cloned())
            .filter(|secret| !secret.is_empty());
        match (client_secret, self.assertion()?) {
            (Some(client_secret), _) => Ok(Grant::ClientSecret {
                client_id: client_id.ok_or_else(|| missing(ID))?,
                client_secret,
                scope,
                urlencode_header: self.flag("sasl.oauthbearer.header.urlencode")?,
            }),
            (None, Some(assertion)) => Ok(Grant::ClientAssertion { client_id, assertion, scope }),
            (None, None) => Err(missing(SECRET)),
        }
    }

    fn is_jwt_bearer(&self) -> Result<bool, ProviderError> {
        if let Some(grant) = self.text(&[GRANT_TYPE])? {
            return match grant.as_str() {
                "client_credentials" => Ok(false),
                JWT_BEARER => Ok(true),
                _ => Err(takes(GRANT_TYPE, &format!("client_credentials or {JWT_BEARER}"))),
            };
        }
        let Some(class) = self.text(&[RETRIEVER])? else { return Ok(false) };
        match class.rsplit('.').next() {
            Some("JwtBearerJwtRetriever") => Ok(true),
            Some("ClientCredentialsJwtRetriever" | "DefaultJwtRetriever") => Ok(false),
            _ => {
                let known =
                    "DefaultJwtRetriever, ClientCredentialsJwtRetriever or JwtBearerJwtRetriever of Kafka";
                Err(takes(RETRIEVER, known))
            }
        }
    }

    fn assertion(&self) -> Result<Option<Assertion>, ProviderError> {
        if let Some(file) = self.text(&[ASSERTION_FILE])? {
            return Ok(Some(Assertion::File(file.into())));
        }
        let Some(key) = self.text(&[KEY_FILE])? else { return Ok(None) };
        let mut assertion = SignedAssertion::new(key);
        assertion.passphrase = (self.get)("sasl.oauthbearer.assertion.private.key.passphrase");
        const ALGORITHM: &str = "sasl.oauthbearer.assertion.algorithm";
        if let Some(name) = self.text(&[ALGORITHM])? {
            assertion.algorithm =
                Algorithm::by_name(&name).ok_or_else(|| takes(ALGORITHM, "RS256 or ES256"))?;
        }
        let template = self.text(&["sasl.oauthbearer.assertion.template.file"])?;
        assertion.template_file = template.map(Into::into);
        for claim in ["aud", "iss", "sub"] {
            let value = self.text(&[&format!("sasl.oauthbearer.assertion.claim.{claim}")])?;
            assertion.claims.extend(value.map(|value| (claim.to_owned(), value)));
        }
        let seconds = |name, default| self.number(name, Duration::from_secs, default);
        assertion.lifetime = seconds("sasl.oauthbearer.assertion.claim.exp.seconds", assertion.lifetime)?;
        assertion.not_before = seconds("sasl.oauthbearer.assertion.claim.nbf.seconds", assertion.not_before)?;
        assertion.has_id = self.flag("sasl.oauthbearer.assertion.claim.jti.include")?;
        Ok(Some(Assertion::Signed(Box::new(assertion))))
    }

    /// The first of these that is set and not empty.
    fn text(&self, names: &[&str]) -> Result<Option<String>, ProviderError> {
        for name in names {
            let Some(value) = (self.get)(name) else { continue };
            match value.expose_str().map(str::trim) {
                Some("") => {}
                Some(text) => return Ok(Some(text.to_owned())),
                None => return Err(takes(name, "UTF-8")),
            }
        }
        Ok(None)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.jaas.and_then(|jaas| jaas.text(name))
    }

    fn number(
        &self,
        name: &str,
        unit: impl Fn(u64) -> Duration,
        default: Duration,
    ) -> Result<Duration, ProviderError> {
        match self.text(&[name])? {
            None => Ok(default),
            Some(text) => match text.parse::<u32>() {
                Ok(number) => Ok(unit(number.into())),
                Err(_) => Err(takes(name, "a number")),
            },
        }
    }

    fn flag(&self, name: &str) -> Result<bool, ProviderError> {
        match self.text(&[name])?.map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(takes(name, "true or false")),
        }
    }
}

fn missing(name: &str) -> ProviderError {
    ProviderError::new(format!("property `{name}` is not set"))
}

/// The value is not repeated: it may be a secret in a wrong place.
fn takes(name: &str, what: &str) -> ProviderError {
    ProviderError::new(format!("property `{name}` takes {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oidc(properties: &[(&str, &str)], jaas: Option<&str>) -> Result<Oidc, ProviderError> {
        let jaas = jaas.map(|text| Jaas::parse(text).unwrap());
        let get = |name: &str| {
            properties.iter().find(|(known, _)| *known == name).map(|(_, value)| Secret::from(*value))
        };
        Oidc::from_properties(get, jaas.as_ref(), TlsConfig::default())
    }

    const URL: (&str, &str) = ("sasl.oauthbearer.token.endpoint.url", "https://idp.example.com/token");

    #[test]
    fn java_and_librdkafka_name_id_and_secret() {
        let java = [URL, (ID, "me"), (SECRET, "s"), ("sasl.oauthbearer.scope", "a b")];
        let librdkafka = [
            URL,
            ("sasl.oauthbearer.client.id", "me"),
            ("sasl.oauthbearer.client.secret", "s"),
            ("sasl.oauthbearer.scope", "a b"),
            (GRANT_TYPE, "client_credentials"),
        ];
        let jaas = r#"OAuthBearerLoginModule required clientId=me clientSecret="s" scope="a b";"#;
        for made in [oidc(&java, None), oidc(&librdkafka, None), oidc(&[URL], Some(jaas))] {
            match made.unwrap().grant {
                Grant::ClientSecret { client_id, client_secret, scope, urlencode_header } => {
                    assert_eq!((client_id.as_str(), scope.as_deref()), ("me", Some("a b")));
                    assert_eq!(client_secret, Secret::from("s"));
                    assert!(!urlencode_header);
                }
                other => panic!("{other:?}"),
            }
        }
        let both = oidc(&java, Some("OAuthBearerLoginModule required clientId=you clientSecret=x;")).unwrap();
        assert!(matches!(both.grant, Grant::ClientSecret { client_id, .. } if client_id == "me"));
    }

    #[test]
    fn an_assertion_is_a_grant_or_stands_for_the_secret() {
        let assertion = (ASSERTION_FILE, "/jwt");
        let java = (RETRIEVER, "org.apache.kafka.common.security.oauthbearer.JwtBearerJwtRetriever");
        for name in [java, (GRANT_TYPE, JWT_BEARER)] {
            let made = oidc(&[URL, assertion, name], None).unwrap();
            assert!(matches!(made.grant, Grant::JwtBearer { assertion: Assertion::File(_), .. }), "{name:?}");
        }
        let made = oidc(&[URL, assertion, (ID, "me")], None).unwrap();
        assert!(matches!(made.grant, Grant::ClientAssertion { client_id: Some(_), .. }));
        let signed = oidc(
            &[
                URL,
                (KEY_FILE, "/key.pem"),
                ("sasl.oauthbearer.assertion.private.key.passphrase", "p"),
                ("sasl.oauthbearer.assertion.algorithm", "ES256"),
                ("sasl.oauthbearer.assertion.claim.aud", "idp"),
                ("sasl.oauthbearer.assertion.claim.sub", "me"),
                ("sasl.oauthbearer.assertion.claim.exp.seconds", "30"),
                ("sasl.oauthbearer.assertion.claim.nbf.seconds", "5"),
                ("sasl.oauthbearer.assertion.claim.jti.include", "TRUE"),
                ("sasl.oauthbearer.assertion.template.file", "/template"),
            ],
            None,
        );
        let Grant::ClientAssertion { assertion: Assertion::Signed(signed), .. } = signed.unwrap().grant
        else {
            panic!("an assertion that is signed here")
        };
        assert_eq!((signed.algorithm, signed.has_id), (Algorithm::Es256, true));
        assert_eq!((signed.lifetime.as_secs(), signed.not_before.as_secs()), (30, 5));
        assert_eq!(signed.passphrase, Some(Secret::from("p")));
        assert_eq!(
            signed.claims,
            [("aud", "idp"), ("sub", "me")].map(|(name, value)| (name.into(), value.into()))
        );
        assert!(signed.template_file.is_some());
    }

    #[test]
    fn times_are_those_of_java() {
        let made = oidc(
            &[
                URL,
                (ID, "me"),
                (SECRET, "s"),
                ("sasl.login.retry.backoff.ms", "7"),
                ("sasl.login.retry.backoff.max.ms", "70"),
            ],
            None,
        )
        .unwrap();
        assert_eq!((made.retries.backoff.as_millis(), made.retries.limit.as_millis()), (7, 70));
    }

    #[test]
    fn each_mistake_names_its_property_and_no_value() {
        let (id, secret) = ((ID, "me"), (SECRET, "hunter2"));
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[id, secret], "`sasl.oauthbearer.token.endpoint.url` is not set"),
            (&[URL, id], "client.secret` is not set"),
            (&[URL, secret], "client.id` is not set"),
            (&[URL, id, secret, (GRANT_TYPE, "hunter2")], "grant.type` takes client_credentials or urn:"),
            (
                &[URL, id, secret, (RETRIEVER, "com.example.Mine")],
                "retriever.class` takes DefaultJwtRetriever",
            ),
            (&[URL, (GRANT_TYPE, JWT_BEARER)], "needs sasl.oauthbearer.assertion.file or"),
            (&[URL, id, secret, ("sasl.oauthbearer.header.urlencode", "hunter2")], "takes true or false"),
            (&[URL, id, secret, ("sasl.login.read.timeout.ms", "-1")], "takes a number"),
            (
                &[URL, (KEY_FILE, "/k"), ("sasl.oauthbearer.assertion.algorithm", "HS256")],
                "takes RS256 or ES256",
            ),
        ];
        for (properties, reason) in cases {
            let error = oidc(properties, None).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
        }
    }
}
