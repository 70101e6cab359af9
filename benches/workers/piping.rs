//! `offtake pipe` with a handler in Python: its highest rate, and 10,000 records a second while handlers are killed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use offtake_tests::{Dice, Offtake, Running, unique};
use serde_json::Value;

use crate::{Bench, ledger::Ledger, settings::Section, system::PATIENCE};

/// Notes each record in one write, and answers it.
const HANDLER: &str = "
import json, os, sys
ledger = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    record = json.loads(line)
    os.write(ledger, b'%d %d\\n' % (record['partition'], record['offset']))
    sys.stdout.write('ok\\n')
    sys.stdout.flush()
";
/// The second and the third differ in the breaker.
const ROWS: [&str; 3] = [
    "as fast as it goes",
    "10,000 a second, handlers killed, no breaker",
    "10,000 a second, handlers killed, the default breaker",
];
/// A breaker that never opens.
const NO_BREAKER: [&str; 2] = ["--breaker", "100%/100000"];
const RATE: u64 = 10_000;

impl Bench {
    pub(crate) fn piped(&mut self) -> Result<(), String> {
        let section = Section::Pipe;
        let count = self.settings.scaled(200_000);
        let script = self.kafka.folder().join("handler.py");
        fs::write(&script, HANDLER).map_err(|error| error.to_string())?;
        let topic = self.filled(1000, count)?;
        for run in 1..=self.settings.runs {
            eprintln!("workers: {section}, run {run}");
            match self.backlog(&script, &topic, count) {
                Ok((seconds, cpu)) => {
                    self.figures.add(section, ROWS[0], "thousand records/s", count as f64 / seconds / 1000.0);
                    self.figures.add(
                        section,
                        ROWS[0],
                        "CPU s a million, without handlers",
                        cpu / count as f64 * 1e6,
                    );
                }
                Err(error) => println!("# {section}, {}, run {run}: {error}", ROWS[0]),
            }
            for (row, breaker) in [(ROWS[1], NO_BREAKER.as_slice()), (ROWS[2], &[])] {
                match self.under_fire(&script, breaker, u64::from(run), count) {
                    Ok(fire) => {
                        let mut add = |column, value| self.figures.add(section, row, column, value);
                        add("thousand records/s", fire.rate / 1000.0);
                        add("killed", fire.killed as f64);
                        add("handled again", fire.repeats as f64);
                        add("s behind at the end", fire.behind);
                    }
                    Err(error) => println!("# {section}, {row}, run {run}: {error}"),
                }
            }
        }
        self.figures.print(section, &ROWS.map(str::to_owned));
        self.tool.delete_topic(&topic);
        Ok(())
    }

    fn pipe(&self, script: &Path, topic: &str, ledger: &Path, breaker: &[&str]) -> Running {
        let exec = format!("python3 {} {}", script.display(), ledger.display());
        let group = unique("pipe");
        Offtake::new(["pipe", topic, "-g", &group, "--events", "--exec", &exec, "--workers", "2"])
            .args(["--in-flight", "100", "--backoff", "1ms..20ms", "--attempts", "1000"])
            .args(breaker)
            .brokers(&self.kafka)
            .start()
    }

    fn ledger(&self) -> PathBuf {
        self.kafka.folder().join(unique("ledger"))
    }

    /// The time for all existing records, from the first one on, and the command's own processor time.
    fn backlog(&self, script: &Path, topic: &str, count: u64) -> Result<(f64, f64), String> {
        let path = self.ledger();
        let pipe = self.pipe(script, topic, &path, &[]);
        let mut ledger = Ledger::at(&path);
        if !ledger.wait_for(1) {
            return Err(format!("nothing was handled: {:#?}", pipe.stderr().all()));
        }
        let (began, used) = (Instant::now(), pipe.cpu_time());
        if !ledger.wait_for(count) {
            return Err(format!("not all was handled: {:#?}", pipe.stderr().all()));
        }
        let took = (began.elapsed().as_secs_f64(), pipe.cpu_time().saturating_sub(used).as_secs_f64());
        end(pipe)?;
        Ok(took)
    }

    /// Records arrive at a rate, while handlers die.
    fn under_fire(&self, script: &Path, breaker: &[&str], seed: u64, count: u64) -> Result<Fire, String> {
        let (path, topic) = (self.ledger(), self.filled(1000, 1)?);
        let mut pipe = self.pipe(script, &topic, &path, breaker);
        let mut ledger = Ledger::at(&path);
        if !ledger.wait_for(1) {
            return Err(format!("nothing was handled: {:#?}", pipe.stderr().all()));
        }
        let lines: String =
            (1..count).map(|number| format!("key-{}\t{number:<100}\n", number % 1000)).collect();
        let began = Instant::now();
        let produce = ["produce", &topic, "-K", "\\t", "--rate", &RATE.to_string(), "--acks", "1"];
        let mut produce = Offtake::new(produce).brokers(&self.kafka).stdin(lines).start();
        let mut dice = Dice::new(seed);
        let mut killed = 0;
        while produce.is_running() && pipe.is_running() {
            std::thread::sleep(Duration::from_millis(200 + dice.roll(600)));
            if let live @ [_, ..] = live(&pipe).as_slice() {
                let victim = dice.pick(live).to_string();
                let done = Command::new("kill").args(["-9", &victim]).status();
                killed += u64::from(done.is_ok_and(|status| status.success()));
            }
        }
        let produced = Instant::now();
        let rate = count as f64 / (produced - began).as_secs_f64();
        let all = ledger.wait_for(count);
        let behind = produced.elapsed().as_secs_f64();
        drop(produce.finish(PATIENCE));
        if !all {
            return Err(format!(
                "{} of {count} were handled: {:#?}",
                ledger.different(),
                pipe.stderr().all()
            ));
        }
        end(pipe)?;
        self.tool.delete_topic(&topic);
        Ok(Fire { rate, killed, repeats: ledger.repeats(), behind })
    }
}

struct Fire {
    rate: f64,
    killed: u64,
    repeats: u64,
    behind: f64,
}

fn end(pipe: Running) -> Result<(), String> {
    pipe.signal("TERM");
    let ended = pipe.finish(PATIENCE);
    if ended.code == Some(0) {
        Ok(())
    } else {
        Err(format!("it ended with {:?}: {:#?}", ended.code, ended.stderr))
    }
}

/// The live handlers.
fn live(pipe: &Running) -> Vec<i64> {
    let mut live = BTreeMap::new();
    for line in pipe.stderr().all() {
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["event"] == "child" {
            let pid = (event["state"] == "started").then(|| event["pid"].as_i64()).flatten();
            live.insert(event["child"].as_i64(), pid);
        }
    }
    live.into_values().flatten().collect()
}
