//! Compares the charged memory with the held memory, counted in the allocator. It is the only test of its
//! program, because allocations of others would be counted too.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../fetcher/rig.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod rig;

use std::alloc::System;

use bytes::Bytes;
use offtake_fetch::{Chunk, READER_OVERHEAD};
use offtake_wire::messages::fetch::PartitionData;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use rig::{Rig, batch, data, response};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// One small batch of each partition in each of these responses.
fn answers(count: i64, partitions: i32) -> Vec<Vec<Bytes>> {
    (0..count).map(|offset| (0..partitions).map(|_| batch(offset, 1)).collect()).collect()
}

#[test]
fn p1_small_chunks_are_charged_with_what_they_hold_beside_their_records() {
    for (count, partitions) in [(1000, 1), (200, 10), (20, 100)] {
        let mut rig = Rig::new().topic("a", &vec![1; partitions as usize]);
        (0..partitions).for_each(|partition| rig.start("a", partition, 0));
        let mut chunks: Vec<Chunk> = Vec::new();
        let before = allocated();
        for records in answers(count, partitions) {
            let asked = rig.ask();
            // All of them are in one buffer, as in a real response.
            let frame = Bytes::from(records.concat());
            let (frame_size, size) = (frame.len(), records[0].len());
            drop(records);
            let part =
                |(index, at): (i32, usize)| -> PartitionData { data(index, frame.slice(at..at + size)) };
            let parts = (0..partitions).zip((0..).step_by(size)).map(part).collect();
            rig.answer_in(&asked, response(7, vec![("a", parts)]), frame_size);
            drop(frame);
            rig.told();
            chunks.extend(std::iter::from_fn(|| rig.fetcher.take()));
        }
        chunks.shrink_to_fit();
        let held = allocated() - before;
        let charged = rig.fetcher.memory_held() - chunks.len() * READER_OVERHEAD;
        let each = |bytes: usize| bytes / chunks.len();
        assert_eq!(chunks.len(), usize::try_from(count).unwrap() * partitions as usize);
        println!("{count} x {partitions}: {} B charged for each chunk, {} B held", each(charged), each(held));
        assert!(charged >= held, "{} B charged for each chunk, {} B held", each(charged), each(held));
        assert!(charged < 2 * held, "{} B charged for each chunk, {} B held", each(charged), each(held));
    }
}
