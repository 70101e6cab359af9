//! What the properties of TLS come to.

use offtake_net::{
    Secret,
    tls::{Identity, Keystore, Pem, Source, TlsConfig, Trust, Verification},
};

use super::super::{SecurityConfig, SecurityProtocol};

fn ssl(settings: &[(&'static str, &str)]) -> SecurityConfig {
    let mut config = SecurityConfig { protocol: SecurityProtocol::Ssl, ..SecurityConfig::default() };
    for (name, value) in settings {
        config.put(name, value).unwrap();
    }
    config
}

fn tls(settings: &[(&'static str, &str)]) -> TlsConfig {
    let config = ssl(settings);
    assert_eq!(config.tls_conflict(), None, "{settings:?}");
    config.tls_config().unwrap()
}

fn refusal(settings: &[(&'static str, &str)]) -> String {
    ssl(settings).tls_conflict().unwrap_or_else(|| panic!("{settings:?} is not refused"))
}

fn file(property: &'static str, path: &str) -> Pem {
    Pem { property, source: Source::File(path.into()) }
}

fn inline(property: &'static str, text: &str) -> Pem {
    Pem { property, source: Source::Inline(Secret::from(text)) }
}

fn keystore(property: &'static str, path: &str, password: Option<&str>) -> Keystore {
    Keystore { property, path: path.into(), password: password.map(Secret::from) }
}

#[test]
fn what_is_trusted_is_a_keystore_or_pem_or_the_systems() {
    let location = "ssl.truststore.location";
    for (settings, trust) in [
        (&[][..], Trust::System),
        (&[("ssl.ca.location", "probe")], Trust::System),
        (&[("ssl.ca.location", "/ca.pem")], Trust::Pem(file("ssl.ca.location", "/ca.pem"))),
        (&[("ssl.ca.pem", "PEM")], Trust::Pem(inline("ssl.ca.pem", "PEM"))),
        (&[("ssl.truststore.certificates", "PEM")], Trust::Pem(inline("ssl.truststore.certificates", "PEM"))),
        (&[(location, "/t.jks")], Trust::Keystore(keystore(location, "/t.jks", None))),
        (
            &[(location, "/t.p12"), ("ssl.truststore.type", "pkcs12"), ("ssl.truststore.password", "p")],
            Trust::Keystore(keystore(location, "/t.p12", Some("p"))),
        ),
        (&[(location, "/t.pem"), ("ssl.truststore.type", "PEM")], Trust::Pem(file(location, "/t.pem"))),
    ] {
        assert_eq!(tls(settings).trust, trust, "{settings:?}");
    }
    assert!(refusal(&[(location, "/t"), ("ssl.ca.pem", "PEM")]).contains("say the same thing twice"));
    assert!(
        refusal(&[(location, "/t"), ("ssl.truststore.type", "BKS")]).contains("takes JKS, PKCS12 or PEM")
    );
}

#[test]
fn what_is_sent_is_of_one_keystore_or_a_chain_with_its_key() {
    let location = "ssl.keystore.location";
    let pem = |chain, key, password: Option<&str>| Identity::Pem {
        chain,
        key,
        key_password: password.map(Secret::from),
    };
    for (settings, identity) in [
        (&[][..], None),
        (
            &[(location, "/k.jks"), ("ssl.keystore.password", "p"), ("ssl.key.password", "q")],
            Some(Identity::Keystore {
                keystore: keystore(location, "/k.jks", Some("p")),
                key_password: Some(Secret::from("q")),
            }),
        ),
        (
            &[(location, "/k.pem"), ("ssl.keystore.type", "PEM")],
            Some(pem(file(location, "/k.pem"), file(location, "/k.pem"), None)),
        ),
        (
            &[
                ("ssl.certificate.location", "/c.pem"),
                ("ssl.key.location", "/k.pem"),
                ("ssl.key.password", "q"),
            ],
            Some(pem(
                file("ssl.certificate.location", "/c.pem"),
                file("ssl.key.location", "/k.pem"),
                Some("q"),
            )),
        ),
        (
            &[("ssl.keystore.certificate.chain", "C"), ("ssl.keystore.key", "K")],
            Some(pem(inline("ssl.keystore.certificate.chain", "C"), inline("ssl.keystore.key", "K"), None)),
        ),
    ] {
        assert_eq!(tls(settings).identity, identity, "{settings:?}");
    }
    for (property, advice) in [
        ("ssl.keystore.certificate.chain", "set `ssl.keystore.key`"),
        ("ssl.certificate.location", "set `ssl.key.location` or `ssl.key.pem`"),
        ("ssl.keystore.key", "set `ssl.keystore.certificate.chain`"),
        ("ssl.key.pem", "set `ssl.certificate.location` or `ssl.certificate.pem`"),
    ] {
        let said = refusal(&[(property, "x")]);
        assert!(said.contains(property) && said.contains(advice), "{said}");
    }
}

#[test]
fn versions_suites_and_verification_are_as_java_and_librdkafka_write_them() {
    let all = tls(&[
        ("ssl.protocol", "TLSv1.3"),
        ("ssl.enabled.protocols", "TLSv1.2, TLSv1.3,"),
        ("ssl.cipher.suites", "A,B"),
    ]);
    assert_eq!(all.protocol.as_deref(), Some("TLSv1.3"));
    assert_eq!(
        (all.enabled_protocols.join(" "), all.cipher_suites.join(" ")),
        ("TLSv1.2 TLSv1.3".to_owned(), "A B".to_owned())
    );
    let algorithm = "ssl.endpoint.identification.algorithm";
    for (settings, verification) in [
        (&[][..], Verification::Full),
        (&[(algorithm, "HTTPS")], Verification::Full),
        (&[(algorithm, "none")], Verification::WithoutHostName),
        (&[(algorithm, "")], Verification::WithoutHostName),
        (&[("enable.ssl.certificate.verification", "False")], Verification::Off),
        (&[("enable.ssl.certificate.verification", "true")], Verification::Full),
    ] {
        assert_eq!(tls(settings).verification, verification, "{settings:?}");
    }
    assert!(refusal(&[(algorithm, "ldaps")]).contains("takes https"));
    assert!(refusal(&[("enable.ssl.certificate.verification", "yes")]).contains("takes true or false"));
}

/// Whether connections are encrypted is a matter of the protocol; the files are read when it is.
#[test]
fn files_are_read_for_connections_that_are_encrypted() {
    let settings = [("ssl.ca.location", "no/such/file.pem")];
    let error = ssl(&settings).build_tls().map(|tls| tls.is_some()).unwrap_err().to_string();
    assert!(error.contains("ssl.ca.location") && error.contains("no/such/file.pem"), "{error}");
    let plain = SecurityConfig { protocol: SecurityProtocol::Plaintext, ..ssl(&settings) };
    assert!(plain.build_tls().unwrap().is_none());
    let twice = [("ssl.truststore.location", "/t"), ("ssl.ca.pem", "PEM")];
    assert!(ssl(&twice).tls_conflict().is_some());
    let plain = SecurityConfig { protocol: SecurityProtocol::Plaintext, ..ssl(&twice) };
    assert_eq!(plain.tls_conflict(), None);
}

/// They are named in the log, so that nobody believes to be safe by them.
#[test]
fn properties_without_effect_under_the_protocol_are_known() {
    let settings =
        [("ssl.ca.location", "/ca.pem"), ("sasl.username", "alice"), ("https.ca.location", "/ca.pem")];
    for (protocol, unused) in [
        (SecurityProtocol::Plaintext, &["https.ca.location", "sasl.username", "ssl.ca.location"][..]),
        (SecurityProtocol::Ssl, &["https.ca.location", "sasl.username"]),
        (SecurityProtocol::SaslPlaintext, &["ssl.ca.location"]),
        (SecurityProtocol::SaslSsl, &[]),
    ] {
        assert_eq!(SecurityConfig { protocol, ..ssl(&settings) }.unused(), unused, "{protocol}");
    }
}
