//! The number of transactions that a producer commits per second, and the cost of one.

use std::time::{Duration, Instant};

use offtake_producer::{Error, ProducerRecord, TransactionalProducer};
use offtake_tests::unique;
use serde_json::{Value, json};

use crate::reading::{Reading, read};
use crate::rows::PARTITIONS;
use crate::sections::Bench;
use crate::settings::Section;
use crate::system::System;

/// The least time that a transaction is open, in milliseconds.
const OPEN: [&str; 3] = ["1", "10", "100"];
/// How long each program runs.
const SECONDS: &str = "5";
/// The records of a transaction, and their size in bytes.
const RECORDS: u64 = 100;
const SIZE: usize = 100;

impl Bench<'_> {
    pub(crate) fn transact(&mut self) {
        for open in OPEN {
            self.alternate(Section::Transactions, open, |bench, system| {
                let done = bench.transact_once(system, open)?;
                bench.figures.add("transactions", open, system, done.transactions / done.seconds);
                bench.figures.add("transactions-cpu", open, system, 1000.0 * done.cpu / done.transactions);
                Ok(())
            });
        }
        let rows = OPEN.map(str::to_owned);
        for (title, measure) in [
            ("Transactions of 100 records a second, by how many ms each is open at least", "transactions"),
            ("CPU seconds a thousand of them (user + sys)", "transactions-cpu"),
        ] {
            self.figures.print(title, measure, &rows, self.systems);
        }
    }

    fn transact_once(&self, system: System, open: &str) -> Result<Reading, String> {
        let topic = self.tool.create_topic(&unique("transact"), PARTITIONS, &[("file.delete.delay.ms", "0")]);
        self.tool.fill(&topic, PARTITIONS, 10 * u64::from(PARTITIONS.unsigned_abs()), 1, json!({}));
        let bootstrap = self.broker.bootstrap();
        let done =
            read(&system.transact_line(self.settings, [open, &bootstrap, &topic, SECONDS]), false, None);
        self.tool.delete_topic(&topic);
        done.and_then(|done| {
            if done.transactions > 0.0 { Ok(done) } else { Err(format!("nothing is committed: {done:?}")) }
        })
    }
}

/// Ours: `transact MS BOOTSTRAP TOPIC SECONDS`, like the others.
pub(crate) fn ours(words: &[String]) -> Result<(), String> {
    let [_, open, bootstrap, topic, seconds] = words else {
        return Err("usage: peers offtake transact MS BOOTSTRAP TOPIC SECONDS".into());
    };
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (open, seconds) = (Duration::from_millis(number(open)?), Duration::from_secs(number(seconds)?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let done = runtime.block_on(transact(bootstrap, topic, open, seconds));
    println!("{}", done.map_err(|error| error.to_string())?);
    std::process::exit(0)
}

async fn transact(bootstrap: &str, topic: &str, open: Duration, seconds: Duration) -> Result<Value, Error> {
    let mut producer = TransactionalProducer::builder(bootstrap, topic).build_transactional().await?;
    let value = vec![b'x'; SIZE];
    let (began, used) = (Instant::now(), cpu());
    let mut transactions = 0_u64;
    while began.elapsed() < seconds {
        let since = Instant::now();
        let transaction = producer.begin().await?;
        for _ in 0..RECORDS {
            drop(transaction.send(ProducerRecord::to(topic).value(&value)));
        }
        tokio::time::sleep(open.saturating_sub(since.elapsed())).await;
        transaction.commit().await?;
        transactions += 1;
    }
    let took = began.elapsed().as_secs_f64();
    Ok(json!({
        "records": transactions * RECORDS, "transactions": transactions, "seconds": took, "user": cpu() - used, "sys": 0.0,
    }))
}

/// Seconds of user and system time of this process; Linux reports them in hundredths.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .map(|rest| rest.split(' ').skip(12).take(2).filter_map(|field| field.parse().ok()).collect())
        .unwrap_or_default();
    fields.iter().sum::<f64>() / 100.0
}
