//! Plans whose members write copies of the records they read, in transactions.

use crate::{
    plan::{Commits, Copies, Leave, Member, Plan, Protocol, Reset},
    random::Random,
};

/// The percentage of seeds in which members copy, in transactions; and of those in which two have the same `transactional.id`.
const COPY: u64 = 15;
const RIVALS: u64 = 20;
/// The percentage of those that use the loop of `offtake-exactly-once`.
const STEPS: u64 = 50;

impl Plan {
    /// Makes all members write copies of the records they read, in transactions. Removes faults to the logs that are reported as resets:
    /// after those, records are read again or not at all, and nothing is promised about them.
    pub(super) fn draw_copies(&mut self, random: &mut Random) {
        if !random.percent(COPY) {
            return;
        }
        self.be_one_group(random, false);
        let modern = matches!(self.protocol, Protocol::Consumer | Protocol::Migrating);
        let vintage = if modern { None } else { *random.pick(&[None, None, Some(0), Some(1), Some(2)]) };
        let timeout = *random.pick(&[10_000, 10_000, 30_000, 60_000]);
        self.copies = Some(Copies {
            partitions: i32::try_from(random.between(1, 3)).unwrap_or(1),
            transaction_version: if vintage.is_some() { 0 } else { *random.pick(&[0, 2, 2]) },
            vintage,
            timeout,
            max_block: *random.pick(&[3_000, 10_000, 20_000]),
            linger: *random.pick(&[0, 0, 5, 100]),
            steps: Random::new(self.seed, 36).percent(STEPS),
        });
        self.reset = Reset::Earliest;
        self.faults.retain(|fault| !fault.what.takes_back());
        for member in &mut self.members {
            (member.commits, member.read_committed, member.keeps_offsets) =
                (Commits::Transaction, true, false);
            // The records of one poll are processed within the transaction's timeout.
            let most = timeout / 3 / member.processing.1.max(1);
            member.max_poll_records =
                member.max_poll_records.max(3).min(u32::try_from(most).unwrap_or(u32::MAX));
        }
        self.keep_polling();
        if random.percent(RIVALS) {
            self.draw_rival(random);
        }
        if !self.faults.is_empty() {
            self.add_faults(random, (0, 8), Self::transaction_harm);
        }
    }

    /// Adds a process that is started with the `transactional.id` of another, and is gone in the end: while both run, neither makes
    /// progress.
    fn draw_rival(&mut self, random: &mut Random) {
        let first = random.below(self.members.len());
        let joins = random.between(self.members[first].joins, self.calm - 1_000);
        let how = *random.pick(&[Leave::Close, Leave::Drop]);
        let rival = Member {
            joins,
            leaves: Some((random.between(joins, self.calm), how)),
            returns: None,
            instance_id: false,
            twin_of: None,
            rival_of: Some(first),
            resubscribes: Vec::new(),
            ..self.members[first].clone()
        };
        self.members.push(rival);
    }
}
