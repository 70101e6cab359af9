//! Deletes groups, and removes members from a group.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Instant,
};

use offtake_machine::BrokerId;
use offtake_wire::{
    ErrorCode,
    messages::{
        delete_groups::DeleteGroupsRequest,
        leave_group::{LeaveGroupRequest, MemberIdentity},
    },
};

use crate::{Admin, attempts::AttemptError, calls::Calls, coordinator, outcomes::Outcomes};
use offtake_client::Result;

/// A member to be removed from its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberToRemove {
    /// A static member, by its `group.instance.id`.
    Instance(String),
    /// Any member, by the id in [`GroupMember`](super::GroupMember).
    Member(String),
}

impl fmt::Display for MemberToRemove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => write!(f, "the member with the instance id `{id}`"),
            Self::Member(id) => write!(f, "member `{id}`"),
        }
    }
}

/// The reason of a removal in the coordinator's log (KIP-800).
const REASON: &str = "removed by an administrator";

impl Admin {
    /// Deletes groups with all of their committed offsets. Returns the result for each (KIP-229).
    ///
    /// # Errors
    /// For each group: `Group` if it has members or does not exist; or its coordinator could not be reached or did not respond
    /// within the timeout.
    pub async fn delete_groups<G: Into<String>>(
        &mut self,
        groups: impl IntoIterator<Item = G>,
    ) -> BTreeMap<String, Result<()>> {
        let deadline = self.deadline();
        let mut deleting =
            Deleting { each: Outcomes::of(groups.into_iter().map(Into::into)), unclear: BTreeSet::new() };
        let ended =
            self.calls.retrying(deadline, async |calls| deleting.attempt(calls, deadline).await).await;
        deleting.each.ended(ended)
    }

    /// Removes members from a group of the classic protocol, as if they had left themselves. Returns the result for each
    /// (KIP-345). A dynamic member that is still running joins again; a static one is fenced.
    ///
    /// # Errors
    /// For each member: `Group` if it is not a member; or its coordinator could not be reached or did not respond within the
    /// timeout.
    pub async fn remove_members(
        &mut self,
        group: &str,
        members: impl IntoIterator<Item = MemberToRemove>,
    ) -> BTreeMap<MemberToRemove, Result<()>> {
        let deadline = self.deadline();
        let mut removing = Removing { each: Outcomes::of(members), unclear: false };
        let ended =
            self.calls.retrying(deadline, async |calls| removing.attempt(calls, deadline, group).await).await;
        removing.each.ended(ended)
    }
}

/// The state of a deletion of groups.
struct Deleting {
    each: Outcomes<String>,
    /// Groups for which an attempt was sent and not answered, so that it may have succeeded.
    unclear: BTreeSet<String>,
}

impl Deleting {
    /// Sends a request to each coordinator once.
    async fn attempt(&mut self, calls: &mut Calls, deadline: Instant) -> Result<(), AttemptError> {
        let mut by_coordinator: BTreeMap<BrokerId, Vec<String>> = BTreeMap::new();
        for group in self.each.left() {
            match coordinator::find(calls, deadline, &group).await {
                Ok(place) => by_coordinator.entry(place.broker).or_default().push(group),
                Err(failure) => self.each.complete(group, Err(failure)),
            }
        }
        let request = |groups: &Vec<String>| DeleteGroupsRequest { groups_names: groups.clone() };
        let requests =
            by_coordinator.into_iter().map(|(broker, groups)| (groups.clone(), broker, request(&groups)));
        let requests = requests.collect();
        for (groups, _, answer) in calls.call_each(deadline, requests).await {
            match answer {
                Ok(answer) => {
                    for result in answer.results {
                        let became = self.became(&result.group_id, result.error_code);
                        self.each.complete(result.group_id, became);
                    }
                }
                Err(error) => {
                    for group in groups {
                        if error.may_have_arrived() {
                            self.unclear.insert(group.clone());
                        }
                        let failure = AttemptError::call(&deletion(&group), error.clone());
                        self.each.complete(group, Err(failure));
                    }
                }
            }
        }
        self.each.attempted("delete the groups")
    }

    fn became(&self, group: &str, code: ErrorCode) -> Result<(), AttemptError> {
        match code {
            ErrorCode::None => Ok(()),
            ErrorCode::GroupIdNotFound if self.unclear.contains(group) => Ok(()),
            code => Err(AttemptError::code(&deletion(group), code, None)),
        }
    }
}

fn deletion(group: &str) -> String {
    format!("delete group `{group}`")
}

/// The state of a removal of members.
struct Removing {
    each: Outcomes<MemberToRemove>,
    /// Whether an attempt was sent and not answered, so that it may have succeeded. Each attempt includes all remaining members.
    unclear: bool,
}

impl Removing {
    /// Sends a request to the coordinator once.
    async fn attempt(
        &mut self,
        calls: &mut Calls,
        deadline: Instant,
        group: &str,
    ) -> Result<(), AttemptError> {
        let members = self.each.left();
        if members.is_empty() {
            return Ok(());
        }
        let what = format!("remove members of group `{group}`");
        let to = coordinator::find(calls, deadline, group).await?.target();
        let request = LeaveGroupRequest {
            group_id: group.to_owned(),
            members: members.iter().map(identity).collect(),
            ..LeaveGroupRequest::default()
        };
        let was_unclear = self.unclear;
        let answer = calls.call_once(&mut self.unclear, &what, deadline, to, request).await?;
        if answer.error_code != ErrorCode::None {
            let refused = |one: &_| became(one, group, answer.error_code, was_unclear);
            self.each.complete_all(refused);
            return self.each.attempted(&what);
        }
        for (nth, told) in answer.members.into_iter().enumerate() {
            let by_instance = told.group_instance_id.clone().map(MemberToRemove::Instance);
            // Brokers answer in the order of the request; not all of them return the instance id.
            let asked =
                [by_instance, Some(MemberToRemove::Member(told.member_id)), members.get(nth).cloned()];
            let Some(one) = asked.into_iter().flatten().find(|one| members.contains(one)) else { continue };
            let became = became(&one, group, told.error_code, was_unclear);
            self.each.complete(one, became);
        }
        self.each.attempted(&what)
    }
}

/// The meaning of a code for a member to be removed; `unclear` if an earlier attempt may have removed it.
fn became(one: &MemberToRemove, group: &str, code: ErrorCode, unclear: bool) -> Result<(), AttemptError> {
    match code {
        ErrorCode::None => Ok(()),
        ErrorCode::UnknownMemberId if unclear => Ok(()),
        ErrorCode::UnknownMemberId => {
            let hint = "the group has no such member; its members can be described";
            Err(AttemptError::hinted(&removal(one, group), code, None, hint))
        }
        code => Err(AttemptError::code(&removal(one, group), code, None)),
    }
}

fn removal(member: &MemberToRemove, group: &str) -> String {
    format!("remove {member} from group `{group}`")
}

fn identity(member: &MemberToRemove) -> MemberIdentity {
    let (member_id, group_instance_id) = match member {
        MemberToRemove::Instance(id) => (String::new(), Some(id.clone())),
        MemberToRemove::Member(id) => (id.clone(), None),
    };
    MemberIdentity { member_id, group_instance_id, reason: Some(REASON.to_owned()) }
}
