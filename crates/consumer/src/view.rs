//! What other tasks may read of a consumer without asking it: which partitions it holds, as a snapshot that changes with
//! the assignment, and a few words for each, which the task that polls keeps up to date.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use offtake_machine::TopicPartition;
use tokio::sync::watch;

type Places = BTreeMap<TopicPartition, Arc<Place>>;

/// One partition. Written by one task, read by any; the words need not agree with one another to the record.
#[derive(Debug)]
pub(crate) struct Place {
    position: AtomicI64,
    lag: AtomicI64,
    paused: AtomicBool,
    /// No longer handed out, but not released yet.
    leaving: AtomicBool,
}

const UNKNOWN: i64 = -1;

impl Place {
    pub(crate) fn show(&self, position: Option<i64>, lag: Option<u64>, paused: bool) {
        self.position.store(position.unwrap_or(UNKNOWN), Ordering::Relaxed);
        let lag = lag.map_or(UNKNOWN, |lag| i64::try_from(lag).unwrap_or(i64::MAX));
        self.lag.store(lag, Ordering::Relaxed);
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn leaves(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn is_owned(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed)
    }
}

/// The end of the task that polls.
#[derive(Debug, Default)]
pub(crate) struct View(watch::Sender<Places>);

impl View {
    pub(crate) fn add(&self, partition: TopicPartition) -> Arc<Place> {
        let place = Arc::new(Place {
            position: AtomicI64::new(UNKNOWN),
            lag: AtomicI64::new(UNKNOWN),
            paused: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        });
        self.0.send_modify(|places| drop(places.insert(partition, place.clone())));
        place
    }

    pub(crate) fn remove<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        self.0.send_modify(|places| {
            for partition in partitions {
                places.remove(partition);
            }
        });
    }

    pub(crate) fn reader(&self) -> Viewer {
        Viewer(Some(self.0.subscribe()))
    }
}

/// The end of everybody else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Viewer(Option<watch::Receiver<Places>>);

impl Viewer {
    /// Nothing, once the consumer is gone.
    fn read<T>(&self, read: impl FnOnce(&Places) -> Option<T>) -> Option<T> {
        let places = self.0.as_ref().filter(|places| places.has_changed().is_ok())?.borrow();
        read(&places)
    }

    pub(crate) fn owned(&self, only_paused: bool) -> Vec<TopicPartition> {
        let is_meant =
            |place: &Place| place.is_owned() && (!only_paused || place.paused.load(Ordering::Relaxed));
        let owned = self.read(|places| {
            Some(places.iter().filter(|(_, place)| is_meant(place)).map(|(of, _)| of.clone()).collect())
        });
        owned.unwrap_or_default()
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        let position = self.read(|places| Some(places.get(partition)?.position.load(Ordering::Relaxed)))?;
        (position != UNKNOWN).then_some(position)
    }

    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        let lag = self.read(|places| Some(places.get(partition)?.lag.load(Ordering::Relaxed)))?;
        u64::try_from(lag).ok()
    }
}
