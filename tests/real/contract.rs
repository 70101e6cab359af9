//! What an application may do to a consumer, on the cluster in a box: block its thread, and panic in a listener.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use offtake::{Consumer, Event, Listener, ListenerFuture, Rebalance};
use offtake_broker::{Cluster, Config, Observed};

use crate::library::{A_MOMENT, program};

async fn cluster() -> Cluster {
    let config = Config { observe: true, ..Config::default() };
    let cluster = Cluster::builder().config(config).topic("orders", 2).start().await.unwrap();
    for value in 0..10_u8 {
        cluster.produce("orders", i32::from(value % 2), None, Some(&[value])).unwrap();
    }
    cluster
}

/// Who was put out of the group, and why.
fn gone(cluster: &Cluster) -> Vec<&'static str> {
    cluster.with(|model, _| {
        let mut gone = Vec::new();
        while let Some(observed) = model.poll_observed() {
            if let Observed::MemberGone { why, .. } = observed {
                gone.push(why);
            }
        }
        gone
    })
}

/// M3, L6, bug 28: the handler holds its thread for longer than the session lasts.
#[test]
fn m3_a_handler_that_blocks_its_thread_costs_no_membership() {
    program(async {
        let cluster = cluster().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = told.clone();
        let mut consumer = Consumer::builder(&cluster.bootstrap())
            .group("m3")
            .property("auto.offset.reset", "earliest")
            .property("session.timeout.ms", "6000")
            .property("heartbeat.interval.ms", "500")
            .events(move |event| events.lock().unwrap().push(event))
            .build()
            .await
            .unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let mut read = 0;
        while read < 10 {
            read += consumer.poll(A_MOMENT).await.unwrap().len();
        }
        std::thread::sleep(Duration::from_secs(8));
        cluster.produce("orders", 0, None, Some(b"after")).unwrap();
        while consumer.poll(A_MOMENT).await.unwrap().is_empty() {}
        consumer.commit_finished().await.unwrap();
        assert_eq!(gone(&cluster), Vec::<&str>::new());
        let told = told.lock().unwrap();
        assert!(!told.iter().any(|event| matches!(event, Event::Lost(_) | Event::Revoked(_))), "{told:?}");
    });
}

/// Panics in its first call.
struct Panics(Arc<AtomicUsize>);

impl Listener for Panics {
    fn assigned(&self, _: Rebalance) -> ListenerFuture {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            assert!(before > 0, "the first call goes wrong");
            Ok(())
        })
    }
}

/// D9: it comes out of `poll` as an error, once, and the rebalance goes on.
#[test]
fn d9_a_listener_that_panics_fails_one_poll_and_nothing_else() {
    program(async {
        let cluster = cluster().await;
        let calls = Arc::new(AtomicUsize::new(0));
        let mut consumer = Consumer::builder(&cluster.bootstrap())
            .group("d9")
            .property("auto.offset.reset", "earliest")
            .listener(Panics(calls.clone()))
            .build()
            .await
            .unwrap();
        consumer.subscribe(["orders"]).await.unwrap();
        let (mut read, mut failed) = (0, Vec::new());
        while read < 10 {
            match consumer.poll(A_MOMENT).await {
                Ok(records) => read += records.len(),
                Err(error) => failed.push(error.to_string()),
            }
        }
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("panicked"), "{failed:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        consumer.close(Duration::from_secs(5)).await.unwrap();
        assert_eq!(gone(&cluster), ["left"]);
    });
}
