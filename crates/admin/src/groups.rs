//! Lists groups.

use std::{collections::BTreeMap, time::Instant};

use offtake_machine::{BrokerId, Target};
use offtake_wire::{
    ErrorCode,
    messages::{
        describe_groups::DescribeGroupsRequest,
        list_groups::{ListGroupsRequest, ListedGroup},
    },
};

use crate::{
    Admin,
    attempts::AttemptError,
    calls::{Calls, TopicSelection},
};
use offtake_client::Result;

/// A group in a broker's list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// The name of the group.
    pub group: String,
    /// `Stable`, `Empty` and so on; empty if unknown.
    pub state: String,
    /// `classic`, `consumer`, `share` or `streams`.
    pub group_type: String,
    /// The embedded protocol of the members: `consumer`, `connect`; empty while there are no members.
    pub protocol_type: String,
    /// The coordinator.
    pub coordinator: BrokerId,
}

impl Admin {
    /// Lists all groups of the cluster, ordered by name.
    pub async fn list_groups(&mut self) -> Result<Vec<GroupListing>> {
        let deadline = self.deadline();
        let mut groups =
            self.calls.retrying(deadline, async |calls| groups_of_all(calls, deadline).await).await?;
        self.fill_in_states(deadline, &mut groups).await?;
        Ok(groups.into_values().collect())
    }

    /// Fills in the states of groups, which brokers before 2.6 do not list.
    async fn fill_in_states(
        &mut self,
        deadline: Instant,
        groups: &mut BTreeMap<String, GroupListing>,
    ) -> Result<()> {
        const WHAT: &str = "describe the groups";
        let mut by_broker: BTreeMap<BrokerId, Vec<String>> = BTreeMap::new();
        for listing in groups.values().filter(|listing| listing.state.is_empty()) {
            by_broker.entry(listing.coordinator).or_default().push(listing.group.clone());
        }
        for (broker, names) in by_broker {
            let described = self
                .calls
                .retrying(deadline, async |calls| {
                    let request =
                        DescribeGroupsRequest { groups: names.clone(), ..DescribeGroupsRequest::default() };
                    calls.call(WHAT, deadline, Target::Broker(broker), request).await
                })
                .await?;
            for group in described.groups {
                if let Some(listing) = groups.get_mut(&group.group_id) {
                    listing.state = group.group_state;
                }
            }
        }
        Ok(())
    }
}

/// Sends a request to each broker once. A broker that is gone is still listed for a while, while others have taken over its
/// groups, so that each attempt asks all brokers.
async fn groups_of_all(
    calls: &mut Calls,
    deadline: Instant,
) -> Result<BTreeMap<String, GroupListing>, AttemptError> {
    const WHAT: &str = "list the groups";
    let cluster = calls.cluster(WHAT, deadline, &TopicSelection::None).await?;
    let requests = cluster.brokers.keys().map(|broker| ((), *broker, ListGroupsRequest::default()));
    let requests = requests.collect();
    let mut groups = BTreeMap::new();
    let mut failure = None;
    for ((), broker, answer) in calls.call_each(deadline, requests).await {
        let what = format!("{WHAT} of {broker}");
        match answer.map(|answer| (answer.error_code, answer.groups)) {
            Ok((ErrorCode::None, listed)) => {
                groups.extend(listed.into_iter().map(|group| {
                    let listing = listing(group, broker);
                    (listing.group.clone(), listing)
                }));
            }
            Ok((code, _)) => failure = Some(AttemptError::code(&what, code, None)),
            Err(error) => failure = Some(AttemptError::call(&what, error)),
        }
    }
    failure.map_or(Ok(groups), Err)
}

pub(super) fn listing(group: ListedGroup, coordinator: BrokerId) -> GroupListing {
    // Brokers that do not return types have only classic groups.
    let group_type =
        if group.group_type.is_empty() { "classic".to_owned() } else { group.group_type.to_lowercase() };
    GroupListing {
        group: group.group_id,
        state: group.group_state,
        group_type,
        protocol_type: group.protocol_type,
        coordinator,
    }
}
