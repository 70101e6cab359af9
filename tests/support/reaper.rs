//! Ends the processes that a test process leaves behind, however it ended.
//!
//! A shell holds the reading end of a pipe whose only writer is this process. It gets the id of each process that is
//! started or ended; when the pipe closes (a normal exit, a panic, `kill -9`) it kills the remaining ones and removes
//! the folder of this run. It has a process group of its own and ignores signals, so that a signal to us does not end
//! it first. Statics are never dropped in Rust: for fixtures in them this is the normal end.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT PIPE
pids=
while read -r verb pid; do
    if [ "$verb" = add ]; then
        pids="$pids $pid"
    else
        left=
        for each in $pids; do [ "$each" = "$pid" ] || left="$left $each"; done
        pids=$left
    fi
done
for each in $pids; do kill -9 "$each" 2>/dev/null; done
[ -n "$1" ] || exit 0
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && [ ! -e "$1" ] && exit 0
    sleep 0.2
done
"#;

struct Reaper {
    pipe: Mutex<ChildStdin>,
    folder: PathBuf,
}

fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| {
        let folder =
            tempfile::Builder::new().prefix("offtake-tests-").tempdir().expect("a temporary folder").keep();
        let keep = std::env::var_os("OFFTAKE_KEEP").is_some_and(|value| !value.is_empty() && value != "0");
        if keep {
            eprintln!("OFFTAKE_KEEP: logs and data stay in {}", folder.display());
        }
        #[expect(clippy::zombie_processes, reason = "it outlives us: that is its job")]
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(if keep { Path::new("") } else { &folder })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let pipe = Mutex::new(child.stdin.take().expect("a pipe to the reaper"));
        Reaper { pipe, folder }
    })
}

/// The folder of this run, removed at its end.
pub fn folder() -> &'static Path {
    &reaper().folder
}

pub(crate) fn add(pid: u32) {
    tell("add", pid);
}

/// To be called before the process is waited for: until then its id cannot be reused.
pub(crate) fn remove(pid: u32) {
    tell("remove", pid);
}

fn tell(verb: &str, pid: u32) {
    let mut pipe = reaper().pipe.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    writeln!(pipe, "{verb} {pid}").expect("the reaper listens");
}
