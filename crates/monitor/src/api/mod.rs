//! The responses of `/api/…`, as described in `openapi.json`.

pub(crate) mod query;

use offtake_lag::{GroupReport, PartitionReport, PartitionRow, Report};
use serde_json::{Value, json};

use crate::{Settings, view::View};

/// The state of the monitor.
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

/// A summary of all groups.
pub(crate) fn groups(report: &Report) -> Value {
    report
        .groups
        .iter()
        .map(|group| {
            json!({
                "group": group.group,
                "state": group.state,
                "status": group.status,
                "lag": group.lag,
                "lag_seconds": group.lag_seconds,
                "severity": group.severity,
                "members": group.members.len(),
                "topics": group.topics().count(),
                "partitions": group.partitions.len(),
                "time_to_data_loss_seconds": group.time_to_data_loss_seconds(),
            })
        })
        .collect()
}

/// The details of one group.
pub(crate) fn group(group: &GroupReport) -> Value {
    json!({
        "group": group.group,
        "state": group.state,
        "protocol": group.protocol,
        "status": group.status,
        "severity": group.severity,
        "lag": group.lag,
        "lag_seconds": group.lag_seconds,
        "time_to_data_loss_seconds": group.time_to_data_loss_seconds(),
        "rebalances": group.rebalances,
        "members": group.members,
        "partitions": group.rows().zip(&group.partitions).map(row).collect::<Vec<_>>(),
    })
}

/// A row as printed by `offtake lag`, with further values.
fn row((row, partition): (PartitionRow<'_>, &PartitionReport)) -> Value {
    let mut value = json!(row);
    if let Some(value) = value.as_object_mut() {
        let more = [
            ("severity", json!(partition.severity)),
            ("lag_seconds_error", json!(partition.lag_seconds_error)),
            ("lag_bytes_error", json!(partition.lag_bytes_error)),
            ("produced_per_second", json!(partition.produced_per_second)),
            ("consumed_per_second", json!(partition.consumed_per_second)),
            ("catch_up_seconds", json!(partition.catch_up_seconds)),
            ("time_to_data_loss_seconds", json!(partition.time_to_data_loss_seconds)),
        ];
        value.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    value
}

#[cfg(test)]
mod tests;
