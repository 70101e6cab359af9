//! `sasl.*`: the mechanism and the credentials.

use offtake_net::sasl::{Credentials, ProviderError, ProviderFuture, Sasl, UserPassword};

use super::{SecurityConfig, setting::Setting};

const MECHANISMS: &str = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";

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
                "`sasl.mechanism` is not set, and its default GSSAPI is not supported here: set it to {MECHANISMS}"
            ));
        };
        match mechanism.text().to_ascii_uppercase().as_str() {
            "PLAIN" => self.login().map(Sasl::plain),
            "SCRAM-SHA-256" => self.login().map(Sasl::scram_sha256),
            "SCRAM-SHA-512" => self.login().map(Sasl::scram_sha512),
            _ => Err(format!(
                "`sasl.mechanism` {} is not supported here: it takes {MECHANISMS}",
                mechanism.text()
            )),
        }
    }

    fn login(&self) -> Result<Login, String> {
        let login =
            Login { user: self.get("sasl.username").cloned(), password: self.get("sasl.password").cloned() };
        login.current().map(|_| login)
    }
}

/// A user and a password by properties: looked up again whenever they are needed, as a config provider may give new ones.
#[derive(Clone)]
struct Login {
    user: Option<Setting>,
    password: Option<Setting>,
}

impl Login {
    fn current(&self) -> Result<UserPassword, String> {
        let missing = |name: &str| {
            format!("`{name}` is not set: give `sasl.jaas.config`, or `sasl.username` and `sasl.password`")
        };
        let user = self.user.as_ref().ok_or_else(|| missing("sasl.username"))?.current()?;
        let password = self.password.as_ref().ok_or_else(|| missing("sasl.password"))?.current()?;
        let user = user.expose_str().ok_or("`sasl.username` is not UTF-8")?;
        Ok(UserPassword::new(user, password))
    }
}

impl Credentials for Login {
    fn fetch(&self) -> ProviderFuture<'_, UserPassword> {
        let login = self.clone();
        Box::pin(async move {
            // A config provider reads files.
            let current = tokio::task::spawn_blocking(move || login.current()).await;
            match current {
                Ok(current) => current.map_err(ProviderError::retriable),
                Err(_) => Err(ProviderError::retriable("the look-up was given up")),
            }
        })
    }

    fn user(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.text().to_owned())
    }
}
