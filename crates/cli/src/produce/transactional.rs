//! `offtake produce --transactional-id`: a number of lines per transaction; the last one may have fewer.

use std::{
    io::ErrorKind::BrokenPipe,
    time::{Duration, Instant},
};

use offtake_client::clock::later;
use offtake_producer::{
    Builder, Config, Error, RecordMetadata, Transaction, TransactionDelivery, TransactionalProducer,
};
use tokio::time::timeout_at;

use super::{
    input::{Input, Line},
    line::Shape,
    record, report,
};
use crate::{
    args::Produce,
    clock::now,
    failure::Failure,
    output::Output,
    sending::{CLOSING, Unacknowledged, due, size, until, without_pauses},
    stop::Stop,
};

pub(super) async fn run(config: Config, args: Produce, shape: Shape, stop: &mut Stop) -> Result<(), Failure> {
    // A transaction that collects lines for any longer might be aborted by its coordinator.
    let longest = config.transaction_timeout / 4;
    let waiting = Unacknowledged::new(config.buffer_memory);
    let max_request_size = config.max_request_size;
    let mut producer = tokio::select! {
        biased;
        () = stop.asked() => return Err(Failure::failed("stopped; nothing was read".to_owned())),
        producer = Builder::from_config(config).build_transactional() => producer?,
    };
    let mut work = Work {
        args,
        shape,
        waiting,
        acknowledged: Vec::new(),
        next: None,
        sent: 0,
        committed: 0,
        began: now(),
        longest,
        output: Output::stdout(),
    };
    let mut input = Input::start(max_request_size)?;
    let ended = work.write_all(&mut producer, &mut input, stop).await;
    let closed = producer.close(CLOSING.max(Duration::from_secs(30))).await;
    match work.output.flush() {
        Err(error) if error.kind() != BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let committed = work.committed;
    let ended = ended.map_err(|failure| match failure {
        Failure::BrokenPipe => Failure::BrokenPipe,
        other => Failure::failed(format!("{other}; {committed} records are committed")),
    });
    match ended? {
        End::Done => closed.map_err(Failure::from),
        End::Signal => Err(Failure::failed(format!(
            "stopped; {committed} records are committed, and the open transaction is aborted"
        ))),
        End::Unreadable(line, why) => Err(Failure::failed(format!(
            "line {line}: {why}; {committed} records before it are committed, and its transaction is aborted"
        ))),
    }
}

struct Work {
    args: Produce,
    shape: Shape,
    /// The records sent in the open transaction.
    waiting: Unacknowledged<TransactionDelivery, ()>,
    /// The acknowledged ones among them.
    acknowledged: Vec<RecordMetadata>,
    /// A line that was read but not sent.
    next: Option<(u64, Line)>,
    sent: u64,
    committed: u64,
    began: Instant,
    /// How long a transaction collects lines.
    longest: Duration,
    output: Output,
}

/// Why no more lines are sent.
enum End {
    /// There are no more, or the requested count is reached.
    Done,
    Signal,
    Unreadable(u64, String),
}

impl Work {
    async fn write_all(
        &mut self,
        producer: &mut TransactionalProducer,
        input: &mut Input,
        stop: &mut Stop,
    ) -> Result<End, Failure> {
        loop {
            // No transaction is open while no line arrives.
            if self.is_enough() {
                return Ok(End::Done);
            }
            if let Some(end) = self.next_due(input, stop).await {
                return Ok(end);
            }
            let transaction = tokio::select! {
                biased;
                () = stop.asked() => return Ok(End::Signal),
                transaction = producer.begin() => transaction?,
            };
            let before = self.sent;
            let end = self.send_some(&transaction, input, stop).await;
            match end {
                Ok(end @ (None | Some(End::Done))) => {
                    transaction.commit().await?;
                    self.committed = self.committed.saturating_add(self.sent.saturating_sub(before));
                    self.report_all().await?;
                    if let Some(end) = end {
                        return Ok(end);
                    }
                }
                Ok(Some(end)) => {
                    let _ = transaction.abort().await; // the result reports the committed records
                    return Ok(end);
                }
                Err(error) => {
                    let _ = transaction.abort().await;
                    return Err(error.into());
                }
            }
        }
    }

    fn is_enough(&self) -> bool {
        self.args.count.is_some_and(|count| self.sent >= count)
    }

    /// Waits for the next line, unless one was read before.
    async fn read(&mut self, input: &mut Input, stop: &mut Stop) -> Option<End> {
        if self.next.is_some() {
            return None;
        }
        tokio::select! {
            biased;
            () = stop.asked() => Some(End::Signal),
            line = input.next() => {
                self.next = line;
                self.next.is_none().then_some(End::Done)
            }
        }
    }

    /// Waits until there is a line that may be sent.
    async fn next_due(&mut self, input: &mut Input, stop: &mut Stop) -> Option<End> {
        if let Some(end) = self.read(input, stop).await {
            return Some(end);
        }
        self.began = without_pauses(self.args.rate, self.began, self.sent, now());
        tokio::select! {
            biased;
            () = stop.asked() => Some(End::Signal),
            () = until(due(self.args.rate, self.began, self.sent)) => None,
        }
    }

    /// Sends the lines of one transaction; fewer if something ends it or its time is over.
    async fn send_some(
        &mut self,
        transaction: &Transaction<'_>,
        input: &mut Input,
        stop: &mut Stop,
    ) -> Result<Option<End>, Error> {
        let deadline = later(now(), self.longest);
        for nth in 0..self.args.transaction_records.max(1) {
            if self.is_enough() {
                return Ok(Some(End::Done));
            }
            // The lines so far are committed; but no transaction is empty.
            if nth > 0 && now() >= deadline {
                return Ok(None);
            }
            match timeout_at(deadline.into(), self.next_due(input, stop)).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(Some(end)),
                Err(_) => return Ok(None),
            }
            let Some((number, line)) = self.next.take() else { return Ok(Some(End::Done)) };
            let line = match line {
                Ok(line) => line,
                Err(error) => return Ok(Some(End::Unreadable(number, error.to_string()))),
            };
            let parsed = match self.shape.parse(&line) {
                Ok(parsed) => parsed,
                Err(why) => return Ok(Some(End::Unreadable(number, why))),
            };
            let record = record(&self.args, &parsed);
            let bytes = size(&record);
            while !self.waiting.has_room_for(bytes) {
                tokio::select! {
                    biased;
                    () = stop.asked() => return Ok(Some(End::Signal)),
                    ((), outcome) = self.waiting.next() => {
                        self.acknowledged.extend(Some(outcome?).filter(|_| self.args.json_report));
                    }
                }
            }
            self.waiting.push(transaction.send(record), bytes, ());
            self.sent = self.sent.saturating_add(1);
        }
        Ok(None)
    }

    /// Reports the outcomes of a committed transaction.
    async fn report_all(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            let ((), outcome) = self.waiting.next().await;
            self.acknowledged.extend(Some(outcome?).filter(|_| self.args.json_report));
        }
        for metadata in self.acknowledged.drain(..) {
            self.output.json(&report(&metadata));
        }
        match self.output.flush() {
            // If the reports have no reader any more, the records are still wanted.
            Err(error) if error.kind() == BrokenPipe => {
                self.args.json_report = false;
                self.output.buffer().clear();
                Ok(())
            }
            written => Ok(written?),
        }
    }
}
