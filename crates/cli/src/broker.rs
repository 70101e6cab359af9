//! `offtake broker`: a cluster in this process, for any client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use offtake_broker::{Cluster, Config};

use crate::{
    args::Broker,
    failure::{Failure, say},
    stop::Stop,
};

pub(crate) async fn run(args: Broker) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let listen = address(&args.listen).await?;
    let brokers = args.nodes;
    let mut config = Config::default();
    config.auto_create_topics = args.auto_create_topics;
    config.seed = u64::from(std::process::id()); // another run hands out other ids
    config.consumer_heartbeat_interval = Duration::from_millis(args.heartbeat_interval);
    config.wall_ms = jiff::Timestamp::now().as_millisecond();
    let mut cluster = Cluster::builder().config(config).brokers(brokers).listen(listen);
    for (topic, partitions) in args.topics {
        cluster = cluster.topic(topic, partitions);
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
    stop.asked().await;
    cluster.shutdown().await;
    Ok(())
}

/// `HOST:PORT`, `HOST` or `:PORT`.
async fn address(listen: &str) -> Result<SocketAddr, Failure> {
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

/// Kafka's.
const PORT: u16 = 9092;
