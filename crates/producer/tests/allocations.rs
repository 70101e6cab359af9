//! Counts allocations for sent records: a few for a batch, and none for a record. The test is alone in its process, so that
//! nothing else changes the counters.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::{
    alloc::System,
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use offtake_machine::{Answer, BrokerId, Cluster, Transmit};
use offtake_net::{Carrier, Completion, Lane};
use offtake_producer::{Builder, Config, Delivery, Producer, ProducerRecord};
use offtake_wire::{
    InitProducerIdResponse, MetadataResponse, ProduceResponse, Request, Response,
    messages::{
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce::{PartitionProduceResponse, TopicProduceResponse},
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A broker that responds at once, with only the allocations that any response needs.
#[derive(Default)]
struct Brokers {
    answers: VecDeque<Completion>,
    waker: Option<Waker>,
    /// The offset of the next record.
    next: i64,
}

impl Brokers {
    fn answer(&mut self, request: &Request) -> (i16, Response) {
        match request {
            Request::Metadata(_) => (12, one_partition().into()),
            Request::InitProducerId(_) => {
                (4, InitProducerIdResponse { producer_id: 7, ..InitProducerIdResponse::default() }.into())
            }
            Request::Produce(produce) => {
                let topics = produce.topic_data.iter().map(|topic| TopicProduceResponse {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition_responses: topic
                        .partition_data
                        .iter()
                        .map(|data| {
                            let base_offset = self.next;
                            self.next += 1;
                            let index = data.index;
                            PartitionProduceResponse {
                                index,
                                base_offset,
                                ..PartitionProduceResponse::default()
                            }
                        })
                        .collect(),
                });
                (9, ProduceResponse { responses: topics.collect(), ..ProduceResponse::default() }.into())
            }
            other => panic!("nobody asks {other:?}"),
        }
    }
}

impl Carrier for Brokers {
    fn send(&mut self, tag: u64, _: Lane, transmit: Transmit) {
        let (version, response) = self.answer(&transmit.request);
        let answer = Answer { from: Some(BrokerId::known(1).unwrap()), version, memory: 0, response };
        self.answers.push_back(Completion { tag, result: Ok(answer) });
        self.waker.take().inspect(Waker::wake_by_ref);
    }

    fn withdraw(&mut self, _: u64) {}

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Completion> {
        match self.answers.pop_front() {
            Some(answer) => Poll::Ready(answer),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn update_brokers(&mut self, _: &Cluster) {}
    fn learn_broker(&mut self, _: BrokerId, _: &str, _: u16) {}
    fn forget_brokers(&mut self) {}
}

/// A cluster of one broker and one topic of one partition.
fn one_partition() -> MetadataResponse {
    let partition = MetadataResponsePartition {
        leader_id: 1,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some("orders".to_owned()),
        partitions: vec![partition],
        ..Default::default()
    };
    let broker =
        MetadataResponseBroker { node_id: 1, host: "here".to_owned(), port: 9092, ..Default::default() };
    MetadataResponse { brokers: vec![broker], topics: vec![topic], controller_id: 1, ..Default::default() }
}

async fn producer(batch_size: usize) -> Producer {
    let config = Config::from_properties([
        ("bootstrap.servers", "here:9092".to_owned()),
        ("batch.size", batch_size.to_string()),
        ("linger.ms", "1000".to_owned()),
    ]);
    Builder::from_config(config.unwrap())
        .carrier(Box::new(Brokers::default()))
        .spawn_on(tokio::runtime::Handle::current())
        .build()
        .await
        .unwrap()
}

/// Sends this many records and awaits each, a few hundred at a time.
async fn send(producer: &Producer, waiting: &mut VecDeque<Delivery>, records: usize) {
    const WINDOW: usize = 4096;
    for _ in 0..records {
        let record = ProducerRecord::to("orders").key("customer-7").value(&[7; 100]);
        waiting.push_back(producer.send(record));
        if waiting.len() == WINDOW {
            let first = waiting.pop_front().unwrap();
            first.await.unwrap();
        }
    }
    producer.flush().await.unwrap();
    while let Some(delivery) = waiting.pop_front() {
        delivery.await.unwrap();
    }
}

/// The allocations for this many records, with this batch size.
async fn allocations(records: usize, batch_size: usize) -> usize {
    let producer = producer(batch_size).await;
    let mut waiting = VecDeque::with_capacity(4096);
    send(&producer, &mut waiting, 50_000).await;
    let region = Region::new(COUNTED);
    send(&producer, &mut waiting, records).await;
    let change = region.change();
    change.allocations + change.reallocations
}

#[tokio::test]
async fn allocations_grow_with_the_number_of_batches_and_not_of_records() {
    let (records, batch_size) = (100_000, 16 << 10);
    let some = allocations(records, batch_size).await;
    // 120 bytes a record.
    let batches = records * 120 / batch_size;
    assert!(some < 20 * batches, "{some} allocations for {batches} batches");
    let as_many_batches = allocations(10 * records, 10 * batch_size).await;
    assert!(
        as_many_batches < some + some / 4,
        "{as_many_batches} allocations, and {some} for a tenth of the records"
    );
}
