//! OAUTHBEARER with a real OpenID Connect provider: Keycloak, over https, and brokers that validate its tokens.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use offtake_tests::{Offtake, Running, V4_3_0, free_port};
use rcgen::KeyPair;
use serde_json::json;
use tempfile::TempDir;

use super::idp::{AUDIENCE, SECRET, jwk};
use super::oidc::validates;
use super::sessions::all_is_read_once;
use super::{Authority, SASL_CLEAR, SASL_TLS, Secured, fetched};
use crate::records::by_partition;

const PACKAGE: &str = "org.apache.kafka.common.security.oauthbearer";
const REALM: &str = "offtake";
/// The lifetime of its tokens.
const LIFETIME: u64 = 10;

/// Keycloak in a process of its own, with two clients: `reader` uses a secret, `signer` a signature.
struct Keycloak {
    http: u16,
    https: u16,
    folder: TempDir,
    _process: Running,
}

impl Keycloak {
    fn start() -> Self {
        let (folder, http, https) = (TempDir::new().unwrap(), free_port(), free_port());
        let path = |name: &str| folder.path().join(name);
        // It writes to its own folder when it starts; several runs at once would share it.
        let home = folder.path().join("keycloak");
        let copied = std::process::Command::new("cp").arg("-r").arg(fetched("keycloak")).arg(&home).status();
        assert!(copied.unwrap().success());
        let authority = Authority::new("Keycloak's");
        fs::write(path("ca.pem"), authority.pem()).unwrap();
        let pair = authority.issue("keycloak", &["localhost"], 2090);
        let (key, chain) = pair.split_at(pair.find("-----BEGIN CERTIFICATE").unwrap());
        fs::write(path("key.pem"), key).unwrap();
        fs::write(path("chain.pem"), chain).unwrap();
        let signer = KeyPair::generate().unwrap();
        fs::write(path("signer.pem"), signer.serialize_pem()).unwrap();
        fs::write(path("template.json"), json!({ "header": { "kid": "signer" } }).to_string()).unwrap();
        fs::create_dir_all(home.join("data/import")).unwrap();
        fs::write(home.join("data/import/realm.json"), realm(&signer).to_string()).unwrap();
        let option = |name: &str, value: String| format!("--{name}={value}");
        let process = Offtake::new([home.join("bin/kc.sh").display().to_string(), "start-dev".to_owned()])
            .args([
                "--import-realm".to_owned(),
                "--db=dev-mem".to_owned(),
                option("http-host", "127.0.0.1".to_owned()),
                option("http-port", http.to_string()),
                option("https-port", https.to_string()),
                option("https-certificate-file", path("chain.pem").display().to_string()),
                option("https-certificate-key-file", path("key.pem").display().to_string()),
            ])
            .instead("bash")
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
            .start();
        let keycloak = Self { http, https, folder, _process: process };
        keycloak.wait();
        keycloak
    }

    /// Waits until it answers for the realm, which is imported last.
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !self.answers() {
            assert!(Instant::now() < deadline, "Keycloak is not up");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.http))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let path = format!("/realms/{REALM}/.well-known/openid-configuration");
            write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The issuer in its tokens that are requested over https.
    fn issuer(&self) -> String {
        format!("https://localhost:{}/realms/{REALM}", self.https)
    }

    fn token_url(&self) -> String {
        format!("{}/protocol/openid-connect/token", self.issuer())
    }

    /// Without TLS, for brokers, which are not tested here.
    fn jwks_url(&self) -> String {
        format!("http://127.0.0.1:{}/realms/{REALM}/protocol/openid-connect/certs", self.http)
    }
}

fn realm(signer: &KeyPair) -> serde_json::Value {
    let audience = json!({
        "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": { "included.custom.audience": AUDIENCE, "access.token.claim": "true" },
    });
    let client = |id: &str, authenticator: &str| {
        json!({
            "clientId": id, "clientAuthenticatorType": authenticator, "publicClient": false,
            "standardFlowEnabled": false, "serviceAccountsEnabled": true, "protocolMappers": [audience],
        })
    };
    let (mut reader, mut of_signer) = (client("reader", "client-secret"), client("signer", "client-jwt"));
    reader["secret"] = json!(SECRET);
    of_signer["attributes"] = json!({
        "use.jwks.string": "true",
        "jwks.string": json!({ "keys": [jwk(signer, "signer")] }).to_string(),
        "token.endpoint.auth.signing.alg": "ES256",
    });
    json!({
        "realm": REALM, "enabled": true, "sslRequired": "none", "accessTokenLifespan": LIFETIME,
        "clients": [reader, of_signer],
    })
}

/// The settings that both clients share, as for Java.
fn head(keycloak: &Keycloak) -> String {
    format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url={}\n\
         sasl.login.callback.handler.class={PACKAGE}.OAuthBearerLoginCallbackHandler\n",
        keycloak.token_url(),
    )
}

/// The trust of the endpoint in Java's form: JAAS options.
fn jaas(keycloak: &Keycloak, more: &str) -> String {
    format!(
        "sasl.jaas.config={PACKAGE}.OAuthBearerLoginModule required {more} \\\n  ssl.truststore.type=PEM \
         ssl.truststore.location=\"{}\";\n",
        keycloak.path("ca.pem").display(),
    )
}

#[test]
#[ignore = "fetches and starts Keycloak: scripts/test full runs it"]
fn keycloaks_tokens_are_asked_for_by_secret_and_by_assertion_and_renewed_while_a_group_reads() {
    let keycloak = Keycloak::start();
    let secured = Secured::start_with(V4_3_0, |builder| {
        validates(builder, &keycloak.issuer(), &keycloak.jwks_url())
            .property("listener.name.saslclear.connections.max.reauth.ms", 5000)
    });
    let topic = secured.topic("orders", 100);
    let expected = by_partition(secured.tool.read(&[&topic], "read_uncommitted"));
    let args = format!("consume {topic} --json --from earliest --until latest");
    let trust = secured.trust();
    let secret = jaas(&keycloak, &format!("clientId=reader clientSecret=\"{SECRET}\""));
    let assertion = format!(
        "sasl.oauthbearer.assertion.private.key.file={}\nsasl.oauthbearer.assertion.algorithm=ES256\n\
         sasl.oauthbearer.assertion.template.file={}\nsasl.oauthbearer.assertion.claim.aud={}\n\
         sasl.oauthbearer.assertion.claim.iss=signer\nsasl.oauthbearer.assertion.claim.sub=signer\n\
         sasl.oauthbearer.assertion.claim.jti.include=true\n\
         sasl.oauthbearer.client.credentials.client.id=signer\n",
        keycloak.path("signer.pem").display(),
        keycloak.path("template.json").display(),
        keycloak.issuer(),
    );
    let forms = [
        ("secret", format!("{}{secret}{trust}", head(&keycloak))),
        ("assertion", format!("{}{}{assertion}{trust}", head(&keycloak), jaas(&keycloak, ""))),
    ];
    for (form, text) in &forms {
        let settings = secured.settings(&format!("{form}.properties"), text);
        let read = secured.offtake(SASL_TLS, &settings, &args).run();
        assert_eq!(by_partition(read.json()), expected, "{form}: {}", read.stderr.join("\n"));
    }
    let refused = [
        ("wrong secret", forms[0].1.replace(SECRET, "wrong"), "answers 401: unauthorized_client"),
        (
            "unknown client",
            forms[0].1.replace("clientId=reader", "clientId=nobody"),
            "answers 401: invalid_client",
        ),
        (
            "no trust",
            forms[0].1.replace("ssl.truststore.type=PEM ssl.truststore.location", "x=y z"),
            "options in `sasl.jaas.config`",
        ),
        (
            "somebody else's assertion",
            forms[1].1.replace("claim.iss=signer", "claim.iss=nobody"),
            "answers 400: invalid_client: Client authentication with signed JWT failed",
        ),
    ];
    for (name, text, sentence) in refused {
        let settings = secured.settings("refused.properties", &text);
        let done = secured.offtake(SASL_TLS, &settings, &args).run();
        let said = done.stderr.join("\n");
        println!("{name}: {:?}: {}", done.elapsed, done.last_line());
        assert_eq!(done.code, Some(1), "{name}: {said}");
        assert!(said.contains(sentence) && !said.contains(SECRET) && !said.contains("eyJ"), "{name}: {said}");
    }
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl.mechanism", "OAUTHBEARER".to_owned()),
        ("sasl.oauthbearer.method", "oidc".to_owned()),
        ("sasl.oauthbearer.token.endpoint.url", keycloak.token_url()),
        ("sasl.oauthbearer.client.id", "reader".to_owned()),
        ("sasl.oauthbearer.client.secret", SECRET.to_owned()),
        ("https.ca.location", keycloak.path("ca.pem").display().to_string()),
    ];
    all_is_read_once(&secured, SASL_CLEAR, &properties, || {});
}
