//! AWS_MSK_IAM beside Amazon's own library for Java: the same keys at the same second.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use offtake::security::{AwsCredentials, Sasl};
use offtake_net::sasl::SaslStep;
use serde_json::{Map, Value};

use super::fetched;

/// Our message at this moment.
async fn ours(keys: &AwsCredentials, host: &str) -> Map<String, Value> {
    let sasl = Sasl::aws_msk_iam(keys.clone(), None);
    let mut exchange = sasl.begin(host).await.unwrap();
    let SaslStep::Send(message) = exchange.step(None).unwrap() else { panic!("nothing to send") };
    serde_json::from_slice(&message).unwrap()
}

#[tokio::test]
#[ignore = "fetches Amazon's library: scripts/test full runs it"]
async fn the_message_is_what_amazons_library_sends() {
    let libs = fetched("msk-iam").join("libs/*");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("java-msk/Sign.java");
    let mut java = Command::new("java")
        .arg("-cp")
        .arg(libs)
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ask, mut answers) = (java.stdin.take().unwrap(), BufReader::new(java.stdout.take().unwrap()));
    let cases = [
        (
            "b-1.cluster.abc123.c2.kafka.eu-west-1.amazonaws.com",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalr/XUtnFEMI+K7MDENG",
            None,
        ),
        (
            "boot-x1.c1.kafka-serverless.us-gov-west-1.amazonaws.com",
            "ASIA+x",
            "s3cret/KEY",
            Some("tok/en+with==&odd ~*chars"),
        ),
        (
            "b-2.other.abc123.c4.kafka.cn-north-1.amazonaws.com.cn",
            "AKIA",
            "x",
            Some("FwoGZXIvYXdzEB4aDM//////////=="),
        ),
    ];
    for (host, id, secret, token) in cases {
        let keys = AwsCredentials::new(id, secret);
        let keys = match token {
            Some(token) => keys.with_session_token(token),
            None => keys,
        };
        let line =
            [Some(host), Some(id), Some(secret), token].into_iter().flatten().collect::<Vec<_>>().join("\t");
        let mut compared = false;
        // Only messages signed in the same second can be compared; Java counts 899 s when a second ends while it signs.
        for _ in 0..50 {
            writeln!(ask, "{line}").unwrap();
            let mut theirs = String::new();
            answers.read_line(&mut theirs).unwrap();
            let mut theirs: Map<String, Value> = serde_json::from_str(&theirs).unwrap();
            let mut ours = ours(&keys, host).await;
            if ["x-amz-date", "x-amz-expires"].iter().all(|name| ours[*name] == theirs[*name]) {
                assert!(ours.remove("user-agent").is_some() && theirs.remove("user-agent").is_some());
                assert_eq!(ours, theirs, "{host}");
                compared = true;
                break;
            }
        }
        assert!(compared, "{host}: never in the same second");
    }
    drop(ask);
    assert!(java.wait().unwrap().success());
}
