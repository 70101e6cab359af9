//! `offtake broker`: a cluster in this process, for any client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use offtake_broker::{Cluster, Config, SaslMechanism};

use crate::{
    args::{Broker, Common, User},
    failure::{Failure, say},
    output::Output,
    stop::Stop,
};

pub(crate) async fn run(common: &Common, args: Broker) -> Result<(), Failure> {
    if common.brokers.is_some() || !common.properties.is_empty() || common.config.is_some() {
        return Err(Failure::Usage(
            "--brokers, -X and --config are for clients of a cluster: the address of this one is set by --listen"
                .to_owned(),
        ));
    }
    let mut stop = Stop::listen()?;
    let listen = address(&args.listen).await?;
    let brokers = args.nodes;
    let mut config = Config::default();
    config.auto_create_topics = args.auto_create_topics;
    config.seed = u64::from(std::process::id()); // another run generates other ids
    config.consumer_heartbeat_interval = Duration::from_millis(args.heartbeat_interval);
    config.wall_ms = jiff::Timestamp::now().as_millisecond();
    let mut cluster = Cluster::builder().config(config).brokers(brokers).listen(listen);
    for (topic, partitions) in &args.topics {
        cluster = cluster.topic(topic, *partitions);
    }
    if args.users.iter().any(|user| user.name.is_empty()) {
        return Err(Failure::Usage(
            "--user: the user's name is missing: write it as NAME:PASSWORD".to_owned(),
        ));
    }
    for (mechanism, user) in logins(&args) {
        let password = user.password.expose_str().unwrap_or_default();
        if password.is_empty() && mechanism != SaslMechanism::OAuthBearer {
            return Err(Failure::Usage(format!(
                "--user {0}: {mechanism} needs a password: {0}:PASSWORD",
                user.name
            )));
        }
        cluster = cluster.sasl_user(mechanism, &user.name, password);
    }
    if args.users.iter().any(|user| !user.password.is_empty()) {
        tracing::warn!(
            "--user: others on this machine can see a command's arguments; use a password of no other service"
        );
    }
    #[cfg(feature = "tls")]
    if args.tls {
        cluster = cluster.tls(offtake_broker::Tls::generated());
    }
    let cluster = cluster.start().await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Failure::Usage(error.to_string()),
        io::ErrorKind::AddrInUse => {
            Failure::failed(format!("cannot listen on {listen}: {error}; try another port (--listen)"))
        }
        _ => Failure::failed(format!("cannot listen on {listen}: {error}")),
    })?;
    say(format_args!(
        "offtake: {} on {}; everything is kept in memory and gone when it ends",
        if brokers == 1 { "a broker listens".to_owned() } else { format!("{brokers} brokers listen") },
        cluster.bootstrap()
    ));
    print_client_properties(&args, &cluster)?;
    stop.asked().await;
    cluster.shutdown().await;
    Ok(())
}

/// Each user with each mechanism.
fn logins(args: &Broker) -> impl Iterator<Item = (SaslMechanism, &User)> {
    args.mechanisms.iter().flat_map(|mechanism| args.users.iter().map(|user| (*mechanism, user)))
}

/// Prints the properties that a client of a secured cluster needs, all but the password.
fn print_client_properties(args: &Broker, cluster: &Cluster) -> Result<(), Failure> {
    let authority = authority(args, cluster)?;
    let login = logins(args).next();
    let protocol = match (&authority, login) {
        (None, None) => return Ok(()),
        (Some(_), None) => "SSL",
        (None, Some(_)) => "SASL_PLAINTEXT",
        (Some(_), Some(_)) => "SASL_SSL",
    };
    let mut lines =
        vec![format!("bootstrap.servers={}", cluster.bootstrap()), format!("security.protocol={protocol}")];
    if let Some(trust) = authority {
        lines.push("ssl.truststore.type=PEM".to_owned());
        lines.push(trust);
    }
    if let Some((mechanism, user)) = login {
        lines.push(format!("sasl.mechanism={mechanism}"));
        lines.push(format!("sasl.jaas.config={}", jaas(mechanism, &user.name)));
    }
    let mut output = Output::stdout();
    output.buffer().extend_from_slice((lines.join("\n") + "\n").as_bytes());
    Ok(output.flush()?)
}

/// The property that trusts the cluster's authority. Its certificate is written to the requested file.
#[cfg(feature = "tls")]
fn authority(args: &Broker, cluster: &Cluster) -> Result<Option<String>, Failure> {
    let Some(pem) = cluster.authority() else { return Ok(None) };
    let Some(path) = &args.tls_ca else {
        return Ok(Some(format!("ssl.truststore.certificates={}", pem.trim_end().replace('\n', "\\n"))));
    };
    let unwritten = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    std::fs::write(path, pem).map_err(unwritten)?;
    let path = std::path::absolute(path).map_err(unwritten)?;
    Ok(Some(format!("ssl.truststore.location={}", path.display().to_string().replace('\\', "\\\\"))))
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "as with TLS")]
fn authority(_args: &Broker, _cluster: &Cluster) -> Result<Option<String>, Failure> {
    Ok(None)
}

/// Java's `sasl.jaas.config`, as a line of a properties file.
fn jaas(mechanism: SaslMechanism, user: &str) -> String {
    let name = user.replace('\\', "\\\\").replace('"', "\\\"").replace('\\', "\\\\");
    let (module, options) = match mechanism {
        SaslMechanism::Plain => ("plain.PlainLoginModule", None),
        SaslMechanism::OAuthBearer => {
            ("oauthbearer.OAuthBearerLoginModule", Some(format!("unsecuredLoginStringClaim_sub=\"{name}\"")))
        }
        _ => ("scram.ScramLoginModule", None),
    };
    let options = options.unwrap_or_else(|| format!("username=\"{name}\" password=\"PASSWORD\""));
    format!("org.apache.kafka.common.security.{module} required {options};")
}

/// `HOST:PORT`, `HOST` or `:PORT`.
pub(crate) async fn address(listen: &str) -> Result<SocketAddr, Failure> {
    let usage = |why: &str| Failure::Usage(format!("--listen {listen}: {why}"));
    if let Ok(address) = listen.parse() {
        return Ok(address);
    }
    if let Ok(host) = listen.parse::<IpAddr>() {
        return Ok(SocketAddr::new(host, PORT));
    }
    let (host, port) = match listen.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| usage("write it as HOST:PORT"))?),
        None => (listen, PORT),
    };
    if host.is_empty() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(|error| usage(&error.to_string()))?;
    found.next().ok_or_else(|| usage("the host has no address"))
}

/// Kafka's default port.
const PORT: u16 = 9092;
