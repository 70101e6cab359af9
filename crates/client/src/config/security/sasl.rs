//! `sasl.*`: the mechanism and the credentials.

use std::time::Duration;

use offtake_net::sasl::{
    AwsDefault, Credentials, Extensions, Jaas, ProviderError, ProviderFuture, Refresh, Sasl, Token,
    TokenFile, TokenProvider, UnsecuredToken, UserPassword,
};

use super::{SecurityConfig, setting::Setting};

/// Those that are supported.
const MECHANISMS: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM";

impl SecurityConfig {
    /// The mechanism with its credentials, if there is to be one; or what is wrong with the properties.
    pub(super) fn build_sasl(&self) -> Result<Option<Sasl>, String> {
        match &self.sasl {
            Some(sasl) => Ok(Some(sasl.clone())),
            None if self.protocol.has_sasl() => self.sasl_of_properties().map(Some),
            None => Ok(None),
        }
    }

    fn sasl_of_properties(&self) -> Result<Sasl, String> {
        let Some(mechanism) = self.get("sasl.mechanism") else {
            return Err(format!(
                "`sasl.mechanism` is not set, and Java's default GSSAPI is not supported here: set it to {MECHANISMS}"
            ));
        };
        let mechanism = mechanism.text().to_ascii_uppercase();
        match mechanism.as_str() {
            "PLAIN" => self.login(&mechanism).map(Sasl::plain),
            "SCRAM-SHA-256" => self.login(&mechanism).map(Sasl::scram_sha256),
            "SCRAM-SHA-512" => self.login(&mechanism).map(Sasl::scram_sha512),
            "OAUTHBEARER" => self.oauthbearer(),
            "AWS_MSK_IAM" => self.aws_msk_iam(),
            _ => Err(format!("`sasl.mechanism` {mechanism} is not supported here: it takes {MECHANISMS}")),
        }
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
        let user = source.current()?.user;
        Ok(Login { source, user })
    }

    fn jaas(&self, mechanism: &str) -> Result<Option<Jaas>, String> {
        self.get("sasl.jaas.config").map(|setting| parse_jaas(setting.text(), mechanism)).transpose()
    }

    fn oauthbearer(&self) -> Result<Sasl, String> {
        let jaas = self.jaas("OAUTHBEARER")?;
        let (extensions, refresh) = (self.extensions(jaas.as_ref())?, self.refresh()?);
        let make = |tokens: Tokens| Sasl::oauthbearer_with(tokens, extensions, refresh);
        if let Some(url) = self.get("sasl.oauthbearer.token.endpoint.url") {
            return match url.text().strip_prefix("file://") {
                Some(path) => Ok(make(Tokens::File(TokenFile::new(path)))),
                None => Err(NO_OIDC.to_owned()),
            };
        }
        if let Some(token) =
            jaas.as_ref().map(Jaas::unsecured_token).transpose().map_err(|error| error.to_string())?.flatten()
        {
            return Ok(make(Tokens::Unsecured(token)));
        }
        if let Some(config) = self.get("sasl.oauthbearer.config") {
            return unsecured(config.text()).map(|token| make(Tokens::Unsecured(token)));
        }
        Err("SASL OAUTHBEARER needs a source of tokens: give `sasl.oauthbearer.token.endpoint.url=file:///path/of/the/token`, \
             or one of your own in code"
            .to_owned())
    }

    fn extensions(&self, jaas: Option<&Jaas>) -> Result<Extensions, String> {
        let of_librdkafka = self.get("sasl.oauthbearer.extensions").map(|setting| setting.text());
        match (jaas, of_librdkafka) {
            (_, Some(text)) => {
                let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
                let pairs = pairs.map(|pair| {
                    pair.split_once('=').ok_or("`sasl.oauthbearer.extensions` takes name=value,name=value")
                });
                Extensions::new(pairs.collect::<Result<Vec<_>, _>>()?).map_err(|error| error.to_string())
            }
            (Some(jaas), None) => jaas.extensions().map_err(|error| error.to_string()),
            (None, None) => Ok(Extensions::default()),
        }
    }

    fn refresh(&self) -> Result<Refresh, String> {
        let mut refresh = Refresh::default();
        let number = |name: &str, least: f64, most: f64, default: f64| match self.get(name) {
            None => Ok(default),
            Some(setting) => match setting.text().parse::<f64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(format!("property `{name}` takes a number from {least} to {most}")),
            },
        };
        refresh.window_factor = number("sasl.login.refresh.window.factor", 0.5, 1.0, refresh.window_factor)?;
        refresh.window_jitter = number("sasl.login.refresh.window.jitter", 0.0, 0.25, refresh.window_jitter)?;
        let seconds = |name, most, default: Duration| {
            number(name, 0.0, most, default.as_secs_f64()).map(Duration::from_secs_f64)
        };
        refresh.min_period = seconds("sasl.login.refresh.min.period.seconds", 900.0, refresh.min_period)?;
        refresh.buffer = seconds("sasl.login.refresh.buffer.seconds", 3600.0, refresh.buffer)?;
        Ok(refresh)
    }

    fn aws_msk_iam(&self) -> Result<Sasl, String> {
        let keys = match self.jaas("AWS_MSK_IAM")? {
            Some(jaas) => AwsDefault::from_jaas(&jaas).map_err(|error| error.to_string())?,
            None => AwsDefault::new(),
        };
        Ok(Sasl::aws_msk_iam(keys, None))
    }
}

const NO_OIDC: &str = "`sasl.oauthbearer.token.endpoint.url` has to be a file (`file:///path/of/the/token`): tokens are not fetched by \
                       HTTP here; a source of tokens of your own can be given in code";

/// librdkafka's unsecured tokens, for tests: `principal=alice lifeSeconds=600`.
fn unsecured(config: &str) -> Result<UnsecuredToken, String> {
    let mut token = None;
    let mut lifetime = None;
    for pair in config.split_whitespace() {
        match pair.split_once('=') {
            Some(("principal", name)) if !name.is_empty() => token = Some(UnsecuredToken::new(name)),
            Some(("lifeSeconds", seconds)) => {
                let seconds = seconds
                    .parse::<u32>()
                    .map_err(|_| "`sasl.oauthbearer.config`: lifeSeconds is not a number")?;
                lifetime = Some(Duration::from_secs(seconds.into()));
            }
            _ => {
                return Err(
                    "`sasl.oauthbearer.config` takes principal=NAME and lifeSeconds=N here".to_owned()
                );
            }
        }
    }
    let token = token.ok_or("`sasl.oauthbearer.config` has no principal=NAME")?;
    Ok(match lifetime {
        Some(lifetime) => token.with_lifetime(lifetime),
        None => token,
    })
}

fn parse_jaas(text: &str, mechanism: &str) -> Result<Jaas, String> {
    let jaas = Jaas::parse(text).map_err(|error| error.to_string())?;
    jaas.check_mechanism(mechanism).map_err(|error| error.to_string())?;
    Ok(jaas)
}

/// Where tokens come from, by properties.
enum Tokens {
    File(TokenFile),
    Unsecured(UnsecuredToken),
}

impl TokenProvider for Tokens {
    fn fetch(&self) -> ProviderFuture<'_, Token> {
        match self {
            Self::File(file) => file.fetch(),
            Self::Unsecured(token) => token.fetch(),
        }
    }
}

/// A user and a password by properties: looked up again whenever they are needed, as a config provider may give new ones.
struct Login {
    source: LoginSource,
    /// As it was at the start.
    user: String,
}

#[derive(Clone)]
enum LoginSource {
    Jaas { jaas: Setting, mechanism: String },
    Two { user: Setting, password: Setting },
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
        }
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
