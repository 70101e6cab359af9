//! The broker that all clients read from, and its storage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use offtake_tests::{Builder, Kafka, V4_3_0};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::as_shipped::as_shipped;
use crate::settings::Settings;

/// The core of the broker, and that of the client, where they are separated.
pub(crate) const BROKER_CORE: usize = 0;
pub(crate) const CLIENT_CORE: usize = 1;

pub(crate) struct Broker {
    kafka: Option<Kafka>,
    keep: bool,
    data: PathBuf,
    /// The certificate of its authority, where clients use TLS.
    authority: Option<PathBuf>,
}

/// The listener for TLS.
const TLS: &str = "TLS";

impl Broker {
    pub(crate) fn start(settings: &Settings) -> Result<Self, String> {
        let mut builder = as_shipped().proxied(); // only the clients of --waste go through it
        let kept = settings.keep.as_ref().map(|folder| format(folder)).transpose()?;
        if let Some(data) = &kept {
            builder = builder.property("log.dirs", data.display());
        }
        let secured = settings.tls.then(secure).transpose()?;
        if let Some((key, chain, _)) = &secured {
            builder = with_tls(builder, key, chain);
        }
        let kafka = builder.start();
        let authority = secured.map(|(.., authority)| {
            let file = kafka.folder().join("authority.pem");
            fs::write(&file, authority).map(|()| file).map_err(|error| error.to_string())
        });
        let authority = authority.transpose()?;
        let data = kept.clone().unwrap_or_else(|| kafka.folder().join("broker-1/data"));
        Ok(Self { kafka: Some(kafka), keep: kept.is_some(), data, authority })
    }

    pub(crate) fn kafka(&self) -> &Kafka {
        self.kafka.as_ref().unwrap_or_else(|| unreachable!("it is taken when this is dropped"))
    }

    /// The address for clients: `HOST:PORT`, or `HOST:PORT+FILE` for TLS with an authority's certificate.
    pub(crate) fn bootstrap(&self) -> String {
        match &self.authority {
            Some(authority) => format!("{}+{}", self.kafka().listener(TLS), authority.display()),
            None => self.kafka().direct(),
        }
    }

    /// Bytes of all batches of a topic.
    pub(crate) fn log_bytes(&self, topic: &str) -> u64 {
        let folders = fs::read_dir(&self.data).into_iter().flatten().flatten();
        let ours = folders.filter(|folder| {
            let name = folder.file_name().to_string_lossy().into_owned();
            name.rsplit_once('-').is_some_and(|(of, _)| of == topic)
        });
        let files = ours.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
        logs.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
    }

    /// Pins all threads of the broker to these cores.
    pub(crate) fn pin(&self, cores: &str) -> Result<(), String> {
        let broker = self.process().ok_or("the broker's process cannot be found")?;
        let status = Command::new("taskset").args(["-a", "-p", "-c", cores, &broker.to_string()]).output();
        let done = status.map_err(|error| format!("taskset: {error}"))?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }

    /// The process whose command line contains its folder.
    fn process(&self) -> Option<u32> {
        let ours = self.kafka().folder().join("broker-1/server.properties");
        let ours = ours.to_string_lossy().into_owned();
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_string_lossy().parse().ok()?;
            let words = fs::read(entry.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&words).contains(&ours).then_some(pid)
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(kafka) = self.kafka.take().filter(|_| self.keep) {
            kafka.broker(1).stop(); // so that its logs need no recovery next time
        }
    }
}

/// A key, its certificate, and that of the authority which issued it: P-256 and ECDSA, in PEM.
fn secure() -> Result<(String, String, String), String> {
    let issue = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // OpenSSL treats a certificate whose issuer has the same name as self-signed.
        params.distinguished_name.push(DnType::CommonName, "the bench's authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        Ok((key.serialize_pem(), certificate.pem(), authority.pem()))
    };
    issue().map_err(|error: rcgen::Error| format!("no certificate: {error}"))
}

fn with_tls(builder: Builder, key: &str, chain: &str) -> Builder {
    let inline = |pem: &str| pem.replace('\n', "\\n");
    builder
        .listener(TLS, "SSL")
        // With the shipped setting, too: without the JVM's second compiler it encrypts 30 MB a second.
        .jvm("-XX:TieredStopAtLevel=4")
        .property("ssl.keystore.type", "PEM")
        .property("ssl.keystore.key", inline(key))
        .property("ssl.keystore.certificate.chain", inline(chain))
}

/// A data folder of a broker of its own, formatted when it is new.
fn format(folder: &Path) -> Result<PathBuf, String> {
    let home = std::env::var_os("OFFTAKE_KAFKA_DIR").map_or_else(|| PathBuf::from(".kafka"), PathBuf::from);
    let formatted = home.join(V4_3_0.name()).join("formatted");
    drop(V4_3_0.java()); // fetches it if it is missing
    let make = || {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        if !folder.join("meta.properties").exists() {
            for name in ["bootstrap.checkpoint", "meta.properties"] {
                fs::copy(formatted.join(name), folder.join(name))?;
            }
        }
        Ok(folder)
    };
    make().map_err(|error: std::io::Error| format!("{}: {error}", folder.display()))
}
