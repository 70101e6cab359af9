//! Clusters in this process: `broker` and `demo`.

use std::path::PathBuf;

use clap::Args;
use offtake::security::Secret;
use offtake_broker::SaslMechanism;

#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// Where the first broker listens; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) listen: String,
    /// Create this topic at start (default: 1 partition; repeatable)
    #[arg(short, long = "topic", value_name = "NAME[:PARTITIONS]", value_parser = topic)]
    pub(crate) topics: Vec<(String, i32)>,
    /// Number of brokers, on consecutive ports
    // Not --brokers, which is the address of a cluster.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub(crate) nodes: i32,
    /// Create topics that clients ask for and that do not exist
    #[arg(long)]
    pub(crate) auto_create_topics: bool,
    /// group.consumer.heartbeat.interval.ms for KIP-848 groups; below the session timeout of 45 s
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..45_000))]
    pub(crate) heartbeat_interval: u64,
    /// Speak TLS only, with an authority that is generated at the start and that clients have to trust
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub(crate) tls: bool,
    /// Write the certificate of that authority to this file, as PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Accept only clients that authenticate: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER with unsecured
    /// tokens (repeatable)
    #[arg(long = "sasl", value_name = "MECHANISM", requires = "users")]
    pub(crate) mechanisms: Vec<SaslMechanism>,
    /// A user who may log in, by each of the mechanisms (repeatable). OAUTHBEARER needs no password
    #[arg(long = "user", value_name = "NAME:PASSWORD", requires = "mechanisms")]
    pub(crate) users: Vec<User>,
}

/// A user who may log in. Does not print the password.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

impl From<&str> for User {
    /// The command reports a missing name, not this parser, which would repeat the password.
    fn from(text: &str) -> Self {
        let (name, password) = text.split_once(':').unwrap_or((text, ""));
        Self { name: name.to_owned(), password: Secret::from(password) }
    }
}

fn topic(text: &str) -> Result<(String, i32), String> {
    let (name, partitions) = match text.rsplit_once(':') {
        Some((name, partitions)) => (name, partitions.parse().map_err(|_| "write it as NAME:PARTITIONS")?),
        None => (text, 1),
    };
    match (name.is_empty(), partitions) {
        (false, 1..=10_000) => Ok((name.to_owned(), partitions)),
        (true, _) => Err("the topic name is missing".to_owned()),
        (false, _) => Err("a topic has 1 to 10000 partitions".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Stop after N seconds
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub(crate) seconds: u64,
    /// Write what the screen shows to this file, as SVG
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) screenshot: Option<PathBuf>,
    /// Write it N seconds after the start
    #[arg(long, value_name = "N", hide = true, requires = "screenshot")]
    pub(crate) screenshot_at: Option<f64>,
}
