//! Whether anybody but us may commit for a group.

use offtake_admin::{Admin, ErrorCode, GroupDescription};

use crate::failure::Failure;

/// A group's offsets are its members' while it has any: they would commit over ours, or never look at them. One that does not exist has
/// none: whether it does.
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
            "group `{name}` is not a consumer group: its members speak `{protocol_type}`, and what they commit is theirs"
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
            (group("Empty", "connect", 0), "speak `connect`"),
        ] {
            let refused = idle(&group).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
