//! Key stores and PEM, as Java's `keytool` and OpenSSL wrote them.

use std::{fs, path::Path};

use crate::Corpora;

const FILES: [&str; 6] =
    ["java.jks", "java-one-password.jks", "java-trust.jks", "ca.pem", "ec-sec1.pem", "rsa-proc-type.pem"];

/// The files that the tests of `net` read.
pub(crate) fn files(corpora: &mut Corpora) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/net/tests/net/tls/data");
    for name in FILES {
        corpora.add("keystore", name, &[&fs::read(folder.join(name)).expect("data/make makes it")]);
    }
}
