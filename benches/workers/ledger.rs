//! The handlers' ledger: a line for each handled record, in one write.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// After this long without a line no more will follow: a dead member's session has ended by then.
const SILENCE: Duration = Duration::from_secs(30);

/// How often each line occurs, as far as it was read.
pub(crate) struct Ledger {
    path: PathBuf,
    file: Option<File>,
    /// An incomplete line.
    rest: String,
    times: HashMap<String, u64>,
}

impl Ledger {
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rest: String::new(), times: HashMap::new() }
    }

    /// Reads the new lines. Returns whether there were any.
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

    /// Waits until this many records have been handled. Returns false if they have not been, and no more lines follow.
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

    /// The number of different records handled.
    pub(crate) fn different(&self) -> u64 {
        self.times.len() as u64
    }

    /// The number of superfluous repetitions.
    pub(crate) fn repeats(&self) -> u64 {
        self.times.values().map(|times| times - 1).sum()
    }

    /// The number of missing records before these offsets: of partitions that end at `ends`, up to the committed offset.
    pub(crate) fn missing(&self, ends: &[i64], committed: &BTreeMap<i32, i64>) -> u64 {
        let passed = (0i32..).zip(ends).flat_map(|(partition, end)| {
            let to = committed.get(&partition).copied().unwrap_or_default().min(*end);
            (0..to).filter(move |offset| !self.times.contains_key(&format!("{partition} {offset}")))
        });
        passed.count() as u64
    }
}
