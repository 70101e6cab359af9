//! What `/api/…` answers, as `openapi.json` describes it.

pub(crate) mod query;

use offtake_lag::{GroupReport, PartitionReport, Report};
use serde_json::{Value, json};

use crate::{Settings, view::View};

/// How the monitor does.
pub(crate) fn status(view: &View, settings: &Settings) -> Value {
    let report = view.report.as_deref();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": view.cluster(settings.cluster_name.as_deref()),
        "ready": view.is_ready(),
        "failure": view.failure,
        "at": report.map(|report| report.at),
        "interval_seconds": settings.interval.as_secs_f64(),
        "round_seconds": view.round_seconds,
        "failures": report.map(|report| &report.failures),
        "findings": report.map(|report| &report.findings),
    })
}

/// All groups, each in short.
pub(crate) fn groups(report: &Report) -> Value {
    report
        .groups
        .iter()
        .map(|group| {
            let topics = group.partitions.chunk_by(|left, right| left.topic == right.topic).count();
            json!({
                "group": group.group,
                "state": group.state,
                "status": group.status,
                "lag": group.lag,
                "lag_seconds": group.lag_seconds,
                "severity": group.severity,
                "members": group.members.len(),
                "topics": topics,
                "partitions": group.partitions.len(),
                "time_to_data_loss_seconds": time_to_data_loss(group),
            })
        })
        .collect()
}

/// One group with all that is known of it.
pub(crate) fn group(group: &GroupReport) -> Value {
    let row = |partition: &PartitionReport| {
        let member = partition.member.and_then(|member| group.members.get(member));
        json!({
            "group": group.group,
            "topic": partition.topic,
            "partition": partition.partition,
            "committed": partition.committed,
            "end": partition.end,
            "lag": partition.difference(),
            "lag_seconds": partition.lag_seconds.map(rounded),
            "member": member.map(|member| &member.member_id),
            "client": member.map(|member| &member.client_id),
            "host": member.map(|member| &member.host),
            "status": partition.status,
            "severity": partition.severity,
            "lag_seconds_error": partition.lag_seconds_error,
            "lag_bytes": partition.lag_bytes,
            "lag_bytes_error": partition.lag_bytes_error,
            "produced_per_second": partition.produced_per_second,
            "consumed_per_second": partition.consumed_per_second,
            "catch_up_seconds": partition.catch_up_seconds,
            "time_to_data_loss_seconds": partition.time_to_data_loss_seconds,
        })
    };
    json!({
        "group": group.group,
        "state": group.state,
        "protocol": group.protocol,
        "status": group.status,
        "severity": group.severity,
        "lag": group.lag,
        "lag_seconds": group.lag_seconds,
        "time_to_data_loss_seconds": time_to_data_loss(group),
        "rebalances": group.rebalances,
        "members": group.members,
        "partitions": group.partitions.iter().map(row).collect::<Vec<_>>(),
    })
}

/// To milliseconds, as `offtake lag` prints it.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Of the partition that has the least.
fn time_to_data_loss(group: &GroupReport) -> Option<f64> {
    let times = group.partitions.iter().filter_map(|partition| partition.time_to_data_loss_seconds);
    times.min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests;
