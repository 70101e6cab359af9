//! `sasl.*`: the mechanism and the credentials.

#[cfg(feature = "oidc")]
use offtake_net::Secret;
use offtake_net::sasl::{AwsDefault, Credentials, Jaas, ProviderError, ProviderFuture, Sasl, UserPassword};

#[cfg(feature = "oidc")]
use super::oauthbearer::{CLIENT_ID, CLIENT_SECRET};
use super::{SecurityConfig, oauthbearer::OAuthBearer, setting::Setting};

/// The supported mechanisms.
const MECHANISMS: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM or GSSAPI";

/// A mechanism as the properties describe it.
#[allow(clippy::large_enum_variant, reason = "made once, at the start, and taken apart at once")]
enum Mechanism {
    Ready(Sasl),
    /// It may need files, which have not been read.
    OAuthBearer(OAuthBearer),
}

/// Properties that name Java classes, the classes whose work is done here anyway, and the advice for other
/// classes.
const CLASSES: [(&str, &[&str], &str); 4] = [
    (
        "sasl.login.callback.handler.class",
        &[
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
            "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
            "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredLoginCallbackHandler",
        ],
        "leave it out, or set OAuthBearerLoginCallbackHandler for a token endpoint; credentials or tokens from a source of your \
         own can be given in code",
    ),
    (
        "sasl.client.callback.handler.class",
        &[
            "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
            "org.apache.kafka.common.security.authenticator.SaslClientCallbackHandler",
            "org.apache.kafka.common.security.kerberos.KerberosClientCallbackHandler",
            "org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerSaslClientCallbackHandler",
        ],
        "leave it out; credentials from a source of your own can be given in code",
    ),
    (
        "sasl.login.class",
        &[
            "org.apache.kafka.common.security.authenticator.DefaultLogin",
            "org.apache.kafka.common.security.kerberos.KerberosLogin",
            "org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerRefreshingLogin",
        ],
        "leave it out",
    ),
    (
        "sasl.oauthbearer.jwt.validator.class",
        &[
            "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
            "org.apache.kafka.common.security.oauthbearer.ClientJwtValidator",
            "org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator",
        ],
        "leave it out: tokens are validated by the broker",
    ),
];

impl SecurityConfig {
    /// The mechanism with its credentials, if one is configured; or an error in the properties or the files
    /// that they name.
    pub(super) fn build_sasl(&self) -> Result<Option<Sasl>, String> {
        match self.mechanism()? {
            None => Ok(None),
            Some(Mechanism::Ready(sasl)) => Ok(Some(sasl)),
            Some(Mechanism::OAuthBearer(described)) => described.build().map(Some),
        }
    }

    /// The conflict that can be detected without reading a file.
    pub(super) fn sasl_conflict(&self) -> Option<String> {
        self.mechanism().err()
    }

    fn mechanism(&self) -> Result<Option<Mechanism>, String> {
        match &self.sasl {
            Some(sasl) => Ok(Some(Mechanism::Ready(sasl.clone()))),
            None if self.protocol.has_sasl() => self.mechanism_of_properties().map(Some),
            None => Ok(None),
        }
    }

    fn mechanism_of_properties(&self) -> Result<Mechanism, String> {
        let mechanism = match self.get("sasl.mechanism") {
            Some(mechanism) => mechanism.text().to_ascii_uppercase(),
            None if self.implies_gssapi() => "GSSAPI".to_owned(),
            None => return Err(format!("`sasl.mechanism` is not set: set it to {MECHANISMS}")),
        };
        self.check_classes()?;
        let sasl = match mechanism.as_str() {
            "PLAIN" => self.login(&mechanism).map(Sasl::plain),
            "SCRAM-SHA-256" => self.login(&mechanism).map(Sasl::scram_sha256),
            "SCRAM-SHA-512" => self.login(&mechanism).map(Sasl::scram_sha512),
            "OAUTHBEARER" => return self.oauthbearer().map(Mechanism::OAuthBearer),
            "AWS_MSK_IAM" => self.aws_msk_iam(),
            "GSSAPI" => self.gssapi(),
            _ => Err(format!("`sasl.mechanism` {mechanism} is not supported here: it takes {MECHANISMS}")),
        };
        sasl.map(Mechanism::Ready)
    }

    /// Refuses Java classes whose work is not done here. They are not quoted: the value may be a misplaced
    /// password.
    fn check_classes(&self) -> Result<(), String> {
        for (property, known, remedy) in CLASSES {
            let Some(class) = self.get(property) else { continue };
            let class = class.text();
            if is_class(class, "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler") {
                return Err(format!(
                    "`{property}` is IAM over OAUTHBEARER: set `sasl.mechanism` to AWS_MSK_IAM, which the same brokers take"
                ));
            }
            if !known.iter().any(|known| is_class(class, known)) {
                return Err(format!("`{property}` is a class of Java that is not supported here: {remedy}"));
            }
        }
        Ok(())
    }

    fn login(&self, mechanism: &str) -> Result<Login, String> {
        let source = match (
            self.get("sasl.jaas.config"),
            self.get("sasl.username"),
            self.get("sasl.password"),
        ) {
            (Some(jaas), None, None) => {
                LoginSource::Jaas { jaas: jaas.clone(), mechanism: mechanism.to_owned() }
            }
            (None, Some(user), Some(password)) => {
                LoginSource::Two { user: user.clone(), password: password.clone() }
            }
            (Some(_), ..) => {
                return Err("`sasl.jaas.config` and `sasl.username` or `sasl.password` say the same thing twice: keep \
                            one of them"
                    .to_owned());
            }
            (None, ..) => {
                return Err(format!(
                    "SASL {mechanism} needs a user and a password: give `sasl.jaas.config`, or `sasl.username` and `sasl.password`"
                ));
            }
        };
        Login::new(source)
    }

    pub(super) fn jaas(&self, mechanism: &str) -> Result<Option<Jaas>, String> {
        self.get("sasl.jaas.config").map(|setting| parse_jaas(setting.text(), mechanism)).transpose()
    }

    fn aws_msk_iam(&self) -> Result<Sasl, String> {
        let keys = match self.jaas("AWS_MSK_IAM")? {
            Some(jaas) => AwsDefault::from_jaas(&jaas).map_err(|error| error.to_string())?,
            None => AwsDefault::new(),
        };
        Ok(Sasl::aws_msk_iam(keys, None))
    }
}

/// Whether it is this class, in its own package or shaded into another.
fn is_class(name: &str, class: &str) -> bool {
    name.strip_suffix(class).is_some_and(|shaded| shaded.is_empty() || shaded.ends_with('.'))
}

fn parse_jaas(text: &str, mechanism: &str) -> Result<Jaas, String> {
    let jaas = Jaas::parse(text).map_err(|error| error.to_string())?;
    jaas.check_mechanism(mechanism).map_err(|error| error.to_string())?;
    Ok(jaas)
}

/// A user and a password from properties: looked up again whenever they are needed, as a config provider may
/// return new ones.
pub(super) struct Login {
    source: LoginSource,
    /// The user at the start.
    user: String,
}

impl Login {
    /// Looks the credentials up once, so that missing ones are reported at the start.
    pub(super) fn new(source: LoginSource) -> Result<Self, String> {
        let user = source.current()?.user;
        Ok(Self { source, user })
    }
}

#[derive(Clone)]
pub(super) enum LoginSource {
    Jaas {
        jaas: Setting,
        mechanism: String,
    },
    Two {
        user: Setting,
        password: Setting,
    },
    /// The id and the secret of a client of a token endpoint: properties, or else Java's older JAAS options.
    #[cfg(feature = "oidc")]
    Client {
        jaas: Option<Setting>,
        id: Option<Setting>,
        secret: Option<Setting>,
    },
}

impl LoginSource {
    /// May read files.
    fn current(&self) -> Result<UserPassword, String> {
        match self {
            Self::Jaas { jaas, mechanism } => {
                let jaas = jaas.current()?;
                let text = jaas.expose_str().ok_or("`sasl.jaas.config` is not UTF-8")?;
                parse_jaas(text, mechanism)?.credentials().map_err(|error| error.to_string())
            }
            Self::Two { user, password } => {
                let (user, password) = (user.current()?, password.current()?);
                let user = user.expose_str().ok_or("`sasl.username` is not UTF-8")?;
                Ok(UserPassword::new(user, password))
            }
            #[cfg(feature = "oidc")]
            Self::Client { jaas, id, secret } => {
                let jaas = jaas.as_ref().map(Setting::current).transpose()?;
                let jaas = jaas.as_ref().and_then(Secret::expose_str);
                let jaas = jaas.map(|text| parse_jaas(text, "OAUTHBEARER")).transpose()?;
                let of_jaas = |name| jaas.as_ref().and_then(|jaas| jaas.option(name)).cloned();
                let find = |setting: &Option<Setting>, property, option| {
                    let set = setting.as_ref().map(Setting::current).transpose()?;
                    let found = set.or_else(|| of_jaas(option));
                    found.filter(|value| !value.expose().trim_ascii().is_empty()).ok_or_else(|| {
                        format!("`{property}` is not set, nor the option {option} in `sasl.jaas.config`: the token endpoint asks for it")
                    })
                };
                let id = find(id, CLIENT_ID, "clientId")?;
                let secret = find(secret, CLIENT_SECRET, "clientSecret")?;
                let id = id.expose_str().ok_or_else(|| format!("`{CLIENT_ID}` is not UTF-8"))?;
                Ok(UserPassword::new(id, secret))
            }
        }
    }

    /// Whether a client secret is configured.
    #[cfg(feature = "oidc")]
    pub(super) fn has_secret(&self, jaas: Option<&Jaas>) -> bool {
        let Self::Client { secret, .. } = self else { return false };
        secret.is_some() || jaas.is_some_and(|jaas| jaas.text("clientSecret").is_some())
    }
}

impl Credentials for Login {
    fn fetch(&self) -> ProviderFuture<'_, UserPassword> {
        let source = self.source.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || source.current()).await {
                Ok(current) => current.map_err(ProviderError::retriable),
                Err(_) => Err(ProviderError::retriable("the look-up was given up")),
            }
        })
    }

    fn user(&self) -> Option<String> {
        Some(self.user.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user is known before the first connection: errors and logs name it.
    #[test]
    fn a_login_knows_its_user() {
        let mut config = SecurityConfig::default();
        for (name, value) in [("sasl.username", "alice"), ("sasl.password", "secret")] {
            config.put(name, value).unwrap();
        }
        let setting = |name| config.get(name).cloned().unwrap();
        let source = LoginSource::Two { user: setting("sasl.username"), password: setting("sasl.password") };
        assert_eq!(Login::new(source).unwrap().user().as_deref(), Some("alice"));
    }
}
