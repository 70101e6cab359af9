//! Groups: their list, their members, and their committed offsets.

use std::collections::BTreeSet;

use offtake_admin::{BrokerId, ErrorCode, GroupDescription, GroupListing, survey::Answers};

use super::{Collector, brokers::RequestKind};
use crate::sample::{GroupSample, MemberSample, Sample};

impl Collector {
    pub(super) async fn ask_groups(&mut self, sample: &mut Sample, failures: &mut Vec<String>) {
        self.list_groups(failures).await;
        let may_ask = |group: &&GroupListing| self.may_ask(group.coordinator, RequestKind::Members);
        let asked: Vec<GroupListing> = self.listed.values().filter(may_ask).cloned().collect();
        let limit = self.config().broker_timeout;
        let mut described = self.admin.survey(limit).describe_groups(&self.cluster, &asked).await;
        self.forget_deleted(&mut described);
        let brokers: BTreeSet<_> = asked.iter().map(|group| group.coordinator).collect();
        self.note(RequestKind::Members, &brokers, &described, failures);
        let may_ask = |group: &&GroupListing| self.may_ask(group.coordinator, RequestKind::Committed);
        let coordinated = self.listed.values().filter(may_ask);
        let coordinated: Vec<_> = coordinated.map(|group| (group.coordinator, group.group.clone())).collect();
        let mut committed = self.committed(coordinated, failures).await;
        for (name, listing) in &self.listed {
            let (described, committed) = (described.found.remove(name), committed.found.remove(name));
            if described.is_none() && committed.is_none() {
                sample.unanswered.insert(name.clone());
                continue;
            }
            let epoch = described.as_ref().and_then(|group| group.epoch);
            // The description is newer than the list, and old brokers do not list states.
            let (state, members) = match described {
                Some(group) => (group.state.clone(), Some(members(group))),
                None => (listing.state.clone(), None),
            };
            sample.groups.push(GroupSample {
                group: name.clone(),
                state,
                protocol: Some(listing.group_type.clone()),
                members,
                epoch,
                committed,
            });
        }
    }

    /// Removes groups that have been deleted since they were listed, according to their coordinator.
    fn forget_deleted(&mut self, described: &mut Answers<String, GroupDescription>) {
        described.found.retain(|name, group| {
            let is_there = group.state != "Dead";
            if !is_there {
                self.listed.remove(name);
            }
            is_there
        });
        described.failed.retain(|failed| {
            let is_there = failed.error.code() != Some(ErrorCode::GroupIdNotFound);
            if !is_there {
                failed.about.iter().for_each(|name| drop(self.listed.remove(name)));
            }
            is_there
        });
    }

    /// Lists the groups. A group that no broker lists any more is gone, if all brokers have responded and are the same as in the
    /// previous round. Otherwise it may be moving to another coordinator, which does not list it while loading.
    async fn list_groups(&mut self, failures: &mut Vec<String>) {
        let brokers: Vec<_> = self.cluster.brokers.keys().copied().collect();
        let may_ask = |broker: &BrokerId| self.may_ask(*broker, RequestKind::Groups);
        let asked: Vec<_> = brokers.iter().copied().filter(may_ask).collect();
        let answers = self.survey().groups(asked.iter().copied()).await;
        self.note(RequestKind::Groups, &asked, &answers, failures);
        if self.brokers_before.iter().eq(&brokers) && answers.found.len() == brokers.len() {
            self.listed.clear();
        }
        let mut listed = std::mem::take(&mut self.listed);
        let groups = answers.found.into_values().flatten();
        let watched = groups.filter(|group| is_of_consumers(group) && self.is_watched(&group.group));
        listed.extend(watched.map(|group| (group.group.clone(), group)));
        // Another replica may have taken over some of the groups that were listed before.
        listed.retain(|name, _| self.is_watched(name));
        self.listed = listed;
        self.brokers_before = brokers.into_iter().collect();
    }

    /// Reports failures, and notes their consequences for the next rounds.
    pub(super) fn note<'a, K, V>(
        &mut self,
        kind: RequestKind,
        asked: impl IntoIterator<Item = &'a BrokerId>,
        answers: &Answers<K, V>,
        failures: &mut Vec<String>,
    ) {
        self.mark(kind, asked, &answers.failed);
        for failed in &answers.failed {
            if failed.error.is_retriable() {
                // Something may have moved: the next round updates the metadata.
                self.described = None;
                self.may_pass = true;
            }
            failures.push(failed.error.to_string());
        }
    }
}

/// Other groups (Connect's workers, share groups) have no lag. A classic group without members has no protocol type yet.
fn is_of_consumers(group: &GroupListing) -> bool {
    matches!(group.group_type.as_str(), "classic" | "consumer")
        && matches!(group.protocol_type.as_str(), "consumer" | "")
}

fn members(group: GroupDescription) -> Vec<MemberSample> {
    let member = |member: offtake_admin::GroupMember| MemberSample {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.host,
        partitions: member.partitions,
    };
    group.members.into_iter().map(member).collect()
}
