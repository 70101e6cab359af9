//! Custom assignors: panics are caught, and the assignment is validated before it is used.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use offtake_machine::{Topic, TopicPartition};

use super::{
    Assignor, BuiltIn, MemberAssignment, Members, Partitions, RebalanceProtocol,
    claims::Claims,
    index::{IndexVec, MemberIndex, PartitionIndex},
    numbered::{Group, Plan},
};

/// The errors in the assignment of a custom assignor. All of them were corrected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignorFault {
    /// The assignor's name.
    pub assignor: String,
    /// The message of its panic. The built-in sticky assignor of the same protocol has assigned instead.
    pub panicked: Option<String>,
    /// Partitions that were given to more than one member, or twice to one. One member got each of them.
    pub twice: Vec<TopicPartition>,
    /// Partitions that were given to members which do not exist or do not subscribe to the topic. They were left out.
    pub misplaced: Vec<TopicPartition>,
    /// Partitions that do not exist. They were left out.
    pub unknown: Vec<TopicPartition>,
    /// Subscribed partitions that were given to no member. They are not read.
    pub left_out: Vec<TopicPartition>,
}

impl AssignorFault {
    fn is_none(&self) -> bool {
        self.panicked.is_none()
            && [&self.twice, &self.misplaced, &self.unknown, &self.left_out]
                .iter()
                .all(|list| list.is_empty())
    }
}

impl fmt::Display for AssignorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the custom assignor {}", self.assignor)?;
        if let Some(message) = &self.panicked {
            return write!(f, " panicked ({message}); a built-in one has assigned instead");
        }
        let mut separator = " gave ";
        for (what, partitions) in [
            ("more than once: one member got them", &self.twice),
            ("to members that do not subscribe to them: left out", &self.misplaced),
            ("that do not exist: left out", &self.unknown),
            ("to nobody: nobody reads them", &self.left_out),
        ] {
            if let Some(first) = partitions.first() {
                write!(f, "{separator}{} partitions (such as {first}) {what}", partitions.len())?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

impl std::error::Error for AssignorFault {}

/// Calls the assignor, and corrects its assignment.
pub(super) fn assign(
    assignor: &dyn Assignor,
    partitions: &Partitions,
    members: &Members,
) -> (BTreeMap<String, MemberAssignment>, Option<AssignorFault>) {
    let mut fault = AssignorFault { assignor: assignor.name().to_owned(), ..AssignorFault::default() };
    let answer = match catch_unwind(AssertUnwindSafe(|| assignor.assign(partitions, members))) {
        Ok(answer) => answer,
        Err(panic) => {
            fault.panicked = Some(panic_message(panic.as_ref()));
            let instead = match assignor.protocol() {
                RebalanceProtocol::Eager => BuiltIn::Sticky,
                RebalanceProtocol::Cooperative => BuiltIn::CooperativeSticky,
            };
            return (Assignor::assign(&instead, partitions, members), Some(fault));
        }
    };
    let group = Group::new(partitions, members);
    let claims = Claims::resolve(&group, &group.java_order());
    let (mut plan, mut user_data) = validated(&group, &claims, answer, &mut fault);
    if assignor.protocol() == RebalanceProtocol::Cooperative {
        let moving = claims.moving(&group, &plan);
        for planned in plan.iter_mut() {
            planned.retain(|partition| !moving.get(*partition).copied().unwrap_or(false));
        }
    }
    let named = group.named(plan).into_iter().map(|(id, partitions)| {
        let user_data = user_data.remove(&id);
        (id, MemberAssignment { partitions, user_data })
    });
    (named.collect(), (!fault.is_none()).then_some(fault))
}

/// Each partition goes to at most one member that subscribes to it. The current owner comes first.
fn validated(
    group: &Group<'_>,
    claims: &Claims,
    answer: BTreeMap<String, MemberAssignment>,
    fault: &mut AssignorFault,
) -> (Plan, BTreeMap<String, Bytes>) {
    let mut owner: IndexVec<PartitionIndex, Option<MemberIndex>> = IndexVec::filled(None, group.partitions());
    let mut user_data = BTreeMap::new();
    for (id, given) in answer {
        let member = group.member(&id);
        for partition in given.partitions {
            let Some(number) = group.number(&partition) else {
                fault.unknown.push(partition);
                continue;
            };
            let member = member.filter(|member| group.subscribes(*member, group.topic_of(number)));
            let Some((member, owner)) = member.zip(owner.get_mut(number)) else {
                fault.misplaced.push(partition);
                continue;
            };
            if owner.is_some() {
                fault.twice.push(partition);
            }
            if owner.is_none() || claims.of(member).binary_search(&number).is_ok() {
                *owner = Some(member);
            }
        }
        user_data.extend(given.user_data.map(|bytes| (id, bytes)));
    }
    let mut plan = group.empty_plan();
    for (partition, owner) in owner.into_entries() {
        match owner {
            Some(owner) => plan.change(owner, |planned| planned.push(partition)),
            None => fault.left_out.extend(group.name(partition)),
        }
    }
    (plan, user_data)
}

pub(super) fn user_data(assignor: &dyn Assignor, topics: &BTreeSet<Topic>) -> Option<Bytes> {
    catch_unwind(AssertUnwindSafe(|| assignor.subscription_user_data(topics))).unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        tracing::warn!(
            assignor = assignor.name(),
            "subscription_user_data panicked ({message}); no user data is sent"
        );
        None
    })
}

pub(super) fn on_assignment(assignor: &dyn Assignor, assignment: &MemberAssignment, generation: i32) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| assignor.on_assignment(assignment, generation))) {
        let message = panic_message(panic.as_ref());
        tracing::warn!(
            assignor = assignor.name(),
            "on_assignment panicked ({message}); the assignment stands"
        );
    }
}

/// The message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
