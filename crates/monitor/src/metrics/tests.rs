use offtake_lag::{Finding, FindingKind, MemberReport, PartitionReport, Status, TopicPartitionReport};

use super::*;

/// Two groups, one of which has every possible value.
pub(crate) fn sample_report() -> Report {
    let member = MemberReport {
        member_id: "m-1".to_owned(),
        instance_id: None,
        client_id: "billing".to_owned(),
        host: "/10.0.0.7".to_owned(),
        partitions: 1,
    };
    let behind = PartitionReport {
        topic: "orders".to_owned(),
        partition: 0,
        committed: Some(40),
        end: Some(100),
        lag: Some(60),
        lag_seconds: Some(12.5),
        lag_bytes: Some(6000),
        time_to_data_loss_seconds: Some(90.0),
        member: Some(0),
        status: Some(Status::DataLossImminent),
        ..PartitionReport::default()
    };
    let unknown = PartitionReport { topic: "orders".to_owned(), partition: 1, ..PartitionReport::default() };
    let log = |partition, latest| TopicPartitionReport {
        topic: "orders".to_owned(),
        partition,
        earliest: Some(5),
        latest,
    };
    Report {
        at: 1_790_000_000_500,
        cluster: Some("c1".to_owned()),
        groups: vec![
            offtake_lag::GroupReport {
                group: "audit".to_owned(),
                state: "Stable".to_owned(),
                status: Some(Status::DataLossImminent),
                lag: 60,
                lag_seconds: Some(12.5),
                members: vec![member],
                partitions: vec![behind, unknown],
                ..offtake_lag::GroupReport::default()
            },
            offtake_lag::GroupReport {
                group: "a \"b\"\\c\nd".to_owned(),
                state: "Empty".to_owned(),
                ..offtake_lag::GroupReport::default()
            },
        ],
        partitions: vec![log(0, Some(100)), log(1, None)],
        ..Report::default()
    }
}

fn view(report: Report) -> View {
    let mut view = View::default();
    view.on_report(Arc::new(report), 0.25);
    view
}

/// All samples with a name.
fn samples<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(is_of).collect()
}

#[test]
fn the_documented_names_and_labels() {
    let text = Exposition::new(view(sample_report()), None, Names::default()).text();
    let expected = r#"
kafka_consumergroup_group_lag{cluster_name="c1",group="audit",topic="orders",partition="0",member_host="/10.0.0.7",consumer_id="m-1",client_id="billing"} 60
kafka_consumergroup_group_lag_seconds{cluster_name="c1",group="audit",topic="orders",partition="0"} 12.5
kafka_consumergroup_group_lag_bytes{cluster_name="c1",group="audit",topic="orders",partition="0"} 6000
kafka_consumergroup_group_offset{cluster_name="c1",group="audit",topic="orders",partition="0"} 40
kafka_partition_latest_offset{cluster_name="c1",topic="orders",partition="0"} 100
kafka_partition_earliest_offset{cluster_name="c1",topic="orders",partition="1"} 5
kafka_consumergroup_group_max_lag_seconds{group="audit"} 12.5
kafka_consumergroup_group_sum_lag{group="audit"} 60
kafka_consumer_group_lag_sum{group="audit"} 60
kafka_consumergroup_group_status{group="audit",topic="orders",partition="0"} 6
kafka_consumergroup_time_to_data_loss_seconds{group="audit",topic="orders",partition="0"} 90
offtake_monitor_up 1
offtake_monitor_report_timestamp_seconds 1790000000.5"#;
    for line in expected.lines().skip(1) {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert_eq!(samples(&text, "kafka_consumergroup_group_lag").len(), 1, "what is not known has no sample");
    assert_eq!(samples(&text, "kafka_partition_latest_offset").len(), 1);
}

#[test]
fn findings_are_there_once() {
    let mut report = sample_report();
    let idle = Finding {
        kind: FindingKind::IdleMember,
        group: Some("audit".to_owned()),
        topic: None,
        partition: None,
        message: "a member owns nothing".to_owned(),
    };
    report.findings = vec![idle.clone(), Finding { message: "another one does".to_owned(), ..idle }];
    let text = Exposition::new(view(report), None, Names::default()).text();
    let line = r#"offtake_monitor_finding{kind="idle_member",group="audit",topic="",partition=""} 1"#;
    assert_eq!(samples(&text, "offtake_monitor_finding"), [line]);
}

#[test]
fn labels_are_escaped() {
    let text = Exposition::new(view(sample_report()), Some("x\"y"), Names::default()).text();
    assert!(text.contains(r#"kafka_consumergroup_group_sum_lag{group="a \"b\"\\c\nd"} 0"#), "{text}");
    assert!(text.contains(r#"cluster_name="x\"y""#));
}

#[test]
fn offsets_at_their_ends_are_added_up() {
    let mut report = sample_report();
    for partition in &mut report.groups[0].partitions {
        (partition.committed, partition.lag) = (Some(i64::MAX), Some(u64::MAX));
    }
    let text = Exposition::new(view(report), None, Names { kafka_exporter: true, kminion: true }).text();
    for name in ["kafka_consumergroup_current_offset_sum", "kminion_kafka_consumer_group_topic_offset_sum"] {
        let sums = samples(&text, name);
        assert!(sums.len() == 1 && sums[0].ends_with(" 9223372036854775807"), "{sums:?}");
    }
}

#[test]
fn a_name_cannot_end_the_text() {
    let mut report = sample_report();
    report.groups[1].group = "a\0b\u{1b}\r".to_owned();
    let text = Exposition::new(view(report), None, Names::default()).text();
    assert!(
        text.contains(r#"kafka_consumergroup_group_sum_lag{group="a\\u0000b\\u001b\\u000d"} 0"#),
        "{text}"
    );
    assert!(!text.contains('\0'));
}

#[test]
fn other_exporters_names_are_there_when_asked_for() {
    let names = |kafka_exporter, kminion| {
        Exposition::new(view(sample_report()), None, Names { kafka_exporter, kminion }).text()
    };
    let neither = names(false, false);
    assert!(!neither.contains("consumergroup=\"") && !neither.contains("kminion"));
    let both = names(true, true);
    for line in [
        r#"kafka_consumergroup_lag{consumergroup="audit",topic="orders",partition="0"} 60"#,
        r#"kafka_consumergroup_lag_sum{consumergroup="audit",topic="orders"} 60"#,
        r#"kafka_consumergroup_members{consumergroup="audit"} 1"#,
        r#"kafka_topic_partitions{topic="orders"} 2"#,
        r#"kafka_topic_partition_current_offset{topic="orders",partition="0"} 100"#,
        r#"kminion_kafka_consumer_group_topic_partition_lag{group_id="audit",topic_name="orders",partition_id="0"} 60"#,
        r#"kminion_kafka_consumer_group_topic_lag{group_id="audit",topic_name="orders"} 60"#,
        r#"kminion_kafka_consumer_group_topic_members{group_id="audit",topic_name="orders"} 1"#,
        r#"kminion_kafka_topic_partition_low_water_mark{topic_name="orders",partition_id="1"} 5"#,
    ] {
        assert!(both.lines().any(|found| found == line), "{line}\nis not in\n{both}");
    }
}

#[test]
fn series_of_a_group_that_is_gone_vanish_and_all_when_no_broker_answers() {
    let mut view = view(sample_report());
    let mut fewer = sample_report();
    fewer.groups.remove(0);
    view.on_report(Arc::new(fewer), 0.1);
    let text = Exposition::new(view.clone(), None, Names::default()).text();
    assert!(!text.contains("audit"), "{text}");
    view.on_failure("no broker answers".to_owned());
    view.on_failure("no broker answers".to_owned());
    let text = Exposition::new(view.clone(), None, Names::default()).text();
    assert!(text.contains("kafka_consumergroup_group_sum_lag{") && text.contains("offtake_monitor_up 0\n"));
    view.on_failure("no broker answers".to_owned());
    let text = Exposition::new(view.clone(), None, Names::default()).text();
    assert!(!text.contains("kafka_consumergroup_group_sum_lag{"), "{text}");
    assert_eq!(
        samples(&text, "offtake_monitor_failed_rounds_total"),
        ["offtake_monitor_failed_rounds_total 3"]
    );
}

#[test]
fn pieces_are_small_and_families_stay_together() {
    let mut report = sample_report();
    let template = report.groups[0].clone();
    for nth in 0..2000 {
        report.groups.push(offtake_lag::GroupReport { group: format!("g{nth}"), ..template.clone() });
    }
    let exposition = Exposition::new(view(report), None, Names { kafka_exporter: true, kminion: true });
    let pieces: Vec<Bytes> = exposition.collect();
    assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() < PIECE + 4096));
    let text = String::from_utf8(pieces.concat()).unwrap();
    let mut seen: Vec<&str> = Vec::new();
    for line in text.lines() {
        let name = match line.strip_prefix("# ") {
            Some(comment) => comment.split(' ').nth(1).unwrap(),
            None => line.split(['{', ' ']).next().unwrap(),
        };
        if seen.last() != Some(&name) {
            assert!(!seen.contains(&name), "{name} stands in two places");
            seen.push(name);
        }
    }
    assert_eq!(samples(&text, "kafka_consumergroup_group_lag").len(), 2001);
    assert_eq!(text.matches("# TYPE ").count(), seen.len());
}

#[test]
fn the_shipped_rules_and_the_dashboard_name_only_metrics_that_there_are() {
    let text = Exposition::new(view(sample_report()), None, Names::default()).text();
    let known: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut named = 0;
    for shipped in [crate::PROMETHEUS_RULES, crate::GRAFANA_DASHBOARD] {
        let words = shipped.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.starts_with("kafka_") || word.starts_with("offtake_monitor")) {
            assert!(known.contains(&word), "{word}");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
    serde_json::from_str::<serde_json::Value>(crate::GRAFANA_DASHBOARD).unwrap();
}
