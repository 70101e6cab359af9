//! Keystores, certificates and PEM, as written by Java's `keytool` and OpenSSL.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::Corpora;

const FILES: [&str; 10] = [
    "java.jks",
    "java-one-password.jks",
    "java-trust.jks",
    "java-trust-plain.p12",
    "openssl-cheap.p12",
    "openssl-nomac.p12",
    "openssl-plain.p12",
    "ca.pem",
    "ec-sec1.pem",
    "rsa-proc-type.pem",
];
/// Certificates, which are added without their PEM.
const CERTIFICATES: [&str; 3] = ["ca", "ec", "v1"];

/// The files that the tests of `net` read.
pub(crate) fn files(corpora: &mut Corpora) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/net/tests/net/tls/data");
    for name in FILES {
        corpora.add("keystore", name, &[&fs::read(folder.join(name)).expect("data/make makes it")]);
    }
    for name in CERTIFICATES {
        let pem = fs::read_to_string(folder.join(format!("{name}.pem"))).expect("data/make makes it");
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = BASE64_STANDARD.decode(base64).expect("openssl writes base64");
        corpora.add("keystore", &format!("{name}.der"), &[&der]);
    }
}
