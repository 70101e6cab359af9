//! [`Jaas`]: a parsed `sasl.jaas.config`.
//!
//! The format is Java's: `<class of a login module> <flag> <option>=<value> … ;`. A value with characters that a word cannot have
//! is put in single or double quotes, with backslash escapes; `/` begins a comment, even within a word.

mod tokens;

use std::{collections::BTreeMap, fmt, time::Duration};

use thiserror::Error;

use self::tokens::{Token, Tokens};
use super::{
    ProviderError,
    credentials::UserPassword,
    oauthbearer::Extensions,
    token::{Claim, UnsecuredToken},
};
use crate::secret::Secret;

/// The login module that a `sasl.jaas.config` names, and its options. `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
pub struct Jaas {
    module: LoginModule,
    options: BTreeMap<String, Secret>,
}

/// A login module. Only the last part of its class's name counts, so that shaded classes are recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginModule {
    /// `PlainLoginModule`: PLAIN.
    Plain,
    /// `ScramLoginModule`: SCRAM-SHA-256 and SCRAM-SHA-512.
    Scram,
    /// `OAuthBearerLoginModule`: OAUTHBEARER.
    OAuthBearer,
    /// `IAMLoginModule`: AWS_MSK_IAM.
    Iam,
    /// `Krb5LoginModule`: GSSAPI.
    Kerberos,
}

impl LoginModule {
    const ALL: [Self; 5] = [Self::Plain, Self::Scram, Self::OAuthBearer, Self::Iam, Self::Kerberos];

    /// The name of its class, without the package.
    pub fn class(self) -> &'static str {
        match self {
            Self::Plain => "PlainLoginModule",
            Self::Scram => "ScramLoginModule",
            Self::OAuthBearer => "OAuthBearerLoginModule",
            Self::Iam => "IAMLoginModule",
            Self::Kerberos => "Krb5LoginModule",
        }
    }

    /// The values of `sasl.mechanism` that it supports.
    pub fn mechanisms(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["PLAIN"],
            Self::Scram => &["SCRAM-SHA-256", "SCRAM-SHA-512"],
            Self::OAuthBearer => &["OAUTHBEARER"],
            Self::Iam => &["AWS_MSK_IAM"],
            Self::Kerberos => &["GSSAPI"],
        }
    }
}

/// An error in a `sasl.jaas.config`, in one sentence that quotes no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("sasl.jaas.config: {0}")]
pub struct JaasError(String);

impl JaasError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    fn at(place: usize, reason: &str) -> Self {
        Self(format!("{reason} (at character {})", place + 1))
    }
}

/// Advice on values that are no words.
const QUOTE_IT: &str = "put values with other characters than letters and digits in double quotes";

impl Jaas {
    /// Parses a `sasl.jaas.config`.
    ///
    /// # Errors
    /// If the format is invalid, or the login module unknown.
    pub fn parse(text: &str) -> Result<Self, JaasError> {
        let mut tokens = Tokens::of(text);
        let module = match tokens.next()? {
            (_, Token::Word(class)) => login_module(&class)?,
            (_, Token::End) => {
                return Err(JaasError::new("it is empty: it needs a login module, a flag, and options"));
            }
            (at, _) => return Err(JaasError::at(at, "it must begin with the class of a login module")),
        };
        match tokens.next()? {
            (_, Token::Word(flag)) if is_flag(&flag) => {}
            (at, _) => {
                let reason = "after the login module must come required, requisite, sufficient or optional";
                return Err(JaasError::at(at, reason));
            }
        }
        let mut options = BTreeMap::new();
        loop {
            match tokens.next()? {
                (_, Token::Semicolon) => break,
                (_, Token::Word(name) | Token::Quoted(name)) => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    let value = tokens.value()?;
                    options.insert(name, value);
                }
                (at, Token::End) => {
                    return Err(JaasError::at(
                        at,
                        "it must end with a semicolon; an unquoted / begins a comment",
                    ));
                }
                (at, Token::Equals) => {
                    return Err(JaasError::at(
                        at,
                        &format!("= stands where the name of an option belongs: {QUOTE_IT}"),
                    ));
                }
            }
        }
        match tokens.next()? {
            (_, Token::End) => Ok(Self { module, options }),
            (at, _) => {
                Err(JaasError::at(at, "something follows the semicolon; it may have one login module only"))
            }
        }
    }

    /// The login module.
    pub fn module(&self) -> LoginModule {
        self.module
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&Secret> {
        self.options.get(name)
    }

    /// The names of all options.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.options.keys().map(String::as_str)
    }

    /// The value of an option as text; `None` if it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.option(name).and_then(Secret::expose_str).filter(|text| !text.is_empty())
    }

    /// Checks that the login module supports this `sasl.mechanism`.
    ///
    /// # Errors
    /// If it does not; the error names the module that does.
    pub fn check_mechanism(&self, mechanism: &str) -> Result<(), JaasError> {
        if self.module.mechanisms().contains(&mechanism) {
            return Ok(());
        }
        let (class, own) = (self.module.class(), self.module.mechanisms().join(" or "));
        let fitting = LoginModule::ALL.into_iter().find(|module| module.mechanisms().contains(&mechanism));
        let remedy = match fitting {
            Some(module) => format!("name {} or set sasl.mechanism={own}", module.class()),
            None => format!("set sasl.mechanism={own}"),
        };
        Err(JaasError::new(format!("{class} does not go with sasl.mechanism={mechanism}: {remedy}")))
    }

    /// The user name and password for PLAIN and SCRAM: the options `username`, `password`, and SCRAM's `tokenauth`.
    ///
    /// # Errors
    /// If one of them is missing.
    pub fn credentials(&self) -> Result<UserPassword, JaasError> {
        let missing = |name| JaasError::new(format!("{} has no option {name}", self.module.class()));
        let user = self.text("username").ok_or_else(|| missing("username"))?;
        let password = self.option("password").filter(|password| !password.is_empty());
        let password = password.ok_or_else(|| missing("password"))?.clone();
        Ok(match self.text("tokenauth") {
            Some(token) if token.eq_ignore_ascii_case("true") => {
                UserPassword::delegation_token(user, password)
            }
            _ => UserPassword::new(user, password),
        })
    }

    /// The extensions sent with a token (KIP-342): the options `extension_…` and `unsecuredLoginExtension_…`.
    ///
    /// # Errors
    /// If an extension cannot be sent.
    pub fn extensions(&self) -> Result<Extensions, JaasError> {
        let extensions = self.options.iter().filter_map(|(name, value)| {
            let name =
                name.strip_prefix("extension_").or_else(|| name.strip_prefix("unsecuredLoginExtension_"))?;
            Some((name, value.expose_str()?))
        });
        Extensions::new(extensions).map_err(|error: ProviderError| JaasError::new(error.to_string()))
    }

    /// The unsecured token that the options `unsecuredLogin…` describe; `None` if there are none.
    ///
    /// # Errors
    /// If a number is invalid, or `iat` or `exp` is set.
    pub fn unsecured_token(&self) -> Result<Option<UnsecuredToken>, JaasError> {
        let mut claims: Vec<(&str, Claim)> = Vec::new();
        for (name, value) in &self.options {
            let value = value.expose_str().unwrap_or_default();
            if let Some(claim) = name.strip_prefix("unsecuredLoginStringClaim_") {
                claims.push((claim, value.into()));
            } else if let Some(claim) = name.strip_prefix("unsecuredLoginListClaim_") {
                claims.push((claim, list(value).into()));
            } else if let Some(claim) = name.strip_prefix("unsecuredLoginNumberClaim_") {
                let number: f64 =
                    value.parse().map_err(|_| JaasError::new(format!("{name} is not a number")))?;
                claims.push((claim, number.into()));
            }
        }
        if claims.is_empty() {
            return Ok(None);
        }
        if let Some((claim, _)) = claims.iter().find(|(claim, _)| matches!(*claim, "iat" | "exp")) {
            return Err(JaasError::new(format!("the claim {claim} of an unsecured token cannot be set")));
        }
        let principal = self.text("unsecuredLoginPrincipalClaimName").unwrap_or("sub");
        if !claims.iter().any(|(claim, _)| *claim == principal) {
            return Err(JaasError::new(format!(
                "unsecuredLoginStringClaim_{principal} is missing: it names the user"
            )));
        }
        let mut token = UnsecuredToken::without_claims();
        for (claim, value) in claims {
            token = token.with_claim(claim, value);
        }
        if let Some(lifetime) = self.text("unsecuredLoginLifetimeSeconds") {
            let seconds = lifetime
                .parse::<u32>()
                .map_err(|_| JaasError::new("unsecuredLoginLifetimeSeconds is not a number of seconds"))?;
            token = token.with_lifetime(Duration::from_secs(seconds.into()));
        }
        Ok(Some(token))
    }
}

/// Splits `|a|b`, whose first character is the separator.
fn list(value: &str) -> Vec<String> {
    let mut chars = value.chars();
    match chars.next() {
        Some(separator) if !chars.as_str().is_empty() => {
            chars.as_str().split(separator).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

impl fmt::Debug for Jaas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<&str> = self.names().collect();
        f.debug_struct("Jaas").field("module", &self.module).field("options", &options).finish()
    }
}

fn login_module(class: &[u8]) -> Result<LoginModule, JaasError> {
    let class = String::from_utf8_lossy(class);
    let name = class.rsplit('.').next().unwrap_or_default();
    if let Some(module) = LoginModule::ALL.into_iter().find(|module| module.class() == name) {
        return Ok(module);
    }
    if name == "KafkaClient" || name.starts_with("KafkaClient{") {
        return Err(JaasError::new(
            "it is the content of a JAAS file: leave out KafkaClient and the braces, and keep what is between them",
        ));
    }
    let known: Vec<&str> = LoginModule::ALL.into_iter().map(LoginModule::class).collect();
    // The name is not quoted: if the properties were confused, it may be a password.
    Err(JaasError::new(format!(
        "it must begin with the class of a login module: one of {}",
        known.join(", ")
    )))
}

fn is_flag(word: &[u8]) -> bool {
    ["required", "requisite", "sufficient", "optional"]
        .iter()
        .any(|flag| word.eq_ignore_ascii_case(flag.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::{Token as BearerToken, TokenProvider};

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";

    fn parse(text: &str) -> Jaas {
        Jaas::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn common_jaas_configurations_are_parsed() {
        let cases = [
            (r#"PlainLoginModule required username="alice" password="pa ss";"#, "alice", "pa ss"),
            ("PlainLoginModule required username='alice' password='it\"s';", "alice", "it\"s"),
            ("PlainLoginModule REQUIRED\n  username=alice\n  password=secret ;\n", "alice", "secret"),
            (
                r#"PlainLoginModule required password="a\"b\\c\td\101\7" username=alice;"#,
                "alice",
                "a\"b\\c\td\x41\x07",
            ),
            (r#"PlainLoginModule required username="a" password="x;y=z/w//v";"#, "a", "x;y=z/w//v"),
            (
                "PlainLoginModule /* who */ required // why\n username=\"$ä€🔑\" password=\"p\u{e4}\";",
                "$ä€🔑",
                "pä",
            ),
            (r#"x.y.PlainLoginModule optional username = "a" username = "b" password="";"#, "b", ""),
        ];
        for (text, user, password) in cases {
            let jaas = parse(text);
            assert_eq!(jaas.module(), LoginModule::Plain);
            assert_eq!(jaas.text("username"), Some(user), "{text}");
            assert_eq!(jaas.option("password").unwrap().expose_str(), Some(password), "{text}");
        }
    }

    #[test]
    fn shaded_modules_are_recognized() {
        let cases = [
            ("org.apache.kafka.common.security.scram.ScramLoginModule", LoginModule::Scram),
            ("kafkashaded.org.apache.kafka.common.security.plain.PlainLoginModule", LoginModule::Plain),
            ("org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule", LoginModule::OAuthBearer),
            ("software.amazon.msk.auth.iam.IAMLoginModule", LoginModule::Iam),
            ("shadow.software.amazon.msk.auth.iam.IAMLoginModule", LoginModule::Iam),
            ("com.sun.security.auth.module.Krb5LoginModule", LoginModule::Kerberos),
        ];
        for (class, module) in cases {
            assert_eq!(parse(&format!("{class} required;")).module(), module);
        }
    }

    #[test]
    fn each_mistake_has_one_sentence_without_the_secret() {
        let cases = [
            ("", "it is empty"),
            (" ; ", "must begin with the class"),
            ("hunter2", "must begin with the class"),
            ("org.example.LdapLoginModule required;", "one of PlainLoginModule, ScramLoginModule"),
            ("KafkaClient { PlainLoginModule required; };", "leave out KafkaClient"),
            ("PlainLoginModule", "must come required"),
            (r#"PlainLoginModule username="a" password="hunter2";"#, "must come required"),
            (r#"PlainLoginModule required username="a" password="hunter2""#, "semicolon"),
            ("PlainLoginModule required username=a password=hunter2/3;", "unquoted / begins a comment"),
            ("PlainLoginModule required username=a password=hunter2=3;", "= stands where"),
            ("PlainLoginModule required username=a password=hunter2 3;", "no = after its name"),
            (r#"PlainLoginModule required username=a password="hunter2"hunter3";"#, "not closed on its line"),
            (r#"PlainLoginModule required username=a password="hunter2"hunter3 ;"#, "no = after its name"),
            ("PlainLoginModule required username=a password=;", "no value"),
            ("PlainLoginModule required username=a password=\"hunter2;\n", "not closed on its line"),
            ("PlainLoginModule required username=a password=\"hunter2;", "not closed on its line"),
            ("PlainLoginModule required username=a password=\"hunter2\\", "not closed on its line"),
            ("PlainLoginModule required /* username=a password=hunter2;", "comment is not closed"),
            ("PlainLoginModule required password=hunter2; hunter3", "one login module only"),
            (
                "PlainLoginModule required password=hunter2; PlainLoginModule required;",
                "one login module only",
            ),
        ];
        for (text, reason) in cases {
            let error = Jaas::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason) && error.starts_with("sasl.jaas.config: "), "{text}: {error}");
            assert!(!error.contains("hunter"), "{text}: {error}");
        }
    }

    #[test]
    fn sec6_debug_shows_names_only() {
        let jaas = parse(&format!(r#"{PLAIN} username="alice" password="hunter2";"#));
        assert_eq!(format!("{jaas:?}"), r#"Jaas { module: Plain, options: ["password", "username"] }"#);
    }

    #[test]
    fn credentials_are_user_and_password() {
        let jaas = parse(&format!(r#"{PLAIN} username="alice" password="hunter2";"#));
        assert_eq!(jaas.credentials(), Ok(UserPassword::new("alice", "hunter2")));
        let token = parse(r#"ScramLoginModule required username="id" password="hmac" tokenauth="true";"#);
        assert_eq!(token.credentials(), Ok(UserPassword::delegation_token("id", "hmac")));
        for (options, missing) in
            [("username=a", "password"), ("password=a", "username"), ("username=a password=''", "password")]
        {
            let error = parse(&format!("{PLAIN} {options};")).credentials().unwrap_err().to_string();
            assert_eq!(error, format!("sasl.jaas.config: PlainLoginModule has no option {missing}"));
        }
    }

    #[test]
    fn a_module_goes_with_its_mechanisms() {
        let jaas = parse("ScramLoginModule required;");
        assert_eq!(jaas.check_mechanism("SCRAM-SHA-256"), Ok(()));
        assert_eq!(jaas.check_mechanism("SCRAM-SHA-512"), Ok(()));
        assert_eq!(
            jaas.check_mechanism("PLAIN").unwrap_err().to_string(),
            "sasl.jaas.config: ScramLoginModule does not go with sasl.mechanism=PLAIN: \
             name PlainLoginModule or set sasl.mechanism=SCRAM-SHA-256 or SCRAM-SHA-512"
        );
    }

    #[tokio::test]
    async fn an_unsecured_token_is_described_by_options() {
        let jaas = parse(
            r#"org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule Required
               unsecuredLoginStringClaim_sub="thePrincipalName"
               unsecuredLoginListClaim_scope="|scopeValue1|scopeValue2"
               unsecuredLoginNumberClaim_n="1.5"
               unsecuredLoginLifetimeSeconds="60"
               unsecuredLoginExtension_traceId="123";"#,
        );
        let token: BearerToken = jaas.unsecured_token().unwrap().unwrap().fetch().await.unwrap();
        assert_eq!(token.principal(), Some("thePrincipalName"));
        assert_eq!(jaas.extensions(), Ok(Extensions::new([("traceId", "123")]).unwrap()));
        assert_eq!(parse("OAuthBearerLoginModule required;").unsecured_token(), Ok(None));
        for (option, reason) in [
            ("unsecuredLoginNumberClaim_n=x", "not a number"),
            ("unsecuredLoginStringClaim_exp=x", "cannot be set"),
            ("unsecuredLoginStringClaim_x=y", "unsecuredLoginStringClaim_sub is missing"),
            ("unsecuredLoginStringClaim_sub=y unsecuredLoginLifetimeSeconds=-1", "number of seconds"),
        ] {
            let jaas = parse(&format!("OAuthBearerLoginModule required {option};"));
            let error = jaas.unsecured_token().unwrap_err().to_string();
            assert!(error.contains(reason), "{option}: {error}");
        }
    }
}
