//! `offtake pipe` as a process, and its handlers.
#![allow(
    clippy::disallowed_methods,
    reason = "processes are watched from outside: by a thread, and in real time"
)]
#![allow(clippy::panic, reason = "a test that fails says what it saw")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::operator::{At, Done};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder for the handlers and their output.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A handler in Python, as an argument of `--exec`. `seen(…)` writes a line into the file `seen`.
    pub(crate) fn python(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        let head = format!(
            "import json, os, signal, struct, sys, time\ndef seen(*what):\n    with open({:?}, 'a') as file:\n        file.write(json.dumps(what) + '\\n')\n",
            self.path("seen")
        );
        fs::write(&path, format!("{head}{body}")).unwrap();
        format!("python3 -u {}", path.display())
    }

    pub(crate) fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("seen")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A running `offtake pipe`. Killed when dropped.
pub(crate) struct Piping {
    pub(crate) child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Piping {
    /// Starts it on topic `orders` as group `pipe`, with events.
    pub(crate) fn start(at: &At, exec: &str, options: &str) -> Self {
        let mut command = at.command(&format!("pipe orders -g pipe --events {options}"));
        command.arg("--exec").arg(exec);
        Self::of(&mut command)
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// The next event of this name that satisfies the condition.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no such {name}: {:#?}", self.said)
            };
            self.said.push(line.clone());
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if event["event"] == name && is_meant(&event) => return event,
                _ => {}
            }
        }
    }

    /// Waits for such an event, unless it was received before.
    #[track_caller]
    pub(crate) fn has_come(&mut self, name: &str, is_meant: impl Fn(&Value) -> bool) {
        let is_it = |event: &Value| event["event"] == name && is_meant(event);
        if !self.said.iter().filter_map(|line| serde_json::from_str(line).ok()).any(|event| is_it(&event)) {
            self.event(name, is_meant);
        }
    }

    /// Waits until these offsets are committed.
    #[track_caller]
    pub(crate) fn committed(&mut self, wanted: &[i64]) {
        self.committed_since(vec![0; wanted.len()], wanted);
    }

    /// The same with these offsets committed before.
    #[track_caller]
    pub(crate) fn committed_since(&mut self, mut offsets: Vec<i64>, wanted: &[i64]) {
        while offsets != wanted {
            let event = self.event("committed", |_| true);
            for committed in event["offsets"].as_array().unwrap() {
                offsets[usize::try_from(committed[1].as_u64().unwrap()).unwrap()] =
                    committed[2].as_i64().unwrap();
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(self) -> Done {
        self.signal(Signal::TERM);
        self.finish()
    }

    pub(crate) fn finish(mut self) -> Done {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
        }
        let code = self.child.wait().unwrap().code();
        Done { code, stdout: String::new(), stderr: self.said.join("\n") }
    }
}

impl Drop for Piping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is gone, or soon will be.
pub(crate) fn ends(pid: i64) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    for _ in 0..600 {
        let is_zombie = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| stat.contains(") Z "));
        if test_kill_process(pid).is_err() || is_zombie {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A script of sh as an argument of `--exec`.
pub(crate) fn sh(folder: &Folder, name: &str, script: &str) -> String {
    let path = folder.path(name);
    fs::write(&path, script).unwrap();
    format!("/bin/sh {}", path.display())
}
