//! Handlers that are ready at once run in place, on the worker's own task, with the same guarantees as tasks.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use offtake_worker::{Failure, Order};

use crate::support::*;

/// Counts handlers that run on the worker's task, once that is known.
#[derive(Clone, Default)]
struct InPlace(Arc<(std::sync::OnceLock<tokio::task::Id>, AtomicUsize)>);

impl InPlace {
    fn note(&self) {
        let (worker, count) = &*self.0;
        if worker.get().is_some_and(|worker| tokio::task::try_id() == Some(*worker)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, running: &Running) {
        self.0.0.set(running.task.id()).unwrap();
    }

    fn count(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_handlers_do_in_place_each_record_is_done_once_and_keys_keep_their_order() {
    for order in [Order::Key, Order::Partition, Order::Unordered] {
        let cluster = cluster().await;
        let (ledger, in_place) = (Ledger::default(), InPlace::default());
        let noted = in_place.clone();
        let handler = ledger.around(move |record, attempt| {
            let noted = noted.clone();
            async move {
                noted.note();
                match (record.offset(), attempt.number()) {
                    (27, 1) => panic!("at 27"),
                    (29, 1) => Err(Failure::retry("not now")),
                    // It begins in place, and continues as a task.
                    (31, _) if record.partition() == 1 => {
                        tokio::time::sleep(secs(2)).await;
                        assert_ne!(tokio::task::try_id(), None);
                        Ok(())
                    }
                    (31, 1) if record.partition() == 2 => std::future::pending().await,
                    _ => Ok(()),
                }
            }
        });
        let running = Running::start(worker(&cluster).order(order).timeout(secs(5)), handler);
        in_place.of(&running);
        running.until("all is done", |_| ledger.done().len() == all().len()).await;
        let metrics = {
            tokio::time::sleep(secs(1)).await;
            running.handle.metrics()
        };
        let summary = running.stop().await;
        assert!(summary.is_clean(), "{summary:?}");
        assert_eq!((metrics.panicked, metrics.timed_out, metrics.failed), (3, 1, 7), "{order:?}");
        assert_eq!((metrics.running, metrics.handler_time.count()), (0, 127));
        assert!(ledger.done().values().all(|times| *times == 1));
        if order != Order::Unordered {
            ledger.check_order(&BTreeSet::new());
        }
        assert_eq!(committed_offsets(&cluster).await, everything());
        assert!(in_place.count() > 50, "{order:?}: {} of 127 attempts began in place", in_place.count());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_stops_the_worker_is_the_last_one_in_place_too() {
    const LAST: usize = 90;
    for now in [false, true] {
        let cluster = cluster().await;
        let (ledger, begun) = (Ledger::default(), Arc::new(AtomicUsize::new(0)));
        let worker = worker(&cluster).concurrency(1);
        let (handle, counted) = (worker.handle(), Arc::clone(&begun));
        let handler = ledger.around(move |_, _| {
            match counted.fetch_add(1, Ordering::Relaxed) + 1 {
                LAST if now => handle.stop_now(),
                LAST => handle.stop(),
                _ => {}
            }
            async { Ok(()) }
        });
        let summary = Running::start(worker, handler).task.await.unwrap().unwrap();
        assert!(summary.is_clean(), "{summary:?}");
        assert_eq!((begun.load(Ordering::Relaxed), ledger.done().len()), (LAST, LAST), "now: {now}");
        let committed = committed_offsets(&cluster).await;
        assert_eq!(committed.iter().map(|(_, offset)| *offset).sum::<i64>() as usize, LAST, "{committed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_handler_in_place_ends_the_worker() {
    let cluster = cluster().await;
    let ledger = Ledger::default();
    let handler = ledger.around(|record, _| async move {
        match (record.partition(), record.offset()) {
            (2, 35) => Err(Failure::fatal("the disk is full")),
            _ => Ok(()),
        }
    });
    let ended = Running::start(worker(&cluster), handler).task.await.unwrap();
    let Err(offtake_worker::Error::Fatal { offset, reason, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!((offset, reason.as_str()), (35, "the disk is full"));
    assert!(!ledger.done().contains_key(&(2, 35)));
    let (_, committed) = committed_offsets(&cluster).await[2];
    assert_eq!(committed, 35, "what was done before is committed, and nothing is passed");
}
