//! `offtake doctor`: connects to every broker like a client, and reports its findings, step by step.

mod access;
mod steps;

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use offtake_admin::{
    Admin,
    probe::{ClusterFacts, Connection, Findings, Probe},
};
use serde_json::json;

use self::steps::{Address, StepResult};
use crate::{
    args::{Common, Doctor},
    failure::Failure,
    output::Output,
    setup,
    text::table::visible,
};

/// The number of brokers that are checked at once.
const AT_ONCE: usize = 8;

pub(crate) async fn run(common: &Common, args: Doctor) -> Result<(), Failure> {
    let config = setup::config(common)?;
    let servers = config.client.bootstrap_servers.clone();
    let probe = Probe::new(config.clone())?;
    let mut admin = Admin::new(config)?;
    let mut report = Report::new(common.json);
    let diagnosed = report.diagnose(&probe, &mut admin, servers, &args).await;
    admin.close().await;
    diagnosed?;
    report.into_result()
}

/// The findings at one broker.
struct BrokerCheck {
    address: Address,
    steps: Vec<StepResult>,
    /// The findings of a broker where nothing failed.
    found: Option<(Findings, Connection, ClusterFacts)>,
}

/// Connects to a broker, and asks it to describe the cluster.
async fn check_broker(probe: &Probe, address: Address, is_advertised: bool) -> BrokerCheck {
    let mut findings = probe.connect(&address.host, address.port).await;
    let mut steps = steps::of(&findings, is_advertised);
    let Some(mut connection) = findings.connection.take() else {
        return BrokerCheck { address, steps, found: None };
    };
    match connection.cluster().await {
        Ok(cluster) => {
            steps.push(steps::cluster(&cluster));
            BrokerCheck { address, steps, found: Some((findings, connection, cluster)) }
        }
        Err(failure) => {
            let offered = match findings.login {
                None => probe.mechanisms(&address.host, address.port).await,
                Some(_) => None,
            };
            steps.push(steps::no_cluster(&failure.reason, offered.as_deref().unwrap_or_default()));
            BrokerCheck { address, steps, found: None }
        }
    }
}

/// The output, and the first failure.
struct Report {
    output: Output,
    json: bool,
    /// The broker whose steps are being printed.
    heading: Option<Address>,
    first_failure: Option<String>,
    failures: usize,
}

impl Report {
    fn new(json: bool) -> Self {
        Self { output: Output::stdout(), json, heading: None, first_failure: None, failures: 0 }
    }

    async fn diagnose(
        &mut self,
        probe: &Probe,
        admin: &mut Admin,
        servers: Vec<(String, u16)>,
        args: &Doctor,
    ) -> Result<(), Failure> {
        let mut seen = BTreeSet::new();
        let mut servers: Vec<_> = servers.into_iter().map(|(host, port)| Address { host, port }).collect();
        servers.retain(|server| seen.insert(server.clone()));
        let mut entrance = self.visit_all(probe, servers, false).await?;
        if let Some(BrokerCheck { found: Some((_, _, cluster)), .. }) = &entrance {
            let brokers = cluster.brokers.iter();
            let mut others: Vec<_> =
                brokers.map(|(_, host, port)| Address { host: host.clone(), port: *port }).collect();
            others.retain(|broker| seen.insert(broker.clone()));
            self.visit_all(probe, others, true).await?;
        }
        if let Some(BrokerCheck { address, found: Some((findings, connection, _)), .. }) = &mut entrance {
            let user = findings.login.as_ref().and_then(|login| login.user.clone());
            for topic in &args.topics {
                let step = access::topic(connection, topic, user.as_deref()).await;
                self.print(address, &[step])?;
            }
            for group in &args.groups {
                let step = access::group((probe, admin), connection, group, user.as_deref()).await;
                self.print(address, &[step])?;
            }
        }
        Ok(())
    }

    /// Checks all brokers, reports in their order, and returns the first that works.
    async fn visit_all(
        &mut self,
        probe: &Probe,
        addresses: Vec<Address>,
        is_advertised: bool,
    ) -> Result<Option<BrokerCheck>, Failure> {
        let mut visits = stream::iter(addresses)
            .map(|address| check_broker(probe, address, is_advertised))
            .buffered(AT_ONCE);
        let mut first = None;
        while let Some(visit) = visits.next().await {
            self.print(&visit.address, &visit.steps)?;
            if first.is_none() && visit.found.is_some() {
                first = Some(visit);
            }
        }
        Ok(first)
    }

    fn print(&mut self, broker: &Address, steps: &[StepResult]) -> Result<(), Failure> {
        if !self.json && self.heading.as_ref() != Some(broker) {
            self.line(&broker.to_string());
            self.heading = Some(broker.clone());
        }
        for step in steps {
            if self.json {
                self.output.json(&json!({
                    "broker": broker.to_string(), "step": step.name, "ok": step.is_ok, "detail": step.detail,
                }));
            } else {
                let verdict = if step.is_ok { "ok  " } else { "FAIL" };
                self.line(&format!("  {verdict}  {:<12}  {}", step.name, step.detail));
            }
            if !step.is_ok {
                self.failures += 1;
                self.first_failure.get_or_insert_with(|| format!("{broker}: {}: {}", step.name, step.detail));
            }
        }
        Ok(self.output.flush()?)
    }

    fn line(&mut self, text: &str) {
        self.output.buffer().extend_from_slice(visible(text).as_bytes());
        self.output.buffer().push(b'\n');
    }

    /// The command's result: the first failure.
    fn into_result(self) -> Result<(), Failure> {
        let Some(first) = self.first_failure else { return Ok(()) };
        let more = match self.failures {
            0 | 1 => String::new(),
            many => format!(" (and {} more)", many - 1),
        };
        Err(Failure::failed(format!("{first}{more}")))
    }
}
