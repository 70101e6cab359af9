//! All supported formats of keys and certificates, as created by `data/make`.

use std::path::PathBuf;

use offtake_net::{
    Secret,
    tls::{Identity, Keystore, Tls, TlsConfig, TlsConfigError, Trust},
};
use rustls::version::{TLS12, TLS13};

use super::{
    authority::{Authority, file},
    server::{Clients, Server},
};

const HOST: &str = "broker-1.example";

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "net", "tls", "data", name].iter().collect()
}

fn keystore(property: &'static str, name: &str, password: Option<&str>) -> Keystore {
    Keystore { property, path: path(name), password: password.map(Secret::from) }
}

fn identity(name: &str, password: Option<&str>, key_password: Option<&str>) -> Identity {
    Identity::Keystore {
        keystore: keystore("ssl.keystore.location", name, password),
        key_password: key_password.map(Secret::from),
    }
}

fn pem(key: &str, key_password: Option<&str>) -> Identity {
    let chain = if key.starts_with("rsa") { "rsa.pem" } else { "ec.pem" };
    Identity::Pem {
        chain: file("ssl.certificate.location", path(chain)),
        key: file("ssl.key.location", path(key)),
        key_password: key_password.map(Secret::from),
    }
}

fn trust(name: &str, password: Option<&str>) -> TlsConfig {
    let trust = Trust::Keystore(keystore("ssl.truststore.location", name, password));
    TlsConfig { trust, ..Default::default() }
}

fn error(config: TlsConfig) -> TlsConfigError {
    Tls::new(config).unwrap_err()
}

/// Whether a broker that trusts only `data/ca.pem` accepts the client's certificate and key.
async fn is_accepted(identity: Identity, what: &str) {
    let authority = Authority::new("Test CA");
    let clients = std::fs::read_to_string(path("ca.pem")).unwrap();
    for version in [&TLS12, &TLS13] {
        let server = Server::of(&authority.issue(&[HOST]), Clients::OfPem(&clients), &[version]);
        let config = TlsConfig { identity: Some(identity.clone()), ..authority.trusted() };
        let tls = Tls::new(config).unwrap_or_else(|error| panic!("{what}: {error}"));
        let seen = server.meet(&tls, HOST).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(seen.certificate.is_some(), "{what}");
    }
}

#[tokio::test]
async fn keys_are_read_in_every_format() {
    for (key, password) in [
        ("rsa-pkcs8.pem", None),
        ("rsa-pkcs1.pem", None),
        ("ec-pkcs8.pem", None),
        ("ec-sec1.pem", None),
        ("rsa-aes256.pem", Some("keykey")),
        ("rsa-aes128-sha1.pem", Some("keykey")),
        ("rsa-3des.pem", Some("keykey")),
        ("rsa-scrypt.pem", Some("keykey")),
        ("rsa-pbes1.pem", Some("keykey")),
        ("rsa-pkcs8.pem", Some("nobody needs it")),
    ] {
        is_accepted(pem(key, password), key).await;
    }
    for (name, password, key_password) in [
        ("openssl.p12", Some("changeit"), None),
        ("openssl-cheap.p12", Some("changeit"), Some("changeit")),
        ("openssl-legacy.p12", Some("changeit"), None),
        ("openssl-nomac.p12", Some("changeit"), None),
        ("openssl-plain.p12", None, None),
        ("java.p12", Some("changeit"), None),
        ("java-legacy.p12", Some("changeit"), None),
        ("java.jks", Some("changeit"), Some("keykey")),
        ("java.jks", None, Some("keykey")),
        ("java-one-password.jks", Some("changeit"), None),
    ] {
        is_accepted(identity(name, password, key_password), name).await;
    }
}

#[test]
fn keys_that_cannot_be_read_say_what_to_do() {
    for (key, password, property, says) in [
        ("rsa-aes256.pem", None, "ssl.key.password", "it is not set, and the private key of"),
        ("rsa-aes256.pem", Some("wrong"), "ssl.key.password", "it does not decrypt the private key of"),
        ("rsa-scrypt.pem", Some("wrong"), "ssl.key.password", "it does not decrypt the private key of"),
        ("rsa-proc-type.pem", Some("keykey"), "ssl.key.location", "openssl pkcs8 -topk8"),
        ("rsa-pbes1.pem", Some("wrong"), "ssl.key.password", "it does not decrypt the private key of"),
        ("ca.pem", None, "ssl.key.location", "has no private key"),
        ("java.p12", None, "ssl.key.location", "`ssl.keystore.type`"),
    ] {
        let error = error(TlsConfig { identity: Some(pem(key, password)), ..Default::default() });
        assert_eq!(error.property, property, "{error}");
        assert!(
            error.reason.contains(says) && error.reason.contains(key) || key == "rsa-proc-type.pem",
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("wrong"), "{error}");
    }
    let mixed = Identity::Pem {
        chain: file("ssl.certificate.location", path("ec.pem")),
        key: file("ssl.key.location", path("rsa-pkcs8.pem")),
        key_password: None,
    };
    let error = error(TlsConfig { identity: Some(mixed), ..Default::default() });
    assert_eq!(error.property, "ssl.certificate.location");
    assert!(error.reason.contains("has no certificate of the key that"), "{error}");
}

#[test]
fn keystores_that_cannot_be_read_say_what_to_do() {
    let (keystore, password) = ("ssl.keystore.location", "ssl.keystore.password");
    for (name, given, key_password, property, says) in [
        ("java.p12", Some("wrong"), None, password, "it is not the password of"),
        ("java.p12", None, None, password, "it is not set, and"),
        ("java-legacy.p12", Some("wrong"), None, password, "it is not the password of"),
        ("openssl-nomac.p12", Some("wrong"), None, password, "it is not the password of"),
        ("java.jks", Some("wrong"), Some("keykey"), password, "it is not the password of"),
        (
            "java.jks",
            Some("changeit"),
            Some("wrong"),
            "ssl.key.password",
            "it is not the password of the key in",
        ),
        (
            "java.jks",
            Some("changeit"),
            None,
            password,
            "which `ssl.key.password` sets if it is not the file's own",
        ),
        ("java.jceks", Some("changeit"), None, keystore, "keytool -importkeystore"),
        ("java-trust.jks", Some("changeit"), None, keystore, "has no private key"),
        ("java-trust.p12", Some("changeit"), None, keystore, "has no private key"),
        ("ec-pkcs8.pem", None, None, keystore, "is PEM: set `ssl.keystore.type=PEM`"),
        ("make", None, None, keystore, "is neither PKCS12 nor JKS"),
        ("nowhere.jks", None, None, keystore, "there is no such file"),
    ] {
        let identity = Some(identity(name, given, key_password));
        let error = error(TlsConfig { identity, ..Default::default() });
        assert_eq!(error.property, property, "{name}: {error}");
        assert!(error.reason.contains(says) && error.reason.contains(name), "{name}: {error}");
        assert!(!format!("{error} {error:?}").contains("wrong"), "{name}: {error}");
    }
}

#[tokio::test]
async fn trusted_certificates_are_read_in_every_format() {
    // The key of the authority in these files no longer exists. A certificate by another authority of the same name shows that
    // the name is known.
    let another = Authority::new("Fixture CA");
    let server = Server::new(&another.issue(&[HOST]));
    for (name, password) in [
        ("java-trust.jks", Some("changeit")),
        ("java-trust.jks", None),
        ("java-trust.p12", Some("changeit")),
        ("java-trust-legacy.p12", Some("changeit")),
        ("java-trust-plain.p12", None),
        ("openssl-trust.p12", Some("changeit")),
    ] {
        let error = server.refuses(trust(name, password), HOST).await;
        assert!(error.reason.contains("by another authority of that name"), "{name}: {error}");
    }
}

#[test]
fn truststores_that_cannot_be_read_say_what_to_do() {
    let (truststore, password) = ("ssl.truststore.location", "ssl.truststore.password");
    for (name, given, property, says) in [
        ("java-trust.jks", Some("wrong"), password, "it is not the password of"),
        ("java-trust.p12", Some("wrong"), password, "it is not the password of"),
        ("java-trust.p12", None, password, "it is not set, and"),
        ("java.jks", Some("changeit"), truststore, "has no trusted certificate"),
        ("java.p12", Some("changeit"), truststore, "has no trusted certificate"),
        ("ca.pem", None, truststore, "is PEM: set `ssl.truststore.type=PEM`"),
    ] {
        let error = error(trust(name, given));
        assert_eq!(error.property, property, "{name}: {error}");
        assert!(error.reason.contains(says) && error.reason.contains(name), "{name}: {error}");
    }
}

#[test]
fn no_output_shows_a_password_or_a_key() {
    let key = Authority::new("x").issue(&["x"]);
    let text = key.key.serialize_pem();
    let configs = [
        TlsConfig { identity: Some(key.identity()), ..trust("java-trust.jks", Some("changeit")) },
        TlsConfig {
            identity: Some(identity("java.jks", Some("changeit"), Some("keykey"))),
            ..Default::default()
        },
        TlsConfig { identity: Some(pem("rsa-aes256.pem", Some("keykey"))), ..Default::default() },
    ];
    for config in configs {
        let shown = format!("{config:?} {config:#?} {:?}", Tls::new(config.clone()).unwrap());
        for secret in ["changeit", "keykey", &text.lines().nth(1).unwrap()[..20]] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
