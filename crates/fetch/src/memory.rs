//! Accounts for memory: a response frame is held until the last chunk cut from it is released.
//!
//! Always true:
//! - `used` is the sum of the frames that at least one chunk holds, each counted once and whole;
//! - `paused_frames` has the frames that only chunks of paused partitions hold, and `paused_bytes` is their sum.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::TopicPartition;

/// The part of a chunk's charge for its reader, in bytes: what the handle needs to hand out its records.
pub const READER_OVERHEAD: usize = 512;
/// A chunk's charge besides its part of the frame, in bytes: for the chunk itself, its entries here and in
/// the queues on its way, and its reader. For small responses that is most of the memory they hold.
pub(crate) const CHUNK_OVERHEAD: usize = 512 + READER_OVERHEAD;

/// The memory that a chunk holds in the fetcher's accounting, until
/// [`Fetcher::release`](crate::Fetcher::release).
///
/// Several chunks may hold one response frame: its memory is free when the last of them is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// 0: a chunk unknown to any fetcher.
    pub(crate) chunk: u64,
    bytes: usize,
}

impl Charge {
    /// A charge for a chunk that no fetcher has created, such as one in a test. Releasing it changes nothing.
    pub fn unaccounted(bytes: usize) -> Self {
        Self { chunk: 0, bytes }
    }

    /// The chunk's own part of the frame, in bytes.
    pub fn bytes(self) -> usize {
        self.bytes
    }
}

/// A response frame while chunks are cut from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    id: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    used: usize,
    frame_ids: u64,
    frames: BTreeMap<u64, FrameUsage>,
    chunks: BTreeMap<u64, ChunkUsage>,
    partitions: BTreeMap<TopicPartition, PartitionUsage>,
    paused_frames: BTreeMap<u64, usize>,
    paused_bytes: usize,
}

#[derive(Debug, Default)]
struct FrameUsage {
    bytes: usize,
    chunks: BTreeSet<u64>,
    /// How many of the chunks belong to partitions that are not paused.
    read: usize,
}

#[derive(Debug)]
struct ChunkUsage {
    partition: TopicPartition,
    frame: u64,
    bytes: usize,
    paused: bool,
    taken: bool,
}

/// The memory of one partition.
#[derive(Debug, Default)]
struct PartitionUsage {
    chunks: BTreeSet<u64>,
    bytes: usize,
}

/// A chunk that holds a frame of paused partitions.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) partition: TopicPartition,
    pub(crate) chunk: u64,
    /// Taken, and not yet released.
    pub(crate) taken: bool,
}

impl Memory {
    /// Registers a response of this many bytes.
    pub(crate) fn frame(&mut self, bytes: usize) -> Frame {
        self.frame_ids = self.frame_ids.wrapping_add(1);
        Frame { id: self.frame_ids, bytes }
    }

    /// Charges chunk number `chunk`, which holds `bytes` of the frame; with 0 it holds only itself.
    pub(crate) fn charge(
        &mut self,
        partition: &TopicPartition,
        chunk: u64,
        frame: Frame,
        bytes: usize,
        paused: bool,
    ) -> Charge {
        let frame = if bytes == 0 { self.frame(0) } else { frame };
        let bytes = bytes.max(CHUNK_OVERHEAD);
        let held = self.frames.entry(frame.id).or_default();
        let new = if held.chunks.is_empty() { frame.bytes } else { 0 };
        let new = new.saturating_add(CHUNK_OVERHEAD);
        held.bytes = held.bytes.saturating_add(new);
        held.chunks.insert(chunk);
        held.read = held.read.saturating_add(usize::from(!paused));
        self.used = self.used.saturating_add(new);
        let load = self.partitions.entry(partition.clone()).or_default();
        load.bytes = load.bytes.saturating_add(bytes);
        load.chunks.insert(chunk);
        let partition = partition.clone();
        self.chunks.insert(chunk, ChunkUsage { partition, frame: frame.id, bytes, paused, taken: false });
        self.update_paused(frame.id);
        Charge { chunk, bytes }
    }

    /// Notes that the chunk has been taken.
    pub(crate) fn mark_taken(&mut self, chunk: u64) {
        if let Some(chunk) = self.chunks.get_mut(&chunk) {
            chunk.taken = true;
        }
    }

    pub(crate) fn is_taken(&self, chunk: u64) -> bool {
        self.chunks.get(&chunk).is_some_and(|chunk| chunk.taken)
    }

    /// Releases a chunk that was released or dropped.
    pub(crate) fn release(&mut self, number: u64) {
        let Some(chunk) = self.chunks.remove(&number) else { return };
        if let Some(load) = self.partitions.get_mut(&chunk.partition) {
            load.chunks.remove(&number);
            load.bytes = load.bytes.saturating_sub(chunk.bytes);
            if load.chunks.is_empty() {
                self.partitions.remove(&chunk.partition);
            }
        }
        let Some(frame) = self.frames.get_mut(&chunk.frame) else { return };
        frame.chunks.remove(&number);
        frame.read = frame.read.saturating_sub(usize::from(!chunk.paused));
        if frame.chunks.is_empty() {
            self.used = self.used.saturating_sub(frame.bytes);
            self.frames.remove(&chunk.frame);
        }
        self.update_paused(chunk.frame);
    }

    /// Notes that the partition was paused or resumed.
    pub(crate) fn set_paused(&mut self, partition: &TopicPartition, paused: bool) {
        let Some(load) = self.partitions.get(partition) else { return };
        for number in load.chunks.clone() {
            let Some(chunk) = self.chunks.get_mut(&number).filter(|chunk| chunk.paused != paused) else {
                continue;
            };
            chunk.paused = paused;
            let frame = chunk.frame;
            if let Some(frame) = self.frames.get_mut(&frame) {
                frame.read = if paused { frame.read.saturating_sub(1) } else { frame.read.saturating_add(1) };
            }
            self.update_paused(frame);
        }
    }

    fn update_paused(&mut self, frame: u64) {
        let idle = self.frames.get(&frame).filter(|held| held.read == 0).map(|held| held.bytes);
        let before = match idle {
            Some(bytes) => self.paused_frames.insert(frame, bytes),
            None => self.paused_frames.remove(&frame),
        };
        let now = self.paused_bytes.saturating_sub(before.unwrap_or(0));
        self.paused_bytes = now.saturating_add(idle.unwrap_or(0));
    }

    /// All bytes held.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The bytes of one partition's chunks, without the rest of their frames: they count against its share.
    pub(crate) fn load(&self, partition: &TopicPartition) -> usize {
        self.partitions.get(partition).map_or(0, |load| load.bytes)
    }

    /// The frames that only paused partitions hold, oldest first.
    pub(crate) fn paused_frames(&self) -> Vec<u64> {
        self.paused_frames.keys().copied().collect()
    }

    /// All bytes of these frames.
    pub(crate) fn paused_bytes(&self) -> usize {
        self.paused_bytes
    }

    pub(crate) fn frame_bytes(&self, frame: u64) -> usize {
        self.frames.get(&frame).map_or(0, |frame| frame.bytes)
    }

    /// The chunks that hold a frame.
    pub(crate) fn holders(&self, frame: u64) -> Vec<Holder> {
        let chunks = self.frames.get(&frame).into_iter().flat_map(|frame| &frame.chunks);
        let holder = |number: &u64| {
            let chunk = self.chunks.get(number)?;
            Some(Holder { partition: chunk.partition.clone(), chunk: *number, taken: chunk.taken })
        };
        chunks.filter_map(holder).collect()
    }
}
