//! Checks that no client but this one commits for a group.

use offtake_admin::{Admin, ErrorCode, GroupDescription};

use crate::failure::Failure;

/// Fails while a group has members: they would overwrite our commits, or never read them. Returns whether the
/// group exists; one that does not has no members.
pub(crate) async fn check_idle(admin: &mut Admin, group: &str) -> Result<bool, Failure> {
    match admin.describe_group(group).await {
        Ok(found) => idle(&found).map(|()| true),
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn idle(group: &GroupDescription) -> Result<(), Failure> {
    let GroupDescription { group: name, state, protocol_type, members, .. } = group;
    if !protocol_type.is_empty() && protocol_type != "consumer" {
        return Err(Failure::failed(format!(
            "group `{name}` is not a consumer group: its members use the protocol type `{protocol_type}`, whose offsets are not managed here"
        )));
    }
    if state == "Empty" && members.is_empty() {
        return Ok(());
    }
    let members = match members.len() {
        0 => String::new(),
        1 => " and has a member".to_owned(),
        count => format!(" and has {count} members"),
    };
    Err(Failure::failed(format!(
        "group `{name}` is {state}{members}: stop its members, wait until they have left or their sessions have ended, and try \
         again"
    )))
}

#[cfg(test)]
mod tests {
    use offtake_admin::{BrokerId, GroupMember};

    use super::*;

    fn group(state: &str, protocol_type: &str, members: usize) -> GroupDescription {
        let mut group = GroupDescription::new("g", BrokerId(1));
        group.state = state.to_owned();
        group.protocol_type = protocol_type.to_owned();
        group.members = vec![GroupMember::new("m"); members];
        group
    }

    #[test]
    fn only_a_group_that_nobody_is_in_can_be_committed_for() {
        assert!(idle(&group("Empty", "consumer", 0)).is_ok());
        assert!(idle(&group("Empty", "", 0)).is_ok(), "offsets of a group that never had members");
        for (group, words) in [
            (group("Stable", "consumer", 1), "group `g` is Stable and has a member: stop its members"),
            (group("PreparingRebalance", "consumer", 2), "is PreparingRebalance and has 2 members: stop"),
            (group("CompletingRebalance", "consumer", 0), "is CompletingRebalance: stop"),
            (group("Empty", "connect", 0), "use the protocol type `connect`"),
        ] {
            let refused = idle(&group).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
