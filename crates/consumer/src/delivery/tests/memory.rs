//! Tests of the memory held besides the chunks, which the fetcher has charged.

use super::*;

/// 100 records in 400 kB, less than 1 kB compressed.
const UNPACKED: usize = 400_000;

#[test]
fn p1_hundreds_of_paused_partitions_keep_nothing_that_is_unpacked() {
    for opener in [Opener::Nobody, Opener::Caller] {
        let mut sim = Sim::opened_by(opener, 10);
        let all: Vec<_> = (1..=300).map(|index| sim.assign(index)).collect();
        for partition in &all {
            let log = [packed(0, 100), packed(100, 100)];
            sim.receive(Chunk { partition: partition.clone(), ..chunk(0, 200, &log) });
        }
        let now = crate::clock::now();
        for partition in &all {
            sim.delivery.application_returns(now);
            let got = sim.poll_all();
            assert_eq!(got.first(), Some(&(partition.partition, 0)), "each in its turn");
            sim.handle.pause([partition.clone()]).unwrap();
            sim.delivery.application_leaves(now);
            let most = (12 << 20) + 3 * UNPACKED; // what is opened ahead, and what is being handed out
            assert!(
                sim.delivery.unpacked() < most,
                "{} B of paused partitions, {opener:?}",
                sim.delivery.unpacked()
            );
        }
        sim.delivery.application_returns(now);
        assert_eq!(sim.poll_all(), [], "all are paused");
        assert_eq!(sim.delivery.unpacked(), 0);
        assert_eq!(sim.freed(), 0, "what is packed is kept");
        sim.handle.resume(all.iter().cloned()).unwrap();
        for partition in &all {
            let rest: Vec<_> = (0..19).flat_map(|_| sim.poll_all()).collect();
            assert_eq!(rest, (10..200).map(|offset| (partition.partition, offset)).collect::<Vec<_>>());
        }
        assert_eq!(sim.poll_all(), []);
        assert_eq!(sim.freed(), 300_000, "each chunk once");
    }
}
