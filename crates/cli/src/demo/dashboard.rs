//! The state of the demo as plain values, from which the screen, the plain lines and the JSON are all drawn.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::ledger::{Ledger, Totals};

/// How often rates are sampled.
pub(super) const SAMPLE: Duration = Duration::from_millis(250);
/// How many samples are kept.
const KEPT: usize = 240;
/// A rate is the mean of this many samples, which span a second.
const MEAN_OF: usize = 4;
/// How many lines of the log are kept.
const LINES: usize = 100;

/// The stage of a member's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberStatus {
    Joining,
    Working,
    Leaving,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) status: MemberStatus,
    pub(super) handled: Series,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Partition {
    /// The member that owns it, by its index in [`Dashboard::members`].
    pub(super) owner: Option<usize>,
    /// When its owner last changed.
    pub(super) changed: Duration,
    /// Records that no member has handled yet.
    pub(super) lag: u64,
}

/// A growing count, and its rate over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) total: u64,
    sampled: u64,
    /// Records per second, one per sample; the newest is last.
    pub(super) rates: VecDeque<u64>,
}

impl Series {
    fn sample(&mut self, since: Duration) {
        let new = self.total.saturating_sub(self.sampled);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        self.sampled = self.total;
        push(&mut self.rates, new.saturating_mul(1000) / millis);
    }

    /// The recent rate per second.
    pub(super) fn rate(&self) -> u64 {
        let count = self.rates.len().min(MEAN_OF);
        let sum: u64 = self.rates.iter().rev().take(count).sum();
        sum / u64::try_from(count.max(1)).unwrap_or(1)
    }
}

fn push(samples: &mut VecDeque<u64>, sample: u64) {
    if samples.len() >= KEPT {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Duration,
    /// The member that it is about.
    pub(super) member: Option<usize>,
    pub(super) text: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Dashboard {
    /// The time since the start.
    pub(super) at: Duration,
    /// The planned duration.
    pub(super) length: Duration,
    pub(super) broker: String,
    pub(super) partitions: Vec<Partition>,
    pub(super) members: Vec<Member>,
    pub(super) produced: Series,
    pub(super) handled: Series,
    /// The lag over all partitions, one per sample.
    pub(super) lag: VecDeque<u64>,
    pub(super) totals: Totals,
    pub(super) log: VecDeque<Line>,
    /// How many lines there were in total.
    pub(super) lines: usize,
    generations: BTreeSet<i32>,
    sampled: Duration,
}

impl Dashboard {
    pub(super) fn new(partitions: usize, length: Duration, broker: String) -> Self {
        Self { length, broker, partitions: vec![Partition::default(); partitions], ..Self::default() }
    }

    pub(super) fn say(&mut self, member: Option<usize>, text: impl Into<String>) {
        if self.log.len() >= LINES {
            self.log.pop_front();
        }
        self.log.push_back(Line { at: self.at, member, text: text.into() });
        self.lines += 1;
    }

    /// Generations of the group so far: each is a rebalance that the whole group completed.
    pub(super) fn rebalances(&self) -> u64 {
        u64::try_from(self.generations.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn joins(&mut self, name: String) -> usize {
        self.say(Some(self.members.len()), format!("{name} joins the group"));
        self.members.push(Member { name, status: MemberStatus::Joining, handled: Series::default() });
        self.members.len() - 1
    }

    pub(super) fn set_status(&mut self, member: usize, status: MemberStatus) {
        let Some(known) = self.members.get_mut(member) else { return };
        known.status = status;
        let text = match status {
            MemberStatus::Leaving => format!("{} is asked to leave", known.name),
            MemberStatus::Gone => format!("{} has committed and left", known.name),
            MemberStatus::Joining | MemberStatus::Working => return,
        };
        self.say(Some(member), text);
    }

    /// Notes that a member was assigned these partitions, perhaps none.
    pub(super) fn assigned(&mut self, member: usize, partitions: &[i32], generation: Option<i32>) {
        self.generations.extend(generation);
        if let Some(known) = self.members.get_mut(member)
            && known.status == MemberStatus::Joining
        {
            known.status = MemberStatus::Working;
        }
        self.change(member, partitions, Some(member), "takes");
    }

    pub(super) fn revoked(&mut self, member: usize, partitions: &[i32]) {
        self.change(member, partitions, None, "hands over");
    }

    pub(super) fn lost(&mut self, member: usize, partitions: &[i32]) {
        self.change(member, partitions, None, "lost");
    }

    fn change(&mut self, member: usize, partitions: &[i32], owner: Option<usize>, verb: &str) {
        for partition in partitions {
            let slot = usize::try_from(*partition).ok().and_then(|index| self.partitions.get_mut(index));
            let Some(slot) = slot else { continue };
            // A late revocation takes nothing from the next owner.
            if owner.is_some() || slot.owner == Some(member) {
                *slot = Partition { owner, changed: self.at, lag: slot.lag };
            }
        }
        if let (Some(known), false) = (self.members.get(member), partitions.is_empty()) {
            let text = format!("{} {verb} {}", known.name, ranges(partitions));
            self.say(Some(member), text);
        }
    }

    /// Partitions that a member owns.
    pub(super) fn owned(&self, member: usize) -> Vec<i32> {
        let owned = |(_, partition): &(i32, &Partition)| partition.owner == Some(member);
        (0..).zip(&self.partitions).filter(owned).map(|(index, _)| index).collect()
    }

    /// Starts from the present counts of the ledger, so that they do not count as a rate.
    pub(super) fn begin(&mut self, ledger: &Ledger) {
        self.update(Duration::ZERO, ledger);
        self.produced.sampled = self.produced.total;
    }

    /// Takes over the ledger's counts at this time, and samples the rates when due.
    pub(super) fn update(&mut self, at: Duration, ledger: &Ledger) {
        self.at = at;
        self.totals = ledger.totals();
        for (partition, lag) in self.partitions.iter_mut().zip(ledger.waiting()) {
            partition.lag = *lag;
        }
        self.produced.total = self.totals.produced;
        self.handled.total = self.totals.processed + self.totals.dead_lettered + self.totals.repeated;
        let since = at.saturating_sub(self.sampled);
        if since >= SAMPLE {
            self.sampled = at;
            self.produced.sample(since);
            self.handled.sample(since);
            for member in &mut self.members {
                member.handled.sample(since);
            }
            push(&mut self.lag, self.totals.waiting());
        }
    }
}

/// Formats numbers as `0-3, 7`.
pub(super) fn ranges(partitions: &[i32]) -> String {
    let sorted: BTreeSet<i32> = partitions.iter().copied().collect();
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for partition in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == partition => *last = partition,
            _ => runs.push((partition, partition)),
        }
    }
    let written = |(first, last): &(i32, i32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(written).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_moves_from_one_member_to_the_next_and_the_log_says_so() {
        let mut dashboard = Dashboard::new(4, Duration::from_secs(15), String::new());
        let (a, b) = (dashboard.joins("a".to_owned()), dashboard.joins("b".to_owned()));
        dashboard.assigned(a, &[0, 1, 2, 3], Some(1));
        dashboard.revoked(a, &[2, 3]);
        dashboard.assigned(a, &[], Some(2));
        dashboard.assigned(b, &[3, 2], Some(3));
        assert_eq!((dashboard.owned(a), dashboard.owned(b)), (vec![0, 1], vec![2, 3]));
        assert_eq!(dashboard.rebalances(), 3);
        let said: Vec<_> = dashboard.log.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            said,
            ["a joins the group", "b joins the group", "a takes 0-3", "a hands over 2-3", "b takes 2-3"]
        );
    }

    #[test]
    fn a_late_farewell_takes_nothing_from_the_next_owner() {
        let mut dashboard = Dashboard::new(1, Duration::ZERO, String::new());
        let (a, b) = (dashboard.joins("a".to_owned()), dashboard.joins("b".to_owned()));
        dashboard.assigned(a, &[0], Some(1));
        dashboard.assigned(b, &[0], Some(2));
        dashboard.lost(a, &[0]);
        assert_eq!(dashboard.owned(b), [0]);
    }

    #[test]
    fn a_rate_is_of_the_last_second() {
        let mut ledger = Ledger::new(1);
        let mut dashboard = Dashboard::new(1, Duration::ZERO, String::new());
        let mut offset = 0;
        for _ in 0..1000 {
            ledger.produced(0, offset, 0);
            offset += 1;
        }
        dashboard.begin(&ledger);
        for tick in 1..=8u32 {
            for _ in 0..if tick > 4 { 100 } else { 10 } {
                ledger.produced(0, offset, 0);
                offset += 1;
            }
            dashboard.update(SAMPLE * tick, &ledger);
        }
        assert_eq!(dashboard.produced.rate(), 400);
        assert_eq!(dashboard.produced.rates, [40, 40, 40, 40, 400, 400, 400, 400]);
        assert_eq!(dashboard.lag.back(), Some(&1440));
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(ranges(&[7, 0, 1, 2, 3, 9]), "0-3, 7, 9");
    }
}
