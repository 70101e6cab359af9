//! The protocol that the group uses: its first member of KIP-848 makes it a consumer group; when the last one leaves, it is a classic group
//! again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    events::{Event, What, Who},
    plan::Plan,
};

#[derive(Debug, Default)]
pub(super) struct Spoken {
    members: BTreeMap<String, Who>,
    /// Members of KIP-848, as the coordinator counts them.
    modern: BTreeSet<String>,
    /// When the last of them left.
    downgraded: Option<Duration>,
    downgrade: Downgrade,
    /// The generation of the classic group from which the consumer group was made.
    converted_in: i32,
}

/// The state of the rebalance with which a group that turned classic begins. Kafka keeps it in memory: a coordinator that loads the group
/// meanwhile finds it stable, without the members that left, with their partitions unassigned, and nobody ever tells the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Downgrade {
    #[default]
    None,
    /// The remaining members have not completed a generation since.
    Rebalancing,
    /// Another coordinator loaded the group before they had.
    Forgotten,
}

impl Spoken {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event) {
        match &event.what {
            What::Named { who, member } => {
                self.members.insert(member.clone(), *who);
            }
            What::GroupAssigned { member, generation, .. } => {
                self.downgrade = Downgrade::None;
                let who = self.members.get(member);
                if who.is_some_and(|who| plan.members[who.member].consumer_protocol) {
                    if self.modern.is_empty() {
                        // Its first member of KIP-848 made that generation the group's epoch, and then the next one.
                        self.converted_in = *generation - 1;
                    }
                    self.modern.insert(member.clone());
                }
            }
            What::MemberGone { member, .. } => {
                let went = self.modern.remove(member);
                if went && self.modern.is_empty() {
                    self.downgraded = Some(event.at);
                    self.downgrade = Downgrade::Rebalancing;
                }
            }
            What::Forgotten => self.modern.clear(),
            What::GroupLoaded if self.downgrade == Downgrade::Rebalancing => {
                self.downgrade = Downgrade::Forgotten;
            }
            _ => {}
        }
    }

    /// Whether the partitions of the members that left remain unassigned until there is another reason to rebalance.
    pub(super) fn rebalance_is_forgotten(&self) -> bool {
        self.downgrade == Downgrade::Forgotten
    }

    pub(super) fn is_classic(&self) -> bool {
        self.modern.is_empty()
    }

    /// The group's generation when it became a consumer group.
    pub(super) fn converted_in(&self) -> i32 {
        self.converted_in
    }

    /// Whether it became a classic group after this time, and then a consumer group again.
    pub(super) fn was_classic_after(&self, time: Duration) -> bool {
        !self.is_classic() && self.downgraded.is_some_and(|downgraded| downgraded > time)
    }
}
