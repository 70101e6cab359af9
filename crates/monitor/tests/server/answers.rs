//! Each path, before and after the first round, and while no broker responds.

use offtake_monitor::{History, Settings};
use serde_json::Value;

use crate::support::{Running, report, status};

#[tokio::test]
async fn before_the_first_round_it_is_healthy_and_not_ready() {
    let monitor = Running::start(Settings::default()).await;
    assert_eq!(status(&monitor.get("/healthz").await.0), 200);
    assert_eq!(status(&monitor.get("/readyz").await.0), 503);
    assert_eq!(status(&monitor.get("/api/groups").await.0), 503);
    assert_eq!(status(&monitor.get("/api/groups/x").await.0), 503);
    assert_eq!(status(&monitor.get("/metrics").await.0), 200, "its own metrics are there");
    let (head, body) = monitor.get("/api/status").await;
    assert_eq!(status(&head), 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["ready"], false);
}

#[tokio::test]
async fn a_report_is_served_and_a_group_that_is_gone_vanishes() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7), ("a/b é", 0)]))).await;
    assert_eq!(monitor.get("/readyz").await.1, "ok\n");
    let groups: Value = serde_json::from_str(&monitor.get("/api/groups").await.1).unwrap();
    assert_eq!((&groups[0]["group"], &groups[0]["lag"]), (&"audit".into(), &7.into()));
    let (head, body) = monitor.get("/api/groups/a%2Fb%20%C3%A9").await;
    assert_eq!(status(&head), 200, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["partitions"][0]["topic"], "orders");
    assert_eq!(status(&monitor.get("/api/groups/nobody").await.0), 404);
    assert_eq!(status(&monitor.get("/api/groups/").await.0), 404);
    assert_eq!(status(&monitor.get("/api/groups/%ff").await.0), 400);
    assert!(monitor.get("/metrics").await.1.contains(r#"kafka_consumer_group_lag_sum{group="audit"} 7"#));
    monitor.round(Ok(report(&[("a/b é", 0)]))).await;
    assert!(!monitor.get("/metrics").await.1.contains("audit"));
    assert_eq!(status(&monitor.get("/api/groups/audit").await.0), 404);
}

#[tokio::test]
async fn while_no_broker_answers_it_is_not_ready_and_its_lag_is_soon_not_served() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    monitor.round(Err("no broker at localhost:9092")).await;
    let (head, body) = monitor.get("/readyz").await;
    assert_eq!((status(&head), body.as_str()), (503, "the last round ended without a report\n"));
    assert!(monitor.get("/metrics").await.1.contains("kafka_consumer_group_lag_sum{"));
    monitor.round(Err("no broker at localhost:9092")).await;
    monitor.round(Err("no broker at localhost:9092")).await;
    assert!(!monitor.get("/metrics").await.1.contains("kafka_consumer_group_lag_sum{"));
    assert_eq!(status(&monitor.get("/healthz").await.0), 200);
    assert_eq!(status(&monitor.get("/api/groups").await.0), 200, "what was known, as /api/status tells");
    monitor.round(Ok(report(&[("audit", 8)]))).await;
    assert_eq!(status(&monitor.get("/readyz").await.0), 200);
}

#[tokio::test]
async fn the_page_has_nothing_from_elsewhere_and_nothing_inline() {
    let monitor = Running::start(Settings::default()).await;
    for path in ["/", "/page.css", "/page.js", "/chart.js", "/icon.svg", "/openapi.json"] {
        let (head, body) = monitor.get(path).await;
        assert_eq!(status(&head), 200, "{path}");
        assert!(!body.is_empty());
        let head = head.to_lowercase();
        let policy = head.lines().find(|line| line.starts_with("content-security-policy:")).unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(head.contains("x-content-type-options: nosniff") && head.contains("x-frame-options: deny"));
        let elsewhere = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{path}");
        assert!(!body.contains(" style=\"") && !body.contains("onclick="), "{path}");
    }
    let page = monitor.get("/").await.1;
    assert!(
        !page.contains("<style") && page.matches("<script").count() == 1 && page.contains("src=\"page.js\"")
    );
}

#[tokio::test]
async fn every_described_path_answers() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    let api: Value = serde_json::from_str(&monitor.get("/openapi.json").await.1).unwrap();
    for path in api["paths"].as_object().unwrap().keys() {
        let (head, body) = monitor.get(&path.replace("{group}", "audit")).await;
        assert_eq!(status(&head), 200, "{path}: {body}");
    }
}

#[tokio::test]
async fn charts_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=2u64 {
        let (history, damage) = History::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(damage, []);
        let monitor = Running::start_with(Settings::default(), history).await;
        let mut report = report(&[("audit", round)]);
        report.at += i64::try_from(round).unwrap() * 1000;
        monitor.round(Ok(report)).await;
        let mut lag = Value::Null;
        for _ in 0..1000 {
            let (_, body) = monitor.get("/api/history?group=audit&seconds=60&points=1000").await;
            lag = serde_json::from_str::<Value>(&body).unwrap()["lag"].take();
            if lag.as_array().unwrap().len() as u64 == round {
                break; // it is written after it is served
            }
        }
        assert_eq!(lag, Value::from((1..=round).collect::<Vec<_>>()));
        monitor.stop().await;
    }
}

#[tokio::test]
async fn settings_change_while_it_runs() {
    let monitor = Running::start(Settings::default()).await;
    monitor.round(Ok(report(&[("audit", 7)]))).await;
    monitor.settings.send_modify(|settings| {
        settings.names.kafka_exporter = true;
        settings.cluster_name = Some("east".to_owned());
    });
    let text = monitor.get("/metrics").await.1;
    assert!(text.contains("kafka_consumergroup_lag{") && text.contains(r#"cluster_name="east""#));
    monitor.settings.send_modify(|settings| settings.access = settings.access.clone().token("t0ken"));
    assert_eq!(status(&monitor.get("/metrics").await.0), 401);
}
