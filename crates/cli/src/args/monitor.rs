//! `monitor`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, FromArgMatches, ValueEnum, builder::NonEmptyStringValueParser};

use super::lag::Source;
use super::top::{Watch, duration, interval};

const SETTINGS: &str = "\
Each option may be set in the environment, as OFFTAKE_MONITOR_LISTEN, or in the file that
--settings names, as `listen = 0.0.0.0:9308`; the command line counts before the environment,
and that before the file. The cluster is given as for every command: --brokers, -X, --config.

On SIGHUP, the file, the secrets, the certificate and the cluster's properties are read again.
If they have an error, it is printed and the previous settings stay in force. A restart is needed
for listen, history and history-size, and for options of the command line or the environment.

Paths: /metrics /api/groups /api/groups/NAME /api/history /api/status /openapi.json
/healthz /readyz, and the page at /. With a token or a password, /metrics and /api need it.

--history is a folder that one monitor writes to. Without it, and without systemd's
$STATE_DIRECTORY, the history is in memory and gone when the monitor ends.";

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = SETTINGS)]
pub(crate) struct Monitor {
    #[command(flatten)]
    pub(crate) watch: Watch,
    /// How to find out the committed offsets of groups [default: ask]
    #[arg(long, value_enum, env = "OFFTAKE_MONITOR_SOURCE", hide_env = true)]
    pub(crate) source: Option<Source>,
    /// Share the groups with the other monitors of this consumer group: each watches those whose commits lie in its
    /// partitions of __consumer_offsets
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), env = "OFFTAKE_MONITOR_SHARD_GROUP", hide_env = true)]
    pub(crate) shard_group: Option<String>,
    /// How often to ask the brokers [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = interval, env = "OFFTAKE_MONITOR_INTERVAL", hide_env = true)]
    pub(crate) interval: Option<Duration>,
    /// The address to listen on; port 0 takes a free one [default: 127.0.0.1:9308]
    #[arg(long, value_name = "HOST:PORT", env = "OFFTAKE_MONITOR_LISTEN", hide_env = true)]
    pub(crate) listen: Option<String>,
    /// The label cluster_name [default: the cluster's id]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), env = "OFFTAKE_MONITOR_CLUSTER_NAME", hide_env = true)]
    pub(crate) cluster_name: Option<String>,
    /// Also serve metrics under another exporter's names, beside those of Kafka Lag Exporter
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        env = "OFFTAKE_MONITOR_NAMES",
        hide_env = true
    )]
    pub(crate) names: Vec<ExporterNames>,
    /// Keep the samples in this folder, so that charts survive a restart
    #[arg(long, value_name = "DIR", env = "OFFTAKE_MONITOR_HISTORY", hide_env = true)]
    pub(crate) history: Option<PathBuf>,
    /// The largest size of the history [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, env = "OFFTAKE_MONITOR_HISTORY_SIZE", hide_env = true)]
    pub(crate) history_size: Option<u64>,
    /// Serve HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", env = "OFFTAKE_MONITOR_TLS_CERT", hide_env = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM) [default: in the file of the certificate]
    #[arg(long, value_name = "FILE", env = "OFFTAKE_MONITOR_TLS_KEY", hide_env = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let in clients with a token from this file, one token per line (also OFFTAKE_MONITOR_TOKEN: a token itself)
    #[arg(long, value_name = "FILE", env = "OFFTAKE_MONITOR_TOKEN_FILE", hide_env = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Let in clients with a name and password from this file, one NAME:PASSWORD per line
    #[arg(long, value_name = "FILE", env = "OFFTAKE_MONITOR_PASSWORD_FILE", hide_env = true)]
    pub(crate) password_file: Option<PathBuf>,
    /// Notify this address of groups that fall behind and that recover (repeatable)
    #[arg(
        long = "webhook",
        value_name = "URL",
        value_delimiter = ' ',
        env = "OFFTAKE_MONITOR_WEBHOOK",
        hide_env = true
    )]
    pub(crate) webhooks: Vec<String>,
    /// The JSON format of webhooks [default: slack for hooks.slack.com, else alertmanager]
    #[arg(long, value_enum, env = "OFFTAKE_MONITOR_WEBHOOK_FORMAT", hide_env = true)]
    pub(crate) webhook_format: Option<WebhookFormat>,
    /// How long a state has to be bad before webhooks are notified [default: 30s]; an imminent loss of data is
    /// reported at once
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "OFFTAKE_MONITOR_WEBHOOK_HOLD", hide_env = true)]
    pub(crate) webhook_hold: Option<Duration>,
    /// How long it has to be better before they are notified [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "OFFTAKE_MONITOR_WEBHOOK_CALM", hide_env = true)]
    pub(crate) webhook_calm: Option<Duration>,
    /// How often they are notified of a state that persists [default: 4h]
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "OFFTAKE_MONITOR_WEBHOOK_REPEAT", hide_env = true)]
    pub(crate) webhook_repeat: Option<Duration>,
    /// Read settings from this file: the options' names and values, as `interval = 30s`
    #[arg(long, value_name = "FILE", env = "OFFTAKE_MONITOR_SETTINGS", hide_env = true)]
    pub(crate) settings: Option<PathBuf>,
    /// Write the shipped rules for Prometheus to this file, and end (`-`: to stdout)
    #[arg(long, value_name = "FILE")]
    pub(crate) alerts: Option<PathBuf>,
    /// Write the shipped dashboard for Grafana to this file, and end (`-`: to stdout)
    #[arg(long, value_name = "FILE", conflicts_with = "alerts")]
    pub(crate) dashboard: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExporterNames {
    /// kafka_consumergroup_lag, kafka_topic_partition_current_offset, …
    KafkaExporter,
    /// kminion_kafka_consumer_group_topic_lag, …
    Kminion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WebhookFormat {
    /// Alertmanager's webhook, version 4
    Alertmanager,
    /// Slack's incoming webhook
    Slack,
}

impl Monitor {
    /// Parses names and values, as a settings file has them.
    pub(crate) fn from_settings(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut args = vec!["settings".to_owned()];
        for (name, value) in pairs {
            if matches!(name.as_str(), "settings" | "alerts" | "dashboard" | "help") {
                return Err(format!("{name} is for the command line only"));
            }
            args.push(format!("--{name}={value}"));
        }
        let command = Self::augment_args(clap::Command::new("settings").disable_help_flag(true));
        let plain = |error: clap::Error| {
            let text = error.render().to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        };
        let mut matches = command.try_get_matches_from(args).map_err(plain)?;
        Self::from_arg_matches_mut(&mut matches).map_err(plain)
    }

    /// Takes the values that are missing here from `there`.
    pub(crate) fn or(self, there: Self) -> Self {
        fn list<T>(here: Vec<T>, there: Vec<T>) -> Vec<T> {
            if here.is_empty() { there } else { here }
        }
        Self {
            watch: Watch {
                group: self.watch.group.or(there.watch.group),
                window: self.watch.window.or(there.watch.window),
                horizon: self.watch.horizon.or(there.watch.horizon),
                isolation: self.watch.isolation.or(there.watch.isolation),
                thresholds: list(self.watch.thresholds, there.watch.thresholds),
            },
            source: self.source.or(there.source),
            shard_group: self.shard_group.or(there.shard_group),
            interval: self.interval.or(there.interval),
            listen: self.listen.or(there.listen),
            cluster_name: self.cluster_name.or(there.cluster_name),
            names: list(self.names, there.names),
            history: self.history.or(there.history),
            history_size: self.history_size.or(there.history_size),
            tls_cert: self.tls_cert.or(there.tls_cert),
            tls_key: self.tls_key.or(there.tls_key),
            token_file: self.token_file.or(there.token_file),
            password_file: self.password_file.or(there.password_file),
            webhooks: list(self.webhooks, there.webhooks),
            webhook_format: self.webhook_format.or(there.webhook_format),
            webhook_hold: self.webhook_hold.or(there.webhook_hold),
            webhook_calm: self.webhook_calm.or(there.webhook_calm),
            webhook_repeat: self.webhook_repeat.or(there.webhook_repeat),
            settings: self.settings,
            alerts: self.alerts,
            dashboard: self.dashboard,
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    const FORM: &str = "write a size as 64MiB or 1GiB, of 64KiB at least";
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(FORM.to_owned()),
    };
    let size = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|size| *size >= 64 << 10).ok_or_else(|| FORM.to_owned())
}
