//! AWS_MSK_IAM: one message with an AWS signature (version 4) over a request to connect, valid for 15 minutes.

use std::{fmt::Write, time::SystemTime};

use bytes::Bytes;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{aws::AwsCredentials, scram::Hash, zeroed_after_use};
use crate::calendar;

const SERVICE: &str = "kafka-cluster";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The validity of the message, in seconds.
const LIFETIME: u32 = 900;
/// The SHA-256 of an empty body, as the request has none.
pub(super) const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The message: the parts of a signed request as a JSON object.
pub(super) fn message(credentials: &AwsCredentials, region: &str, host: &str, now: SystemTime) -> Bytes {
    let request = Request {
        host,
        path: "/",
        service: SERVICE,
        region,
        parameters: &[("Action", "kafka-cluster:Connect")],
        lifetime: LIFETIME,
        body_hash: NO_BODY,
    };
    let mut message = Map::new();
    let mut set = |name: &str, value: &str| message.insert(name.to_owned(), Value::String(value.to_owned()));
    set("version", "2020_10_22");
    set("host", host);
    set("user-agent", concat!("offtake/", env!("CARGO_PKG_VERSION")));
    for (name, value) in request.presign(credentials, now) {
        set(&name.to_ascii_lowercase(), &value);
    }
    let text = Value::Object(message).to_string();
    zeroed_after_use(Zeroizing::new(text.into_bytes()))
}

/// Extracts the region from a broker's name: `b-1.name.id.c2.kafka.eu-west-1.amazonaws.com`, `….vpce.amazonaws.com`,
/// `….amazonaws.com.cn`.
pub(super) fn region_of(host: &str) -> Option<&str> {
    let host = host.trim_end_matches('.');
    if !host.contains("amazonaws.") && !host.contains(".kafka") {
        return None;
    }
    host.rsplit('.').find(|label| is_region(label))
}

/// Whether a label looks like a region, such as `eu-west-1` or `us-gov-east-1`: letters, then more parts of letters, then a
/// number.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let Some((number, names)) = parts.split_last() else { return false };
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (2..=3).contains(&names.len())
        && names.iter().all(is_name)
        && (2..=4).contains(&names[0].len())
}

/// A GET request with a signature in its query.
pub(super) struct Request<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) parameters: &'a [(&'a str, &'a str)],
    pub(super) lifetime: u32,
    pub(super) body_hash: &'a str,
}

impl Request<'_> {
    /// All parameters of its query, including those of the signature, in no order and not encoded.
    fn presign(&self, credentials: &AwsCredentials, now: SystemTime) -> Vec<(String, Zeroizing<String>)> {
        let now = calendar::basic(now);
        let date = &now[..8];
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let mut parameters: Vec<(String, Zeroizing<String>)> = Vec::new();
        let mut set =
            |name: &str, value: &str| parameters.push((name.to_owned(), Zeroizing::new(value.to_owned())));
        for (name, value) in self.parameters {
            set(name, value);
        }
        set("X-Amz-Algorithm", ALGORITHM);
        set("X-Amz-Credential", &format!("{}/{scope}", credentials.access_key_id));
        set("X-Amz-Date", &now);
        set("X-Amz-Expires", &self.lifetime.to_string());
        set("X-Amz-SignedHeaders", "host");
        if let Some(token) = credentials.session_token.as_ref().and_then(|token| token.expose_str()) {
            set("X-Amz-Security-Token", token);
        }
        let query = canonical_query(&parameters);
        let request =
            format!("GET\n{}\n{}\nhost:{}\n\nhost\n{}", self.path, &*query, self.host, self.body_hash);
        let hash = hex(&Hash::Sha256.digest(Zeroizing::new(request).as_bytes()));
        let to_sign = format!("{ALGORITHM}\n{now}\n{scope}\n{hash}");
        let key = signing_key(credentials, date, self.region, self.service);
        let signature = hex(&Hash::Sha256.hmac(&key, &[to_sign.as_bytes()]));
        parameters.push(("X-Amz-Signature".to_owned(), Zeroizing::new(signature)));
        parameters
    }
}

#[cfg(feature = "msk-iam")]
impl Request<'_> {
    /// The whole query, encoded.
    pub(super) fn signed_query(&self, credentials: &AwsCredentials, now: SystemTime) -> Zeroizing<String> {
        canonical_query(&self.presign(credentials, now))
    }
}

fn canonical_query(parameters: &[(String, Zeroizing<String>)]) -> Zeroizing<String> {
    let mut pairs: Vec<(String, Zeroizing<String>)> =
        parameters.iter().map(|(name, value)| (encode(name), Zeroizing::new(encode(value)))).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let length = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut query = Zeroizing::new(String::with_capacity(length));
    for (name, value) in &pairs {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        query.push_str(value);
    }
    query
}

fn signing_key(credentials: &AwsCredentials, date: &str, region: &str, service: &str) -> Zeroizing<Vec<u8>> {
    let secret = credentials.secret_access_key.expose();
    let mut first = Zeroizing::new(Vec::with_capacity(4 + secret.len()));
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(secret);
    [date, region, service, "aws4_request"]
        .iter()
        .fold(first, |key, part| Hash::Sha256.hmac(&key, &[part.as_bytes()]))
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            push_hex(&mut encoded, "%", byte);
        }
    }
    encoded
}

fn push_hex(text: &mut String, before: &str, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{before}{byte:02X}");
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        push_hex(&mut text, "", byte);
    }
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The credentials of AWS's own examples.
    fn example() -> AwsCredentials {
        AwsCredentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    }

    /// "Deriving the signing key" in AWS's documentation.
    #[test]
    fn the_signing_key_is_aws_documentations() {
        let credentials = AwsCredentials::new("x", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let key = signing_key(&credentials, "20120215", "us-east-1", "iam");
        assert_eq!(hex(&key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    /// "Authenticating requests: using query parameters" in Amazon S3's documentation.
    #[test]
    fn a_presigned_request_is_aws_documentations() {
        let request = Request {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            service: "s3",
            region: "us-east-1",
            parameters: &[],
            lifetime: 86_400,
            body_hash: "UNSIGNED-PAYLOAD",
        };
        let may_24_2013 = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let signed = request.presign(&example(), may_24_2013);
        let signature = &signed.iter().find(|(name, _)| name == "X-Amz-Signature").unwrap().1;
        assert_eq!(**signature, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    }

    /// The output of aws-msk-iam-auth 2.3.0 for the same input, at the same time.
    #[test]
    fn the_message_is_the_java_librarys() {
        let cases = [
            (
                example(),
                "20261123T064404Z",
                "b-1.cluster.abc123.c2.kafka.eu-west-1.amazonaws.com",
                r#"{"x-amz-date":"20261123T064404Z","x-amz-signedheaders":"host","x-amz-signature":"2ac1d89d97c76f9368233395697108ac19522d553e7fcb4fa6b510e4d5ccf140","host":"b-1.cluster.abc123.c2.kafka.eu-west-1.amazonaws.com","action":"kafka-cluster:Connect","x-amz-expires":"900","version":"2020_10_22","x-amz-algorithm":"AWS4-HMAC-SHA256","x-amz-credential":"AKIAIOSFODNN7EXAMPLE/20261123/eu-west-1/kafka-cluster/aws4_request","user-agent":"ua"}"#,
            ),
            (
                AwsCredentials::new("ASIA+x", "s3cret/KEY").with_session_token("tok/en+with==&odd ~*chars"),
                "20261123T064405Z",
                "boot-x1.c1.kafka-serverless.us-gov-west-1.amazonaws.com",
                r#"{"x-amz-date":"20261123T064405Z","x-amz-signedheaders":"host","x-amz-signature":"29db24030f7b6b80dea612649596259ac87318f9557b1853487e5e9f3b61cf67","host":"boot-x1.c1.kafka-serverless.us-gov-west-1.amazonaws.com","action":"kafka-cluster:Connect","x-amz-expires":"900","x-amz-security-token":"tok/en+with==&odd ~*chars","version":"2020_10_22","x-amz-algorithm":"AWS4-HMAC-SHA256","x-amz-credential":"ASIA+x/20261123/us-gov-west-1/kafka-cluster/aws4_request","user-agent":"ua"}"#,
            ),
        ];
        for (credentials, date, host, theirs) in cases {
            let (day, time) = date.split_at(9);
            let time = format!("2026-11-23T{}:{}:{}Z", &time[..2], &time[2..4], &time[4..6]);
            assert_eq!(day, "20261123T");
            let now = calendar::parse(&time).unwrap();
            let ours = message(&credentials, region_of(host).unwrap(), host, now);
            let mut ours: Map<String, Value> = serde_json::from_slice(&ours).unwrap();
            let mut theirs: Map<String, Value> = serde_json::from_str(theirs).unwrap();
            assert!(ours.remove("user-agent").is_some() && theirs.remove("user-agent").is_some());
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn regions_are_read_from_names_of_brokers() {
        let cases = [
            ("b-3.unit-test.abcdef.kafka.us-west-2.amazonaws.com", Some("us-west-2")),
            ("b-1-public.name.abcdef.c2.kafka.eu-central-1.amazonaws.com.", Some("eu-central-1")),
            ("boot-abc123.c1.kafka-serverless.ap-southeast-3.amazonaws.com", Some("ap-southeast-3")),
            ("b-1.x.y.c4.kafka.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("b-1.x.y.c4.kafka.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("vpce-0123-b-1.kafka.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("b-1.eu-west-1.name.c2.kafka.us-east-2.amazonaws.com", Some("us-east-2")),
            ("kafka.example.com", None),
            ("us-east-1.example.com", None),
            ("127.0.0.1", None),
            ("", None),
        ];
        for (host, region) in cases {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn the_url_encoding_is_that_of_aws() {
        assert_eq!(encode("kafka-cluster:Connect"), "kafka-cluster%3AConnect");
        assert_eq!(encode("a/b c+=~_.é"), "a%2Fb%20c%2B%3D~_.%C3%A9");
    }
}
