//! The broker in the box as a user runs it, `offtake broker`, and other projects' programs directed at it.

use std::time::Duration;

use crate::command::{Finished, Offtake, Running};
use crate::java::{self, JavaTool};

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster in a process of `offtake broker`. Killed when dropped.
#[derive(Debug)]
pub struct Boxed {
    running: Option<Running>,
    bootstrap: String,
    /// Java's tool, on that cluster.
    pub tool: JavaTool,
}

impl Boxed {
    /// Three brokers on free ports, with these topics (`NAME:PARTITIONS`).
    pub fn start(topics: &[&str]) -> Self {
        let topics = topics.iter().flat_map(|topic| ["--topic", topic]);
        let args = ["broker", "--listen", "127.0.0.1:0", "--nodes", "3"].into_iter().chain(topics);
        let running = Offtake::new(args).start();
        let said = running.stderr().wait_for(PATIENCE, |line| line.contains(" on 127.0.0.1:"));
        let servers = said.as_deref().and_then(|line| line.split_once(" on ")?.1.split_once(';'));
        let Some((servers, _)) = servers else {
            panic!("the broker in the box does not listen: {:?}", running.stderr().all())
        };
        Self { bootstrap: servers.to_owned(), tool: JavaTool::at(servers), running: Some(running) }
    }

    /// `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Our command on it, with arguments separated by blanks.
    pub fn offtake(&self, args: &str) -> Offtake {
        Offtake::new(args.split_whitespace()).args(["--brokers", &self.bootstrap])
    }

    /// One of Kafka's own programs, by its class, with arguments separated by blanks. They differ in the option for the
    /// cluster's address.
    pub fn java(&self, class: &str, args: &str) -> Offtake {
        self.tool.program(class, args)
    }

    /// kcat on it, with arguments separated by blanks.
    pub fn kcat(&self, args: &str) -> Offtake {
        let found = std::process::Command::new("kcat").arg("-V").output().is_ok();
        assert!(found, "kcat is missing; scripts/test installs it where it may (apt-get install kcat)");
        Offtake::new(["-b", &self.bootstrap]).instead("kcat").args(args.split_whitespace())
    }

    /// Ends it like a user, with an interrupt.
    pub fn stop(mut self) -> Finished {
        let running = self.running.take().expect("it is stopped once");
        running.signal("INT");
        running.finish(PATIENCE)
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        java::forget(&self.bootstrap);
    }
}
