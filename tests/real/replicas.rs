//! Brokers in racks, and a reader that is in one of them (KIP-392).

use std::time::{Duration, Instant};

use offtake_tests::{JavaTool, Kafka};

use crate::flow::wait_in_sync;
use crate::flow::{self, PATIENCE, Production, printed};
use crate::rough::assert_in_order_and_once;

#[test]
fn i9_a_reader_fetches_from_the_replica_in_its_rack_and_from_the_leader_when_that_one_dies() {
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let kafka = Kafka::builder().brokers(3).proxied().property("replica.selector.class", selector).start();
    let tool = JavaTool::start(&kafka);
    let topic = tool.create_topic("orders", 1, &[]);
    wait_in_sync(&tool, &topic);
    let leader = tool.leader(&topic, 0);
    let near = leader % 3 + 1;
    let production = Production::start(&tool, &topic, 1);
    let rack = format!("client.rack=rack-{near}");
    let reader = flow::consume(&kafka, &topic).args(["-X", &rack]).start();
    let more = |count: usize| {
        let enough = reader.stdout().len() + count;
        let came = reader.stdout().wait_until(PATIENCE, |lines| lines.len() >= enough);
        assert!(came, "{} of {enough}: {:?}", reader.stdout().len(), reader.stderr().all());
    };
    // The leader is asked first, and names the other.
    let answers = |broker: i32| kafka.proxy(broker).answers().0;
    let deadline = Instant::now() + PATIENCE;
    while answers(near) < 20 {
        let all = [1, 2, 3].map(answers);
        let (lines, told) = (reader.stdout().len(), reader.stderr().all());
        assert!(
            Instant::now() < deadline,
            "broker {near} is not asked, of {all:?} answers and {lines}: {told:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = (answers(leader), answers(near));
    more(200);
    let (from_leader, from_near) = (answers(leader) - before.0, answers(near) - before.1);
    eprintln!("200 records in {from_near} answers of the replica near, {from_leader} of the leader");
    assert!(from_near >= 10 && from_leader <= 2, "{from_near} of the near one, {from_leader} of the leader");

    kafka.broker(near).kill9();
    let before = answers(leader);
    more(200);
    assert!(answers(leader) - before >= 10, "the leader serves it");
    let log = production.stop();
    flow::wait_for_all(&log, &[&reader], &[]);
    reader.signal("TERM");
    let finished = reader.finish(PATIENCE);
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert_in_order_and_once(&log, &printed(&finished.stdout, false));
    let moved: Vec<_> =
        finished.events("reset").into_iter().filter(|event| !event["from"].is_null()).collect();
    assert!(moved.is_empty() && finished.events("truncated").is_empty(), "{:#?}", finished.stderr);
}
