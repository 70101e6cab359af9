//! The measured systems, and how a process of each is started.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use offtake_tests::{Offtake, V4_3_0};

use crate::sending::SendJob;
use crate::settings::{Section, Settings};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    Floor,
    Java,
    Librdkafka,
    FranzGo,
    Krafka,
    KrafkaDefault,
    Rskafka,
    Barnabas,
    Offtake,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A program's job: the words of its command line.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) mode: &'static str,
    pub(crate) settings: &'static str,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    pub(crate) count: u64,
}

impl Job {
    fn words(&self, settings: &str) -> Vec<OsString> {
        let (partitions, count) = (self.partitions.to_string(), self.count.to_string());
        [self.mode, settings, &self.bootstrap, &self.topic, &partitions, &count].map(OsString::from).into()
    }
}

/// A program and its arguments.
pub(crate) type Line = (PathBuf, Vec<OsString>);

impl System {
    pub(crate) const ALL: [Self; 9] = [
        Self::Floor,
        Self::Java,
        Self::Librdkafka,
        Self::FranzGo,
        Self::Krafka,
        Self::KrafkaDefault,
        Self::Rskafka,
        Self::Barnabas,
        Self::Offtake,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Java => "java",
            Self::Librdkafka => "librdkafka",
            Self::FranzGo => "franz-go",
            Self::Krafka => "krafka",
            Self::KrafkaDefault => "krafka-default",
            Self::Rskafka => "rskafka",
            Self::Barnabas => "barnabas",
            Self::Offtake => "offtake",
        }
    }

    /// Whether the system takes part in a section.
    pub(crate) fn takes_part(self, section: Section, mode: &str) -> bool {
        match (self, section) {
            (_, Section::Cost | Section::Pinned) => true,
            (_, Section::Send | Section::SendPinned | Section::Transactions) => {
                matches!(self, Self::Java | Self::Librdkafka | Self::FranzGo | Self::Offtake)
            }
            (Self::Floor, _) => false,
            // Where all run with their defaults it would be there twice.
            (Self::KrafkaDefault, section) => section == Section::Overlap,
            (Self::Rskafka, Section::Start) => mode == "start-assign",
            (Self::Barnabas, Section::Start) => mode != "start-consumer",
            _ => true,
        }
    }

    /// Whether its program here supports TLS.
    fn knows_tls(self) -> bool {
        matches!(self, Self::Floor | Self::Java | Self::Librdkafka | Self::FranzGo | Self::Offtake)
    }

    /// The file name of its program.
    fn file(self) -> Option<&'static str> {
        match self {
            Self::Floor => Some("floor"),
            Self::Librdkafka => Some("rdkafka"),
            Self::FranzGo => Some("franz-go"),
            Self::Krafka | Self::KrafkaDefault => Some("krafka"),
            Self::Rskafka => Some("rskafka"),
            Self::Barnabas => Some("barnabas"),
            Self::Java => Some("java/Peer.class"),
            Self::Offtake => None,
        }
    }

    /// Why it cannot be measured here, if so.
    pub(crate) fn obstacle(self, settings: &Settings) -> Option<String> {
        if settings.tls && !self.knows_tls() {
            return Some("its program here has no TLS".to_owned());
        }
        let file = settings.programs.join(self.file()?);
        (!file.is_file()).then(|| format!("{} is not there: it could not be built", file.display()))
    }

    /// The command that reads as `job` describes. The project's own program is this bench itself.
    pub(crate) fn line(self, settings: &Settings, job: &Job) -> Line {
        let words = job.words(if self == Self::KrafkaDefault { "default" } else { job.settings });
        match self {
            Self::Java => java(settings, "Peer", words),
            Self::Offtake => {
                let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("peers"));
                (program, std::iter::once("offtake".into()).chain(words).collect())
            }
            _ => (settings.programs.join(self.file().unwrap_or_default()), words),
        }
    }

    /// The command that sends as `job` describes.
    pub(crate) fn send_line(self, settings: &Settings, job: &SendJob) -> Line {
        let SendJob { load, bootstrap, topic, count } = job;
        let how = if load.is_equal { "equal" } else { "default" };
        let (size, count) = (load.size.to_string(), count.to_string());
        let words = [how, bootstrap, topic, &size, load.codec, &count].map(OsString::from);
        match self {
            Self::Java => java(settings, "Send", words.into()),
            Self::Librdkafka => (settings.programs.join("rdkafka-send"), words.into()),
            Self::FranzGo => {
                let words = std::iter::once("send".into()).chain(words).collect();
                (settings.programs.join("franz-go"), words)
            }
            _ => bench_produce(job),
        }
    }

    /// The command that sends in transactions: `transact MS BOOTSTRAP TOPIC SECONDS`.
    pub(crate) fn transact_line(self, settings: &Settings, words: [&str; 4]) -> Line {
        let words = std::iter::once("transact").chain(words).map(OsString::from);
        match self {
            Self::Java => java(settings, "Transact", words.skip(1).collect()),
            Self::Librdkafka => (settings.programs.join("rdkafka-send"), words.collect()),
            Self::FranzGo => (settings.programs.join("franz-go"), words.collect()),
            _ => {
                let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("peers"));
                (program, std::iter::once("offtake".into()).chain(words).collect())
            }
        }
    }
}

/// A class of `java/` with the clients of Kafka 4.3.0.
pub(crate) fn java(settings: &Settings, class: &str, words: Vec<OsString>) -> Line {
    let command = V4_3_0.java();
    let mut arguments: Vec<OsString> = command.get_args().map(Into::into).collect();
    if let Some(classes) = arguments.last_mut() {
        classes.push(":");
        classes.push(settings.programs.join("java"));
    }
    arguments.push("-Xmx1g".into());
    arguments.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=error".into());
    arguments.push(class.into());
    arguments.extend(words);
    (command.get_program().into(), arguments)
}

/// The command, whose process times bash prints (to the millisecond) in the last line of stderr: real, user, sys. It
/// ends with bash, in any case.
fn timed() -> Vec<OsString> {
    const SCRIPT: &str = "TIMEFORMAT='%3R %3U %3S'; time setpriv --pdeathsig KILL \"$@\"";
    let mut words: Vec<OsString> = ["-c", SCRIPT, "time"].map(Into::into).into();
    words.push(Offtake::path().into());
    words
}

/// `offtake bench produce`.
fn bench_produce(job: &SendJob) -> Line {
    let SendJob { load, bootstrap, topic, count } = job;
    let mut words = timed();
    let (size, count) = (load.size.to_string(), count.to_string());
    let codec = format!("compression.type={}", load.codec);
    words.extend(["bench", "produce", topic, "--json", "--brokers", bootstrap].map(Into::into));
    words.extend(["-n", &count, "--size", &size, "-X", &codec].map(Into::into));
    if load.is_equal {
        words.extend(["-X", "linger.ms=5", "-X", "batch.size=65536"].map(Into::into));
    }
    ("bash".into(), words)
}

/// `offtake bench consume`.
pub(crate) fn bench_consume(bootstrap: &str, topic: &str, headers: bool) -> Line {
    let mut words = timed();
    let (address, authority) = match bootstrap.split_once('+') {
        Some((address, authority)) => (address, Some(authority)),
        None => (bootstrap, None),
    };
    words.extend(["bench", "consume", topic, "--json", "--brokers", address].map(Into::into));
    if let Some(authority) = authority {
        let trust = format!("ssl.truststore.location={authority}");
        words.extend(
            ["-X", "security.protocol=SSL", "-X", "ssl.truststore.type=PEM", "-X", &trust].map(Into::into),
        );
    }
    words.extend(headers.then(|| "--headers".into()));
    ("bash".into(), words)
}
