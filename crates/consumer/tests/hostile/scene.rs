//! [`Row`]: what is sent, and [`play`]: checks the results.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use offtake::{
    Builder, Consumer, Error, ErrorKind, Event, Position, StartAt, TopicPartition, builder::EngineFuture,
    dial::InMemory,
};
use offtake_broker::{Cluster, FaultRule, NewRecord, RuleId};
use offtake_wire::ApiKey;
use tokio::time::{Instant, sleep};
use tracing_subscriber::fmt::MakeWriter;

use crate::peer::{Answer, Peer};

/// How long the application waits in one poll.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(100);

/// How long a broker is hostile. Less than a session, so that a member stays in its group.
const HOSTILE: Duration = Duration::from_secs(20);

/// The limit until everything is read after that: two request timeouts of 30 s.
const MENDED: Duration = Duration::from_secs(61);

/// The limit of requests and connections in a second of virtual time: a fetch every 100 ms from each of two
/// brokers is 20.
const MOST_REQUESTS: u64 = 80;

/// The limit of wake-ups of the engine in a second.
const MOST_WAKEUPS: u64 = 800;

/// The limit of log lines from WARN up in the 20 s of a hostile broker.
const MOST_LINES: usize = 60;

/// The memory limit of the whole process, over all rows, in KiB. The permitted response of 100 MiB
/// (`receive.message.max.bytes`) would be the largest part of it; the largest that is sent here has 16 MiB.
const MOST_MEMORY: usize = 400 << 10;

/// Returns the replacement of a response, if any.
type Replace = Box<dyn Fn(&Answer) -> Option<Vec<u8>> + Send + Sync>;

/// The way in which a broker is hostile.
pub(crate) enum Means {
    /// Responses are replaced on their way.
    Lie(Replace),
    /// The embedded broker does it.
    FaultRule(FaultRule),
}

/// When the hostility begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// Before the first connection.
    FromTheStart,
    /// When the consumer has read something.
    Later,
}

/// The expected outcome while it lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Everything is read, without an error.
    Nothing,
    /// Errors may occur, or nothing until it is over; then reading continues by itself, or after a new start
    /// if the error requires one.
    Waits,
    /// As [`Waits`](Self::Waits), but records make sense only after a new start of the application: the
    /// damaged data contained its position.
    Misleads,
    /// Partition 0 stops with this error, after this many of its three records, and continues from there
    /// after a seek.
    Stops(ErrorKind, u8),
}

/// One way for a broker to be hostile.
pub(crate) struct Row {
    /// The row of the catalogue, and its form.
    pub(crate) name: String,
    pub(crate) means: Means,
    pub(crate) when: When,
    pub(crate) outcome: Outcome,
    /// Partition 1, on the other broker, is read throughout.
    pub(crate) other_flows: bool,
    /// The properties to set.
    pub(crate) properties: Vec<(&'static str, &'static str)>,
    /// Leaders change while it lasts.
    pub(crate) moves_leaders: bool,
    /// How long a broker is hostile.
    pub(crate) lasts: Duration,
    /// The limit until everything is read after that.
    pub(crate) mended: Duration,
}

impl Row {
    /// Replaces responses of an API, from every broker.
    pub(crate) fn on(
        api: ApiKey,
        name: impl fmt::Display,
        lie: impl Fn(&Answer) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let means = move |answer: &Answer| (answer.api == api).then(|| lie(answer));
        Self {
            name: format!("{name}, {}", api.name()),
            means: Means::Lie(Box::new(means)),
            when: When::FromTheStart,
            outcome: Outcome::Waits,
            other_flows: false,
            properties: Vec::new(),
            moves_leaders: false,
            lasts: HOSTILE,
            mended: MENDED,
        }
    }

    pub(crate) fn rule(name: impl fmt::Display, rule: FaultRule) -> Self {
        Self { means: Means::FaultRule(rule), ..Self::on(ApiKey::Fetch, name, Answer::honest) }
    }

    pub(crate) fn lie(
        name: impl fmt::Display,
        lie: impl Fn(&Answer) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self { means: Means::Lie(Box::new(lie)), ..Self::on(ApiKey::Fetch, name, Answer::honest) }
    }

    /// Replaces only those of the leader of partition 0.
    pub(crate) fn of_one_broker(mut self) -> Self {
        if let Means::Lie(lie) = self.means {
            self.means = Means::Lie(Box::new(move |answer| lie(answer).filter(|_| answer.port == FIRST)));
        }
        Self { other_flows: true, ..self }
    }

    pub(crate) fn later(self) -> Self {
        Self { when: When::Later, ..self }
    }

    pub(crate) fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    pub(crate) fn property(mut self, name: &'static str, value: &'static str) -> Self {
        self.properties.push((name, value));
        self
    }

    pub(crate) fn lasts(self, lasts: Duration) -> Self {
        Self { lasts, ..self }
    }

    pub(crate) fn mended_within(self, mended: Duration) -> Self {
        Self { mended, ..self }
    }

    pub(crate) fn moves_leaders(self) -> Self {
        Self { moves_leaders: true, ..self }
    }
}

/// The port of broker 1, in memory.
const FIRST: u16 = 9092;

/// Plays each row in a world of its own.
pub(crate) fn play_all(rows: Vec<Row>) {
    let mut failed = Vec::new();
    for row in rows {
        let name = row.name.clone();
        if let Err(why) = virtually(async move { Scene::play(row).await }) {
            eprintln!("{name}: {why}");
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} rows failed: {failed:#?}", failed.len());
    let peak = peak_kib();
    assert!(peak < MOST_MEMORY, "{peak} KiB were held at once");
}

/// Runs something in virtual time. Code that spins lets no time pass at all: it is aborted after minutes.
pub(crate) fn virtually(body: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let (done, ends) = mpsc::channel::<()>();
    let runs = std::thread::spawn(move || {
        let _done = done;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(7200), body).await.unwrap() });
    });
    if ends.recv_timeout(Duration::from_secs(180)) == Err(mpsc::RecvTimeoutError::Timeout) {
        return Err("it spins".to_owned());
    }
    runs.join().map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(String::new, |message| (*message).to_owned()),
    })
}

/// The peak memory of this process.
fn peak_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// A consumer, its cluster, and its errors and records.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) peer: Peer,
    pub(crate) consumer: Consumer,
    log: Log,
    wakeups: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Error>>>,
    /// The values read, by partition.
    read: [Vec<u8>; 2],
    /// How many were produced to each.
    produced: u8,
    stopped: Vec<Error>,
    /// The error of the last poll.
    error: Option<Error>,
}

impl Scene {
    async fn play(row: Row) {
        let Row { means, when, outcome, other_flows, properties, moves_leaders, lasts, mended, .. } = row;
        let mut scene = Self::new(&properties).await;
        scene.produce();
        let mut rule = None;
        let mut hostile = Some(means);
        if when == When::FromTheStart {
            rule = hostile.take().and_then(|means| scene.begin(means));
        }
        scene.consumer.subscribe("orders").await.unwrap();
        if let Some(means) = hostile {
            scene.read_all(MENDED).await;
            rule = scene.begin(means);
            scene.produce();
        }
        let (asked, woken, lines) =
            (scene.peer.asked(), scene.wakeups.load(Relaxed), scene.log.lines().len());
        if moves_leaders {
            scene.cluster.with(|model, now| {
                for (partition, to) in [(0, 2), (1, 1)] {
                    model.at(now).move_leader("orders", partition, to).unwrap();
                }
            });
        }
        scene.poll_for(lasts).await;

        let told = rule.map_or_else(|| scene.peer.told(), |rule| scene.cluster.hits(rule));
        assert!(told > 0, "it was never sent");
        let seconds = lasts.as_secs();
        let (asked, woken) = (scene.peer.asked() - asked, scene.wakeups.load(Relaxed) - woken);
        assert!(asked <= MOST_REQUESTS * seconds, "{asked} requests in {seconds} s");
        assert!(woken <= MOST_WAKEUPS * seconds, "woken {woken} times in {seconds} s");
        let log = scene.log.lines().split_off(lines);
        assert!(log.len() <= MOST_LINES, "{} lines: {log:#?}", log.len());
        scene.check_errors();
        match outcome {
            Outcome::Nothing => {
                assert!(scene.error.is_none() && scene.stopped.is_empty(), "{:?}", scene.all_errors());
                scene.check_read();
            }
            Outcome::Waits | Outcome::Misleads if other_flows => {
                assert_eq!(
                    scene.read[1],
                    scene.values(),
                    "the other broker's partition: {:?}",
                    scene.all_errors()
                );
            }
            Outcome::Waits | Outcome::Misleads => {}
            Outcome::Stops(kind, first) => {
                let read = scene.produced - 3 + first;
                assert_eq!(scene.read[0], (0..read).collect::<Vec<_>>(), "{:?}", scene.all_errors());
                let stopped = scene.stopped.iter().find(|error| error.partition() == Some(&partition(0)));
                let stopped = stopped.unwrap_or_else(|| panic!("it does not stop: {:?}", scene.all_errors()));
                assert_eq!(stopped.kind(), kind, "{stopped}");
                assert_eq!(scene.read[1], scene.values(), "the other partition");
            }
        }

        scene.peer.is_honest();
        if let Some(rule) = rule {
            scene.cluster.withdraw(rule);
        }
        scene.produce();
        match outcome {
            Outcome::Nothing => {}
            Outcome::Misleads => {
                scene.peer.hangs_up(); // what a broker speaks is asked once for each connection
                let _ = scene.consumer.unsubscribe().await; // its last commit may not be answered
                scene.consumer.assign([("orders", 0, 0), ("orders", 1, 0)]).await.unwrap();
                scene.read = Default::default();
            }
            Outcome::Waits | Outcome::Stops(..) => {
                for stopped in std::mem::take(&mut scene.stopped) {
                    let partition = stopped.partition().unwrap().clone();
                    let read =
                        usize::try_from(partition.partition).ok().and_then(|index| scene.read.get(index));
                    let Some(at) = read.map(|read| i64::try_from(read.len()).unwrap()) else { continue };
                    scene.consumer.seek(partition, StartAt::Offset(Position::at(at))).await.unwrap();
                }
            }
        }
        scene.read_all(mended).await;
        scene.stopped.clear();
        scene.poll_for(Duration::from_secs(5)).await;
        assert!(scene.error.is_none() && scene.stopped.is_empty(), "it is over: {:?}", scene.all_errors());
        scene.check_read();
        scene.check_errors();
        let closed = scene.consumer.close(Duration::from_secs(10)).await;
        // A coordinator that throttles for an hour does not answer the last commit in time.
        assert!(closed.is_ok() || mended > MENDED, "{closed:?}");
    }

    /// A member of a group, in a cluster of two brokers.
    pub(crate) async fn new(properties: &[(&'static str, &'static str)]) -> Self {
        let cluster = cluster().await;
        let peer = Peer::new(&cluster);
        let (log, wakeups) = (Log::start(), Arc::default());
        let told: Arc<Mutex<Vec<Error>>> = Arc::default();
        let events = Arc::clone(&told);
        let builder = member(&cluster, &peer, &wakeups).events(move |event| {
            if let Event::Error(error) = event {
                events.lock().unwrap().push(error);
            }
        });
        let consumer = builder.properties(properties.iter().copied()).build().await.unwrap();
        Self {
            cluster,
            peer,
            consumer,
            log,
            wakeups,
            told,
            read: Default::default(),
            produced: 0,
            stopped: Vec::new(),
            error: None,
        }
    }

    fn begin(&self, means: Means) -> Option<RuleId> {
        match means {
            Means::Lie(lie) => {
                self.peer.lies(lie);
                None
            }
            Means::FaultRule(rule) => Some(self.cluster.inject(rule)),
        }
    }

    /// Produces three more records in each partition, as one batch.
    pub(crate) fn produce(&mut self) {
        for partition in 0..2 {
            let records: Vec<_> =
                (self.produced..self.produced + 3).map(|value| NewRecord::new(vec![value])).collect();
            self.cluster.append("orders", partition, &records).unwrap();
        }
        self.produced += 3;
    }

    async fn poll(&mut self) {
        match self.consumer.poll(A_MOMENT).await {
            Ok(records) => {
                self.error = None;
                for record in &records {
                    let read = &mut self.read[usize::try_from(record.partition()).unwrap()];
                    read.push(record.value().unwrap()[0]);
                }
            }
            Err(error) => {
                if error.partition().is_some() {
                    self.stopped.push(error);
                } else {
                    self.error = Some(error);
                }
                sleep(A_MOMENT).await;
            }
        }
    }

    pub(crate) async fn poll_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.poll().await;
        }
    }

    /// Reads everything, with a new start after an error that requires it.
    pub(crate) async fn read_all(&mut self, within: Duration) {
        let end = Instant::now() + within;
        while !self.has_read_all() {
            assert!(
                Instant::now() < end,
                "not read: {:?} of {} each; {:#?}; {:#?}",
                self.read,
                self.produced,
                self.all_errors(),
                self.log.lines()
            );
            self.poll().await;
            if self.error.as_ref().is_some_and(Error::is_fatal) {
                self.consumer.subscribe("orders").await.unwrap();
            }
        }
    }

    fn values(&self) -> Vec<u8> {
        (0..self.produced).collect()
    }

    fn has_read_all(&self) -> bool {
        self.read.iter().all(|read| read.len() >= usize::from(self.produced))
    }

    /// Checks that everything was read, once and in order.
    pub(crate) fn check_read(&self) {
        for read in &self.read {
            assert_eq!(*read, self.values(), "{:?}", self.all_errors());
        }
    }

    pub(crate) fn all_errors(&self) -> Vec<Error> {
        let told = self.told.lock().unwrap().clone();
        told.into_iter().chain(self.stopped.iter().cloned()).chain(self.error.clone()).collect()
    }

    /// Checks that errors are one sentence each, and that the engine runs.
    pub(crate) fn check_errors(&self) {
        for error in self.all_errors() {
            assert!(!matches!(error.kind(), ErrorKind::Closed | ErrorKind::Misuse), "{error}");
            is_a_sentence(&error.to_string());
        }
        for line in self.log.lines() {
            assert!(!line.contains(" ERROR ") || line.len() < 600, "{line}");
        }
    }
}

/// Checks that a text is readable: no control characters, no Rust syntax.
pub(crate) fn is_a_sentence(text: &str) {
    assert!((10..500).contains(&text.len()), "{} bytes: {text}", text.len());
    for odd in ["Some(", "None", "Err(", " { ", "panicked", "unwrap", "\u{fffd}"] {
        assert!(!text.contains(odd), "{text}");
    }
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

pub(crate) fn partition(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

/// Two brokers; each leads a partition of `orders`.
pub(crate) async fn cluster() -> Cluster {
    let cluster = Cluster::builder().brokers(2).topic("orders", 2).in_memory().start().await.unwrap();
    cluster.with(|model, _| {
        for (partition, leader) in [(0, 1), (1, 2)] {
            if model.leader_of("orders", partition) != Some(leader) {
                model.move_leader("orders", partition, leader).unwrap();
            }
        }
    });
    assert_eq!(cluster.port(1), Some(FIRST));
    cluster
}

pub(crate) fn member(cluster: &Cluster, peer: &Peer, wakeups: &Arc<AtomicU64>) -> Builder {
    let (peer, wakeups) = (peer.clone(), Arc::clone(wakeups));
    Consumer::builder(cluster.bootstrap())
        .group("readers")
        .dial(InMemory::new(move |port| peer.connect(port)))
        .spawn_with(move |engine| drop(tokio::spawn(Counted { engine, wakeups })))
        .property("auto.offset.reset", "earliest")
        .property("auto.commit.interval.ms", 1000)
}

/// An engine, whose wake-ups are counted.
struct Counted {
    engine: EngineFuture,
    wakeups: Arc<AtomicU64>,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.wakeups.fetch_add(1, Relaxed);
        self.engine.as_mut().poll(cx)
    }
}

/// The log lines from WARN up on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

pub(crate) struct Log {
    lines: Lines,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Self {
        Self::from(tracing::Level::WARN)
    }

    pub(crate) fn from(level: tracing::Level) -> Self {
        // While only one subscriber is known, tracing queries the subscriber of the thread on which a
        // callsite is first reached: one without any would disable the callsite for all.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE
            .call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
        let lines = Lines::default();
        let to = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time();
        let guard = tracing::subscriber::set_default(to.with_writer(lines.clone()).finish());
        Self { lines, _guard: guard }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
