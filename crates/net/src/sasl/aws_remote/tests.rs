//! Requests for credentials to a server on loopback.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// A server that answers each request by its path, and keeps the heads of the requests.
struct Server {
    url: String,
    requests: tokio::task::JoinHandle<Vec<String>>,
}

impl Server {
    async fn start(answers: Vec<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request is cut");
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                requests.push(String::from_utf8(request).unwrap());
            }
            requests
        });
        Self { url, requests }
    }

    async fn requests(self) -> Vec<String> {
        self.requests.await.unwrap()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"hunter2","Token":"tok","Expiration":"2033-05-18T03:33:20Z"}"#;

fn keys() -> AwsCredentials {
    AwsCredentials::new("ASIA", "hunter2")
        .with_session_token("tok")
        .with_expiry(calendar::parse("2033-05-18T03:33:20Z"))
}

#[tokio::test]
async fn a_container_is_asked_with_its_token() {
    let server = Server::start(vec![("200 OK", KEYS), ("403 Forbidden", r#"{"message":"no\n"}"#)]).await;
    let url = format!("{}/v1/credentials", server.url);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "pod-token\n").unwrap();
    let container = AwsContainer::new(Variables::of(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.path().to_str().unwrap()),
    ]));
    assert_eq!(container.fetch().await, Ok(keys()));
    let error = container.fetch().await.unwrap_err();
    assert!(error.to_string().ends_with("/v1/credentials answers 403: no"), "{error}");
    let requests = server.requests().await;
    assert!(requests[0].starts_with("GET /v1/credentials HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("\r\nauthorization: pod-token\r\n"), "{}", requests[0]);
}

#[tokio::test]
async fn a_container_elsewhere_is_not_asked() {
    for (url, reason) in [
        ("http://169.254.169.254/x", "over https only"),
        ("http://evil.example.com/x", "over https only"),
        ("file:///etc/passwd", "not an https URL"),
    ] {
        let variables = Variables::of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]);
        let error = AwsContainer::new(variables).fetch().await.unwrap_err().to_string();
        assert!(
            error.starts_with("AWS_CONTAINER_CREDENTIALS_FULL_URI: ") && error.contains(reason),
            "{error}"
        );
    }
    for url in ["http://169.254.170.2/x", "http://169.254.170.23/v1", "http://[fd00:ec2::23]/v1"] {
        assert!(parse("x", url, &CONTAINER_HOSTS).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn an_instance_is_asked_in_three_steps() {
    let server =
        Server::start(vec![("200 OK", "metadata-token"), ("200 OK", "my role\nother"), ("200 OK", KEYS)])
            .await;
    let variables = Variables::of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
    assert_eq!(AwsInstance::new(variables).fetch().await, Ok(keys()));
    let requests = server.requests().await;
    assert!(requests[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("\r\nx-aws-ec2-metadata-token-ttl-seconds: 300\r\n"), "{}", requests[0]);
    let folder = "GET /latest/meta-data/iam/security-credentials/";
    assert!(requests[1].starts_with(&format!("{folder} HTTP/1.1\r\n")), "{}", requests[1]);
    assert!(requests[2].starts_with(&format!("{folder}my%20role HTTP/1.1\r\n")), "{}", requests[2]);
    for request in &requests[1..] {
        assert!(request.contains("\r\nx-aws-ec2-metadata-token: metadata-token\r\n"), "{request}");
    }
}

#[tokio::test]
async fn an_instance_without_a_role_says_so() {
    let server = Server::start(vec![("200 OK", "t"), ("200 OK", "\n")]).await;
    let variables = Variables::of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
    let error = AwsInstance::new(variables).fetch().await.unwrap_err();
    assert_eq!(error.to_string(), "the instance has no role");
    let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"x"}"#;
    let server = Server::start(vec![("200 OK", "t"), ("200 OK", "role"), ("200 OK", failed)]).await;
    let variables = Variables::of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
    let error = AwsInstance::new(variables).fetch().await.unwrap_err();
    assert!(error.to_string().ends_with("says AssumeRoleUnauthorizedAccess"), "{error}");
    let off = Variables::of(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]);
    assert!(AwsInstance::new(off).fetch().await.unwrap_err().to_string().contains("forbids"));
}

const ASSUMED: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
    <AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>\
    <SessionToken>tok</SessionToken><Expiration>2033-05-18T03:33:20Z</Expiration>\
    </Credentials></AssumeRoleResult></AssumeRoleResponse>";

#[tokio::test]
async fn a_web_identity_becomes_a_role() {
    let refusal = "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>Token expired</Message></Error></ErrorResponse>";
    let server = Server::start(vec![("200 OK", ASSUMED), ("400 Bad Request", refusal)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a.b+c\n").unwrap();
    let identity = AwsWebIdentity::new(Variables::of(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.path().to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"),
        ("AWS_ENDPOINT_URL_STS", &server.url),
    ]));
    assert_eq!(identity.fetch().await, Ok(keys()));
    let error = identity.fetch().await.unwrap_err();
    assert!(error.to_string().ends_with("answers 400: ExpiredTokenException: Token expired"), "{error}");
    let requests = server.requests().await;
    assert!(requests[0].starts_with("POST / HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(
        requests[0].ends_with(
            "\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx\
             &RoleSessionName=offtake&WebIdentityToken=a.b%2Bc"
        ),
        "{}",
        requests[0]
    );
}

#[tokio::test]
async fn throttling_passes_and_a_refusal_does_not() {
    let said = |code: &str| {
        let error =
            format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>Rate exceeded</Message></Error>");
        let answer: &'static str = format!("<ErrorResponse>{error}</ErrorResponse>").leak();
        ("400 Bad Request", answer)
    };
    let server =
        Server::start(vec![said("Throttling"), said("IDPCommunicationError"), said("AccessDenied")]).await;
    let variables = Variables::of(&[("AWS_ENDPOINT_URL_STS", &server.url)]);
    let role = AwsRole::new("arn:aws:iam::1:role/x");
    for passes in [true, true, false] {
        let error = role.assume(&AwsCredentials::new("AKIA", "secretkey"), &variables).await.unwrap_err();
        assert_eq!(error.is_retriable(), passes, "{error}");
        assert!(error.to_string().ends_with(": Rate exceeded"), "{error}");
    }
}

#[tokio::test]
async fn a_role_is_assumed_with_a_signed_request() {
    let server = Server::start(vec![("200 OK", ASSUMED)]).await;
    let variables = Variables::of(&[("AWS_ENDPOINT_URL_STS", &server.url)]);
    let role = AwsRole { external_id: Some("e/1".to_owned()), ..AwsRole::new("arn:aws:iam::1:role/x") };
    let base = AwsCredentials::new("AKIA", "secretkey").with_session_token("base/token");
    assert_eq!(role.assume(&base, &variables).await, Ok(keys()));
    let [request] = server.requests().await.try_into().unwrap();
    assert!(request.starts_with("GET /?Action=AssumeRole&ExternalId=e%2F1&RoleArn="), "{request}");
    for part in [
        "X-Amz-Credential=AKIA%2F",
        "%2Fus-east-1%2Fsts%2Faws4_request",
        "X-Amz-Security-Token=base%2Ftoken",
        "X-Amz-Signature=",
    ] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert!(!request.contains("secretkey"));
}

#[test]
fn the_service_has_an_endpoint_in_each_region() {
    let none = Variables::of(&[]);
    for (region, url) in [
        (None, "https://sts.amazonaws.com/"),
        (Some("eu-west-1"), "https://sts.eu-west-1.amazonaws.com/"),
        (Some("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/"),
    ] {
        assert_eq!(Sts::new(region, &none).unwrap().endpoint.shown(), url);
    }
}
