//! The steps of a connection, described in words.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use offtake_admin::probe::{CertificateFacts, ClusterFacts, Findings, ProbeStep};

/// The APIs that a consumer cannot do without.
const NEEDED: [&str; 9] = [
    "Metadata",
    "ListOffsets",
    "Fetch",
    "FindCoordinator",
    "OffsetFetch",
    "OffsetCommit",
    "JoinGroup",
    "SyncGroup",
    "Heartbeat",
];
/// A certificate that expires within this time gets a warning.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// The most brokers that are named.
const MOST_NAMED: usize = 10;

/// A broker's host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port), // IPv6
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A step, and its result.
#[derive(Debug)]
pub(super) struct StepResult {
    pub(super) name: &'static str,
    pub(super) is_ok: bool,
    pub(super) detail: String,
}

impl StepResult {
    pub(super) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, is_ok: true, detail: detail.into() }
    }

    pub(super) fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, is_ok: false, detail: detail.into() }
    }
}

/// The steps of a connection, up to the first that failed. `is_advertised`: the address comes from the cluster,
/// not from the user.
pub(super) fn of(found: &Findings, is_advertised: bool) -> Vec<StepResult> {
    let mut steps = Vec::new();
    if !found.addresses.is_empty() {
        let addresses = found.addresses.iter().map(|address| address.ip().to_string());
        steps.push(StepResult::ok("resolve", addresses.collect::<Vec<_>>().join(", ")));
    }
    if let Some(connected) = &found.connected {
        let took = connected.took.as_secs_f64() * 1000.0;
        steps.push(StepResult::ok("connect", format!("{} in {took:.1} ms", connected.address)));
    }
    if let Some(tls) = &found.tls {
        steps.push(StepResult::ok("tls", format!("{}, {}", tls.version, tls.cipher_suite)));
        let now = Timestamp::now();
        steps.extend(
            tls.certificates.iter().map(|shown| StepResult::ok("certificate", certificate(shown, now))),
        );
    }
    if !found.versions.is_empty() {
        steps.push(versions(found));
    }
    if let Some(mechanisms) = &found.mechanisms {
        steps.push(StepResult::ok("mechanisms", mechanisms.join(", ")));
    }
    if let Some(login) = &found.login {
        let user = login.user.as_ref().map_or(String::new(), |user| format!(" as {user}"));
        let session = match login.session_lifetime {
            Some(lifetime) => format!("for {} s at a time", (lifetime.as_secs_f64() * 10.0).round() / 10.0),
            None => "for as long as the connection lasts".to_owned(),
        };
        steps.push(StepResult::ok("authenticate", format!("{}{user}, {session}", login.mechanism)));
    }
    if let Some(failure) = &found.failure {
        let (name, advice) = match failure.step {
            ProbeStep::Resolve => ("resolve", place(is_advertised, "check the name (--brokers), and DNS")),
            ProbeStep::Connect => {
                ("connect", place(is_advertised, "check the address (--brokers), and that the broker is up"))
            }
            ProbeStep::Tls => ("tls", None),
            ProbeStep::Versions => ("versions", None),
            _ if failure.reason.contains("SASL GSSAPI")
                && failure.reason.contains("the broker refused it") =>
            {
                (
                    "authenticate",
                    Some(
                        "the KDC gave a ticket that the broker does not accept: its keytab may be older than its principal's key, or its \
                         clock differ (the broker's log says which)",
                    ),
                )
            }
            _ if failure.reason.contains("the broker refused it") => (
                "authenticate",
                Some(
                    "check the name and the password (sasl.jaas.config), and that the user may use this mechanism",
                ),
            ),
            _ => ("authenticate", None),
        };
        let advice = advice.map_or(String::new(), |advice| format!("; {advice}"));
        steps.push(StepResult::failed(name, format!("{}{advice}", failure.reason)));
    }
    steps
}

fn place(is_advertised: bool, of_the_user: &'static str) -> Option<&'static str> {
    Some(if is_advertised {
        "the broker advertises this address (`advertised.listeners`), and clients have to reach it there"
    } else {
        of_the_user
    })
}

fn certificate(shown: &CertificateFacts, now: Timestamp) -> String {
    let day = |time: SystemTime| match Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => "?".to_owned(),
    };
    let left = shown.not_after.duration_since(now.into());
    let days = |left: Duration| left.as_secs() / (24 * 3600);
    let ends = match left {
        Ok(left) if left < ENDS_SOON => format!(" (ends in {} days: the broker needs a new one)", days(left)),
        Ok(left) => format!(" ({} days left)", days(left)),
        Err(_) => " (it has ended)".to_owned(),
    };
    let hosts = match shown.hosts.as_slice() {
        [] => String::new(),
        hosts => format!(", for {}", hosts.join(", ")),
    };
    let (from, until) = (day(shown.not_before), day(shown.not_after));
    format!("{}, issued by {}, valid {from} to {until}{ends}{hosts}", shown.subject, shown.issuer)
}

fn versions(found: &Findings) -> StepResult {
    let of = |api: &str| found.versions.iter().find(|(name, ..)| *name == api);
    let missing: Vec<_> = NEEDED.into_iter().filter(|api| of(api).is_none()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return StepResult::failed(
            "versions",
            format!(
                "the broker is too old or too new for this client: they have no version in common of {missing}"
            ),
        );
    }
    let used: Vec<_> =
        NEEDED.iter().filter_map(|api| of(api)).map(|(name, _, max)| format!("{name} {max}")).collect();
    let modern = if of("ConsumerGroupHeartbeat").is_some() { "classic and consumer" } else { "classic" };
    StepResult::ok("versions", format!("{}; group protocols: {modern}", used.join(", ")))
}

pub(super) fn cluster(cluster: &ClusterFacts) -> StepResult {
    let id = cluster.cluster_id.as_deref().unwrap_or("unknown");
    let brokers = cluster.brokers.iter().take(MOST_NAMED);
    let mut brokers: Vec<_> = brokers
        .map(|(id, host, port)| format!("{id} at {}", Address { host: host.clone(), port: *port }))
        .collect();
    if cluster.brokers.len() > MOST_NAMED {
        brokers.push("…".to_owned());
    }
    let (count, brokers) = (cluster.brokers.len(), brokers.join(", "));
    let s = if count == 1 { "" } else { "s" };
    match cluster.controller {
        _ if cluster.brokers.is_empty() => {
            StepResult::failed("cluster", "the broker lists no brokers, not even itself: check its log")
        }
        Some(controller) => StepResult::ok(
            "cluster",
            format!("id {id}, controller {controller}, {count} broker{s}: {brokers}"),
        ),
        None => StepResult::failed(
            "cluster",
            format!(
                "id {id}, {count} broker{s}: {brokers}; no controller is known: topics and leaders do not change"
            ),
        ),
    }
}

/// The failure of the first request on an established connection. `offered` are the mechanisms of the listener,
/// if it uses SASL and we did not.
pub(super) fn no_cluster(reason: &str, offered: &[String]) -> StepResult {
    if offered.is_empty() {
        return StepResult::failed("cluster", format!("the broker {reason}"));
    }
    let offered = offered.join(", ");
    StepResult::failed(
        "cluster",
        format!(
            "the broker {reason}; the listener takes SASL ({offered}): set security.protocol to SASL_PLAINTEXT or SASL_SSL, \
             sasl.mechanism to one of these, and sasl.jaas.config"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_takes_sasl_is_told_of() {
        let step =
            no_cluster("closed the connection during Metadata: before answering", &["PLAIN".to_owned()]);
        assert!(!step.is_ok && step.detail.contains("takes SASL (PLAIN): set security.protocol"), "{step:?}");
        let step = no_cluster("did not answer Metadata within 5000 ms", &[]);
        assert_eq!(step.detail, "the broker did not answer Metadata within 5000 ms");
    }

    #[test]
    fn ipv6_addresses_are_bracketed() {
        assert_eq!(Address { host: "::1".to_owned(), port: 9092 }.to_string(), "[::1]:9092");
    }
}
