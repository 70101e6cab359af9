//! OAUTHBEARER with tokens of a provider, which real brokers validate by its keys.

use std::fs;
use std::path::Path;
use std::time::Duration;

use offtake_tests::{Builder, V3_9_1, V4_3_0, Version};

use super::idp::{AUDIENCE, CLIENT, Idp, SECRET};
use super::sessions::all_is_read_once;
use super::{SASL_CLEAR, SASL_TLS, Secured};
use crate::records::by_partition;

const PACKAGE: &str = "org.apache.kafka.common.security.oauthbearer";

/// Brokers that validate tokens by the keys at a URL: Java's own validator, which needs permission for the URL.
pub(super) fn validates(builder: Builder, issuer: &str, jwks: &str) -> Builder {
    let mut builder = builder
        .jvm(&format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}"))
        .property("sasl.oauthbearer.jwks.endpoint.url", jwks)
        .property("sasl.oauthbearer.jwks.endpoint.refresh.ms", 1000)
        .property("sasl.oauthbearer.expected.issuer", issuer)
        .property("sasl.oauthbearer.expected.audience", AUDIENCE);
    for listener in ["sasltls", "saslclear"] {
        let class = format!("listener.name.{listener}.oauthbearer.sasl.server.callback.handler.class");
        builder = builder.property(&class, format!("{PACKAGE}.OAuthBearerValidatorCallbackHandler"));
    }
    builder
}

fn start(version: Version, idp: &Idp) -> Secured {
    Secured::start_with(version, |builder| validates(builder, idp.issuer(), &idp.jwks_url()))
}

/// The settings that all forms share.
fn head(idp: &Idp) -> String {
    format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url={}\n",
        idp.token_url()
    )
}

/// The form in Java's documentation since 4.1.
fn java(idp: &Idp, secret: &str) -> String {
    format!(
        "{}sasl.login.callback.handler.class={PACKAGE}.OAuthBearerLoginCallbackHandler\n\
         sasl.jaas.config={PACKAGE}.OAuthBearerLoginModule required;\n\
         sasl.oauthbearer.client.credentials.client.id={CLIENT}\n\
         sasl.oauthbearer.client.credentials.client.secret={secret}\n\
         sasl.oauthbearer.scope=read\n",
        head(idp)
    )
}

/// The older form: the client in JAAS options.
fn java_before(idp: &Idp) -> String {
    format!(
        "{}sasl.login.callback.handler.class={PACKAGE}.secured.OAuthBearerLoginCallbackHandler\n\
         sasl.jaas.config={PACKAGE}.OAuthBearerLoginModule required \\\n  clientId=\"{CLIENT}\" \\\n  clientSecret=\"{SECRET}\" \\\n  scope=\"read\";\n",
        head(idp)
    )
}

fn librdkafka(idp: &Idp) -> String {
    format!(
        "{}sasl.oauthbearer.method=oidc\nsasl.oauthbearer.client.id={CLIENT}\nsasl.oauthbearer.client.secret={SECRET}\n\
         sasl.oauthbearer.scope=read\nsasl.oauthbearer.extensions=traceId=123\n",
        head(idp)
    )
}

fn file_of(token: &Path) -> String {
    format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
         sasl.oauthbearer.token.endpoint.url=file://{}\n",
        token.display()
    )
}

/// Reads everything in every form, and reports an error when something is wrong.
fn every_form(version: Version) {
    let idp = Idp::start(Duration::from_secs(300));
    let secured = start(version, &idp);
    let topic = secured.topic("orders", 200);
    let expected = by_partition(secured.tool.read(&[&topic], "read_uncommitted"));
    let token = secured.path("token");
    fs::write(&token, idp.token()).unwrap();
    let tls = java(&idp, SECRET).replace("SASL_PLAINTEXT", "SASL_SSL") + &secured.trust();
    let forms = [
        ("java", SASL_CLEAR, java(&idp, SECRET)),
        ("java-tls", SASL_TLS, tls),
        ("java-before", SASL_CLEAR, java_before(&idp)),
        ("librdkafka", SASL_CLEAR, librdkafka(&idp)),
        ("file", SASL_CLEAR, file_of(&token)),
    ];
    let args = format!("consume {topic} --json --from earliest --until latest");
    for (form, listener, text) in forms {
        let settings = secured.settings(&format!("{form}.properties"), &text);
        let read = secured.offtake(listener, &settings, &args).run();
        assert_eq!(by_partition(read.json()), expected, "{version:?} {form}: {}", read.stderr.join("\n"));
    }
    let (given, refused) = idp.answered();
    assert_eq!((given, refused), (4, 0), "one token for all connections of a client");
    if version == V4_3_0 {
        java_reads_with_the_same_file(&secured, &idp, &topic);
    }
    refusals(&secured, &idp, &args);
}

/// The file is Java's own: Java reads with it too.
fn java_reads_with_the_same_file(secured: &Secured, idp: &Idp, topic: &str) {
    let args = format!(
        "--bootstrap-server {} --command-config {} --topic {topic} --from-beginning --max-messages 200 --timeout-ms 30000",
        secured.kafka.listener(SASL_CLEAR),
        secured.path("java.properties").display()
    );
    let read = secured
        .tool
        .program("org.apache.kafka.tools.consumer.ConsoleConsumer", &args)
        .env(
            "JAVA_TOOL_OPTIONS",
            format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={}", idp.token_url()),
        )
        .run();
    let records = read.stdout.iter().filter(|line| line.starts_with('v')).count();
    assert_eq!(records, 200, "{}", read.stderr.join("\n"));
}

/// Refusals by the endpoint or the broker are reported at once and without a secret or a token.
fn refusals(secured: &Secured, idp: &Idp, args: &str) {
    let refused = |code: i32, name: &str, text: String, sentence: &str| {
        let settings = secured.settings(&format!("{name}.properties"), &text);
        let done = secured.offtake(SASL_CLEAR, &settings, args).run();
        let said = done.stderr.join("\n");
        println!("{name}: {:?}: {}", done.elapsed, done.last_line());
        assert_eq!(done.code, Some(code), "{name}: {said}");
        assert!(said.contains(sentence), "{name}: {said}");
        for secret in [SECRET, "PASSWORD-THAT-NOBODY-MAY-SEE", "eyJ"] {
            assert!(!said.contains(secret), "{name}: {said}");
        }
        assert!(done.elapsed < Duration::from_secs(8), "{name}: {:?}", done.elapsed);
    };
    refused(
        1,
        "wrong-secret",
        java(idp, "PASSWORD-THAT-NOBODY-MAY-SEE"),
        "answers 401: invalid_client: Invalid client or secret",
    );
    let handler = java(idp, SECRET)
        .replace(&format!("{PACKAGE}.OAuthBearerLoginCallbackHandler"), "com.example.Handler");
    refused(
        2,
        "handler",
        handler,
        "`sasl.login.callback.handler.class` is a class of Java that is not supported here",
    );
    let nowhere =
        java(idp, SECRET).replace("/token\n", "/nowhere\n").replace("http://127.0.0.1", "http://192.0.2.1");
    refused(2, "in-clear", nowhere, "over https only");
    idp.set_audience("somebody else");
    refused(1, "audience", java(idp, SECRET), "SASL OAUTHBEARER as reader: the broker refused it");
    idp.set_audience(AUDIENCE);
    idp.sign_with_an_unknown_key();
    refused(1, "signature", java(idp, SECRET), "SASL OAUTHBEARER as reader: the broker refused it");
}

#[test]
fn kafka_4_3_takes_tokens_by_every_form_and_refusals_have_their_sentences() {
    every_form(V4_3_0);
}

#[test]
#[ignore = "brokers of its own, for a minute: scripts/test full runs it"]
fn kafka_3_9_takes_tokens_by_every_form_and_refusals_have_their_sentences() {
    every_form(V3_9_1);
}

/// Tokens of six seconds and sessions of three; in the middle the provider signs with a new key and requires another secret.
#[test]
fn tokens_keys_and_the_clients_secret_are_rotated_while_a_group_reads() {
    let idp = Idp::start(Duration::from_secs(6));
    // Before brokers fetch keys: at the start, a key that they do not know yet is refused for good.
    idp.rotate("first");
    let secured = Secured::start_with(V4_3_0, |builder| {
        validates(builder, idp.issuer(), &idp.jwks_url())
            .property("listener.name.saslclear.connections.max.reauth.ms", 3000)
    });
    let file = secured.settings("secrets.properties", "secret=first\n");
    let properties = [
        ("config.providers", "file".to_owned()),
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism", "OAUTHBEARER".to_owned()),
        ("sasl.oauthbearer.token.endpoint.url", idp.token_url()),
        ("sasl.oauthbearer.client.credentials.client.id", CLIENT.to_owned()),
        ("sasl.oauthbearer.client.credentials.client.secret", format!("${{file:{}:secret}}", file.display())),
    ];
    all_is_read_once(&secured, SASL_CLEAR, &properties, || {
        fs::write(&file, "secret=second\n").unwrap();
        idp.rotate("second");
    });
    let (given, refused) = idp.answered();
    println!("{given} tokens, {refused} refused");
    assert!(given >= 9, "three members, each with a token of six seconds, for more than eighteen: {given}");
}
