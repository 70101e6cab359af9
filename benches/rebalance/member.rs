//! Our member, as an application writes one: subscribe, poll, leave the committing to the library.

use std::io::{Read, Write, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offtake::{Consumer, Error};

use crate::clock::micros;
use crate::system::Protocol;

pub(crate) struct Arguments {
    pub(crate) bootstrap: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) client: String,
    pub(crate) protocol: Protocol,
}

/// Prints `start` when it subscribes, and for each record its value and the time in microseconds since the epoch; leaves
/// the group when stdin ends.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Error> {
    let protocol = match arguments.protocol {
        Protocol::Cooperative => ("partition.assignment.strategy", "cooperative-sticky"),
        Protocol::Kip848 => ("group.protocol", "consumer"),
    };
    say(b"start\n");
    let mut consumer = Consumer::builder(&arguments.bootstrap)
        .group(&arguments.group)
        .property("client.id", &arguments.client)
        .property("auto.offset.reset", "earliest")
        .property(protocol.0, protocol.1)
        .build()
        .await?;
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

fn say(text: &[u8]) {
    let mut out = stdout().lock();
    if out.write_all(text).and_then(|()| out.flush()).is_err() {
        std::process::exit(1); // nobody listens
    }
}
