//! Looking up, listing, describing and deleting groups.

use std::collections::BTreeSet;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        BrokerId, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
        FindCoordinatorRequest, FindCoordinatorResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
        delete_groups_response::DeletableGroupResult, describe_groups_response::DescribedGroup,
        find_coordinator_response::Coordinator, list_groups_response::ListedGroup,
    },
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{Members, classic::Classic};
use crate::{
    model::Model,
    request::{Context, Reply},
    topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC},
};

/// The operations allowed on a group without an authorizer: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Kafka's key types of FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// The address of a coordinator.
struct CoordinatorAddress {
    broker: i32,
    host: StrBytes,
    port: i32,
}

impl Model {
    // The internal topics count as existing, as after the first look-up in Kafka.
    pub(crate) fn handle_find_coordinator(
        &mut self,
        context: &Context,
        request: FindCoordinatorRequest,
    ) -> Reply {
        let known = (GROUP..=SHARE).contains(&request.key_type);
        if context.version < 4 {
            let found = self.find(context, request.key_type, &request.key);
            let error = found.as_ref().err().copied();
            let message = error.map_or("NONE", message);
            let address = found.unwrap_or_else(|_| CoordinatorAddress::no_node());
            return FindCoordinatorResponse::default()
                .with_error_code(error.map_or(0, |error| self.refusal(context, error)))
                .with_error_message(Some(StrBytes::from_static_str(message)))
                .with_node_id(BrokerId(address.broker))
                .with_host(address.host)
                .with_port(address.port)
                .into();
        }
        let mut coordinators = Vec::new();
        for key in request.coordinator_keys {
            let found = self.find(context, request.key_type, &key);
            let error = found.as_ref().err().copied();
            let address = found.unwrap_or_else(|_| CoordinatorAddress::no_node());
            let mut coordinator = Coordinator::default()
                .with_key(key)
                .with_error_code(error.map_or(0, |error| self.refusal(context, error)))
                .with_node_id(BrokerId(address.broker))
                .with_host(address.host)
                .with_port(address.port);
            if let Some(error) = error.filter(|_| !known) {
                coordinator.error_message = Some(StrBytes::from_static_str(message(error)));
            }
            coordinators.push(coordinator);
        }
        FindCoordinatorResponse::default().with_coordinators(coordinators).into()
    }

    fn find(
        &mut self,
        context: &Context,
        key_type: i8,
        key: &str,
    ) -> Result<CoordinatorAddress, ResponseError> {
        match key_type {
            GROUP | TRANSACTION => {}
            // No client has asked for share groups, so their topic does not exist.
            SHARE if context.version >= 6 && is_share_key(key) => {
                return Err(ResponseError::CoordinatorNotAvailable);
            }
            _ => return Err(ResponseError::InvalidRequest),
        }
        self.ensure_internal_topic(if key_type == GROUP { OFFSETS_TOPIC } else { TRANSACTIONS_TOPIC });
        let broker = self.coordinator_of(key).ok_or(ResponseError::CoordinatorNotAvailable)?;
        let node = self.nodes.all.get(&broker).ok_or(ResponseError::CoordinatorNotAvailable)?;
        Ok(CoordinatorAddress {
            broker,
            host: StrBytes::from_string(node.host.clone()),
            port: i32::from(node.port),
        })
    }

    pub(crate) fn handle_list_groups(&mut self, context: &Context, request: ListGroupsRequest) -> Reply {
        if self.is_loading(context.broker) {
            let code = self.refusal(context, ResponseError::CoordinatorLoadInProgress);
            return ListGroupsResponse::default().with_error_code(code).into();
        }
        let wanted = |filter: &[StrBytes], what: &str| {
            filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(what))
        };
        let mut groups = Vec::new();
        for (name, group) in &self.groups.all {
            let (state, kind, protocol) = match &group.members {
                Members::None => ("Empty", "classic", ""),
                Members::Classic(classic) => {
                    (classic.state(), "classic", classic.protocol_type().map_or("", StrBytes::as_str))
                }
                Members::Consumer(consumer) => (consumer.state(), "consumer", "consumer"),
            };
            let here = self.coordinates(context, name);
            if here && wanted(&request.states_filter, state) && wanted(&request.types_filter, kind) {
                let listed = ListedGroup::default()
                    .with_group_id(GroupId(StrBytes::from_string(name.clone())))
                    .with_protocol_type(StrBytes::from_string(protocol.to_owned()))
                    .with_group_state(StrBytes::from_static_str(state))
                    .with_group_type(StrBytes::from_static_str(kind));
                groups.push(listed);
            }
        }
        ListGroupsResponse::default().with_groups(groups).into()
    }

    pub(crate) fn handle_describe_groups(
        &mut self,
        context: &Context,
        request: DescribeGroupsRequest,
    ) -> Reply {
        let operations =
            (context.version >= 3 && request.include_authorized_operations).then_some(OPERATIONS);
        let mut groups = Vec::new();
        for id in request.groups {
            let mut described = self.describe(context, &id).with_group_id(id);
            if let Some(operations) = operations.filter(|_| described.error_code == 0) {
                described.authorized_operations = operations;
            }
            groups.push(described);
        }
        DescribeGroupsResponse::default().with_groups(groups).into()
    }

    fn describe(&mut self, context: &Context, name: &str) -> DescribedGroup {
        if let Err(error) = self.check_coordinator(context, name) {
            return DescribedGroup::default().with_error_code(self.refusal(context, error));
        }
        let missing = match self.groups.all.get(name).map(|group| &group.members) {
            Some(Members::Classic(classic)) => return classic.describe(),
            Some(Members::None) => return Classic::default().describe(),
            Some(Members::Consumer(_)) => format!("Group {name} is not a classic group."),
            None => format!("Group {name} not found."),
        };
        let dead = DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
        if context.version < 6 {
            return dead;
        }
        dead.with_error_code(self.refusal(context, ResponseError::GroupIdNotFound))
            .with_error_message(Some(StrBytes::from_string(missing)))
    }

    pub(crate) fn handle_delete_groups(&mut self, context: &Context, request: DeleteGroupsRequest) -> Reply {
        let mut seen = BTreeSet::new();
        let mut results = Vec::new();
        for id in request.groups_names {
            if !seen.insert(id.clone()) {
                continue;
            }
            let code = match self.delete_group(context, &id) {
                Ok(()) => 0,
                Err(error) => self.refusal(context, error),
            };
            results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
        }
        DeleteGroupsResponse::default().with_results(results).into()
    }

    fn delete_group(&mut self, context: &Context, name: &str) -> Result<(), ResponseError> {
        self.check_coordinator(context, name)?;
        let empty = match &self.groups.all.get(name).ok_or(ResponseError::GroupIdNotFound)?.members {
            Members::None => true,
            Members::Classic(classic) => classic.is_empty(),
            Members::Consumer(consumer) => consumer.is_empty(),
        };
        if !empty {
            return Err(ResponseError::NonEmptyGroup);
        }
        self.groups.all.remove(name);
        Ok(())
    }
}

impl CoordinatorAddress {
    /// Kafka's `Node.noNode()`.
    fn no_node() -> Self {
        Self { broker: -1, host: StrBytes::default(), port: -1 }
    }
}

/// `group:topic id:partition`, the id as 22 characters.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let (Some(partition), Some(topic), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let id = topic.len() == 22 || Uuid::parse_str(topic).is_ok();
    !group.is_empty() && id && partition.parse::<i32>().is_ok()
}

/// Kafka's message for an error code.
fn message(error: ResponseError) -> &'static str {
    match error {
        ResponseError::CoordinatorNotAvailable => "The coordinator is not available.",
        ResponseError::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or the message was \
             sent to an incompatible broker. See the broker logs for more details."
        }
        _ => "",
    }
}
