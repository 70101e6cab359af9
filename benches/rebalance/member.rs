//! Our member in a typical application: it subscribes, polls, and leaves commits to the library.

use std::io::{Read, Write, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offtake::{Consumer, Error, Listener, ListenerFuture, Rebalance};

use crate::clock::micros;
use crate::system::Protocol;

pub(crate) struct Arguments {
    pub(crate) bootstrap: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) client: String,
    pub(crate) protocol: Protocol,
}

/// Prints `start` when it subscribes, and for each record its value and the time in microseconds since the epoch;
/// leaves the group when stdin ends. `SESSION_MS` is its session timeout; with `REVOKE_MS` its listener takes this long
/// for its first revocation, and prints `revoking` and `revoked`.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let protocol = match arguments.protocol {
        Protocol::Cooperative => ("partition.assignment.strategy", "cooperative-sticky"),
        Protocol::Kip848 => ("group.protocol", "consumer"),
    };
    say(b"start\n");
    let mut builder = Consumer::builder(&arguments.bootstrap)
        .group(&arguments.group)
        .property("client.id", &arguments.client)
        .property("auto.offset.reset", "earliest")
        .property(protocol.0, protocol.1);
    if let Ok(session) = std::env::var("SESSION_MS") {
        builder = builder.property("session.timeout.ms", session);
    }
    if let Some(time) = std::env::var("REVOKE_MS").ok().and_then(|time| time.parse().ok()) {
        builder = builder.listener(Slow { time: Duration::from_millis(time), done: AtomicBool::new(false) });
    }
    let mut consumer = builder.build().await?;
    let stopping = Arc::new(AtomicBool::new(false));
    let (asked, handle) = (Arc::clone(&stopping), consumer.handle());
    std::thread::spawn(move || {
        stdin().read_to_end(&mut Vec::new()).ok();
        asked.store(true, Ordering::Relaxed);
        handle.wake().ok();
    });
    consumer.subscribe([arguments.topic.as_str()]).await?;
    let mut lines = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        let records = consumer.poll(Duration::from_millis(100)).await?;
        let at = micros();
        lines.clear();
        for record in &records {
            lines.extend_from_slice(record.value().unwrap_or_default());
            writeln!(lines, " {at}").ok();
        }
        say(&lines);
    }
    consumer.close(Duration::from_secs(10)).await
}

/// Takes its time in a revocation, once.
struct Slow {
    time: Duration,
    done: AtomicBool,
}

impl Listener for Slow {
    fn revoked(&self, _: Rebalance) -> ListenerFuture {
        let time = (!self.done.swap(true, Ordering::Relaxed)).then_some(self.time);
        Box::pin(async move {
            if let Some(time) = time {
                say(b"revoking\n");
                tokio::time::sleep(time).await;
                say(b"revoked\n");
            }
            Ok(())
        })
    }
}

fn say(text: &[u8]) {
    let mut out = stdout().lock();
    if out.write_all(text).and_then(|()| out.flush()).is_err() {
        std::process::exit(1); // the output is closed
    }
}
