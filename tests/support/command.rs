//! The `offtake` command as a user runs it: arguments in, lines out, signals, an exit status.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::growing::Growing;
use crate::kafka::Kafka;
use crate::process::{Process, cpu_time, signal};

/// The command to run: `OFFTAKE_BIN`, or else the one beside the running test, as cargo builds it.
#[derive(Debug)]
pub struct Offtake {
    binary: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    patience: Duration,
}

impl Offtake {
    /// With these arguments.
    pub fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Self { binary: None, args, env: Vec::new(), stdin: None, patience: Duration::from_secs(60) }
    }

    /// The path of the command, for a script that runs it.
    pub fn path() -> PathBuf {
        binary()
    }

    /// Runs another program in the same way, for comparison.
    pub fn instead(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// `--brokers` of a cluster.
    pub fn brokers(self, kafka: &Kafka) -> Self {
        self.args(["--brokers", &kafka.bootstrap()])
    }

    /// Sets an environment variable. The environment has no `KAFKA_…`, `RUST_LOG` or `NO_COLOR` of ours.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets its stdin, which is empty by default.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// How long [`run`](Self::run) waits for its end; a minute by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end. Fails the test if it takes too long.
    pub fn run(self) -> Finished {
        let patience = self.patience;
        self.start().finish(patience)
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let mut command = Command::new(self.binary.unwrap_or_else(binary));
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["KAFKA_BOOTSTRAP_SERVERS", "OFFTAKE_BROKERS", "RUST_LOG", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.env("OFFTAKE_CONFIG", ""); // no file of the user who runs the tests
        command.envs(self.env);
        let mut process = Process::start(&mut command);
        let started = Instant::now();
        let stdin = process.child().stdin.take();
        if let (Some(mut pipe), Some(bytes)) = (stdin, self.stdin) {
            thread(move || drop(pipe.write_all(&bytes))); // it need not read all of it
        }
        let stdout = lines(process.child().stdout.take().expect("a pipe"));
        let stderr = lines(process.child().stderr.take().expect("a pipe"));
        Running { process, started, stdout, stderr }
    }
}

fn binary() -> PathBuf {
    let named = std::env::var_os("OFFTAKE_BIN").map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        // A test is in target/PROFILE/deps, the command in target/PROFILE.
        let test = std::env::current_exe().expect("a running test has a file");
        test.ancestors().nth(2).expect("a folder above deps").join("offtake")
    });
    assert!(path.exists(), "{} is not there: cargo build -p offtake-cli, or set OFFTAKE_BIN", path.display());
    path
}

fn thread(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("offtake-io".into()).spawn(body).expect("a thread can be started");
}

fn lines(pipe: impl Read + Send + 'static) -> Growing<String> {
    let lines = Growing::default();
    let heard = lines.clone();
    thread(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            heard.push(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned());
            line.clear();
        }
        heard.close();
    });
    lines
}

/// A running command; killed when dropped.
#[derive(Debug)]
pub struct Running {
    process: Process,
    started: Instant,
    stdout: Growing<String>,
    stderr: Growing<String>,
}

impl Running {
    /// Lines of data so far.
    pub fn stdout(&self) -> &Growing<String> {
        &self.stdout
    }

    /// Everything else so far.
    pub fn stderr(&self) -> &Growing<String> {
        &self.stderr
    }

    /// The first JSON object on stdout that `wanted` accepts; fails the test if none arrives.
    pub fn wait_json(&self, patience: Duration, wanted: impl FnMut(&Value) -> bool) -> Value {
        self.wait_for_json(&self.stdout, patience, wanted)
    }

    /// The first event (a JSON object on stderr) of this name that `wanted` accepts; fails the test if none arrives.
    pub fn wait_event(
        &self,
        name: &str,
        patience: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        self.wait_for_json(&self.stderr, patience, |event| event["event"] == name && wanted(event))
    }

    fn wait_for_json(
        &self,
        from: &Growing<String>,
        patience: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let parse = |line: &String| serde_json::from_str::<Value>(line).ok();
        let line = from.wait_for(patience, |line| parse(line).is_some_and(|value| wanted(&value)));
        line.as_ref().and_then(parse).unwrap_or_else(|| {
            panic!(
                "not within {patience:?}; {} lines on stdout; stderr: {:#?}",
                self.stdout.len(),
                self.stderr.all()
            )
        })
    }

    /// Sends the signal of this name: `INT`, `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// User and system time so far.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.process.id()).map(|(time, _)| time).unwrap_or_default()
    }

    /// Waits for its end and all its output. Fails the test if it takes too long.
    pub fn finish(mut self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let mut cpu = Duration::ZERO;
        // The times of a process can be read until it is waited for.
        while let Some((time, dead)) = cpu_time(self.process.id()) {
            cpu = time;
            if dead {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "offtake still runs after {patience:?}; {} lines on stdout; stderr: {:#?}",
                self.stdout.len(),
                self.stderr.all()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let elapsed = self.started.elapsed();
        let status = self.process.wait(Duration::from_secs(5)).expect("it has ended");
        // All that is still in the pipes; a process that it left behind may hold them open.
        let rest = Duration::from_secs(30);
        self.stdout.wait_until(rest, |_| false);
        self.stderr.wait_until(rest, |_| false);
        Finished { code: status.code(), elapsed, cpu, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

/// The result of a command.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// From start to end.
    pub elapsed: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Lines of data.
    pub stdout: Vec<String>,
    /// Lines of everything else.
    pub stderr: Vec<String>,
}

impl Finished {
    /// Stdout as one JSON value per line. Fails the test if a line is invalid, or the command failed.
    pub fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "offtake failed: {:#?}", self.stderr);
        self.stdout
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The events (JSON objects on stderr) of this name.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let events = self.stderr.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == name).collect()
    }

    /// The sentence that names the failure: the last line on stderr.
    pub fn last_line(&self) -> &str {
        self.stderr.last().map_or("", String::as_str)
    }
}
