//! [`AwsDefault`]: the places where programs on AWS find their credentials, in the order of AWS's own libraries.

use super::{
    ProviderFuture,
    aws::{AwsCredentials, AwsCredentialsProvider, AwsEnvironment, AwsProfile, Variables},
    error::ProviderError,
    jaas::{Jaas, JaasError},
};
#[cfg(feature = "msk-iam")]
use super::{
    aws_remote::{AwsContainer, AwsInstance, AwsRole, AwsWebIdentity},
    error::printable,
};

/// The first available source of these: environment variables, a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`, as in EKS), the
/// profile, the endpoint of a container (`AWS_CONTAINER_CREDENTIALS_…_URI`: ECS, EKS), the metadata of an EC2 instance. Sources
/// that need requests require the feature `msk-iam`. A source that exists without credentials is an error.
#[derive(Clone, Debug, Default)]
pub struct AwsDefault {
    /// The only source, if it is set.
    profile: Option<AwsProfile>,
    /// The role to assume with the credentials found.
    #[cfg(feature = "msk-iam")]
    role: Option<AwsRole>,
    /// The files of a test, in place of the usual ones.
    files: Option<AwsProfile>,
    variables: Variables,
}

impl AwsDefault {
    /// Looks in all of these places.
    pub fn new() -> Self {
        Self::default()
    }

    #[doc(hidden)] // for our own crates
    /// Uses the options of an `IAMLoginModule`: `awsProfileName`, `awsRoleArn`, `awsRoleSessionName`, `awsRoleExternalId`,
    /// `awsRoleAccessKeyId`, `awsRoleSecretAccessKey`, `awsRoleSessionToken` and `awsStsRegion`. Others are ignored.
    ///
    /// # Errors
    /// If a role is named, and this build lacks the feature `msk-iam`.
    pub fn from_jaas(jaas: &Jaas) -> Result<Self, JaasError> {
        let profile = jaas.text("awsProfileName").map(|name| AwsProfile::new(Some(name.to_owned())));
        let found = Self { profile, ..Self::default() };
        let Some(arn) = jaas.text("awsRoleArn") else { return Ok(found) };
        #[cfg(feature = "msk-iam")]
        {
            let text = |name| jaas.text(name).map(str::to_owned);
            let mut role = AwsRole::new(arn);
            role.session_name = text("awsRoleSessionName").unwrap_or(role.session_name);
            role.external_id = text("awsRoleExternalId");
            role.region = text("awsStsRegion").filter(|region| region != "aws-global");
            role.keys = match (text("awsRoleAccessKeyId"), jaas.option("awsRoleSecretAccessKey")) {
                (Some(id), Some(secret)) => Some(AwsCredentials {
                    session_token: jaas.option("awsRoleSessionToken").cloned(),
                    ..AwsCredentials::new(id, secret.clone())
                }),
                _ => None,
            };
            Ok(Self { role: Some(role), ..found })
        }
        #[cfg(not(feature = "msk-iam"))]
        {
            let _ = arn;
            Err(JaasError::new("awsRoleArn needs a build with the feature msk-iam"))
        }
    }

    async fn find(&self) -> Result<AwsCredentials, ProviderError> {
        if let Some(profile) = &self.profile {
            return profile.fetch().await;
        }
        if self.variables.get("AWS_ACCESS_KEY_ID").is_some() {
            return AwsEnvironment::keys(&self.variables);
        }
        if self.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            #[cfg(feature = "msk-iam")]
            return AwsWebIdentity::new(self.variables.clone()).fetch().await;
            #[cfg(not(feature = "msk-iam"))]
            return Err(not_built("AWS_WEB_IDENTITY_TOKEN_FILE"));
        }
        let files = self.files.clone().unwrap_or_default().with_variables(self.variables.clone());
        let without = match files.fetch().await {
            Ok(keys) => return Ok(keys),
            Err(error) if self.variables.get("AWS_PROFILE").is_some() => return Err(error),
            Err(error) => error,
        };
        let container = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
            .into_iter()
            .find(|name| self.variables.get(name).is_some());
        #[cfg(feature = "msk-iam")]
        {
            if container.is_some() {
                return AwsContainer::new(self.variables.clone()).fetch().await;
            }
            let instance = AwsInstance::new(self.variables.clone()).fetch().await;
            instance.map_err(|error| {
                let reason = printable(&format!("{without}; {error}; AWS_ACCESS_KEY_ID is not set"));
                if error.is_retriable() {
                    ProviderError::retriable(reason)
                } else {
                    ProviderError::new(reason)
                }
            })
        }
        #[cfg(not(feature = "msk-iam"))]
        match container {
            Some(name) => Err(not_built(name)),
            None => Err(ProviderError::new(format!("{without}; AWS_ACCESS_KEY_ID is not set"))),
        }
    }
}

#[cfg(not(feature = "msk-iam"))]
fn not_built(name: &str) -> ProviderError {
    ProviderError::new(format!("{name} needs a build with the feature msk-iam"))
}

impl AwsCredentialsProvider for AwsDefault {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(async move {
            #[cfg(feature = "msk-iam")]
            if let Some(role) = &self.role {
                let keys = match &role.keys {
                    Some(keys) => keys.clone(),
                    None => self.find().await?,
                };
                return role.assume(&keys, &self.variables).await;
            }
            self.find().await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source with these variables only, and no files.
    fn with(variables: &[(&str, &str)]) -> AwsDefault {
        AwsDefault {
            files: Some(AwsProfile::default().with_files("/nowhere/credentials", "/nowhere/config")),
            variables: Variables::of(variables),
            ..AwsDefault::default()
        }
    }

    #[tokio::test]
    async fn the_environment_comes_first() {
        let found = with(&[
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere"),
            ("AWS_PROFILE", "x"),
        ]);
        assert_eq!(found.fetch().await, Ok(AwsCredentials::new("AKIA", "s")));
        let half = with(&[("AWS_ACCESS_KEY_ID", "AKIA")]).fetch().await.unwrap_err();
        assert!(half.to_string().contains("AWS_SECRET_ACCESS_KEY is not set"), "{half}");
    }

    #[tokio::test]
    async fn a_named_profile_that_is_missing_is_an_error() {
        let error = with(&[("AWS_PROFILE", "x")]).fetch().await.unwrap_err().to_string();
        assert!(error.contains("cannot read the file /nowhere/credentials"), "{error}");
        let none = with(&[("AWS_EC2_METADATA_DISABLED", "true")]).fetch().await.unwrap_err().to_string();
        assert!(
            none.contains("/nowhere/credentials") && none.contains("AWS_ACCESS_KEY_ID is not set"),
            "{none}"
        );
    }

    #[test]
    fn a_login_module_names_a_profile() {
        let jaas =
            Jaas::parse("software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=work;").unwrap();
        let found = AwsDefault::from_jaas(&jaas).unwrap();
        assert!(format!("{:?}", found.profile).contains("work"));
        assert!(
            AwsDefault::from_jaas(&Jaas::parse("IAMLoginModule required;").unwrap())
                .unwrap()
                .profile
                .is_none()
        );
    }

    #[cfg(feature = "msk-iam")]
    #[test]
    fn a_login_module_names_a_role() {
        let jaas = Jaas::parse(
            "IAMLoginModule required awsRoleArn=\"arn:aws:iam::1:role/x\" awsRoleSessionName=me awsStsRegion=eu-west-1 \
             awsRoleExternalId=e awsRoleAccessKeyId=AKIA awsRoleSecretAccessKey=s awsRoleSessionToken=t;",
        );
        let role = AwsDefault::from_jaas(&jaas.unwrap()).unwrap().role.unwrap();
        assert_eq!((role.session_name.as_str(), role.external_id.as_deref()), ("me", Some("e")));
        assert_eq!(role.region.as_deref(), Some("eu-west-1"));
        assert_eq!(role.keys, Some(AwsCredentials::new("AKIA", "s").with_session_token("t")));
    }
}
