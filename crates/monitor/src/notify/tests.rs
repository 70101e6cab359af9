use std::time::Duration;

use offtake_lag::{Finding, FindingKind, GroupReport, PartitionReport, Report, Shard, Status};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    notifier::{Notification, Notifier},
    payload::payload,
    *,
};

/// A notifier with the defaults, and a clock.
struct Sim {
    notifier: Notifier,
    start: Instant,
    seconds: u64,
    sent: Vec<(u64, Notification)>,
    arrives: bool,
}

impl Sim {
    fn new() -> Self {
        let webhook = Webhook::new("http://alerts.example/hook").unwrap();
        let start = crate::clock::now();
        Self { notifier: Notifier::new(webhook), start, seconds: 0, sent: Vec::new(), arrives: true }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    /// Makes a round each ten seconds, for this many seconds, and sends due messages at once.
    fn run(&mut self, seconds: u64, round: Result<&Report, &str>) {
        let end = self.seconds + seconds;
        while self.seconds < end {
            self.notifier.observe(self.now(), i64::try_from(self.seconds).unwrap() * 1000, round);
            let next_round = self.seconds + 10;
            while self.seconds < next_round {
                if let Some(notification) = self.notifier.poll_transmit(self.now()) {
                    self.sent.push((self.seconds, notification));
                    self.notifier.sent(self.now(), self.arrives);
                }
                self.seconds += 1;
            }
        }
    }

    /// The time, the subjects and the severities of each message; a severity of `None` means the end.
    fn told(&self) -> Vec<(u64, Vec<Option<Severity>>)> {
        let of = |notification: &Notification| {
            let alerts = notification.alerts.iter();
            alerts.map(|notice| notice.ended.is_none().then_some(notice.severity)).collect()
        };
        self.sent.iter().map(|(at, notification)| (*at, of(notification))).collect()
    }
}

fn report(groups: &[(&str, Severity)]) -> Report {
    let group = |(name, severity): &(&str, Severity)| GroupReport {
        group: (*name).to_owned(),
        severity: *severity,
        lag: 7,
        ..GroupReport::default()
    };
    Report { groups: groups.iter().map(group).collect(), ..Report::default() }
}

use Severity::{Critical, DataLoss, Healthy, High, Warning};

#[test]
fn a_lag_that_lasts_is_told_once_and_so_is_its_end() {
    let mut sim = Sim::new();
    sim.run(600, Ok(&report(&[("audit", High)])));
    assert_eq!(sim.told(), [(30, vec![Some(High)])]);
    sim.run(600, Ok(&report(&[("audit", Healthy)])));
    assert_eq!(sim.told(), [(30, vec![Some(High)]), (900, vec![None])]);
    let over = &sim.sent[1].1.alerts[0];
    assert_eq!((over.began, over.ended), (30_000, Some(900_000)));
}

#[test]
fn the_end_of_an_alert_says_that_the_group_is_gone() {
    let behind = "group audit is 7 records behind";
    let gone = "group audit is gone: it was deleted or has expired, or it is not watched any more";
    let ends = |rounds: &[Result<&Report, &str>]| {
        let mut sim = Sim::new();
        sim.run(60, Ok(&report(&[("audit", High), ("billing", Healthy)])));
        rounds.iter().for_each(|round| sim.run(310, *round));
        let last = sim.sent.last().unwrap().1.alerts[0].clone();
        (sim.sent.len(), last.ended.is_some(), last.sentence)
    };
    let (without, healthy) = (report(&[("billing", Healthy)]), report(&[("audit", Healthy)]));
    assert_eq!(ends(&[Ok(&without)]), (2, true, gone.to_owned()));
    assert_eq!(ends(&[Ok(&healthy)]), (2, true, behind.to_owned()), "of one that has recovered, what it was");
    // During `resolve_after`, and while no broker responds, nothing is notified.
    let mut sim = Sim::new();
    sim.run(60, Ok(&report(&[("audit", High)])));
    sim.run(290, Ok(&without));
    assert_eq!(sim.sent.len(), 1);
    sim.run(100, Ok(&report(&[("audit", High)])));
    assert_eq!(sim.sent.len(), 1, "it came back as bad as it was: {:?}", sim.told());
    // The notice has the state at that time: the condition came back while the target accepted nothing.
    sim.arrives = false;
    sim.run(310, Ok(&without));
    assert_eq!(sim.sent.last().unwrap().1.alerts[0].sentence, gone);
    sim.arrives = true;
    sim.run(310, Ok(&healthy));
    assert_eq!(sim.sent.last().unwrap().1.alerts[0].sentence, behind);
}

#[test]
fn a_short_lag_is_not_told() {
    let mut sim = Sim::new();
    for _ in 0..20 {
        sim.run(20, Ok(&report(&[("audit", High)])));
        sim.run(20, Ok(&report(&[])));
    }
    assert_eq!(sim.told(), []);
}

#[test]
fn a_lag_that_comes_and_goes_is_told_once() {
    let mut sim = Sim::new();
    for _ in 0..50 {
        sim.run(60, Ok(&report(&[("audit", High)])));
        sim.run(120, Ok(&report(&[("audit", Healthy)])));
    }
    assert_eq!(sim.told(), [(30, vec![Some(High)])]);
}

#[test]
fn a_worse_severity_is_notified_again_and_a_better_one_is_not() {
    let mut sim = Sim::new();
    sim.run(100, Ok(&report(&[("audit", Warning)])));
    sim.run(100, Ok(&report(&[("audit", Critical)])));
    sim.run(1000, Ok(&report(&[("audit", Warning)])));
    sim.run(100, Ok(&report(&[("audit", Critical)])));
    assert_eq!(
        sim.told(),
        [(30, vec![Some(Warning)]), (100, vec![Some(Critical)]), (1200, vec![Some(Critical)])]
    );
}

#[test]
fn that_records_will_be_lost_is_told_at_once() {
    let mut sim = Sim::new();
    sim.run(10, Ok(&report(&[("audit", DataLoss)])));
    assert_eq!(sim.told(), [(0, vec![Some(DataLoss)])]);
}

#[test]
fn many_groups_are_one_message_and_no_flood() {
    let names: Vec<String> = (0..1000).map(|nth| format!("g{nth}")).collect();
    let groups: Vec<_> = names.iter().map(|name| (name.as_str(), High)).collect();
    let mut sim = Sim::new();
    sim.run(60, Ok(&report(&groups)));
    assert_eq!(sim.sent.len(), 1);
    assert_eq!((sim.sent[0].1.alerts.len(), sim.sent[0].1.truncated), (50, 950));
    sim.run(1200, Ok(&report(&groups)));
    assert_eq!(sim.sent.len(), 20, "the others come 30 s apart");
    assert!(sim.sent.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 30));
    assert_eq!(sim.sent.iter().map(|(_, sent)| sent.alerts.len()).sum::<usize>(), 1000);
}

#[test]
fn a_lasting_alert_is_notified_again_after_four_hours() {
    let mut sim = Sim::new();
    sim.run(5 * 3600, Ok(&report(&[("audit", High)])));
    assert_eq!(sim.told(), [(30, vec![Some(High)]), (30 + 4 * 3600, vec![Some(High)])]);
}

#[test]
fn a_target_that_takes_nothing_is_tried_ever_more_seldom_and_told_what_is_then() {
    let mut sim = Sim::new();
    sim.arrives = false;
    sim.run(2400, Ok(&report(&[("audit", Warning)])));
    let times: Vec<_> = sim.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [30, 31, 33, 37, 45, 61, 93, 157, 285, 541, 841, 1141, 1441, 1741, 2041, 2341]);
    sim.arrives = true;
    sim.run(600, Ok(&report(&[("audit", Critical)])));
    assert_eq!(sim.told().last().unwrap(), &(2641, vec![Some(Critical)]));
}

#[test]
fn the_end_of_an_unsent_alert_is_not_notified() {
    let mut sim = Sim::new();
    sim.arrives = false;
    sim.run(60, Ok(&report(&[("audit", Warning)])));
    sim.run(400, Ok(&report(&[])));
    sim.arrives = true;
    let before = sim.sent.len();
    sim.run(2000, Ok(&report(&[])));
    assert_eq!(sim.sent.len(), before, "{:?}", sim.told());
}

#[test]
fn an_alert_that_returns_while_its_end_is_in_flight_is_notified_again() {
    let mut sim = Sim::new();
    sim.run(60, Ok(&report(&[("audit", High)])));
    sim.notifier.observe(sim.now(), 0, Ok(&report(&[])));
    sim.seconds += 400;
    sim.notifier.observe(sim.now(), 1, Ok(&report(&[])));
    let out = sim.notifier.poll_transmit(sim.now()).unwrap();
    assert!(out.alerts[0].ended.is_some());
    sim.notifier.observe(sim.now(), 2, Ok(&report(&[("audit", High)])));
    sim.notifier.sent(sim.now(), true);
    sim.seconds += 30;
    let again = sim.notifier.poll_transmit(sim.now()).unwrap();
    assert_eq!(again.alerts[0].ended, None);
}

#[test]
fn without_a_broker_that_is_told_and_groups_stay_as_they_are() {
    let mut sim = Sim::new();
    sim.run(60, Ok(&report(&[("audit", High)])));
    sim.run(900, Err("no broker at localhost:9092"));
    assert_eq!(sim.told(), [(30, vec![Some(High)]), (90, vec![Some(High)])]);
    assert_eq!(sim.sent[1].1.alerts[0].subject, condition::Subject::Cluster);
    sim.run(400, Ok(&report(&[("audit", High)])));
    assert_eq!(sim.told().last().unwrap().1, [None]);
    assert_eq!(sim.sent.len(), 3);
}

#[test]
fn a_status_is_as_bad_as_it_is_without_seconds_and_findings_are_told() {
    let mut stopped = report(&[("audit", Healthy)]);
    stopped.groups[0].status = Some(Status::Stop);
    stopped.groups[0].partitions = vec![PartitionReport {
        topic: "orders".to_owned(),
        partition: 3,
        status: Some(Status::Stop),
        time_to_data_loss_seconds: Some(7200.0),
        ..PartitionReport::default()
    }];
    stopped.findings.push(Finding {
        kind: FindingKind::DeadLetters,
        group: None,
        topic: Some("orders.dlq".to_owned()),
        partition: None,
        message: "orders.dlq has 3 more dead letters".to_owned(),
    });
    let mut sim = Sim::new();
    sim.run(60, Ok(&stopped));
    let alerts = &sim.sent[0].1.alerts;
    assert_eq!((alerts[0].severity, alerts[1].severity), (High, Warning));
    assert_eq!(
        alerts[0].sentence,
        "group audit is 7 records behind; worst on orders-3, where it has stopped committing; 2 h until records are lost"
    );
    assert_eq!(alerts[1].sentence, "orders.dlq has 3 more dead letters");
}

#[test]
fn nothing_below_the_least_severity_is_told() {
    let mut sim = Sim::new();
    let mut webhook = sim.notifier.webhook().clone();
    webhook.min_severity = Critical;
    sim.notifier = Notifier::new(webhook);
    sim.run(600, Ok(&report(&[("audit", High)])));
    assert_eq!(sim.told(), []);
}

#[test]
fn a_gap_without_an_end_is_no_reason_to_panic() {
    let mut sim = Sim::new();
    let mut webhook = sim.notifier.webhook().clone();
    (webhook.min_interval, webhook.repeat_interval) = (Duration::MAX, Duration::MAX);
    sim.notifier = Notifier::new(webhook);
    sim.run(600, Ok(&report(&[("audit", High), ("billing", Critical)])));
    assert_eq!(sim.told(), [(30, vec![Some(Critical), Some(High)])]);
}

/// From now on, only conditions at least as bad are notified; a condition below that, which was notified, ends.
#[test]
fn a_notified_alert_ends_when_the_settings_demand_a_higher_severity() {
    let mut sim = Sim::new();
    sim.run(60, Ok(&report(&[("audit", High)])));
    let mut webhook = sim.notifier.webhook().clone();
    webhook.min_severity = Critical;
    sim.notifier.configure(webhook);
    sim.run(36_000, Ok(&report(&[("audit", High)])));
    assert_eq!(sim.told(), [(30, vec![Some(High)]), (360, vec![None])]);
}

#[test]
fn alertmanagers_json_has_what_its_receivers_read() {
    let mut sim = Sim::new();
    sim.run(60, Ok(&report(&[("audit", High)])));
    let body = payload(Format::Alertmanager, "c1", &sim.sent[0].1);
    assert_eq!((&body["version"], &body["status"]), (&Value::from("4"), &Value::from("firing")));
    let alert = &body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "KafkaConsumerGroupLag");
    assert_eq!((&alert["labels"]["group"], &alert["labels"]["severity"]), (&"audit".into(), &"high".into()));
    assert_eq!(
        (&alert["startsAt"], &alert["endsAt"]),
        (&"1970-01-01T00:00:30Z".into(), &"0001-01-01T00:00:00Z".into())
    );
    assert_eq!(alert["fingerprint"].as_str().unwrap().len(), 16);
    sim.run(600, Ok(&report(&[])));
    let over = payload(Format::Alertmanager, "c1", &sim.sent[1].1);
    assert_eq!(over["status"], "resolved");
    assert_eq!(over["alerts"][0]["fingerprint"], alert["fingerprint"]);
    assert_ne!(over["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
}

#[test]
fn slacks_text_calls_nobody_and_has_an_end() {
    let mut sim = Sim::new();
    let long = format!("<!channel>&{}", "x".repeat(30_000));
    sim.run(60, Ok(&report(&[(&long, High)])));
    let body = payload(Format::Slack, "", &sim.sent[0].1);
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("*high* group &lt;!channel&gt;&amp;xxx") && text.len() < 1000, "{text}");
}

#[test]
fn addresses_are_checked_and_not_shown() {
    for wrong in ["", "host", "ftp://host/", "http://", "https:///path", "/path", "http://a b/"] {
        assert!(Webhook::new(wrong).is_err(), "{wrong}");
    }
    let slack = Webhook::new("http://hooks.slack.com/services/T0/SECRET").unwrap();
    assert_eq!(slack.format, Format::Slack);
    assert!(!format!("{slack:?}").contains("SECRET"));
    assert_eq!(Webhook::new("http://[::1]:9/x").unwrap().format, Format::Alertmanager);
}

/// Another replica sends the notifications about the groups that it watches now, including ends.
#[test]
fn nothing_is_told_of_groups_that_another_replica_has_taken_over() {
    let everything = Shard { partitions: (0..50).collect(), of: 50 };
    let mine = Report { shard: Some(everything), ..report(&[("audit", Severity::Critical)]) };
    let mut sim = Sim::new();
    sim.run(60, Ok(&mine));
    let told = sim.told();
    assert_eq!(told.len(), 1, "{told:?}");
    // The group is in a partition that was assigned to another replica.
    let elsewhere = Report { shard: Some(Shard { partitions: (0..5).collect(), of: 50 }), ..report(&[]) };
    sim.run(36_000, Ok(&elsewhere));
    assert_eq!(sim.told(), told);
    // After it comes back, it is notified like a new condition.
    sim.run(60, Ok(&mine));
    assert_eq!(sim.told().len(), 2);
    // Its end is notified where it is watched and gone.
    sim.run(1000, Ok(&Report { shard: mine.shard.clone(), ..report(&[]) }));
    assert_eq!(sim.told().last().unwrap().1, [None]);
}
