//! `offtake monitor`: watches groups, and serves the findings.

use std::{fs, io::Write, path::Path};

use offtake::config::parse_properties;
use offtake_lag::{OffsetsTopicConfig, Report};
use offtake_monitor::{
    Access, Format, GRAFANA_DASHBOARD, History, Monitor, Names, PROMETHEUS_RULES, Settings, Source, Webhook,
};
use tokio::sync::{mpsc, watch};

use crate::{
    args::{self, Common, ExporterNames, WebhookFormat},
    broker::address,
    failure::{Failure, say},
    stop::Stop,
    watching::{Watched, Watching},
};

const LISTEN: &str = "127.0.0.1:9308";
const HISTORY: u64 = 64 << 20;

pub(crate) async fn run(common: &Common, args: Box<args::Monitor>) -> Result<(), Failure> {
    if let Some(path) = &args.alerts {
        return write(path, PROMETHEUS_RULES);
    }
    if let Some(path) = &args.dashboard {
        return write(path, GRAFANA_DASHBOARD);
    }
    let mut stop = Stop::listen_without_hangup()?;
    let hangups = Hangups::new()?; // before anything slow: until then the signal ends the process
    let effective = complete(&args)?;
    let settings = settings(&effective)?;
    let listen = effective.listen.as_deref().unwrap_or(LISTEN);
    let listen = address(listen).await?;
    if !listen.ip().is_loopback() && settings.access.is_open() {
        tracing::warn!(
            "{listen} is reachable from other hosts, and anybody who reaches it may read; --token-file and --password-file change that"
        );
    }
    let (changes, changed) = mpsc::channel(1);
    let watching = Watching::new(common, &effective.watch, offsets_topic(&effective))?;
    let watched_now = watching.watched().clone();
    let mut source = Reloading { watching, changed };
    let monitor = Monitor::bind(listen, history(&effective)?)
        .await
        .map_err(|error| Failure::failed(format!("{error}; try another port (--listen)")))?;
    #[cfg(feature = "tls")]
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    #[cfg(not(feature = "tls"))]
    let scheme = "http";
    say(format_args!("offtake: the monitor is at {scheme}://{}", monitor.address()));
    let (settings, watched) = watch::channel(settings);
    let reloads = reload(hangups, common, &args, (&effective, watched_now), &settings, &changes);
    let ended = tokio::select! {
        () = monitor.run(&mut source, watched, stop.asked()) => Ok(()),
        reloads = reloads => reloads,
    };
    source.watching.close().await;
    ended
}

/// The configuration of `__consumer_offsets` as a source.
fn offsets_topic(args: &args::Monitor) -> OffsetsTopicConfig {
    let mut config = OffsetsTopicConfig::default();
    config.commits = args.source == Some(args::Source::OffsetsTopic);
    config.shard_group.clone_from(&args.shard_group);
    config
}

/// A source that is replaced by another when the settings change.
struct Reloading {
    watching: Watching,
    changed: mpsc::Receiver<Watching>,
}

impl Source for &mut Reloading {
    type Error = String;

    async fn round(&mut self) -> Result<Report, String> {
        while let Ok(watching) = self.changed.try_recv() {
            std::mem::replace(&mut self.watching, watching).close().await;
        }
        self.watching.round().await
    }
}

/// Reads all settings anew at each SIGHUP. Ends only if it cannot listen for the signal.
async fn reload(
    mut hangups: Hangups,
    common: &Common,
    args: &args::Monitor,
    (before, mut watched_now): (&args::Monitor, Watched),
    settings: &watch::Sender<Settings>,
    changes: &mpsc::Sender<Watching>,
) -> Result<(), Failure> {
    let fixed = |args: &args::Monitor| (args.listen.clone(), args.history.clone(), args.history_size);
    loop {
        hangups.next().await;
        let read = complete(args).and_then(|effective| {
            let settings = self::settings(&effective)?;
            let watching = Watching::new(common, &effective.watch, offsets_topic(&effective))?;
            Ok((effective, settings, watching))
        });
        match read {
            Ok((effective, new, watching)) => {
                if fixed(&effective) != fixed(before) {
                    tracing::warn!(
                        "listen, history and history-size stay as they are until the monitor is restarted"
                    );
                }
                settings.send_replace(new);
                // Another collector begins with an empty window of samples, so it is created only if needed.
                if *watching.watched() != watched_now {
                    watched_now.clone_from(watching.watched());
                    let _ = changes.send(watching).await;
                }
                say(format_args!("offtake: settings reloaded"));
            }
            Err(failure) => say(format_args!("offtake: settings not reloaded: {failure}")),
        }
    }
}

/// The arguments, completed by the settings file.
fn complete(args: &args::Monitor) -> Result<args::Monitor, Failure> {
    let Some(path) = &args.settings else { return Ok(args.clone()) };
    let wrong = |why: String| Failure::Usage(format!("cannot use {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let pairs = parse_properties(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(args.clone().or(args::Monitor::from_settings(&pairs).map_err(wrong)?))
}

fn settings(args: &args::Monitor) -> Result<Settings, Failure> {
    let mut settings = Settings::default();
    settings.interval = args.interval.unwrap_or(settings.interval);
    settings.cluster_name.clone_from(&args.cluster_name);
    settings.names = Names {
        kafka_exporter: args.names.contains(&ExporterNames::KafkaExporter),
        kminion: args.names.contains(&ExporterNames::Kminion),
    };
    settings.access = access(args)?;
    #[cfg(feature = "tls")]
    if let Some(certificates) = &args.tls_cert {
        let key = args.tls_key.as_deref().unwrap_or(certificates);
        let loaded = offtake_monitor::ServerTls::load(certificates, key);
        settings.tls = Some(loaded.map_err(|error| Failure::failed(error.to_string()))?);
    }
    #[cfg(not(feature = "tls"))]
    if args.tls_cert.is_some() {
        return Err(Failure::Usage("--tls-cert: this build has no TLS".to_owned()));
    }
    if args.tls_cert.is_none() && args.tls_key.is_some() {
        return Err(Failure::Usage("--tls-key needs --tls-cert".to_owned()));
    }
    for address in &args.webhooks {
        let mut webhook =
            Webhook::new(address).map_err(|error| Failure::Usage(format!("--webhook: {error}")))?;
        match args.webhook_format {
            Some(WebhookFormat::Alertmanager) => webhook.format = Format::Alertmanager,
            Some(WebhookFormat::Slack) => webhook.format = Format::Slack,
            None => {}
        }
        webhook.pending_for = args.webhook_hold.unwrap_or(webhook.pending_for);
        webhook.resolve_after = args.webhook_calm.unwrap_or(webhook.resolve_after);
        webhook.repeat_interval = args.webhook_repeat.unwrap_or(webhook.repeat_interval);
        settings.webhooks.push(webhook);
    }
    Ok(settings)
}

/// The access rules. A file without a secret is refused, as it would let nobody in by mistake.
fn access(args: &args::Monitor) -> Result<Access, Failure> {
    let mut access = Access::default();
    if let Some(path) = &args.token_file {
        for token in secrets(path)? {
            access = access.token(&token);
        }
    }
    if let Ok(token) = std::env::var("OFFTAKE_MONITOR_TOKEN")
        && !token.trim().is_empty()
    {
        access = access.token(token.trim());
    }
    if let Some(path) = &args.password_file {
        for line in secrets(path)? {
            let Some((name, password)) = line.split_once(':').filter(|(_, password)| !password.is_empty())
            else {
                let why = format!("{}: write NAME:PASSWORD on each line", path.display());
                return Err(Failure::Usage(why));
            };
            access = access.user(name, password);
        }
    }
    Ok(access)
}

/// The non-empty lines of a file; an error if there are none.
fn secrets(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::Usage(format!("{} contains no secret", path.display())));
    }
    Ok(lines)
}

fn history(args: &args::Monitor) -> Result<History, Failure> {
    let most = args.history_size.unwrap_or(HISTORY);
    // systemd passes several folders in one variable, separated by colons; the first is ours.
    let of_systemd = || Some(std::env::var("STATE_DIRECTORY").ok()?.split(':').next()?.into());
    let Some(folder) = args.history.clone().or_else(of_systemd) else { return Ok(History::in_memory(most)) };
    let (history, damage) =
        History::open(&folder, most).map_err(|error| Failure::failed(format!("--history: {error}")))?;
    for damage in damage {
        tracing::warn!("{damage}");
    }
    Ok(history)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        return Ok(std::io::stdout().write_all(text.as_bytes())?);
    }
    fs::write(path, text)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(unix)]
struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let heard = signal(SignalKind::hangup());
        heard.map(Self).map_err(|error| Failure::failed(format!("cannot catch signals: {error}")))
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// This system has no such signal.
#[cfg(not(unix))]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
