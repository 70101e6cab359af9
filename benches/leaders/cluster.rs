//! Three embedded brokers on a thread of their own, one of which shuts down in order.

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use offtake_broker::Config;
use tokio::sync::oneshot;

use crate::{GROUP, TOPIC};

/// Ends when it is dropped.
pub(crate) struct Cluster {
    bootstrap: String,
    partitions: i32,
    inner: offtake_broker::Cluster,
    _stop: oneshot::Sender<()>,
}

impl Cluster {
    pub(crate) fn start(partitions: i32) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (say, said) = mpsc::channel();
        std::thread::spawn(move || {
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            let mut config = Config::default();
            config.wall_ms = i64::try_from(since.as_millis()).unwrap_or_default();
            config.min_session_timeout = Duration::from_secs(1);
            let builder =
                offtake_broker::Cluster::builder().config(config).brokers(3).topic(TOPIC, partitions);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let served = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
                let cluster = runtime.block_on(builder.start()).map_err(|error| error.to_string())?;
                Ok((runtime, cluster))
            });
            match served {
                Ok((runtime, cluster)) => {
                    let _ = say.send(Ok(cluster.clone()));
                    let _ = runtime.block_on(stopped);
                }
                Err(error) => drop(say.send(Err(error))),
            }
        });
        let inner = said.recv().map_err(|_| "the embedded brokers did not start")??;
        // The broker that shuts down is not the group's coordinator.
        inner.with(|model, now| {
            let first = model.brokers().map(|(id, ..)| id).min().unwrap_or(0);
            model.move_coordinator(now, GROUP, first);
        });
        Ok(Self { bootstrap: inner.bootstrap(), partitions, inner, _stop: stop })
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// The last broker hands all its partitions to the others, and then one record is written to each of those
    /// partitions, which shows when they are read again. Returns the number of these partitions.
    pub(crate) fn broker_goes_down(&self) -> Result<i32, String> {
        let moved = self.inner.with(|model, now| {
            let mut brokers: Vec<i32> = model.brokers().map(|(id, ..)| id).collect();
            brokers.sort_unstable();
            let last = brokers.pop().ok_or("there is no broker")?;
            let model = model.at(now);
            let led: Vec<i32> =
                (0..self.partitions).filter(|each| model.leader_of(TOPIC, *each) == Some(last)).collect();
            for (nth, partition) in led.iter().enumerate() {
                let to = brokers.get(nth % brokers.len().max(1)).copied().unwrap_or(last);
                model.move_leader(TOPIC, *partition, to).map_err(|code| format!("code {code}"))?;
            }
            Ok::<_, String>(led)
        })?;
        for partition in &moved {
            let written = self.inner.produce(TOPIC, *partition, None, Some(b"v"));
            written.map_err(|error| format!("{error:?}"))?;
        }
        Ok(i32::try_from(moved.len()).unwrap_or(i32::MAX))
    }
}
