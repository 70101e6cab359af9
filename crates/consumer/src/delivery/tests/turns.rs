//! Tests of partitions that share an output.

use super::*;

/// SEAM12: a poll is not limited by the number of fetch responses.
#[test]
fn seam12_one_output_has_the_records_of_all_partitions_and_chunks_that_have_come() {
    let mut sim = Sim::handing_out(500);
    let others: Vec<_> = (1..20).map(|partition| sim.assign(partition)).collect();
    for offset in 0..3 {
        for partition in [orders()].iter().chain(&others) {
            sim.receive(of(partition, chunk(offset, offset + 1, &[batch(offset, 1)])));
        }
    }
    let all = sim.poll_all();
    assert_eq!(all.len(), 60);
    for partition in 0..20 {
        let of: Vec<_> = all.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset).collect();
        assert_eq!(of, [0, 1, 2], "in order");
    }
    assert_eq!(sim.freed(), 60_000);
}

/// A partition with a backlog does not keep the others waiting for more than a chunk of its own.
#[test]
fn seam12_partitions_take_turns_chunk_by_chunk() {
    let mut sim = Sim::handing_out(4);
    let other = sim.assign(1);
    for first in [0, 8, 16] {
        sim.receive(chunk(first, first + 8, &[batch(first, 8)]));
    }
    sim.receive(of(&other, chunk(0, 2, &[batch(0, 2)])));
    let polls: Vec<_> = (0..4).map(|_| sim.poll_all()).collect();
    let mine = |from: i64, to: i64| (from..to).map(|offset| (0, offset)).collect::<Vec<_>>();
    assert_eq!(polls[0], mine(0, 4));
    assert_eq!(polls[1], mine(4, 8));
    assert_eq!(polls[2], [vec![(1, 0), (1, 1)], mine(8, 10)].concat());
    assert_eq!(polls[3], mine(10, 14));
}
