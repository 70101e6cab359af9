use offtake_broker::SaslMechanism;

use super::{consume::Isolation, *};
use crate::text::offset_bound::OffsetBound;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split(' '))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::definition().debug_assert();
}

#[test]
fn options_stand_before_or_after_the_command() {
    for line in [
        "offtake -b a:1 -X group.id=x --json consume t",
        "offtake consume t --json -X group.id=x --brokers a:1",
    ] {
        let cli = parsed(line).unwrap();
        assert!(cli.common.json, "{line}");
        assert_eq!(cli.common.brokers.as_deref(), Some("a:1"));
        assert_eq!(cli.common.properties, [("group.id".to_owned(), "x".to_owned())]);
    }
}

#[test]
fn a_pattern_among_topic_names_is_refused_unless_patterns_are_meant() {
    for pattern in ["^orders", "orders-*", "orders-.*"] {
        let refused = parsed(&format!("offtake consume returns {pattern}")).unwrap_err().to_string();
        assert!(refused.contains(pattern) && refused.contains("'--regex'"), "{refused}");
        assert!(parsed(&format!("offtake consume --regex returns {pattern}")).is_ok());
        let pipe =
            parsed(&format!("offtake pipe returns {pattern} -g g --exec cat")).unwrap_err().to_string();
        assert!(pipe.contains("by their names"), "{pipe}");
    }
    assert!(parsed("offtake consume orders.v1").is_ok());
}

#[test]
fn properties_before_and_after_the_command_all_count() {
    let cli = parsed("offtake -X a=1 -X b=2 consume t -X c=3").unwrap();
    let names: Vec<_> = cli.common.properties.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn every_option_of_consume_is_understood() {
    let line = "offtake consume a b --regex -g g --from -10 --until @1700000000000 -n 3 --isolation read_committed \
                --assignor range,sticky --protocol classic --instance-id i --events -f %s\\n -vv";
    let cli = parsed(line).unwrap();
    let Command::Consume(consume) = cli.command else { panic!("another command") };
    assert_eq!(consume.topics, ["a", "b"]);
    assert_eq!(consume.from, Some(OffsetBound::BeforeEnd(10)));
    assert_eq!(consume.until, Some(OffsetBound::Time(1_700_000_000_000)));
    assert_eq!((consume.count, consume.isolation), (Some(3), Some(Isolation::ReadCommitted)));
    assert_eq!(cli.common.verbose, 2);
    let cli = parsed("offtake consume a -p 0 -p 2,3 --from earliest").unwrap();
    let Command::Consume(consume) = cli.command else { panic!("another command") };
    assert_eq!(consume.partitions, [0, 2, 3]);
}

#[test]
fn a_reset_has_one_scope_and_one_goal() {
    let reset = |line: &str| match parsed(&format!("offtake groups reset g {line}")).unwrap().command {
        Command::Groups(Groups { what: GroupsCommand::Reset(reset) }) => reset,
        other => panic!("another command: {other:?}"),
    };
    let all = reset("--topic a --topic b:0,2 --shift-by -10 --execute");
    assert_eq!((all.group.as_str(), all.topics.len(), all.execute), ("g", 2, true));
    assert_eq!(all.to.shift_by, Some(-10));
    assert_eq!(
        reset("--all-topics --to-datetime 2023-11-14T22:13:20").to.to_datetime,
        Some(1_700_000_000_000)
    );
    assert_eq!(reset("--all-topics --by-duration PT1H").to.by_duration, Some(3_600_000));
    assert!(
        reset("--all-topics --to-earliest").to.to_earliest && reset("--topic a --to-latest").to.to_latest
    );
    let file = reset("--from-file -"); // names the partitions itself
    assert_eq!((file.to.from_file, file.topics.len()), (Some("-".into()), 0));
}

#[test]
fn a_cluster_to_try_things_against_has_topics_and_brokers() {
    let line = "offtake broker --topic orders:4 --topic a:b:2 --topic single --nodes 3 --auto-create-topics";
    let Command::Broker(broker) = parsed(line).unwrap().command else { panic!("another command") };
    let topics = [("orders", 4), ("a:b", 2), ("single", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(broker.topics, topics);
    assert_eq!((broker.nodes, broker.auto_create_topics), (3, true));
    assert_eq!(broker.listen, "127.0.0.1:9092");
}

#[test]
fn a_cluster_to_try_things_against_may_be_secured() {
    let line = "offtake broker --sasl PLAIN --sasl SCRAM-SHA-512 --user alice:a:b --user bob";
    let Command::Broker(broker) = parsed(line).unwrap().command else { panic!("another command") };
    assert_eq!(broker.mechanisms, [SaslMechanism::Plain, SaslMechanism::ScramSha512]);
    let users: Vec<_> =
        broker.users.iter().map(|user| (user.name.as_str(), user.password.expose_str().unwrap())).collect();
    assert_eq!(users, [("alice", "a:b"), ("bob", "")]);
    assert!(!format!("{broker:?}").contains("a:b"));
}

#[test]
fn an_invalid_command_line_is_a_usage_error() {
    for line in [
        "offtake",
        "offtake consume",
        "offtake consume t -p 0 -g g",
        "offtake consume t -p -1",
        "offtake consume t --assignor range",
        "offtake consume t --from yesterday",
        "offtake consume t -f %z",
        "offtake consume t -f %s --json",
        "offtake consume t -X novalue",
        "offtake consume t -v -q",
        "offtake topics create",
        "offtake demo --seconds 0",
        "offtake demo orders",
        "offtake groups describe",
        "offtake groups delete",
        "offtake groups reset --all-topics --to-latest",
        "offtake groups reset g --to-latest",
        "offtake groups reset g --all-topics",
        "offtake groups reset g --all-topics --topic t --to-latest",
        "offtake groups reset g --all-topics --to-latest --to-earliest",
        "offtake groups reset g --all-topics --to-offset -1",
        "offtake groups reset g --all-topics --shift-by 1.5",
        "offtake groups reset g --all-topics --to-datetime yesterday",
        "offtake groups reset g --all-topics --by-duration -PT1H",
        "offtake groups reset g --topic t: --to-latest",
        "offtake lag --fail-at never",
        "offtake lag --window 0s",
        "offtake lag --interval 1s",
        "offtake lag --isolation none",
        "offtake offsets",
        "offtake broker --topic orders:none",
        "offtake broker --topic :3",
        "offtake broker --nodes 0",
        "offtake broker --sasl PLAIN",
        "offtake broker --user alice:wonder",
        "offtake broker --sasl GSSAPI --user alice:wonder",
        "offtake broker --tls-ca ca.pem",
        "offtake doctor orders",
        "offtake broker --heartbeat-interval 0",
        "offtake nosuch",
    ] {
        let error = parsed(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
