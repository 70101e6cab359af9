//! A sink that writes batches to PostgreSQL, with rows and offsets in one database transaction, so that each record counts once.
//!
//! `cargo run -p offtake-tests --example postgres_sink localhost:9092 'host=localhost user=postgres'`

use std::{error::Error, sync::Arc, time::Duration};

use offtake::{AutoOffsetReset, Builder, Consumer};
use offtake_worker::{Batch, Failure, Handled, Order, Retry, Summary, Worker};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

/// Created once, when the database is set up.
pub const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, sold BIGINT NOT NULL);
    CREATE TABLE IF NOT EXISTS offsets (part TEXT PRIMARY KEY, next BIGINT NOT NULL)";
const UPSERT: &str =
    "INSERT INTO stock VALUES ($1, $2) ON CONFLICT (item) DO UPDATE SET sold = stock.sold + excluded.sold";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let consumer = Consumer::builder(args.next().unwrap_or("localhost:9092".to_owned())).group("stock");
    let database = args.next().unwrap_or("host=localhost user=postgres".to_owned());
    let summary = run(consumer, &database, tokio::signal::ctrl_c()).await?;
    println!("{} records written to these tables:{TABLES}", summary.handled);
    Ok(())
}

/// Runs until `shutdown`.
pub async fn run(of: Builder, database: &str, shutdown: impl Future) -> Result<Summary, Box<dyn Error>> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
    let client = Arc::new(Mutex::new(client));
    let work = Worker::new(of.auto_offset_reset(AutoOffsetReset::Earliest))
        .subscribe("sales")
        .order(Order::Partition) // a batch is consecutive records of one partition, directly behind the previous batch
        .retry(Retry::exponential(Duration::from_millis(100)..Duration::from_secs(10)).jitter().unlimited())
        .run_batches(500, move |batch| write(Arc::clone(&client), batch), shutdown);
    tokio::select! {
        summary = work => Ok(summary?),
        ended = connection => Err(ended.err().map_or("the database is gone".into(), Into::into)),
    }
}

async fn write(client: Arc<Mutex<Client>>, batch: Batch) -> Result<Handled, Failure> {
    let Some(last) = batch.iter().last() else { return Ok(Handled::All) };
    let (part, next) = (last.topic_partition().to_string(), last.offset() + 1);
    let mut client = client.lock().await;
    let transaction = client.transaction().await?; // rolled back when dropped
    transaction.execute("INSERT INTO offsets VALUES ($1, 0) ON CONFLICT DO NOTHING", &[&part]).await?;
    let row = transaction.query_one("SELECT next FROM offsets WHERE part = $1 FOR UPDATE", &[&part]).await?;
    for record in batch.iter().filter(|record| record.offset() >= row.get::<_, i64>(0)) {
        let item = std::str::from_utf8(record.key().unwrap_or_default())?;
        let sold: i64 = std::str::from_utf8(record.value().unwrap_or_default())?.parse()?;
        transaction.execute(UPSERT, &[&item, &sold]).await?;
    }
    transaction
        .execute("UPDATE offsets SET next = GREATEST(next, $2) WHERE part = $1", &[&part, &next])
        .await?;
    Ok(transaction.commit().await.map(|()| Handled::All)?)
}
