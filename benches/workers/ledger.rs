//! Where handlers note what they did: a line for each time, in one write.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Nothing more comes when nothing came for so long: a dead member's session is over by then.
const SILENCE: Duration = Duration::from_secs(30);

/// How often each line is there, as far as it was read.
pub(crate) struct Ledger {
    path: PathBuf,
    file: Option<File>,
    /// A line that is not whole yet.
    rest: String,
    times: HashMap<String, u64>,
}

impl Ledger {
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rest: String::new(), times: HashMap::new() }
    }

    /// Reads what has come since. Whether anything has.
    pub(crate) fn read_on(&mut self) -> bool {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let mut text = std::mem::take(&mut self.rest);
        let before = text.len();
        let read = self.file.as_mut().and_then(|file| file.read_to_string(&mut text).ok());
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => *self.times.entry(line.to_owned()).or_default() += 1,
                None => line.clone_into(&mut self.rest),
            }
        }
        read.is_some() && text.len() > before
    }

    /// Waits until so many records have been handled. False when they are not, and nothing more comes.
    pub(crate) fn wait_for(&mut self, records: u64) -> bool {
        let mut heard = Instant::now();
        while self.different() < records {
            if self.read_on() {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Records that were handled.
    pub(crate) fn different(&self) -> u64 {
        self.times.len() as u64
    }

    /// Handled too often.
    pub(crate) fn repeats(&self) -> u64 {
        self.times.values().map(|times| times - 1).sum()
    }

    /// Records before these offsets that are not in it: of partitions that end there, and of which so much is committed.
    pub(crate) fn missing(&self, ends: &[i64], committed: &BTreeMap<i32, i64>) -> u64 {
        let passed = (0i32..).zip(ends).flat_map(|(partition, end)| {
            let to = committed.get(&partition).copied().unwrap_or_default().min(*end);
            (0..to).filter(move |offset| !self.times.contains_key(&format!("{partition} {offset}")))
        });
        passed.count() as u64
    }
}
