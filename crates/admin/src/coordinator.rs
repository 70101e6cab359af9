//! Finds the coordinator of a group. It is looked up for each attempt, so that a coordinator that has moved is found.

use std::time::Instant;

use offtake_machine::{
    CoordinatorAddress, Target,
    coordinator::{find_coordinator, found_coordinator},
};

use crate::{attempts::AttemptError, calls::Calls};

/// Asks any broker.
pub(super) async fn find(
    calls: &mut Calls,
    deadline: Instant,
    group: &str,
) -> Result<CoordinatorAddress, AttemptError> {
    let what = format!("find the coordinator of group `{group}`");
    let answer = calls.call(&what, deadline, Target::Any, find_coordinator(group)).await?;
    let found = found_coordinator(answer, group)
        .map_err(|(code, said)| AttemptError::code(&what, code, said.as_deref()))?;
    calls.learn(found.broker, &found.host, found.port);
    Ok(found)
}
