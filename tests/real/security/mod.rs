//! Secured listeners of real Kafka, reached with Java's own settings in the form that Java takes.

mod bytes;
mod doctor;
mod idp;
mod kerberos;
mod keycloak;
mod msk_iam;
mod oidc;
mod permissions;
mod readers;
mod refusals;
mod rotation;
mod sessions;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use offtake_tests::{Builder, JavaTool, Kafka, Offtake, RecordSpec, Version};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

/// The password of every user here, with characters that need quoting.
const PASSWORD: &str = "won\"der;=,land";

/// The listeners of [`Secured`].
const TLS: &str = "TLS";
const MUTUAL: &str = "MUTUAL";
const SASL_TLS: &str = "SASLTLS";
const SASL_CLEAR: &str = "SASLCLEAR";

/// A cluster with a listener of each kind, and the files that clients need.
pub(crate) struct Secured {
    pub(crate) kafka: Kafka,
    pub(crate) tool: JavaTool,
    /// The issuer of the brokers' certificates and of `client.pem`.
    pub(crate) authority: Authority,
    folder: TempDir,
}

/// An authority, with its files.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A key and its certificate for these hosts, one after the other, valid until the end of this year.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str], until: i32) -> String {
        let mut params = params(name);
        params.not_after = date_time_ymd(until, 12, 31);
        self.sign(params, hosts)
    }

    /// The same, valid until this time.
    pub(crate) fn issue_until(&self, name: &str, hosts: &[&str], until: SystemTime) -> String {
        let mut params = params(name);
        params.not_after = date_time_ymd(1970, 1, 1) + until.duration_since(UNIX_EPOCH).unwrap();
        self.sign(params, hosts)
    }

    fn sign(&self, mut params: CertificateParams, hosts: &[&str]) -> String {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(hosts).unwrap().subject_alt_names;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

impl Secured {
    pub(crate) fn start(version: Version) -> Self {
        Self::start_with(version, |builder| builder)
    }

    /// The same, with additional settings of a test.
    pub(crate) fn start_with(version: Version, more: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let ours = Authority::new("Offtake's tests");
        write("ca.pem", ours.pem());
        let broker = ours.issue("broker", &["127.0.0.1", "localhost"], 2090);
        let (key, chain) = broker.split_at(broker.find("-----BEGIN CERTIFICATE").unwrap());
        // Inline in a property, as 2.8 accepts no file without a password.
        let inline = |pem: &str| pem.replace('\n', "\\n");
        write("client.pem", ours.issue("client", &["client"], 2090));
        write("other-ca.pem", Authority::new("somebody else").pem());
        write("other-client.pem", Authority::new("somebody else").issue("client", &["client"], 2090));
        write("expired-client.pem", ours.issue("client", &["client"], 2021));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut builder = Kafka::builder()
            .version(version)
            .listener(TLS, "SSL")
            .listener(MUTUAL, "SSL")
            .listener(SASL_TLS, "SASL_SSL")
            .listener(SASL_CLEAR, "SASL_PLAINTEXT")
            .property("ssl.keystore.type", "PEM")
            .property("ssl.keystore.key", inline(key))
            .property("ssl.keystore.certificate.chain", inline(chain))
            .property("ssl.truststore.type", "PEM")
            .property("ssl.truststore.location", path("ca.pem"))
            .property("listener.name.mutual.ssl.client.auth", "required");
        let quoted = PASSWORD.replace('"', "\\\"");
        for listener in ["sasltls", "saslclear"] {
            let of = |what: &str| format!("listener.name.{listener}.{what}");
            let modules = "org.apache.kafka.common.security";
            builder = builder
                .property(&of("sasl.enabled.mechanisms"), "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER")
                .property(
                    &of("plain.sasl.jaas.config"),
                    // A properties file, so backslashes are doubled.
                    format!("{modules}.plain.PlainLoginModule required user_alice=\"{}\";", quoted.replace('\\', "\\\\")),
                )
                .property(&of("scram-sha-256.sasl.jaas.config"), format!("{modules}.scram.ScramLoginModule required;"))
                .property(&of("scram-sha-512.sasl.jaas.config"), format!("{modules}.scram.ScramLoginModule required;"))
                .property(
                    &of("oauthbearer.sasl.jaas.config"),
                    format!("{modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"),
                );
        }
        let kafka = more(builder).start();
        let tool = JavaTool::start(&kafka);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            tool.user("alice", PASSWORD, mechanism, 8192);
        }
        Self { kafka, tool, authority: ours, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Java's settings to trust the brokers.
    pub(crate) fn trust(&self) -> String {
        format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", self.path("ca.pem").display())
    }

    /// Java's settings to present a certificate.
    pub(crate) fn identity(&self, file: &str) -> String {
        format!("ssl.keystore.type=PEM\nssl.keystore.location={}\n", self.path(file).display())
    }

    /// A file of Java's settings.
    pub(crate) fn settings(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A topic of its own with this many records.
    pub(crate) fn topic(&self, name: &str, records: i64) -> String {
        let topic = self.tool.create_topic(name, 2, &[]);
        let spec = |nth: i64| RecordSpec::to(&topic).partition((nth % 2) as i32).value(format!("v{nth}"));
        self.tool.produce(&(0..records).map(spec).collect::<Vec<_>>());
        topic
    }

    /// The command, with a file of settings.
    pub(crate) fn offtake(&self, listener: &str, settings: &Path, args: &str) -> Offtake {
        Offtake::new(args.split_whitespace())
            .args(["--brokers", &self.kafka.listener(listener)])
            .args(["--config", &settings.display().to_string()])
    }
}

/// A folder that `scripts/security-fetch` fills.
pub(crate) fn fetched(what: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/security-fetch");
    let done = Command::new(script).arg(what).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().into()
}

/// Java's settings for a mechanism, as in its documentation.
pub(crate) fn sasl(mechanism: &str, password: &str) -> String {
    let modules = "org.apache.kafka.common.security";
    let quoted = password.replace('"', "\\\"").replace('\\', "\\\\");
    let module = match mechanism {
        "PLAIN" => {
            format!("{modules}.plain.PlainLoginModule required username=\"alice\" password=\"{quoted}\";")
        }
        "OAUTHBEARER" => {
            format!(
                "{modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";"
            )
        }
        _ => format!(
            "{modules}.scram.ScramLoginModule required \\\n  username=\"alice\" \\\n  password=\"{quoted}\";"
        ),
    };
    format!("sasl.mechanism={mechanism}\nsasl.jaas.config={module}\n")
}
