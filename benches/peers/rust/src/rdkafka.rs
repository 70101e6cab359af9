//! librdkafka through the `rdkafka` crate. To read it takes batches of up to 10,000 with
//! `rd_kafka_consume_batch_queue`, which the crate's safe API does not offer; for latency and start-up it polls single
//! messages, as a batch would wait until it is full. Tuned: `queued.min.messages` at its largest, and no pause of a
//! second when the queue was full. `check.crcs` is false, its default: alone among the rivals it does not verify
//! checksums.

mod common;

use std::ffi::{c_char, c_void};
use std::ptr;
use std::time::Duration;

use common::{Failure, Job, Mode, Tally};
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const BATCH: usize = 10_000;

fn main() -> Result<(), Failure> {
    let job = Job::from_args()?;
    let mut tally = Tally::begin(&job);
    let mut config = ClientConfig::new();
    let (address, authority) = job.address();
    config.set("bootstrap.servers", address).set("group.id", job.group());
    if let Some(authority) = authority {
        config.set("security.protocol", "ssl").set("ssl.ca.location", authority);
    }
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    if job.tuned {
        config.set("queued.min.messages", "10000000").set("fetch.queue.backoff.ms", "1");
    }
    if job.mode == Mode::StartConsumer {
        config.set("group.protocol", "consumer");
    }
    let consumer: BaseConsumer = config.create()?;
    if matches!(job.mode, Mode::StartClassic | Mode::StartConsumer) {
        consumer.subscribe(&[job.topic.as_str()])?;
    } else {
        let from = if job.at_the_end() { Offset::End } else { Offset::Beginning };
        let mut all = TopicPartitionList::new();
        for partition in 0..job.partitions {
            all.add_partition_offset(&job.topic, partition, from)?;
        }
        consumer.assign(&all)?;
    }
    match job.mode {
        Mode::Read | Mode::Sleep(_) => by_the_batch(&consumer, &mut tally)?,
        _ => one_by_one(&consumer, &mut tally)?,
    }
    tally.end()
}

fn one_by_one(consumer: &BaseConsumer, tally: &mut Tally) -> Result<(), Failure> {
    while !tally.is_done() {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message?;
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let headers = headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        tally.add(message.key_len(), headers, message.payload().unwrap_or_default());
    }
    Ok(())
}

fn by_the_batch(consumer: &BaseConsumer, tally: &mut Tally) -> Result<(), Failure> {
    let mut messages = vec![ptr::null_mut::<rd::rd_kafka_message_t>(); BATCH];
    // SAFETY: the consumer outlives its queue, the vector has room for `BATCH` messages, and each message that is returned
    // is ours, whole, until it is destroyed here.
    unsafe {
        let queue = rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        while !tally.is_done() {
            let got = rd::rd_kafka_consume_batch_queue(queue, 100, messages.as_mut_ptr(), BATCH);
            for message in messages.iter().take(usize::try_from(got)?) {
                count(&**message, tally)?;
                rd::rd_kafka_message_destroy(*message);
            }
        }
        rd::rd_kafka_queue_destroy(queue);
    }
    Ok(())
}

/// # Safety
/// The message must be one that librdkafka returned and that is not yet destroyed.
unsafe fn count(message: &rd::rd_kafka_message_t, tally: &mut Tally) -> Result<(), Failure> {
    if message.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(format!("librdkafka: {:?}", message.err).into());
    }
    let value = if message.payload.is_null() {
        &[][..]
    } else {
        // SAFETY: librdkafka guarantees that many bytes there.
        unsafe { std::slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }
    };
    // SAFETY: as the caller guarantees.
    let headers = unsafe { headers(message) };
    tally.add(message.key_len, headers, value);
    Ok(())
}

/// # Safety
/// As for [`count`].
unsafe fn headers(message: &rd::rd_kafka_message_t) -> usize {
    let mut length = 0;
    let mut all = ptr::null_mut();
    // SAFETY: the written variables are ours; names end with a zero.
    unsafe {
        if rd::rd_kafka_message_headers(message, &mut all)
            != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return 0;
        }
        let (mut at, mut name, mut value, mut size) = (0, ptr::null::<c_char>(), ptr::null::<c_void>(), 0);
        while rd::rd_kafka_header_get_all(all, at, &mut name, &mut value, &mut size)
            == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            length += libc::strlen(name) + size;
            at += 1;
        }
    }
    length
}
