//! Members that copy with the loop of `offtake-exactly-once`.

use std::{collections::BTreeMap, time::Duration};

use offtake::{Consumer, Error, ErrorKind, Records, TopicPartition};
use offtake_exactly_once::{Ended as StepEnded, ExactlyOnce, Step};

use super::{ABORTED, DROPPED, process, tell_begun, told_by};
use crate::{
    clock::ms,
    events::{Reported, What},
    member::{MemberRun, place},
    plan::Copies,
    random::Random,
};

/// The application has other work at this interval, and then drops what it awaits.
const LOOKS: Duration = Duration::from_secs(1);

/// A member's loop.
pub(crate) struct Stepper {
    life: MemberRun,
    random: Random,
    once: ExactlyOnce,
    transactions: u64,
    /// The positions before the previous step, unless it is committed: the next step goes back there, or to the committed offsets.
    uncommitted: BTreeMap<TopicPartition, i64>,
}

/// The result of a turn.
pub(crate) enum Turn {
    /// No records arrived in time.
    Idle,
    Copied,
    /// It has failed for good.
    Over,
    /// A call failed, and it may go on.
    Failed(Error),
}

impl Stepper {
    pub(crate) async fn build(life: &MemberRun, copies: &Copies, consumer: Consumer) -> Result<Self, Error> {
        let producer = super::producer(life, copies).await?;
        let once = ExactlyOnce::new(consumer, producer)?;
        let (random, uncommitted) = (life.random(25), BTreeMap::new());
        Ok(Self { life: life.clone(), random, once, transactions: 0, uncommitted })
    }

    pub(crate) fn consumer(&mut self) -> &mut Consumer {
        self.once.consumer()
    }

    /// Waits for records and copies them in one transaction.
    pub(crate) async fn turn(&mut self) -> Turn {
        self.tell_what_it_goes_back_to();
        let Self { life, random, once, transactions, uncommitted } = self;
        let is_short = random.percent(life.member().drops);
        let timeout = if is_short { ms(random.between(0, 50)) } else { LOOKS };
        life.tell(What::PollBegins { who: life.who, timeout });
        let next = tokio::time::timeout(timeout, once.next()).await;
        life.tell(What::PollEnds { who: life.who, dropped: next.is_err() });
        let step = match next {
            Err(_) => return Turn::Idle,
            Ok(Ok(Some(step))) => step,
            Ok(Ok(None)) => return Turn::Over,
            Ok(Err(error)) => return failed(life, error),
        };
        *transactions += 1;
        let (who, transaction) = (life.who, *transactions);
        for record in step.records() {
            uncommitted.entry(record.topic_partition().clone()).or_insert(record.offset());
        }
        tell_handed(life, step.records());
        tell_begun(life, transaction, step.records());
        process(life, random, transaction, step.records(), |copy| drop(step.send(copy))).await;
        let ended = end(life, random, step).await;
        let told = match &ended {
            Ok(told) => *told,
            Err(error) => told_by(error),
        };
        life.tell(What::CopyingEnded { who, transaction, told });
        if told == Reported::Committed {
            uncommitted.clear();
        }
        match ended {
            Ok(_) => Turn::Copied,
            Err(error) => {
                life.producer_failed("commit", &error);
                if error.kind() == ErrorKind::TransactionAborted { Turn::Copied } else { Turn::Over }
            }
        }
    }

    /// Reports the positions before it goes back: from then on it may fetch the committed offsets.
    fn tell_what_it_goes_back_to(&mut self) {
        let owned = self.once.consumer().assignment();
        let (who, since) = (self.life.who, self.life.world.log.now());
        for (partition, otherwise) in std::mem::take(&mut self.uncommitted) {
            if owned.contains(&partition) {
                self.life.tell(What::WentBack { who, at: place(&partition), since, otherwise });
            }
        }
    }

    /// Closes both, within twice this time.
    pub(crate) async fn close(self, timeout: Duration) -> Result<(), Error> {
        self.once.close(timeout).await
    }
}

fn tell_handed(life: &MemberRun, records: &Records) {
    for record in records {
        let id = crate::member::id_of(&record.value(), record.headers());
        let (who, at, offset) = (life.who, place(record.topic_partition()), record.offset());
        life.tell(What::Delivered { who, at, offset, id, dated: record.timestamp() });
    }
}

/// Ends a step as the application, or chance, decides.
async fn end(life: &MemberRun, random: &mut Random, step: Step<'_>) -> Result<Reported, Error> {
    if random.percent(DROPPED) {
        drop(step);
        return Ok(Reported::Aborted);
    }
    if random.percent(ABORTED) {
        return step.abort().await.map(|()| Reported::Aborted);
    }
    let is_dropped = random.percent(life.member().drops);
    let ended = if is_dropped {
        let patience = ms(random.between(0, 50));
        match tokio::time::timeout(patience, step.commit()).await {
            Ok(ended) => ended?,
            Err(_) => return Ok(Reported::Unknown),
        }
    } else {
        step.commit().await?
    };
    Ok(match ended {
        StepEnded::Committed => Reported::Committed,
        StepEnded::Aborted(error) => {
            life.producer_failed("commit", &error);
            Reported::Aborted
        }
        StepEnded::Unknown(error) => {
            life.producer_failed("commit", &error);
            Reported::Unknown
        }
        _ => Reported::Unknown,
    })
}

/// The call may have failed in its consumer or in its producer.
fn failed(life: &MemberRun, error: Error) -> Turn {
    if crate::working::is_of_transactions(&error) {
        life.producer_failed("next", &error);
        return Turn::Over;
    }
    let _ = life.failed("poll", &error);
    if error.is_fatal() { Turn::Over } else { Turn::Failed(error) }
}
