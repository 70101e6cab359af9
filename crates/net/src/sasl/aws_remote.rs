//! AWS credentials from requests: to a container's endpoint, to an instance's metadata, to the Security Token Service.

use std::{path::PathBuf, time::Duration};

use hyper::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    ProviderFuture,
    aws::{AwsCredentials, AwsCredentialsProvider, Variables},
    error::{ProviderError, printable},
    msk_iam::{NO_BODY, Request, encode},
    token::read_small_file,
    wall_clock,
};
use crate::{
    calendar,
    http::{Endpoint, Headers, HttpClient, is_loopback},
    secret::Secret,
};

/// The timeout of the Security Token Service for connecting, and for the response.
const STS_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for an endpoint on the same host, which answers at once or does not exist.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The validity of a presigned request in seconds, which is used at once.
const PRESIGNED_FOR: u32 = 60;

/// The hosts on which the endpoint of a container may be without TLS: ECS, EKS.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
/// The hosts of an instance's metadata.
const INSTANCE_HOSTS: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];

/// The endpoint of a container: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` (ECS) or `AWS_CONTAINER_CREDENTIALS_FULL_URI` (EKS), with
/// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
#[derive(Clone, Debug, Default)]
pub struct AwsContainer {
    variables: Variables,
}

impl AwsContainer {
    pub(super) fn new(variables: Variables) -> Self {
        Self { variables }
    }

    async fn keys(&self) -> Result<AwsCredentials, ProviderError> {
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        let (name, url) = match (self.variables.get(RELATIVE), self.variables.get(FULL)) {
            (Some(path), _) => (RELATIVE, format!("http://169.254.170.2{path}")),
            (None, Some(url)) => (FULL, url),
            (None, None) => return Err(ProviderError::new(format!("neither {RELATIVE} nor {FULL} is set"))),
        };
        let endpoint = parse(name, &url, &CONTAINER_HOSTS)?;
        let mut headers = accept("application/json");
        if let Some(token) = self.authorization().await? {
            headers.push(("authorization", token));
        }
        let http = HttpClient::for_endpoint(&endpoint, LOCAL_TIMEOUT).await?;
        let answer = http.call(Method::GET, &endpoint, headers, Zeroizing::default()).await?;
        let body = answer.success(&endpoint, explain_json)?;
        read_json(&endpoint, &body)
    }

    async fn authorization(&self) -> Result<Option<Zeroizing<String>>, ProviderError> {
        if let Some(path) = self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            return Ok(Some(read_text(path.into()).await?));
        }
        Ok(self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Zeroizing::new))
    }
}

/// The metadata of an EC2 instance, version 2. `AWS_EC2_METADATA_DISABLED=true` forbids using them.
#[derive(Clone, Debug, Default)]
pub struct AwsInstance {
    variables: Variables,
}

impl AwsInstance {
    pub(super) fn new(variables: Variables) -> Self {
        Self { variables }
    }

    async fn keys(&self) -> Result<AwsCredentials, ProviderError> {
        const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        if self.variables.get("AWS_EC2_METADATA_DISABLED").is_some_and(|is| is.eq_ignore_ascii_case("true")) {
            return Err(ProviderError::new("AWS_EC2_METADATA_DISABLED forbids to ask the instance"));
        }
        let url = self.variables.get(ENDPOINT).unwrap_or_else(|| "http://169.254.169.254".to_owned());
        let base = parse(ENDPOINT, &url, &INSTANCE_HOSTS)?;
        let http = HttpClient::for_endpoint(&base, LOCAL_TIMEOUT).await?;

        let at = base.with_path("/latest/api/token");
        let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", Zeroizing::new("300".to_owned()));
        let answer = http.call(Method::PUT, &at, vec![ttl], Zeroizing::default()).await?;
        let token = text_of(&at, answer.success(&at, |_| None)?)?;
        let get = async |path: String| {
            let at = base.with_path(path);
            let headers = vec![("x-aws-ec2-metadata-token", token.clone())];
            let answer = http.call(Method::GET, &at, headers, Zeroizing::default()).await?;
            Ok::<_, ProviderError>((answer.success(&at, |_| None)?, at))
        };

        let folder = "/latest/meta-data/iam/security-credentials/";
        let (roles, at) = get(folder.to_owned()).await?;
        let roles = text_of(&at, roles)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(ProviderError::new("the instance has no role"));
        }
        let (keys, at) = get(format!("{folder}{}", encode(role))).await?;
        read_json(&at, &keys)
    }
}

/// The role of a web identity (EKS): `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN` and `AWS_ROLE_SESSION_NAME`.
#[derive(Clone, Debug, Default)]
pub struct AwsWebIdentity {
    variables: Variables,
}

impl AwsWebIdentity {
    pub(super) fn new(variables: Variables) -> Self {
        Self { variables }
    }

    async fn keys(&self) -> Result<AwsCredentials, ProviderError> {
        let token = read_text(self.variables.needed("AWS_WEB_IDENTITY_TOKEN_FILE")?.into()).await?;
        let arn = self.variables.needed("AWS_ROLE_ARN")?;
        let session = self.variables.get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION_NAME.to_owned());
        let region = self.variables.get("AWS_REGION").or_else(|| self.variables.get("AWS_DEFAULT_REGION"));
        let sts = Sts::new(region.as_deref(), &self.variables)?;
        let query = Zeroizing::new(format!(
            "Action=AssumeRoleWithWebIdentity&Version={STS_VERSION}&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
            encode(&arn),
            encode(&session),
            encode(&token)
        ));
        sts.ask(Method::POST, sts.endpoint.clone(), Zeroizing::new(query.as_bytes().to_vec())).await
    }
}

/// A role to assume.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AwsRole {
    /// The role's ARN: `arn:aws:iam::…:role/…`.
    pub arn: String,
    /// The session's name in AWS's logs; default `offtake`.
    pub session_name: String,
    /// The external id that the role may require.
    pub external_id: Option<String>,
    /// The region of the Security Token Service; by default the global one.
    pub region: Option<String>,
    /// The credentials for the request; by default those of [`AwsDefault`](super::AwsDefault).
    pub keys: Option<AwsCredentials>,
}

const SESSION_NAME: &str = "offtake";
/// The errors with status 400 after which the Security Token Service should be asked again later.
const PASSING: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "IDPCommunicationError", // the service could not reach the identity provider
];
const STS_VERSION: &str = "2011-06-15";

impl AwsRole {
    /// A role, with the defaults.
    pub fn new(arn: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            session_name: SESSION_NAME.to_owned(),
            external_id: None,
            region: None,
            keys: None,
        }
    }

    pub(super) async fn assume(
        &self,
        keys: &AwsCredentials,
        variables: &Variables,
    ) -> Result<AwsCredentials, ProviderError> {
        let sts = Sts::new(self.region.as_deref(), variables)?;
        let mut parameters = vec![
            ("Action", "AssumeRole"),
            ("Version", STS_VERSION),
            ("RoleArn", self.arn.as_str()),
            ("RoleSessionName", self.session_name.as_str()),
        ];
        parameters.extend(self.external_id.as_deref().map(|id| ("ExternalId", id)));
        let host = sts.endpoint.authority();
        let request = Request {
            host: &host,
            path: "/",
            service: "sts",
            region: sts.region(),
            parameters: &parameters,
            lifetime: PRESIGNED_FOR,
            body_hash: NO_BODY,
        };
        let at = sts.endpoint.with_path(format!("/?{}", *request.signed_query(keys, wall_clock())));
        sts.ask(Method::GET, at, Zeroizing::default()).await
    }
}

/// The Security Token Service.
struct Sts {
    region: Option<String>,
    endpoint: Endpoint,
}

impl Sts {
    fn new(region: Option<&str>, variables: &Variables) -> Result<Self, ProviderError> {
        const OVERRIDE: &str = "AWS_ENDPOINT_URL_STS";
        let url = variables.get(OVERRIDE).unwrap_or_else(|| match region {
            Some(region) if region.starts_with("cn-") => format!("https://sts.{region}.amazonaws.com.cn"),
            Some(region) => format!("https://sts.{region}.amazonaws.com"),
            None => "https://sts.amazonaws.com".to_owned(),
        });
        let endpoint = parse(OVERRIDE, &url, &[])?.with_path("/");
        Ok(Self { region: region.map(str::to_owned), endpoint })
    }

    /// The region in the signature. The global service is in Virginia.
    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("us-east-1")
    }

    async fn ask(
        &self,
        method: Method,
        at: Endpoint,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<AwsCredentials, ProviderError> {
        let http = HttpClient::for_endpoint(&at, STS_TIMEOUT).await?;
        let mut headers = accept("text/xml");
        if !body.is_empty() {
            let form = "application/x-www-form-urlencoded";
            headers.push(("content-type", Zeroizing::new(form.to_owned())));
        }
        let answer = http.call(method, &at, headers, body).await?;
        let mut passes = false;
        let answer = answer.success(&at, |body| {
            let text = String::from_utf8_lossy(body);
            let code = tag(&text, "Code")?;
            passes = PASSING.contains(&code);
            Some(printable(&format!("{code}: {}", tag(&text, "Message")?)))
        });
        let body =
            answer.map_err(|error| if passes { ProviderError::retriable(error) } else { error.into() })?;
        let text = text_of(&at, body)?;
        let needed = |name| {
            let missing = || ProviderError::new(format!("the answer of {} has no {name}", at.shown()));
            tag(&text, name).ok_or_else(missing)
        };
        let keys = AwsCredentials::new(needed("AccessKeyId")?, needed("SecretAccessKey")?);
        Ok(keys
            .with_session_token(needed("SessionToken")?)
            .with_expiry(tag(&text, "Expiration").and_then(calendar::parse)))
    }
}

/// The content of the first element with this name. The values read this way contain no entities.
fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let after = xml.split(&format!("<{name}>")).nth(1)?;
    after.split_once(&format!("</{name}>")).map(|(content, _)| content.trim())
}

fn parse(variable: &str, url: &str, plain: &[&str]) -> Result<Endpoint, ProviderError> {
    Endpoint::parse(url, |host| is_loopback(host) || plain.contains(&host))
        .map_err(|reason| ProviderError::new(format!("{variable}: {reason}")))
}

fn accept(what: &str) -> Headers {
    vec![("accept", Zeroizing::new(what.to_owned()))]
}

async fn read_text(path: PathBuf) -> Result<Zeroizing<String>, ProviderError> {
    let shown = path.display().to_string();
    let bytes = read_small_file(path).await.map_err(ProviderError::retriable)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
        Err(_) => Err(ProviderError::new(format!("the file {shown} is not UTF-8"))),
    }
}

fn text_of(from: &Endpoint, body: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, ProviderError> {
    match std::str::from_utf8(&body) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(ProviderError::new(format!("the answer of {} is not UTF-8", from.shown()))),
    }
}

/// Parses credentials in the format of containers and instances.
fn read_json(from: &Endpoint, body: &[u8]) -> Result<AwsCredentials, ProviderError> {
    let unusable = |what: &str| ProviderError::retriable(format!("the answer of {} {what}", from.shown()));
    let answer: Value = serde_json::from_slice(body).map_err(|_| unusable("is not JSON"))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(id), Some(secret)) = (text("AccessKeyId"), text("SecretAccessKey")) else {
        return Err(match text("Code") {
            Some(code) => unusable(&format!("says {}", printable(code))),
            None => unusable("has no keys"),
        });
    };
    let keys =
        AwsCredentials { session_token: text("Token").map(Secret::from), ..AwsCredentials::new(id, secret) };
    Ok(keys.with_expiry(text("Expiration").and_then(calendar::parse)))
}

fn explain_json(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    Some(printable(text("message").or_else(|| text("Message"))?))
}

impl AwsCredentialsProvider for AwsContainer {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(self.keys())
    }
}

impl AwsCredentialsProvider for AwsInstance {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(self.keys())
    }
}

impl AwsCredentialsProvider for AwsWebIdentity {
    fn fetch(&self) -> ProviderFuture<'_, AwsCredentials> {
        Box::pin(self.keys())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests start servers")]
mod tests;
