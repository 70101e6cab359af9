use super::{query::*, *};
use crate::{History, metrics::sample_report};

fn described(schema: &str) -> Vec<String> {
    let api: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
    let properties = &api["components"]["schemas"][schema]["properties"];
    properties.as_object().unwrap().keys().cloned().collect()
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_description_has_every_key_of_every_answer() {
    let report = sample_report();
    let one = group(&report.groups[0]);
    let mut view = View::default();
    view.on_report(report.clone().into(), 0.5);
    assert_eq!(keys(&groups(&report)[0]), described("GroupInShort"));
    assert_eq!(keys(&one), described("Group"));
    assert_eq!(keys(&one["partitions"][0]), described("Partition"));
    assert_eq!(keys(&one["members"][0]), described("Member"));
    assert_eq!(keys(&status(&view, &Settings::default())), described("Status"));
    let mut history = History::in_memory(1 << 20);
    history.append(&report);
    let known = described("History");
    for query in ["", "group=audit"] {
        let answer = Query::parse(query).unwrap().answer(&mut history).unwrap();
        assert!(keys(&answer).iter().all(|key| known.contains(key)), "{answer}");
    }
}

#[test]
fn groups_and_rows_have_the_documented_keys_first() {
    let report = sample_report();
    assert_eq!(keys(&groups(&report)[0])[..5], ["group", "state", "status", "lag", "lag_seconds"]);
    let row = &group(&report.groups[0])["partitions"][0];
    assert_eq!(
        keys(row)[..11],
        [
            "group",
            "topic",
            "partition",
            "committed",
            "end",
            "lag",
            "lag_seconds",
            "member",
            "client",
            "host",
            "status"
        ]
    );
    assert_eq!(row["status"], "data_loss_imminent");
}

#[test]
fn a_query_is_read_or_refused_with_what_is_wrong() {
    let refused = |text: &str| Query::parse(text).unwrap_err();
    assert!(refused("group=%ff").contains("UTF-8"));
    assert!(refused("points=-1").contains("points"));
    assert!(refused("seconds=x").contains("seconds"));
    assert!(refused("where=1").contains("group, seconds, points, partitions"));
    assert_eq!(
        Query::parse("points=0&partitions=9999").unwrap(),
        Query::parse("points=1&partitions=50").unwrap()
    );
    assert_eq!(Query::parse("group=a%2Fb+c&&").unwrap(), Query::parse("group=a/b%20c").unwrap());
}

#[test]
fn percent_signs_are_decoded_and_others_stay() {
    for (text, is) in [
        ("a%2Fb", "a/b"),
        ("%", "%"),
        ("%2", "%2"),
        ("%zz", "%zz"),
        ("%C3%A9", "é"),
        ("%+1", "%+1"),
        ("é", "é"),
    ] {
        assert_eq!(decode(text).as_deref(), Some(is), "{text}");
    }
    assert_eq!(decode("%ff"), None);
}

#[test]
fn a_history_has_series_as_long_as_its_times_also_for_groups_that_came_later() {
    let mut history = History::in_memory(1 << 20);
    let mut report = sample_report();
    let late = report.groups.split_off(1);
    history.append(&report);
    report.at += 10_000;
    report.groups.extend(late);
    history.append(&report);
    let all = Query::parse("").unwrap().answer(&mut history).unwrap();
    assert_eq!(all["at"].as_array().unwrap().len(), 2);
    for group in all["groups"].as_array().unwrap() {
        assert_eq!(group["lag"].as_array().unwrap().len(), 2, "{group}");
    }
    let one = Query::parse("group=audit&partitions=2").unwrap().answer(&mut history).unwrap();
    let partitions = one["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2);
    assert!(partitions[0]["lag"][1].as_u64() >= partitions[1]["lag"][1].as_u64(), "{one}");
    let nobody = Query::parse("group=nobody").unwrap().answer(&mut history).unwrap();
    assert_eq!(nobody["lag"], json!([null, null]));
    assert_eq!(nobody["partitions"], json!([]));
}

/// Groups come and go, like those of console consumers.
#[test]
fn the_series_of_all_groups_are_bounded_and_those_of_the_last_round_come_first() {
    let mut history = History::in_memory(8 << 20);
    let mut report = Report::default();
    for round in 0..200_u64 {
        report.at += 1000;
        let names = (0..10).map(|nth| format!("stays-{nth}"));
        let names = names.chain((0..10).map(|nth| format!("passes-{round}-{nth}")));
        let group = |group| GroupReport { group, lag: round, ..GroupReport::default() };
        report.groups = names.map(group).collect();
        history.append(&report);
    }
    let mut query = Query::parse("points=1000").unwrap();
    query.most_values = 2000;
    let all = query.answer(&mut history).unwrap();
    let (at, groups) = (all["at"].as_array().unwrap(), all["groups"].as_array().unwrap());
    assert!(at.len() >= 40 && at.len() * groups.len() <= 2000, "{} of {}", at.len(), groups.len());
    assert_eq!(at.last().unwrap(), 200_000);
    for group in &report.groups {
        let series = groups.iter().find(|series| series["group"] == group.group.as_str()).unwrap();
        assert_eq!(series["lag"].as_array().unwrap().last().unwrap(), 199, "{series}");
    }
    let stays = groups.iter().find(|series| series["group"] == "stays-3").unwrap();
    let times: Vec<_> = at.iter().map(|at| at.as_u64().unwrap() / 1000 - 1).collect();
    assert_eq!(stays["lag"], json!(times));
}
