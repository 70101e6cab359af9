//! The event log: everything that happened in a run, on one clock, in one order. The checks read nothing else.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// One life of one member: a restart begins another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who {
    pub(crate) member: usize,
    pub(crate) life: u32,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}.{}", self.member, self.life)
    }
}

impl Who {
    /// Parses a `client.id`.
    pub(crate) fn parse(client: &str) -> Option<Self> {
        let (member, life) = client.strip_prefix('m')?.split_once('.')?;
        Some(Self { member: member.parse().ok()?, life: life.parse().ok()? })
    }
}

/// A partition. Topics are few and their names short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

impl Place {
    pub(crate) fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    // ---- the log ------------------------------------------------------------------------------------------------
    /// A record was appended: `id` is its value. `transaction` is 0 outside of one.
    Appended {
        at: Place,
        offset: i64,
        id: u64,
        transaction: u64,
    },
    /// A transaction ended.
    Ended {
        transaction: u64,
        committed: bool,
    },
    /// A record was compacted away.
    Compacted {
        at: Place,
        offset: i64,
    },
    /// The log starts here from now on.
    StartMoved {
        at: Place,
        start: i64,
    },
    /// An unclean election: the log ended at `from`, now ends at `end`, and goes on in this leader epoch.
    Truncated {
        at: Place,
        from: i64,
        end: i64,
        epoch: i32,
    },
    /// The topic was deleted and created again.
    Recreated {
        topic: Arc<str>,
    },
    /// The topic was deleted for good.
    Deleted {
        topic: Arc<str>,
    },
    /// The topic has this many partitions from now on.
    Grown {
        topic: Arc<str>,
        partitions: i32,
    },

    /// A `read_committed` reader sees a copy of the record `id`, written by a member in its transaction with this number.
    Copied {
        at: Place,
        offset: i64,
        id: u64,
        by: Who,
        transaction: u64,
    },

    /// The key of a record that was appended, and a digest of all its bytes.
    Wrote {
        at: Place,
        offset: i64,
        key: Option<String>,
        digest: u64,
    },
    /// A dead letter was appended: the record it names as its original, and a digest of its copy of that.
    Letter {
        at: Place,
        offset: i64,
        of: Option<(Place, i64)>,
        digest: u64,
        /// The number of attempts that it states.
        attempts: Option<u32>,
    },
    /// The headers of a record that was appended to a retry topic: its original record, the number of attempts, the reason of the first
    /// failure, and when it was written.
    PutAside {
        at: Place,
        offset: i64,
        of: Option<(Place, i64)>,
        attempts: Option<u32>,
        first: Option<String>,
        written: Duration,
    },

    // ---- the coordinator's view ------------------------------------------------------------------------------------
    Committed {
        member: String,
        generation: i32,
        at: Place,
        offset: i64,
        leader_epoch: i32,
    },
    /// The ranges beyond its offset that the metadata of the previous commit marks as finished, each from an offset to another.
    Claimed {
        at: Place,
        beyond: Vec<(i64, i64)>,
    },
    GroupAssigned {
        member: String,
        generation: i32,
        places: Vec<Place>,
    },
    MemberGone {
        member: String,
        why: &'static str,
    },
    /// An operator set the committed offset.
    OffsetSet {
        at: Place,
        offset: i64,
    },
    /// An operator deleted it.
    OffsetDeleted {
        at: Place,
    },
    /// The coordinator lost the group.
    Forgotten,
    /// Another coordinator, or the same one again, loaded the group from its stored state.
    GroupLoaded,
    Request {
        broker: i32,
        api: i16,
        client: String,
    },
    Refused {
        broker: i32,
        api: i16,
        code: i16,
        client: String,
    },
    /// A Fetch was answered without records.
    FetchedNothing {
        broker: i32,
        client: String,
    },
    /// A client dialled.
    Dialled {
        who: Who,
        broker: i32,
        refused: bool,
    },

    /// A client closed a connection of its own.
    Disconnected {
        who: Who,
    },

    // ---- the wire, at a member's end -----------------------------------------------------------------------------
    /// An OffsetCommit was sent; `epoch` is its leader epoch, negative if it has none.
    CommitSent {
        who: Who,
        at: Place,
        offset: i64,
        epoch: i32,
        metadata: String,
    },
    /// A member sent its member id.
    Named {
        who: Who,
        member: String,
    },
    /// A heartbeat was sent.
    HeartbeatSent {
        who: Who,
    },
    /// A JoinGroup was sent: the group no longer waits for partitions that are not in it.
    JoinSent {
        who: Who,
    },
    /// A member of KIP-848 reported its owned partitions, of which there are this many: it has revoked all others.
    OwnedSent {
        who: Who,
        owned: usize,
    },
    /// A static member of KIP-848 announced that it leaves for a while: the coordinator keeps its id, and frees its partitions.
    StepsOut {
        who: Who,
    },

    /// A request of an engine, or its answer; only where the events are shown (`--events`).
    Wire {
        text: String,
    },

    // ---- the application ------------------------------------------------------------------------------------------
    Started {
        who: Who,
    },
    /// It subscribes to other topics than before, or in another way.
    Resubscribed {
        who: Who,
        topics: Vec<Arc<str>>,
    },
    PollBegins {
        who: Who,
        timeout: Duration,
    },
    PollEnds {
        who: Who,
        dropped: bool,
    },
    ListenerBegins {
        who: Who,
        call: Call,
        places: Vec<Place>,
        generation: i32,
    },
    ListenerEnds {
        who: Who,
        call: Call,
    },
    Assigned {
        who: Who,
        places: Vec<Place>,
        generation: i32,
    },
    Revoked {
        who: Who,
        places: Vec<Place>,
    },
    Lost {
        who: Who,
        places: Vec<Place>,
    },
    /// `dated`: the record's timestamp, in milliseconds since 1970; -1 if it has none.
    Delivered {
        who: Who,
        at: Place,
        offset: i64,
        id: u64,
        dated: i64,
    },
    Processed {
        who: Who,
        at: Place,
        offset: i64,
        id: u64,
    },
    Paused {
        who: Who,
        at: Place,
    },
    Resumed {
        who: Who,
        at: Place,
    },
    /// `epoch` is the leader epoch of the seek, negative if it has none.
    Sought {
        who: Who,
        at: Place,
        to: i64,
        epoch: i32,
    },
    /// It went back to the committed offset, which it fetches after this; to that offset if there is none.
    WentBack {
        who: Who,
        at: Place,
        since: Duration,
        otherwise: i64,
    },
    Reset {
        who: Who,
        at: Place,
        from: Option<i64>,
        to: i64,
        reason: String,
    },
    TruncationTold {
        who: Who,
        at: Place,
        from: i64,
        to: Option<i64>,
    },
    LagRead {
        who: Who,
        at: Place,
        lag: u64,
    },
    Failed {
        who: Who,
        call: &'static str,
        /// The error's kind.
        kind: String,
        message: String,
        fatal: bool,
    },
    /// It writes copies of the records with these numbers, in its transaction with this number.
    Copying {
        who: Who,
        transaction: u64,
        ids: Vec<u64>,
    },
    /// The outcome of the transaction that it was told.
    CopyingEnded {
        who: Who,
        transaction: u64,
        told: Reported,
    },
    /// A call of its producer failed.
    ProducerFailed {
        who: Who,
        call: &'static str,
        kind: String,
        message: String,
    },
    // ---- a worker ------------------------------------------------------------------------------------------------
    /// Its handler begins with a record. `call`: the number of the call in this life; a call for a batch has several records.
    HandlerBegan {
        who: Who,
        call: u64,
        at: Place,
        offset: i64,
        id: u64,
        attempt: u32,
        probe: bool,
    },
    HandlerEnded {
        who: Who,
        call: u64,
        at: Place,
        offset: i64,
        how: How,
    },
    /// What its handler is told of a record in a retry topic: its original record, and the reason of its first failure.
    CameAgain {
        who: Who,
        at: Place,
        offset: i64,
        of: Option<(Place, i64)>,
        first: Option<String>,
    },
    /// The reason that its handler gives for the failure of a record.
    FailureSaid {
        who: Who,
        at: Place,
        offset: i64,
        reason: String,
    },
    /// It will try the record again, no earlier than after this time.
    Retried {
        who: Who,
        at: Place,
        offset: i64,
        delay: Duration,
    },
    /// It reports that the record's dead letter is written, or the record to a retry topic, and where.
    LetterTold {
        who: Who,
        at: Place,
        offset: i64,
        to: Place,
        to_offset: Option<i64>,
    },
    /// It reports that the partition has stopped.
    PartitionStopped {
        who: Who,
        at: Place,
        why: String,
    },
    /// It reports that it has handed these over, or lost them.
    HandedOver {
        who: Who,
        places: Vec<Place>,
        lost: bool,
    },
    /// The breaker's state: `closed`, `open`, `half-open`.
    Breaker {
        who: Who,
        state: String,
    },
    /// This many records wait in it, of this many bytes: more than ever before. `letters`: some of them waited for their dead letters.
    Queued {
        who: Who,
        records: usize,
        bytes: usize,
        letters: bool,
    },
    /// It has ended. `clean`: it reports that all finished records are committed.
    WorkerEnded {
        who: Who,
        clean: bool,
    },
    CloseBegins {
        who: Who,
        timeout: Duration,
    },
    CloseEnds {
        who: Who,
    },
    /// The process died, stopped, or went on.
    Crashed {
        who: Who,
    },
    Frozen {
        who: Who,
    },
    Thawed {
        who: Who,
    },
    Panicked {
        who: Who,
        message: String,
    },

    // ---- the run -------------------------------------------------------------------------------------------------
    Fault {
        class: &'static str,
        /// Whether it waits for a request to strike.
        waits: bool,
        text: String,
    },
    /// A fault that waits for requests has struck one.
    Struck {
        class: &'static str,
    },
    /// No more faults from here on.
    Healed,
    /// All records that are due have been processed.
    Quiet,
    /// All members were closed; what is left of them.
    Over {
        tasks: usize,
        connections: usize,
    },
}

impl What {
    /// The life that caused the event, if a single one did.
    pub(crate) fn who(&self) -> Option<Who> {
        match self {
            Self::Dialled { who, .. }
            | Self::Disconnected { who }
            | Self::CommitSent { who, .. }
            | Self::Named { who, .. }
            | Self::HeartbeatSent { who }
            | Self::JoinSent { who }
            | Self::OwnedSent { who, .. }
            | Self::StepsOut { who }
            | Self::Started { who }
            | Self::Resubscribed { who, .. }
            | Self::PollBegins { who, .. }
            | Self::PollEnds { who, .. }
            | Self::ListenerBegins { who, .. }
            | Self::ListenerEnds { who, .. }
            | Self::Assigned { who, .. }
            | Self::Revoked { who, .. }
            | Self::Lost { who, .. }
            | Self::Delivered { who, .. }
            | Self::Processed { who, .. }
            | Self::Paused { who, .. }
            | Self::Resumed { who, .. }
            | Self::Sought { who, .. }
            | Self::WentBack { who, .. }
            | Self::Reset { who, .. }
            | Self::TruncationTold { who, .. }
            | Self::LagRead { who, .. }
            | Self::Failed { who, .. }
            | Self::Copying { who, .. }
            | Self::CopyingEnded { who, .. }
            | Self::ProducerFailed { who, .. }
            | Self::HandlerBegan { who, .. }
            | Self::HandlerEnded { who, .. }
            | Self::CameAgain { who, .. }
            | Self::FailureSaid { who, .. }
            | Self::Retried { who, .. }
            | Self::LetterTold { who, .. }
            | Self::PartitionStopped { who, .. }
            | Self::HandedOver { who, .. }
            | Self::Breaker { who, .. }
            | Self::Queued { who, .. }
            | Self::WorkerEnded { who, .. }
            | Self::CloseBegins { who, .. }
            | Self::CloseEnds { who }
            | Self::Crashed { who }
            | Self::Frozen { who }
            | Self::Thawed { who }
            | Self::Panicked { who, .. } => Some(*who),
            Self::Request { client, .. }
            | Self::Refused { client, .. }
            | Self::FetchedNothing { client, .. } => Who::parse(client),
            _ => None,
        }
    }
}

/// A listener's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Assigned,
    Revoked,
    Lost,
}

/// The outcome of a transaction, as its member knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    Committed,
    /// Nothing of it is committed.
    Aborted,
    /// The outcome is unknown.
    Unknown,
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Done,
    /// It returned that the record may be retried.
    Failed,
    /// It returned that the record is poison.
    Poison,
    /// It returned that nothing can be handled.
    Fatal,
    Panicked,
    /// It was dropped before it had ended.
    Dropped,
    /// It blocked its thread until its result was no longer awaited: the result does not count.
    Ignored,
}

/// An event with its time.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        match &self.what {
            What::Wire { text } => write!(f, "{at:>10.3} Wire {text}"),
            what => write!(f, "{at:>10.3} {what:?}"),
        }
    }
}

/// The log that all parts of a run write to.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
    listener: Arc<OnceLock<Listener>>,
}

/// Gets each event as it happens, and must not write one itself.
struct Listener(Box<dyn Fn(&What) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Log {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, events: Arc::default(), listener: Arc::default() }
    }

    /// Passes every event from here on to `listener`; the first listener stays.
    pub(crate) fn listen(&self, listener: impl Fn(&What) + Send + Sync + 'static) {
        let _ = self.listener.set(Listener(Box::new(listener)));
    }

    pub(crate) fn tell(&self, what: What) {
        self.tell_at(crate::clock::now(), what);
    }

    pub(crate) fn tell_at(&self, at: Instant, what: What) {
        if let Some(listener) = self.listener.get() {
            listener.0(&what);
        }
        let event = Event { at: at.saturating_duration_since(self.start), what };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// How long the run has lasted.
    pub(crate) fn now(&self) -> Duration {
        crate::clock::now().saturating_duration_since(self.start)
    }

    /// All events, at the end.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&[Event]) -> R) -> R {
        read(&self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
