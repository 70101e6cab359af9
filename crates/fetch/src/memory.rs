//! The account of memory: a response frame is held until the last chunk that was cut from it is released.
//!
//! Always true:
//! - `used` is the sum of the frames that at least one chunk holds, each counted once and whole;
//! - `idle` has the frames that only chunks of paused partitions hold, and `idle_bytes` is their sum.

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::TopicPartition;

/// The part of a chunk's charge that is for its reader, in bytes: what the handle needs to hand out its records.
pub const READER_OVERHEAD: usize = 512;
/// What a chunk is charged beside its part of the frame, in bytes: the chunk itself, its entries here and in the queues on
/// its way, and its reader. Of small answers that is most of what they hold.
pub(crate) const CHUNK_OVERHEAD: usize = 512 + READER_OVERHEAD;

/// What a chunk holds in the fetcher's account. [`Fetcher::release`](crate::Fetcher::release) takes it back.
///
/// Several chunks may hold one response frame: its memory is free when the last of them is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// 0: a chunk that no fetcher knows of.
    pub(crate) chunk: u64,
    bytes: usize,
}

impl Charge {
    /// For a chunk that no fetcher has made, such as one in a test. Releasing it changes nothing.
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
    frames: BTreeMap<u64, HeldFrame>,
    chunks: BTreeMap<u64, HeldChunk>,
    partitions: BTreeMap<TopicPartition, Load>,
    idle: BTreeMap<u64, usize>,
    idle_bytes: usize,
}

#[derive(Debug, Default)]
struct HeldFrame {
    bytes: usize,
    chunks: BTreeSet<u64>,
    /// Chunks of partitions that are not paused.
    read: usize,
}

#[derive(Debug)]
struct HeldChunk {
    partition: TopicPartition,
    frame: u64,
    bytes: usize,
    paused: bool,
    lent: bool,
}

/// What one partition holds.
#[derive(Debug, Default)]
struct Load {
    chunks: BTreeSet<u64>,
    bytes: usize,
}

/// One chunk that holds an idle frame.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) partition: TopicPartition,
    pub(crate) chunk: u64,
    /// Taken, and not yet released.
    pub(crate) lent: bool,
}

impl Memory {
    /// A response of so many bytes came.
    pub(crate) fn frame(&mut self, bytes: usize) -> Frame {
        self.frame_ids = self.frame_ids.wrapping_add(1);
        Frame { id: self.frame_ids, bytes }
    }

    /// Charges chunk number `chunk`, which holds `bytes` of the frame; with none it holds only itself.
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
        self.chunks.insert(chunk, HeldChunk { partition, frame: frame.id, bytes, paused, lent: false });
        self.judge(frame.id);
        Charge { chunk, bytes }
    }

    /// The chunk has been taken.
    pub(crate) fn lend(&mut self, chunk: u64) {
        if let Some(chunk) = self.chunks.get_mut(&chunk) {
            chunk.lent = true;
        }
    }

    pub(crate) fn is_lent(&self, chunk: u64) -> bool {
        self.chunks.get(&chunk).is_some_and(|chunk| chunk.lent)
    }

    /// The chunk is gone.
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
        self.judge(chunk.frame);
    }

    /// The partition has been paused, or is read again.
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
            self.judge(frame);
        }
    }

    fn judge(&mut self, frame: u64) {
        let idle = self.frames.get(&frame).filter(|held| held.read == 0).map(|held| held.bytes);
        let before = match idle {
            Some(bytes) => self.idle.insert(frame, bytes),
            None => self.idle.remove(&frame),
        };
        let now = self.idle_bytes.saturating_sub(before.unwrap_or(0));
        self.idle_bytes = now.saturating_add(idle.unwrap_or(0));
    }

    /// Bytes held, all told.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Bytes of one partition's chunks, without the rest of their frames: what counts against its share.
    pub(crate) fn load(&self, partition: &TopicPartition) -> usize {
        self.partitions.get(partition).map_or(0, |load| load.bytes)
    }

    /// The frames that only paused partitions hold, oldest first.
    pub(crate) fn idle(&self) -> Vec<u64> {
        self.idle.keys().copied().collect()
    }

    /// Bytes of these frames, all told.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    pub(crate) fn frame_bytes(&self, frame: u64) -> usize {
        self.frames.get(&frame).map_or(0, |frame| frame.bytes)
    }

    /// The chunks that hold a frame.
    pub(crate) fn holders(&self, frame: u64) -> Vec<Holder> {
        let chunks = self.frames.get(&frame).into_iter().flat_map(|frame| &frame.chunks);
        let holder = |number: &u64| {
            let chunk = self.chunks.get(number)?;
            Some(Holder { partition: chunk.partition.clone(), chunk: *number, lent: chunk.lent })
        };
        chunks.filter_map(holder).collect()
    }
}
