//! The history: a ring of frames, one for each round, in files or in memory.
//!
//! A frame is written with one call, so that a killed process leaves at most one incomplete frame, at the end of the last file,
//! which is removed at the next start. Files are numbered; the oldest is deleted when all together are too large. A damaged file
//! is renamed to `history.damaged` (only the last one is kept), and a new one is begun.

mod frame;
mod store;

use std::{collections::VecDeque, io, path::Path};

use offtake_lag::Report;

pub(crate) use frame::{Block, Entry};
use frame::{Frame, Reader};
use store::Store;

/// A part of a usable history that had to be discarded, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub(crate) String);

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Another process writes to the folder.
    #[error("{0} is in use by another process; give each monitor its own folder")]
    InUse(String),
    /// The folder cannot be created, read or written.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
}

/// The recorded rounds, as many as there is room for.
#[derive(Debug)]
pub struct History {
    store: Store,
    /// The positions of all frames, in the order of writing.
    index: VecDeque<FramePosition>,
    /// Whether the last write failed, and that was logged.
    has_failed: bool,
}

/// The position of a frame.
#[derive(Clone, Copy, Debug)]
struct FramePosition {
    at: i64,
    file: u64,
    offset: u64,
    /// The length of its directory.
    directory: u32,
}

impl History {
    /// A history in memory, limited to this many bytes.
    #[must_use]
    pub fn in_memory(most: u64) -> Self {
        Self { store: Store::memory(most), index: VecDeque::new(), has_failed: false }
    }

    /// A history in a folder, limited to this many bytes (at least 64 KiB). Creates the folder if necessary, and continues with
    /// its contents.
    ///
    /// # Errors
    ///
    /// Another process uses the folder, or it cannot be used at all. Damaged contents are no error, but are reported.
    pub fn open(folder: &Path, most: u64) -> Result<(Self, Vec<Damage>), HistoryError> {
        let mut damage = Vec::new();
        let (store, files) = Store::open(folder, most)?;
        let mut history = Self { store, index: VecDeque::new(), has_failed: false };
        for file in files {
            history.read_file(file, &mut damage);
        }
        history.forget_oldest();
        Ok((history, damage))
    }

    fn read_file(&mut self, file: u64, damage: &mut Vec<Damage>) {
        match self.store.scan(file) {
            Ok(scan) => {
                self.index.extend(scan.places);
                if let Some(why) = scan.damage {
                    self.index.retain(|place| place.file != file);
                    damage.push(self.store.set_aside(file, &why));
                }
            }
            Err(error) => damage.push(self.store.set_aside(file, &error.to_string())),
        }
    }

    /// Adds a round. A failure is logged once, and charts have a gap.
    pub(crate) fn append(&mut self, report: &Report) {
        let frame = Frame::of(report);
        match self.store.append(&frame.bytes) {
            Ok((file, offset)) => {
                if std::mem::take(&mut self.has_failed) {
                    tracing::info!("the history can be written again");
                }
                self.index.push_back(FramePosition {
                    at: report.at,
                    file,
                    offset,
                    directory: frame.directory,
                });
                self.forget_oldest();
            }
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                tracing::warn!("the history cannot be written, and charts will have a gap: {error}");
            }
            Err(_) => {}
        }
    }

    fn forget_oldest(&mut self) {
        for gone in self.store.make_room() {
            self.index.retain(|place| place.file != gone);
        }
    }

    /// The time of the last frame.
    pub(crate) fn last(&self) -> Option<i64> {
        self.index.back().map(|place| place.at)
    }

    /// Picks about this many frames from a time to the last round, and at least half as many if there are enough. They are evenly
    /// spread: the last frame of each interval. The oldest is first. If the clock was set back, frames with later times are left
    /// out until the clock reaches those times again.
    pub(crate) fn pick(&self, since: i64, points: usize) -> Vec<Picked> {
        let Some(until) = self.last() else { return Vec::new() };
        let mut within: Vec<_> =
            self.index.iter().filter(|place| (since..=until).contains(&place.at)).collect();
        within.sort_by_key(|place| place.at);
        let span = within.first().map_or(0, |first| until.saturating_sub(first.at));
        let each = span / i64::try_from(points.max(1)).unwrap_or(i64::MAX);
        // Intervals begin at multiples of their length, a power of two, so that the same rounds are picked a moment later.
        let length = u64::try_from(each).ok().and_then(u64::checked_next_power_of_two).unwrap_or(1);
        let length = i64::try_from(length).unwrap_or(i64::MAX).max(1);
        let mut picked: Vec<FramePosition> = Vec::new();
        for place in within {
            match picked.last_mut() {
                Some(last) if last.at.div_euclid(length) == place.at.div_euclid(length) => *last = *place,
                _ => picked.push(*place),
            }
        }
        picked.into_iter().map(Picked).collect()
    }

    /// The directory of a frame: each group with its sums. `None` if it can no longer be read.
    pub(crate) fn directory(&mut self, picked: &Picked) -> Option<Vec<Entry>> {
        let Picked(place) = picked;
        let length = usize::try_from(place.directory).ok()?;
        let bytes = self.store.read(place.file, place.offset + frame::HEAD as u64, length).ok()?;
        Entry::all(&mut Reader::new(&bytes))
    }

    /// The partitions of a group in a frame.
    pub(crate) fn block(&mut self, picked: &Picked, entry: &Entry) -> Option<Block> {
        let Picked(place) = picked;
        let begin = place.offset + frame::HEAD as u64 + u64::from(place.directory);
        let length = usize::try_from(entry.length).ok()?;
        // The length was protected by a checksum, but the file may have been truncated since.
        let bytes = self.store.read(place.file, begin + u64::from(entry.offset), length).ok()?;
        (crc32c::crc32c(&bytes) == entry.checksum).then(|| Block::read(&mut Reader::new(&bytes)))?
    }
}

/// A frame that was picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picked(FramePosition);

impl Picked {
    pub(crate) fn at(&self) -> i64 {
        self.0.at
    }
}

#[cfg(test)]
mod tests;
