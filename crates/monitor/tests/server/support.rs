//! A monitor whose rounds are controlled by a test, and a client that sends raw bytes.

use std::{net::SocketAddr, time::Duration};

use offtake_lag::{GroupReport, PartitionReport, Report, Severity, Status};
use offtake_monitor::{History, Monitor, Settings, Source};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Rounds sent by the test. Each round ends when its result is there.
pub(crate) struct Played(mpsc::UnboundedReceiver<Result<Report, String>>);

impl Source for Played {
    type Error = String;

    async fn round(&mut self) -> Result<Report, String> {
        match self.0.recv().await {
            Some(round) => round,
            None => std::future::pending().await,
        }
    }
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) settings: watch::Sender<Settings>,
    rounds: mpsc::UnboundedSender<Result<Report, String>>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::start_with(settings, History::in_memory(1 << 20)).await
    }

    pub(crate) async fn start_with(mut settings: Settings, history: History) -> Self {
        settings.interval = Duration::from_millis(1); // the source determines the pace
        let monitor = Monitor::bind(([127, 0, 0, 1], 0).into(), history).await.unwrap();
        let address = monitor.address();
        let (rounds, played) = mpsc::unbounded_channel();
        let (settings, watched) = watch::channel(settings);
        let (stop, stopped) = oneshot::channel();
        let run = monitor.run(Played(played), watched, async { stopped.await.unwrap_or(()) });
        let ended = tokio::spawn(run);
        Self { address, settings, rounds, stop: Some(stop), ended }
    }

    /// Ends a round with this result, and waits until it is served.
    pub(crate) async fn round(&self, round: Result<Report, &str>) {
        let count = |text: &str| {
            let of = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
                line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
            };
            of("offtake_monitor_rounds_total ") + of("offtake_monitor_failed_rounds_total ")
        };
        let before = count(&self.metrics().await);
        self.rounds.send(round.map_err(str::to_owned)).unwrap();
        while count(&self.metrics().await) == before {
            tokio::task::yield_now().await;
        }
    }

    async fn metrics(&self) -> String {
        self.get_with("/metrics", "authorization: Bearer t0ken\r\n").await.1
    }

    /// The head and the body of a response.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        self.get_with(path, "").await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> (String, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"))
            .await
    }

    /// Sends these bytes, and reads until the server closes the connection.
    pub(crate) async fn send(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// Stops it, and checks its end.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.ended).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await; // a reset is an end, too
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (head.to_owned(), body)
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    text
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub(crate) fn report(groups: &[(&str, u64)]) -> Report {
    let group = |(name, lag): &(&str, u64)| GroupReport {
        group: (*name).to_owned(),
        state: "Stable".to_owned(),
        lag: *lag,
        status: Some(Status::Ok),
        severity: if *lag > 1000 { Severity::DataLoss } else { Severity::Healthy },
        partitions: vec![PartitionReport {
            topic: "orders".to_owned(),
            lag: Some(*lag),
            ..PartitionReport::default()
        }],
        ..GroupReport::default()
    };
    Report {
        at: 1_790_000_000_000,
        cluster: Some("c1".to_owned()),
        groups: groups.iter().map(group).collect(),
        ..Report::default()
    }
}
