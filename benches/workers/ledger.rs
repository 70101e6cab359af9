//! Where handlers note what they did: a line for each time, in one write.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often each line is there.
pub(crate) struct Ledger {
    times: HashMap<String, u64>,
}

impl Ledger {
    pub(crate) fn read(path: &Path) -> Self {
        let mut times = HashMap::new();
        // The last line may not be whole yet.
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            *times.entry(line.to_owned()).or_default() += 1;
        }
        Self { times }
    }

    /// Records that were handled.
    pub(crate) fn different(&self) -> u64 {
        self.times.len() as u64
    }

    /// Handled too often.
    pub(crate) fn repeats(&self) -> u64 {
        self.times.values().map(|times| times - 1).sum()
    }
}

/// Waits until so many records have been handled. False if they are not within that time.
pub(crate) fn wait_for(path: &Path, records: u64, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        // No line is shorter than this: the file need not be read before there can be as many.
        let bytes = fs::metadata(path).map_or(0, |file| file.len());
        if bytes >= records * 4 && Ledger::read(path).different() >= records {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
