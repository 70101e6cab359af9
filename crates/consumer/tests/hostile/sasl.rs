//! INPUT52 (O4), session lifetimes of INPUT51, and secrets: a broker that breaks the rules of SASL, and
//! outputs that must not contain the password.

use std::time::Duration;

use bytes::Bytes;
use offtake::{
    Builder, Error, ErrorKind,
    config::Config,
    security::{AwsCredentials, Extensions, ProviderError, Sasl, Secret, Token, UserPassword},
};
use offtake_wire::{
    ApiVersionsResponse, AuthBytes, ErrorCode, Request, Response, SaslAuthenticateResponse,
    SaslHandshakeResponse, messages::api_versions::ApiVersion,
};
use tokio::time::Instant;

use crate::{
    peer::{Answer, Peer},
    scene::{A_MOMENT, Log, cluster, is_a_sentence, member, virtually},
};

/// The secret that no output may contain, plain or in base64 (after zero to two other bytes).
const SECRET: &str = "canary-7Zq3mX9vKw2L";
const IN_BASE64: [&str; 3] =
    ["Y2FuYXJ5LTdacTNtWDl2S3cy", "NhbmFyeS03WnEzbVg5dkt3M", "jYW5hcnktN1pxM21YOXZLdzJM"];

#[track_caller]
fn is_kept(text: &str) {
    let found = IN_BASE64.iter().chain([&SECRET]).find(|secret| text.contains(**secret));
    if let Some(found) = found {
        let at = text.find(found).unwrap();
        panic!("a secret: …{}", text.get(at.saturating_sub(200)..at + found.len()).unwrap_or(text));
    }
}

/// Makes the broker offer SASL, and answer each authentication message with the result of this function.
fn serve(peer: &Peer, said: impl Fn(&[u8]) -> SaslAuthenticateResponse + Send + Sync + 'static) {
    peer.serves(move |request| match request {
        Request::SaslHandshake(asked) => {
            let mechanisms = vec![asked.mechanism.clone()];
            Some(SaslHandshakeResponse { error_code: ErrorCode::None, mechanisms }.into())
        }
        Request::SaslAuthenticate(asked) => Some(said(&asked.auth_bytes.0).into()),
        _ => None,
    });
    peer.lies(|answer: &Answer| match answer.response() {
        Response::ApiVersions(versions) => Some(answer.with(with_sasl(versions))),
        _ => None,
    });
}

fn with_sasl(mut versions: ApiVersionsResponse) -> ApiVersionsResponse {
    versions.api_keys.retain(|api| !matches!(api.api_key, 17 | 36));
    versions.api_keys.push(ApiVersion { api_key: 17, min_version: 1, max_version: 1 });
    versions.api_keys.push(ApiVersion { api_key: 36, min_version: 0, max_version: 2 });
    versions
}

fn challenge(bytes: impl Into<Bytes>) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse { auth_bytes: AuthBytes(bytes.into()), ..Default::default() }
}

/// Reads for this time. Returns the number of records, and the errors.
async fn read(mechanism: &str, peer: &Peer, time: Duration) -> (usize, Vec<Error>) {
    let mechanism = mechanism.to_owned();
    let with_password = |builder: Builder| {
        let builder =
            builder.property("security.protocol", "SASL_PLAINTEXT").property("sasl.mechanism", mechanism);
        builder.property("sasl.username", "alice").property("sasl.password", SECRET)
    };
    read_with(peer, time, with_password).await
}

/// The same, with this security.
async fn read_with(
    peer: &Peer,
    time: Duration,
    secure: impl FnOnce(Builder) -> Builder,
) -> (usize, Vec<Error>) {
    let wakeups = std::sync::Arc::default();
    let cluster = peer.cluster();
    cluster.produce("orders", 0, None, Some(b"one")).unwrap();
    let builder = secure(member(cluster, peer, &wakeups));
    is_kept(&format!("{builder:?} {builder:#?}"));
    let mut consumer = builder.build().await.unwrap();
    is_kept(&format!("{consumer:?} {consumer:#?} {:?}", consumer.handle()));
    is_kept(&format!("{:?} {:#?}", consumer.config(), consumer.config()));
    consumer.assign([("orders", 0, 0), ("orders", 1, 0)]).await.unwrap();
    let (mut records, mut errors) = (0, Vec::new());
    let end = Instant::now() + time;
    while Instant::now() < end {
        match consumer.poll(A_MOMENT).await {
            Ok(some) => records += some.len(),
            Err(error) => {
                errors.push(error);
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }
    let health = consumer.health();
    is_kept(&format!("{health} {health:?}"));
    let _ = consumer.close(Duration::from_secs(1)).await;
    for error in &errors {
        is_kept(&format!("{error} {error:?} {error:#?}"));
        let source = std::error::Error::source(error).map(|source| format!("{source} {source:?}"));
        is_kept(&source.unwrap_or_default());
        is_a_sentence(&error.to_string());
    }
    (records, errors)
}

fn nonce(said: &[u8]) -> String {
    let said = String::from_utf8(said.to_vec()).unwrap();
    said.split(',').find_map(|field| field.strip_prefix("r=")).unwrap().to_owned()
}

/// Builds a server's first message from the client's nonce.
type FirstMessage = Box<dyn Fn(String) -> Vec<u8> + Send + Sync>;

/// First messages of the server, which depend on the client's nonce.
fn first_messages() -> Vec<(&'static str, FirstMessage)> {
    let salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
    vec![
        ("nothing", Box::new(|_| Vec::new())),
        ("no field", Box::new(|_| b"hello".to_vec())),
        ("not UTF-8", Box::new(|_| vec![0xff; 40])),
        ("a nonce of its own", Box::new(move |_| format!("r=mine,s={salt},i=4096").into())),
        ("the same nonce", Box::new(move |nonce| format!("r={nonce},s={salt},i=4096").into())),
        ("no salt", Box::new(|nonce| format!("r={nonce}x,i=4096").into())),
        ("a salt that is not base64", Box::new(|nonce| format!("r={nonce}x,s=*,i=4096").into())),
        ("no iterations", Box::new(move |nonce| format!("r={nonce}x,s={salt}").into())),
        ("0 iterations", Box::new(move |nonce| format!("r={nonce}x,s={salt},i=0").into())),
        ("-1 iterations", Box::new(move |nonce| format!("r={nonce}x,s={salt},i=-1").into())),
        ("4095 iterations", Box::new(move |nonce| format!("r={nonce}x,s={salt},i=4095").into())),
        ("4 billion iterations", Box::new(move |nonce| format!("r={nonce}x,s={salt},i=4294967295").into())),
        (
            "too many to count",
            Box::new(move |nonce| format!("r={nonce}x,s={salt},i={}", "9".repeat(100)).into()),
        ),
        (
            "an extension that must be known",
            Box::new(move |nonce| format!("m=x,r={nonce}x,s={salt},i=4096").into()),
        ),
        (
            "a megabyte",
            Box::new(move |nonce| format!("r={nonce}{},s={salt},i=4096", "x".repeat(1 << 20)).into()),
        ),
        ("a refusal", Box::new(|_| b"e=unknown-user".to_vec())),
        ("our own password", Box::new(|_| format!("e={SECRET}").into())),
    ]
}

#[test]
fn input52_a_hostile_server_of_scram() {
    for (what, first) in first_messages() {
        let played = virtually(async move {
            let log = Log::from(tracing::Level::TRACE);
            let peer = Peer::new(&cluster().await);
            serve(&peer, move |said| challenge(first(nonce(said))));
            let (records, errors) = read("SCRAM-SHA-256", &peer, Duration::from_secs(20)).await;
            assert_eq!(records, 0);
            assert!(peer.asked() < 2000, "{} requests in 20 s", peer.asked());
            let log = log.lines().join("\n");
            is_kept(&log);
            if what == "a megabyte" {
                assert!(
                    log.contains(" WARN "),
                    "no message of SASL, but an answer that is too large, and asked for again"
                );
                return;
            }
            let refused = errors.last().expect("it says what is wrong");
            assert_eq!(refused.kind(), ErrorKind::Authentication, "{refused}");
            assert!(refused.to_string().contains("SCRAM-SHA-256 as alice"), "{refused}");
        });
        assert_eq!(played, Ok(()), "{what}");
    }
}

/// A signature of a server that does not know the password.
#[test]
fn input52_a_server_that_does_not_prove_itself() {
    for last in ["v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "v=", "v=*", "", "r=x", "e=invalid-proof"]
    {
        let played = virtually(async move {
            let log = Log::from(tracing::Level::TRACE);
            let peer = Peer::new(&cluster().await);
            serve(&peer, move |said| {
                if said.starts_with(b"n,") {
                    challenge(format!("r={}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", nonce(said)))
                } else {
                    challenge(last)
                }
            });
            let (records, errors) = read("SCRAM-SHA-512", &peer, Duration::from_secs(20)).await;
            assert_eq!(records, 0, "nothing is read of it");
            assert_eq!(errors.last().expect("it says what is wrong").kind(), ErrorKind::Authentication);
            is_kept(&log.lines().join("\n"));
        });
        assert_eq!(played, Ok(()), "{last}");
    }
}

/// A refusal that repeats the credentials it received.
#[test]
fn a_broker_that_repeats_the_password_does_not_put_it_into_our_errors() {
    let played = virtually(async {
        let log = Log::from(tracing::Level::TRACE);
        let peer = Peer::new(&cluster().await);
        serve(&peer, |said| SaslAuthenticateResponse {
            error_code: ErrorCode::SaslAuthenticationFailed,
            error_message: Some(format!("wrong: {}", String::from_utf8_lossy(said))),
            ..Default::default()
        });
        let (_, errors) = read("PLAIN", &peer, Duration::from_secs(5)).await;
        assert_eq!(errors.last().expect("it is refused").kind(), ErrorKind::Authentication);
        is_kept(&log.lines().join("\n"));
    });
    assert_eq!(played, Ok(()));
}

/// A configuration with a secret, in a function.
type Secured = fn() -> Sasl;

#[test]
fn a_token_and_the_keys_of_aws_are_not_shown() {
    let aws = || AwsCredentials::new("AKIA", SECRET).with_session_token(SECRET);
    let extensions = Extensions::new([("tenant", SECRET)]).unwrap();
    for text in [
        format!("{:?}", Token::new(SECRET).with_extensions(extensions.clone())),
        format!("{:#?}", aws()),
        format!("{:?} {extensions:?}", UserPassword::new("alice", SECRET)),
        format!("{:?}", Sasl::oauthbearer(Token::new(SECRET))),
        format!("{:?}", Sasl::aws_msk_iam(aws(), None)),
    ] {
        is_kept(&text);
    }
    let secured: [Secured; 4] = [
        || Sasl::oauthbearer(Token::new(SECRET)),
        || {
            Sasl::oauthbearer(|| async {
                Ok::<_, ProviderError>(Token::new(format!("header.{SECRET}.signature")))
            })
        },
        || {
            let keys = AwsCredentials::new("AKIA", SECRET).with_session_token(SECRET);
            Sasl::aws_msk_iam(keys, Some("eu-west-1".to_owned()))
        },
        || Sasl::plain(|| async { Ok(UserPassword::new("alice", Secret::from(SECRET))) }),
    ];
    for sasl in secured {
        // One broker that accepts, one that refuses, and two that repeat what they received.
        for how in 0..4 {
            let played = virtually(async move {
                let log = Log::from(tracing::Level::TRACE);
                let peer = Peer::new(&cluster().await);
                serve(&peer, move |said| answer(how, said));
                let with = |builder: Builder| {
                    builder.configure(move |config| config.client.security.sasl = Some(sasl()))
                };
                let (records, errors) = read_with(&peer, Duration::from_secs(5), with).await;
                let log = log.lines().join("\n");
                // The last answer is that of a broker which accepts a signature of AWS, and no other
                // mechanism.
                assert!(matches!(how, 0 | 3) || records == 0, "{records} records after a refusal");
                assert!(
                    how != 1 || errors.iter().any(|error| error.kind() == ErrorKind::Authentication),
                    "{errors:?}"
                );
                assert!(log.lines().count() > 3, "there is a log: {log}");
                is_kept(&log);
            });
            assert_eq!(played, Ok(()), "{how}");
        }
    }
}

fn answer(how: u8, said: &[u8]) -> SaslAuthenticateResponse {
    let said = String::from_utf8_lossy(said);
    match how {
        // The challenge that a mechanism expects before it is done, empty or not.
        0 if said.contains("x-amz") => challenge(r#"{"version":"2020_10_22"}"#),
        0 => challenge(""),
        1 | 2 => SaslAuthenticateResponse {
            error_code: ErrorCode::SaslAuthenticationFailed,
            error_message: (how == 2).then(|| format!("wrong: {said}")),
            ..Default::default()
        },
        _ => challenge(format!(r#"{{"status":"invalid_token","scope":"{said} {SECRET}"}}"#)),
    }
}

#[test]
fn input51_session_lifetimes() {
    for lifetime in [0, -1, i64::MIN, 1, 1000, i64::MAX] {
        let played = virtually(async move {
            let log = Log::from(tracing::Level::TRACE);
            let peer = Peer::new(&cluster().await);
            serve(&peer, move |_| SaslAuthenticateResponse {
                session_lifetime_ms: lifetime,
                ..Default::default()
            });
            let (records, errors) = read("PLAIN", &peer, Duration::from_secs(20)).await;
            // A session of a millisecond allows no reading, but nothing spins either.
            assert!(records == 1 || lifetime == 1, "{errors:?}");
            assert!(peer.asked() < 2000, "{} requests in 20 s", peer.asked());
            is_kept(&log.lines().join("\n"));
        });
        assert_eq!(played, Ok(()), "{lifetime}");
    }
}

/// Every property that takes a secret, with valid and invalid values.
#[test]
fn no_secret_of_a_configuration_is_shown() {
    let jaas = |module: &str, options: &str| {
        format!("org.apache.kafka.common.security.{module} required {options};")
    };
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----");
    let plain = jaas("plain.PlainLoginModule", &format!("username=\"alice\" password=\"{SECRET}\""));
    let half =
        format!("org.apache.kafka.common.security.plain.PlainLoginModule required password=\"{SECRET}");
    let ways: Vec<Vec<(&str, &str, &str)>> = vec![
        vec![("SASL_PLAINTEXT", "PLAIN", "sasl.password")],
        vec![("SASL_PLAINTEXT", "SCRAM-SHA-512", "sasl.password")],
        vec![
            ("SSL", "", "ssl.key.password"),
            ("SSL", "", "ssl.keystore.password"),
            ("SSL", "", "ssl.truststore.password"),
        ],
    ];
    for (protocol, mechanism, property) in ways.into_iter().flatten() {
        check(&[("security.protocol", protocol), ("sasl.mechanism", mechanism), (property, SECRET)]);
    }
    for jaas in [&plain, &half, &jaas("scram.ScramLoginModule", &format!("username=alice password={SECRET}"))]
    {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "NO-SUCH"] {
            check(&[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", mechanism),
                ("sasl.jaas.config", jaas),
            ]);
        }
    }
    let client = format!("clientId=\"c\" clientSecret=\"{SECRET}\" tenant=\"t\"");
    let oauth = jaas("oauthbearer.OAuthBearerLoginModule", &client);
    for url in ["http://127.0.0.1:1/token", "https://localhost:1/token", "file:///no/such/file", "no url"] {
        for (property, value) in [
            ("sasl.jaas.config", oauth.as_str()),
            ("sasl.oauthbearer.client.credentials.client.secret", SECRET),
            ("sasl.oauthbearer.client.secret", SECRET),
            ("sasl.oauthbearer.assertion.private.key.passphrase", SECRET),
            ("sasl.oauthbearer.extensions", SECRET),
        ] {
            check(&[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", "OAUTHBEARER"),
                ("sasl.oauthbearer.token.endpoint.url", url),
                ("sasl.oauthbearer.client.credentials.client.id", "c"),
                (property, value),
            ]);
        }
    }
    for property in
        ["ssl.keystore.key", "ssl.key.pem", "ssl.keystore.certificate.chain", "ssl.truststore.certificates"]
    {
        check(&[("security.protocol", "SSL"), ("ssl.keystore.type", "PEM"), (property, &pem)]);
    }
    let folder = std::env::temp_dir().join(format!("offtake-canary-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("secrets.properties");
    std::fs::write(&file, format!("password={SECRET}\n")).unwrap();
    std::fs::write(folder.join("password"), SECRET).unwrap();
    for reference in [
        format!("${{file:{}:password}}", file.display()),
        format!("${{directory:{}:password}}", folder.display()),
        format!("${{file:{}:no-such-key}}", file.display()),
    ] {
        check(&[
            ("config.providers", "file,directory"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "alice"),
            ("sasl.password", &reference),
        ]);
        // If a property cannot have a secret, the value is refused, and not repeated.
        check(&[
            ("sasl.password", &reference),
            ("sasl.mechanism", &reference),
            ("security.protocol", &reference),
        ]);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn check(properties: &[(&str, &str)]) {
    let mut config = Config::default();
    for (name, value) in properties.iter().filter(|(_, value)| !value.is_empty()) {
        if let Err(error) = config.set(name, value) {
            is_kept(&format!("{error} {error:?} {error:#?}"));
        }
    }
    is_kept(&format!("{config:?} {config:#?} {:?}", config.client));
    let properties: Vec<(String, String)> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let played = virtually(async move {
        let log = Log::from(tracing::Level::TRACE);
        let builder = offtake::Consumer::builder("localhost:1").properties(properties);
        is_kept(&format!("{builder:?} {builder:#?}"));
        match builder.spawn_on(tokio::runtime::Handle::current()).build().await {
            Ok(consumer) => is_kept(&format!("{consumer:?} {consumer:#?}")),
            Err(error) => is_kept(&format!("{error} {error:?} {error:#?}")),
        }
        is_kept(&log.lines().join("\n"));
    });
    assert_eq!(played, Ok(()));
}
