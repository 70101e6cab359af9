//! [`AwsCredentials`] and their sources: fixed credentials, the environment, profile files, a custom provider.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::SystemTime};

use super::{
    ProviderFuture,
    error::ProviderError,
    refresh::{Expiring, Source},
    token::read_small_file,
};
use crate::secret::Secret;

/// AWS credentials.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsCredentials {
    /// The id of the access key. It identifies the owner and is not secret.
    pub access_key_id: String,
    /// The signing key. It never leaves this process.
    pub secret_access_key: Secret,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// When temporary credentials expire, if known. Credentials without an expiry are fetched at every authentication.
    pub expires: Option<SystemTime>,
}

impl AwsCredentials {
    /// Credentials without a session.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            expires: None,
        }
    }

    /// Adds the session token of temporary credentials.
    #[must_use]
    pub fn with_session_token(mut self, token: impl Into<Secret>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// Sets the expiry of temporary credentials.
    #[must_use]
    pub fn with_expiry(mut self, expires: Option<SystemTime>) -> Self {
        self.expires = expires;
        self
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A source of credentials: fixed [`AwsCredentials`], [`AwsEnvironment`], [`AwsProfile`], a closure that returns a future, or a
/// custom type (for example for AWS's SDK).
///
/// It is called when a connection authenticates and there are no credentials that last. At most one call is in progress, and all
/// connections get its result.
pub trait AwsCredentialsProvider: Send + Sync + 'static {
    /// Fetches the current credentials. It may take a minute, and continues when the connection that needed it is given up.
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials>;
}

impl AwsCredentialsProvider for AwsCredentials {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl<F, Fut> AwsCredentialsProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<AwsCredentials, ProviderError>> + Send + 'static,
{
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(self())
    }
}

impl Expiring for AwsCredentials {
    const NAME: &'static str = "the keys of AWS";

    fn expires(&self) -> Option<SystemTime> {
        self.expires
    }
}

/// A provider of credentials as a [`Source`].
pub(super) struct AwsKeys(Box<dyn AwsCredentialsProvider>);

impl AwsKeys {
    pub(super) fn new(provider: impl AwsCredentialsProvider) -> Self {
        Self(Box::new(provider))
    }
}

impl Source<AwsCredentials> for AwsKeys {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        self.0.fetch()
    }
}

/// The environment variables that are set and not empty, of the process or of a test.
#[derive(Clone)]
pub(super) struct Variables(Arc<VariableLookup>);

type VariableLookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Variables {
    #[cfg(test)]
    pub(super) fn of(variables: &[(&str, &str)]) -> Self {
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self(Arc::new(move |name| variables.get(name).cloned()))
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    pub(super) fn needed(&self, name: &str) -> Result<String, ProviderError> {
        self.get(name)
            .ok_or_else(|| ProviderError::new(format!("the environment variable {name} is not set")))
    }
}

impl Default for Variables {
    fn default() -> Self {
        Self(Arc::new(|name| std::env::var(name).ok()))
    }
}

/// The variables may be secret.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables(..)")
    }
}

/// The environment variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsEnvironment;

impl AwsEnvironment {
    pub(super) fn keys(variables: &Variables) -> Result<AwsCredentials, ProviderError> {
        let needed = |name| variables.needed(name);
        let keys = AwsCredentials::new(needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
        Ok(AwsCredentials { session_token: variables.get("AWS_SESSION_TOKEN").map(Secret::from), ..keys })
    }
}

impl AwsCredentialsProvider for AwsEnvironment {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(std::future::ready(Self::keys(&Variables::default())))
    }
}

/// The credentials of a profile in `~/.aws/credentials` or `~/.aws/config`, or in the files named by
/// `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE`. The files are read at each authentication. Only keys are supported: no
/// roles, no single sign-on, and no commands are run.
#[derive(Clone, Debug, Default)]
pub struct AwsProfile {
    name: Option<String>,
    files: Option<[PathBuf; 2]>,
    variables: Variables,
}

impl AwsProfile {
    /// The profile `name`; `None` means `AWS_PROFILE`, or `default`.
    pub fn new(name: Option<String>) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn with_variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// Reads these files instead of the usual ones: one with credentials, one with configuration.
    #[must_use]
    pub fn with_files(mut self, credentials: impl Into<PathBuf>, config: impl Into<PathBuf>) -> Self {
        self.files = Some([credentials.into(), config.into()]);
        self
    }

    fn name(&self) -> String {
        self.name
            .clone()
            .or_else(|| self.variables.get("AWS_PROFILE"))
            .unwrap_or_else(|| "default".to_owned())
    }

    fn files(&self) -> Result<[PathBuf; 2], ProviderError> {
        if let Some(files) = &self.files {
            return Ok(files.clone());
        }
        let file = |name, usual| match self.variables.get(name) {
            Some(path) => Ok(PathBuf::from(path)),
            None => match self.variables.get("HOME").or_else(|| self.variables.get("USERPROFILE")) {
                Some(home) => Ok(PathBuf::from(home).join(".aws").join(usual)),
                None => Err(ProviderError::new(format!("neither {name} nor HOME is set"))),
            },
        };
        Ok([file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?, file("AWS_CONFIG_FILE", "config")?])
    }

    /// All settings of the profile in the two files. The credentials file takes precedence.
    pub(super) async fn settings(&self) -> Result<Profile, ProviderError> {
        let name = self.name();
        let [credentials, config] = self.files()?;
        let mut found = None;
        let mut unreadable = Vec::new();
        for (path, prefix) in [(credentials, None), (config, Some("profile"))] {
            let text = match read_small_file(path).await {
                Ok(text) => text,
                Err(error) => {
                    unreadable.push(error);
                    continue;
                }
            };
            if let Some(section) = read_section(&String::from_utf8_lossy(&text), prefix, &name) {
                let settings: &mut BTreeMap<String, Secret> = found.get_or_insert_default();
                for (key, value) in section {
                    settings.entry(key).or_insert(value);
                }
            }
        }
        match found {
            Some(settings) => Ok(Profile { name, settings }),
            None if unreadable.len() == 2 => Err(ProviderError::new(unreadable.swap_remove(0))),
            None => Err(ProviderError::new(format!("the AWS files have no profile {name}"))),
        }
    }
}

/// The settings of a profile in the files.
pub(super) struct Profile {
    name: String,
    settings: BTreeMap<String, Secret>,
}

impl Profile {
    pub(super) fn get(&self, key: &str) -> Option<&Secret> {
        self.settings.get(key).filter(|value| !value.is_empty())
    }

    fn credentials(&self) -> Result<AwsCredentials, ProviderError> {
        let name = &self.name;
        match (self.get("aws_access_key_id"), self.get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Ok(AwsCredentials {
                session_token: self.get("aws_session_token").cloned(),
                ..AwsCredentials::new(id.expose_str().unwrap_or_default(), secret.clone())
            }),
            (Some(_), None) => {
                Err(ProviderError::new(format!("the AWS profile {name} has no aws_secret_access_key")))
            }
            (None, Some(_)) => {
                Err(ProviderError::new(format!("the AWS profile {name} has no aws_access_key_id")))
            }
            (None, None) => Err(self.without_keys()),
        }
    }

    fn without_keys(&self) -> ProviderError {
        let name = &self.name;
        let other =
            ["role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file"]
                .into_iter()
                .find(|key| self.get(key).is_some());
        ProviderError::new(match other {
            Some(key) => format!(
                "the AWS profile {name} has {key} and no keys: only keys are read from profiles; export them, or use a provider of your own"
            ),
            None => format!("the AWS profile {name} has no aws_access_key_id"),
        })
    }
}

/// The settings of one section of a file. In the configuration file, the names of sections begin with `profile`, except for
/// `default`.
fn read_section(text: &str, prefix: Option<&str>, name: &str) -> Option<BTreeMap<String, Secret>> {
    let mut settings = None;
    let mut is_ours = false;
    for line in text.lines() {
        let nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default().trim();
            let bare = match prefix {
                Some(prefix) => {
                    section.strip_prefix(prefix).filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim)
                }
                None => Some(section),
            };
            is_ours = bare == Some(name) || (name == "default" && section == name);
            if is_ours {
                settings.get_or_insert_with(BTreeMap::new);
            }
        } else if let (true, false, Some((key, value)), Some(settings)) =
            (is_ours, nested, line.split_once('='), settings.as_mut())
        {
            settings.insert(key.trim().to_ascii_lowercase(), Secret::from(value.trim()));
        }
    }
    settings
}

impl AwsCredentialsProvider for AwsProfile {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(async move { self.settings().await?.credentials() })
    }
}

/// The region if a broker's name does not contain it: `AWS_REGION`, `AWS_DEFAULT_REGION`, or the profile's.
pub(super) async fn default_region() -> Option<String> {
    let variables = Variables::default();
    if let Some(region) = variables.get("AWS_REGION").or_else(|| variables.get("AWS_DEFAULT_REGION")) {
        return Some(region);
    }
    let profile = AwsProfile::default().settings().await.ok()?;
    profile.get("region")?.expose_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
# keys
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key=secret=default

[work]  ; the other
AWS_ACCESS_KEY_ID = AKIAWORK
aws_secret_access_key = secretwork
aws_session_token = token/work==
s3 =
  aws_secret_access_key = nested
";

    fn keys(id: &str, secret: &str, token: Option<&str>) -> AwsCredentials {
        AwsCredentials { session_token: token.map(Secret::from), ..AwsCredentials::new(id, secret) }
    }

    /// Two files for one test.
    struct Files(PathBuf);

    impl Files {
        fn new(test: &str, credentials: &str, config: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("offtake-aws-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("credentials"), credentials).unwrap();
            std::fs::write(folder.join("config"), config).unwrap();
            Self(folder)
        }

        fn profile(&self, name: &str) -> AwsProfile {
            AwsProfile::new(Some(name.to_owned()))
                .with_files(self.0.join("credentials"), self.0.join("config"))
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn profiles_have_keys() {
        let config = "[profile conf]\naws_access_key_id=AKIACONF\naws_secret_access_key=s\nregion = eu-west-3\n\
                      [profile work]\nregion=us-east-1\naws_access_key_id=ignored\n[default]\nregion=ap-south-1";
        let files = Files::new("keys", FILE, config);
        let fetch = async |name| files.profile(name).fetch().await;
        assert_eq!(fetch("default").await, Ok(keys("AKIADEFAULT", "secret=default", None)));
        assert_eq!(fetch("work").await, Ok(keys("AKIAWORK", "secretwork", Some("token/work=="))));
        assert_eq!(fetch("conf").await, Ok(keys("AKIACONF", "s", None)));
        for (name, region) in [("conf", "eu-west-3"), ("work", "us-east-1"), ("default", "ap-south-1")] {
            let profile = files.profile(name).settings().await.unwrap();
            assert_eq!(profile.get("region").unwrap().expose_str(), Some(region));
        }
        assert!(fetch("none").await.unwrap_err().to_string().contains("no profile none"));
    }

    #[tokio::test]
    async fn a_profile_without_keys_says_what_it_has() {
        let files = Files::new(
            "without",
            "[half]\naws_access_key_id=AKIA\n[other]\naws_secret_access_key=hunter2\n[empty]",
            "[profile role]\nrole_arn=arn:aws:iam::1:role/x\n[profile run]\ncredential_process = rm -rf /",
        );
        for (name, reason) in [
            ("half", "has no aws_secret_access_key"),
            ("other", "has no aws_access_key_id"),
            ("empty", "has no aws_access_key_id"),
            ("role", "has role_arn and no keys"),
            ("run", "has credential_process and no keys"),
        ] {
            let error = files.profile(name).fetch().await.unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{name}: {error}");
        }
        let nowhere = AwsProfile::default().with_files("/nowhere/credentials", "/nowhere/config");
        let error = nowhere.fetch().await.unwrap_err().to_string();
        assert!(error.contains("cannot read the file /nowhere/credentials"), "{error}");
    }

    #[test]
    fn the_environment_has_keys() {
        let all = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")];
        let from = |count: usize| AwsEnvironment::keys(&Variables::of(&all[..count]));
        assert_eq!(from(3), Ok(keys("AKIA", "s", Some("t"))));
        assert_eq!(from(2), Ok(keys("AKIA", "s", None)));
        assert!(from(1).unwrap_err().to_string().contains("AWS_SECRET_ACCESS_KEY is not set"));
        assert!(from(0).unwrap_err().to_string().contains("AWS_ACCESS_KEY_ID is not set"));
    }
}
