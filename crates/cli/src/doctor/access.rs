//! This client's permissions on a topic and a group. Nothing is changed: brokers report what is allowed (KIP-430).

use std::time::{Duration, Instant};

use offtake_admin::{
    Admin, ErrorCode,
    probe::{Connection, Operations, Probe},
};

use super::steps::{Address, StepResult};
use crate::clock::now;

/// How long to wait for a coordinator that is not available yet.
const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before it is asked for again.
const PAUSE: Duration = Duration::from_millis(100);

const OPERATIONS_UNKNOWN: &str = "the broker does not report which operations are permitted";

pub(super) async fn topic(connection: &mut Connection, topic: &str, user: Option<&str>) -> StepResult {
    let found = match connection.topic(topic).await {
        Ok(found) => found,
        Err(failure) => {
            return StepResult::failed("topic", format!("{topic}: the broker {}", failure.reason));
        }
    };
    let (count, s) = (found.partitions, if found.partitions == 1 { "" } else { "s" });
    match found.error {
        ErrorCode::None => {}
        ErrorCode::TopicAuthorizationFailed => return missing_acl("Describe", "topic", topic, user),
        ErrorCode::UnknownTopicOrPartition => {
            return StepResult::failed(
                "topic",
                format!("{topic} does not exist; `offtake topics` lists those that do"),
            );
        }
        code => return StepResult::failed("topic", format!("{topic}: the broker answered {code}")),
    }
    if found.operations.is_some_and(|operations| !operations.can_read()) {
        return missing_acl("Read", "topic", topic, user);
    }
    if !found.leaderless.is_empty() {
        let leaderless: Vec<_> = found.leaderless.iter().map(ToString::to_string).collect();
        return StepResult::failed(
            "topic",
            format!(
                "{topic}: of {count} partition{s} these have no leader: {}; the brokers that have their replicas are down",
                leaderless.join(", ")
            ),
        );
    }
    StepResult::ok("topic", format!("{topic}: {count} partition{s}; {}", allowed(found.operations)))
}

/// The permissions on a group, and whether it exists: a group that was never started does not, nor does one
/// that is misspelt.
pub(super) async fn group(
    (probe, admin): (&Probe, &mut Admin),
    connection: &mut Connection,
    group: &str,
    user: Option<&str>,
) -> StepResult {
    let mut step = access(probe, connection, group, user).await;
    if step.is_ok {
        admin.within(COORDINATOR_TIMEOUT);
        // Boxed: the nested futures are deeper than the compiler follows.
        let found = Box::pin(admin.describe_group(group)).await;
        if found.is_err_and(|error| error.code() == Some(ErrorCode::GroupIdNotFound)) {
            step.detail += "; there is no such group yet: the first member or commit creates it (`offtake groups list` lists the existing groups)";
        }
    }
    step
}

/// A cluster creates the topic of its groups when the first group is asked for, and a coordinator that moved
/// has to load it.
async fn access(probe: &Probe, connection: &mut Connection, group: &str, user: Option<&str>) -> StepResult {
    let deadline = now() + COORDINATOR_TIMEOUT;
    loop {
        match Box::pin(check_coordinator(probe, connection, group, user)).await {
            Ok(step) => return step,
            Err(step) if now() >= deadline => return step,
            Err(_) => sleep_until(now() + PAUSE).await,
        }
    }
}

/// An error is a step that may succeed a little later.
async fn check_coordinator(
    probe: &Probe,
    connection: &mut Connection,
    group: &str,
    user: Option<&str>,
) -> Result<StepResult, StepResult> {
    let (id, address) = match connection.coordinator(group).await {
        Ok(Ok((id, host, port))) => (id, Address { host, port }),
        Ok(Err(ErrorCode::GroupAuthorizationFailed)) => {
            return Ok(missing_acl("Describe", "group", group, user));
        }
        Ok(Err(code)) => {
            let step = StepResult::failed(
                "group",
                format!(
                    "{group}: its coordinator is not known ({code}); check whether `__consumer_offsets` has a leader for each \
                     partition (`offtake topics describe __consumer_offsets`)"
                ),
            );
            return if code.is_retriable() { Err(step) } else { Ok(step) };
        }
        Err(failure) => {
            return Ok(StepResult::failed("group", format!("{group}: the broker {}", failure.reason)));
        }
    };
    let at = |said: &str| {
        StepResult::failed("group", format!("{group}: its coordinator, broker {id} at {address}, {said}"))
    };
    let findings = probe.connect(&address.host, address.port).await;
    let Some(mut coordinator) = findings.connection else {
        let reason = findings.failure.map_or(String::new(), |failure| failure.reason);
        return Ok(at(&format!("cannot be used: {reason}")));
    };
    let found = match coordinator.group(group).await {
        Ok(found) => found,
        Err(failure) => return Ok(at(&failure.reason)),
    };
    match found.error {
        ErrorCode::None | ErrorCode::GroupIdNotFound => {}
        ErrorCode::GroupAuthorizationFailed => return Ok(missing_acl("Describe", "group", group, user)),
        code if code.is_retriable() => return Err(at(&format!("answered {code}"))),
        code => return Ok(at(&format!("answered {code}"))),
    }
    if found.operations.is_some_and(|operations| !operations.can_read()) {
        return Ok(missing_acl("Read", "group", group, user));
    }
    let allowed = allowed(found.operations);
    Ok(StepResult::ok("group", format!("{group}: coordinated by broker {id} at {address}; {allowed}")))
}

/// The command is its own event loop here.
async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

fn allowed(operations: Option<Operations>) -> String {
    match operations {
        Some(operations) if operations.can_describe() => "Read and Describe are allowed".to_owned(),
        Some(_) => "Read is allowed".to_owned(),
        None => OPERATIONS_UNKNOWN.to_owned(),
    }
}

/// A step for a missing ACL. Read implies Describe, so it is the one to ask for.
fn missing_acl(operation: &str, kind: &'static str, name: &str, user: Option<&str>) -> StepResult {
    let (who, principal) = match user {
        Some(user) => (format!("User:{user}"), format!("User:{user}")),
        None => ("this client".to_owned(), "User:NAME".to_owned()),
    };
    StepResult::failed(
        kind,
        format!(
            "{name}: {who} lacks {operation}; it needs an ACL, as by `kafka-acls --add --allow-principal {principal} \
             --operation Read --{kind} {name}`"
        ),
    )
}
