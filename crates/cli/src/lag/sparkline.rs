//! The history of each partition's lag, as a line of blocks.

use std::collections::{HashMap, VecDeque};

use offtake_lag::{GroupReport, PartitionRow, Report};

/// The number of samples drawn.
const SAMPLES: usize = 20;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last samples of each partition.
#[derive(Debug, Default)]
pub(crate) struct Sparklines(HashMap<(String, String, i32), VecDeque<Option<u64>>>);

impl Sparklines {
    /// Adds a sample; partitions that are not in it are forgotten.
    pub(crate) fn push(&mut self, report: &Report) {
        let mut known = std::mem::take(&mut self.0);
        for row in report.groups.iter().flat_map(GroupReport::rows) {
            let mut samples = known.remove(&key(&row)).unwrap_or_default();
            samples.push_back(row.lag.map(|lag| lag.max(0).unsigned_abs()));
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
            self.0.insert(key(&row), samples);
        }
    }

    pub(crate) fn of(&self, row: &PartitionRow<'_>) -> String {
        self.0.get(&key(row)).map_or_else(String::new, draw)
    }
}

fn key(row: &PartitionRow<'_>) -> (String, String, i32) {
    (row.group.to_owned(), row.topic.to_owned(), row.partition)
}

/// The highest sample fills its block; an unknown one is a gap.
fn draw(samples: &VecDeque<Option<u64>>) -> String {
    let highest = samples.iter().flatten().max().copied().unwrap_or(0).max(1);
    let block = |lag: u64| {
        let share = lag as f64 / highest as f64 * (BLOCKS.len() - 1) as f64;
        BLOCKS.get(share.ceil() as usize).copied().unwrap_or('█')
    };
    samples.iter().map(|lag| lag.map_or(' ', block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_fills_its_block_and_nothing_is_the_lowest() {
        let drawn = |samples: &[Option<u64>]| draw(&samples.iter().copied().collect());
        assert_eq!(drawn(&[Some(0), Some(1), None, Some(50), Some(100)]), "▁▂ ▅█");
        assert_eq!(drawn(&[Some(0), Some(0)]), "▁▁");
        assert_eq!(drawn(&[Some(u64::MAX), Some(0)]), "█▁");
        assert_eq!(drawn(&[]), "");
    }
}
