//! `sasl.oauthbearer.*`: the source of OAUTHBEARER tokens.

#[cfg(feature = "oidc")]
mod oidc;

use std::time::Duration;

use offtake_net::sasl::{Extensions, Jaas, Refresh, Sasl, TokenFile, UnsecuredToken};

use super::SecurityConfig;

/// OAUTHBEARER as the properties describe it: no file has been read and nothing sent.
pub(super) struct OAuthBearer {
    source: TokenSource,
    extensions: Extensions,
    refresh: Refresh,
}

/// The source of tokens.
#[allow(clippy::large_enum_variant, reason = "made once, at the start, and taken apart at once")]
enum TokenSource {
    File(TokenFile),
    Unsecured(UnsecuredToken),
    #[cfg(feature = "oidc")]
    Endpoint(offtake_net::sasl::TokenEndpoint, offtake_net::sasl::Grant),
}

impl OAuthBearer {
    /// Reads the files that the TLS of a token endpoint needs.
    pub(super) fn build(self) -> Result<Sasl, String> {
        let Self { source, extensions, refresh } = self;
        Ok(match source {
            TokenSource::File(file) => Sasl::oauthbearer_with(file, extensions, refresh),
            TokenSource::Unsecured(token) => Sasl::oauthbearer_with(token, extensions, refresh),
            #[cfg(feature = "oidc")]
            TokenSource::Endpoint(endpoint, grant) => {
                let oidc =
                    offtake_net::sasl::Oidc::new(endpoint, grant).map_err(|error| error.to_string())?;
                Sasl::oauthbearer_with(oidc, extensions, refresh)
            }
        })
    }
}

/// Java's `sasl.oauthbearer.jwt.retriever.class`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retriever {
    /// A file or an endpoint, depending on the URL.
    Default,
    File,
    ClientCredentials,
    JwtBearer,
}

const RETRIEVER: &str = "sasl.oauthbearer.jwt.retriever.class";
const URL: &str = "sasl.oauthbearer.token.endpoint.url";

impl SecurityConfig {
    pub(super) fn oauthbearer(&self) -> Result<OAuthBearer, String> {
        let jaas = self.jaas("OAUTHBEARER")?;
        let jaas = jaas.as_ref();
        Ok(OAuthBearer {
            source: self.token_source(jaas)?,
            extensions: self.extensions(jaas)?,
            refresh: self.refresh()?,
        })
    }

    fn token_source(&self, jaas: Option<&Jaas>) -> Result<TokenSource, String> {
        let (retriever, asks_for_oidc) = (self.retriever()?, self.asks_for_oidc()?);
        if let Some(url) = self.get(URL) {
            let file = url.text().strip_prefix("file:");
            return match (file, retriever) {
                (Some(path), Retriever::Default | Retriever::File) => token_file(path),
                (Some(_), _) => {
                    Err(format!("`{URL}` is a file, and `{RETRIEVER}` asks an endpoint: remove one of them"))
                }
                (None, Retriever::File) => {
                    Err(format!("`{RETRIEVER}` reads a file: `{URL}` has to be file:///path/of/the/token"))
                }
                (None, _) if asks_for_oidc == Some(false) => Err(format!(
                    "`{URL}` is an endpoint, and `sasl.oauthbearer.method` is default: set it to oidc, or remove it"
                )),
                (None, _) => self.endpoint(jaas, retriever),
            };
        }
        if asks_for_oidc == Some(true) || retriever != Retriever::Default || self.get(CLIENT_ID).is_some() {
            return Err(format!("`{URL}` is not set: it is where tokens are asked for"));
        }
        let token = jaas.map(Jaas::unsecured_token).transpose().map_err(|error| error.to_string())?;
        if let Some(token) = token.flatten() {
            return Ok(TokenSource::Unsecured(token));
        }
        if let Some(config) = self.get("sasl.oauthbearer.config") {
            return unsecured(config.text()).map(TokenSource::Unsecured);
        }
        Err(format!(
            "SASL OAUTHBEARER needs a source of tokens: set `{URL}` to that of your provider with `{CLIENT_ID}` and \
             `{CLIENT_SECRET}`, or to file:///path/of/the/token, or give one of your own in code"
        ))
    }

    /// Determines the class by the last part of its name, so that shaded classes are recognized.
    fn retriever(&self) -> Result<Retriever, String> {
        const KNOWN: [(&str, Retriever); 4] = [
            ("DefaultJwtRetriever", Retriever::Default),
            ("FileJwtRetriever", Retriever::File),
            ("ClientCredentialsJwtRetriever", Retriever::ClientCredentials),
            ("JwtBearerJwtRetriever", Retriever::JwtBearer),
        ];
        let Some(class) = self.get(RETRIEVER) else { return Ok(Retriever::Default) };
        let name = class.text().rsplit('.').next().unwrap_or_default();
        let known = KNOWN.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, retriever)| retriever).ok_or_else(|| {
            let known = KNOWN.map(|(name, _)| name).join(", ");
            format!("`{RETRIEVER}` is a class of Java that is not supported here: it takes {known}; a source of tokens of your own can be given in code")
        })
    }

    /// librdkafka's `sasl.oauthbearer.method`.
    fn asks_for_oidc(&self) -> Result<Option<bool>, String> {
        match self.get("sasl.oauthbearer.method").map(|method| method.text().to_ascii_lowercase()).as_deref()
        {
            None => Ok(None),
            Some("oidc") => Ok(Some(true)),
            Some("default") => Ok(Some(false)),
            Some(_) => Err("`sasl.oauthbearer.method` takes oidc or default".to_owned()),
        }
    }

    #[cfg(not(feature = "oidc"))]
    fn endpoint(&self, _: Option<&Jaas>, _: Retriever) -> Result<TokenSource, String> {
        Err(format!(
            "`{URL}` is an endpoint, and this program was built without asking such for tokens: build it with the cargo feature \
             `oidc` of `offtake`, or set file:///path/of/the/token"
        ))
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
}

/// Java's names, of which librdkafka's are aliases.
pub(super) const CLIENT_ID: &str = "sasl.oauthbearer.client.credentials.client.id";
pub(super) const CLIENT_SECRET: &str = "sasl.oauthbearer.client.credentials.client.secret";

/// A token file from the part of the URL after `file:`: `/path` or `///path`.
fn token_file(path: &str) -> Result<TokenSource, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with('/') {
        Ok(TokenSource::File(TokenFile::new(path)))
    } else {
        Err(format!("`{URL}` has to be an absolute path: file:///path/of/the/token"))
    }
}

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

#[cfg(test)]
mod tests;
