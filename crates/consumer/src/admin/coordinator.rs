//! Where a group is coordinated. Looked up for each attempt, so that a coordinator that has moved is found where it is.

use std::time::Instant;

use offtake_machine::{BrokerId, Target};
use offtake_wire::{ErrorCode, messages::find_coordinator::FindCoordinatorRequest};

use super::{calls::Calls, trouble::Trouble};

/// Where a group is coordinated.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) coordinator: BrokerId,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    pub(super) fn target(&self) -> Target {
        Target::Broker(self.coordinator)
    }
}

/// Asks any broker.
pub(super) async fn find(calls: &mut Calls, deadline: Instant, group: &str) -> Result<Place, Trouble> {
    let what = format!("find the coordinator of group `{group}`");
    let request = FindCoordinatorRequest {
        key: group.to_owned(),
        key_type: 0,
        coordinator_keys: vec![group.to_owned()],
    };
    let answer = calls.call(&what, deadline, Target::Any, request).await?;
    // Newer brokers answer with a list, older ones in place.
    let found = match answer.coordinators.into_iter().find(|one| one.key == group) {
        Some(one) => (one.error_code, one.node_id, one.host, one.port, one.error_message),
        None => (answer.error_code, answer.node_id, answer.host, answer.port, answer.error_message),
    };
    let (code, node, host, port, said) = found;
    if code != ErrorCode::None {
        return Err(Trouble::code(&what, code, said.as_deref()));
    }
    let (Some(coordinator), Ok(port)) = (BrokerId::known(node), u16::try_from(port)) else {
        return Err(Trouble::code(&what, ErrorCode::CoordinatorNotAvailable, None));
    };
    calls.learn(coordinator, &host, port);
    Ok(Place { coordinator, host, port })
}
