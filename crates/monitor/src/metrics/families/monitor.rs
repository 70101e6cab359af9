//! Metrics of the monitor itself.

use std::collections::HashSet;

use super::{Family, Scope, counter, gauge};

/// The metrics of the monitor itself.
pub(in crate::metrics) const MONITOR: &[Family] = &[
    gauge(
        "offtake_monitor_up",
        "1 if the last round ended with a report, 0 if no broker answered.",
        Scope::Monitor(|out, view| out.sample(&[], u8::from(view.is_ready()))),
    ),
    counter(
        "offtake_monitor_rounds_total",
        "Rounds that ended with a report.",
        Scope::Monitor(|out, view| out.sample(&[], view.rounds)),
    ),
    counter(
        "offtake_monitor_failed_rounds_total",
        "Rounds that ended without a report.",
        Scope::Monitor(|out, view| out.sample(&[], view.failed_rounds)),
    ),
    gauge(
        "offtake_monitor_round_duration_seconds",
        "Duration of the last round that ended with a report.",
        Scope::Monitor(|out, view| out.sample(&[], view.round_seconds)),
    ),
    gauge(
        "offtake_monitor_round_failures",
        "Failed requests to brokers, about groups and about partitions in the round of the last report.",
        Scope::Monitor(|out, view| {
            if let Some(report) = &view.report {
                out.sample(&[], report.failures.len());
            }
        }),
    ),
    gauge(
        "offtake_monitor_shard_partitions",
        "Partitions of __consumer_offsets whose groups this replica watches; absent if it watches all groups.",
        Scope::Monitor(|out, view| {
            let shard = view.report.as_ref().and_then(|report| report.shard.as_ref());
            if let Some(shard) = shard {
                out.sample(&[], shard.partitions.len());
            }
        }),
    ),
    gauge(
        "offtake_monitor_finding",
        "Always 1, for each finding other than lag: hot_partition, idle_member, repeated_rebalances, dead_letters.",
        Scope::Monitor(|out, view| {
            let findings = view.fresh().map_or(&[][..], |report| &report.findings);
            let mut seen = HashSet::new();
            for finding in findings {
                let kind = serde_json::to_value(finding.kind).unwrap_or_default();
                let partition = finding.partition.map_or_else(String::new, |partition| partition.to_string());
                let labels = [
                    ("kind", kind.as_str().unwrap_or_default()),
                    ("group", finding.group.as_deref().unwrap_or_default()),
                    ("topic", finding.topic.as_deref().unwrap_or_default()),
                    ("partition", partition.as_str()),
                ];
                // Two members without partitions may have equal labels, but Prometheus refuses duplicate series.
                if seen.insert(labels.map(|(_, value)| value.to_owned())) {
                    out.sample(&labels, 1);
                }
            }
        }),
    ),
    gauge(
        "offtake_monitor_report_timestamp_seconds",
        "Time of the last report, in seconds since 1970.",
        Scope::Monitor(|out, view| {
            if let Some(report) = &view.report {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "milliseconds since 1970 are exact for 285,000 years"
                )]
                out.sample(&[], report.at as f64 / 1000.0);
            }
        }),
    ),
    gauge(
        "offtake_build_info",
        "Always 1; the label has the version.",
        Scope::Monitor(|out, _| out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1)),
    ),
];
