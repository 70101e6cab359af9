//! Apicurio Registry, in memory, through its API for Confluent's clients; and Python with its schema libraries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::Process;

/// Apicurio Registry, in memory. It ends with this value.
#[derive(Debug)]
pub struct Registry {
    process: Process,
    port: u16,
    _folder: TempDir,
}

/// The time for a JVM on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

impl Registry {
    /// Starts one, and waits until it answers.
    pub fn start() -> Self {
        Self::start_at(free_port())
    }

    /// The same at this port, such as that of a former one.
    pub fn start_at(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let app = home().join("app");
        let jar = std::fs::read_dir(&app).expect("the registry").flatten().map(|entry| entry.path());
        let jar =
            jar.into_iter().find(|path| path.to_string_lossy().ends_with("-runner.jar")).expect("its jar");
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
            .arg(format!("-Dquarkus.http.port={port}"))
            .arg("-Dquarkus.http.host=127.0.0.1");
        command.arg("-jar").arg(jar).current_dir(&folder);
        let log = folder.path().join("log");
        let mut process = Process::start_logging(&mut command, &log);
        let deadline = Instant::now() + PATIENCE;
        while !answers(port) {
            assert!(
                process.ended().is_none(),
                "the registry ends: {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            assert!(Instant::now() < deadline, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, port, _folder: folder }
    }

    /// Its URL, as for `--registry`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it. All its data is gone.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }
}

fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
    let request =
        "GET /apis/ccompat/v7/schemas/types HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// The output of a Python program. Fails the test if the program fails.
pub fn python(program: &str, stdin: &str) -> String {
    said(Command::new("python3"), program, stdin)
}

/// The same, with fastavro, protobuf, grpc_tools and jsonschema available.
pub fn python_with_libraries(program: &str, stdin: &str) -> String {
    said(Command::new(fetched(&["python"]).join("python/bin/python")), program, stdin)
}

/// The output of a program of one file, with the serialisers of Apicurio's Java clients available.
pub fn java_with_serialisers(file: &str, stdin: &str) -> String {
    let mut command = Command::new("java");
    command.arg("-cp").arg(fetched(&["java"]).join("java/*"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    answer(command, stdin)
}

/// The same for Python, with fastavro, protobuf, grpc_tools and jsonschema available.
pub fn python_file_with_libraries(file: &str, stdin: &str) -> String {
    let mut command = Command::new(fetched(&["python"]).join("python/bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    answer(command, stdin)
}

fn said(mut command: Command, program: &str, stdin: &str) -> String {
    command.args(["-c", program]);
    answer(command, stdin)
}

fn answer(mut command: Command, stdin: &str) -> String {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let stdin = stdin.to_owned();
    let writer = std::thread::spawn(move || input.write_all(stdin.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().expect("it is written").expect("it is read");
    String::from_utf8(output.stdout).expect("text")
}

/// The folder of Apicurio Registry.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| fetched(&[]))
}

/// The folder that `scripts/registry-fetch` fills.
fn fetched(parts: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/registry-fetch");
    let mut command = Command::new(script);
    let output = command.args(parts).stderr(Stdio::inherit()).output().expect("scripts/registry-fetch runs");
    assert!(output.status.success(), "scripts/registry-fetch fails");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}
