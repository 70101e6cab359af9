//! Tests of batches in each codec, in this build and in one without some codecs:
//! `cargo test -p offtake --no-default-features --features gzip,snappy,lz4 --test codecs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::{collections::BTreeMap, time::Duration};

use offtake::{Consumer, ErrorKind, TopicPartition};
use offtake_broker::Cluster;

const A_WHILE: Duration = Duration::from_secs(20);
const RECORDS: usize = 10;

/// Kafka's name of each codec, and whether this build has it.
const CODECS: [(&str, bool); 5] = [
    ("uncompressed", true),
    ("gzip", cfg!(feature = "gzip")),
    ("snappy", cfg!(feature = "snappy")),
    ("lz4", cfg!(feature = "lz4")),
    ("zstd", cfg!(feature = "zstd")),
];

/// A topic for each codec, with its name, in which each record is a batch.
async fn cluster() -> Cluster {
    let cluster = Cluster::builder().start().await.unwrap();
    for (codec, _) in CODECS {
        let configs = [("compression.type", codec)];
        cluster.with(|model, _| model.create_topic(codec, 1, -1, &configs)).unwrap();
        for record in 0..RECORDS {
            let value = format!("{record} {}", "compresses well ".repeat(20));
            cluster.produce(codec, 0, None, Some(value.as_bytes())).unwrap();
        }
    }
    cluster
}

#[tokio::test]
async fn a_codec_that_is_not_built_in_stops_its_partition_with_one_error_and_no_other_partition() {
    let cluster = cluster().await;
    let builder = Consumer::builder(cluster.bootstrap()).property("auto.offset.reset", "earliest");
    let mut consumer = builder.build().await.unwrap();
    consumer.assign(CODECS.map(|(codec, _)| (codec, 0))).await.unwrap();

    let (mut read, mut errors) = (BTreeMap::<String, usize>::new(), BTreeMap::new());
    while read.values().sum::<usize>() + RECORDS * errors.len() < RECORDS * CODECS.len() {
        match consumer.poll(A_WHILE).await {
            Ok(records) => {
                assert!(!records.is_empty(), "after {read:?} and {errors:?}");
                for record in &records {
                    assert!(record.value().is_some_and(|value| value.ends_with(b"compresses well ")));
                    *read.entry(record.topic().to_owned()).or_default() += 1;
                }
            }
            Err(error) => {
                let partition = error.partition().expect("the error of a partition").clone();
                assert!(errors.insert(partition, error).is_none(), "one error for each partition");
            }
        }
    }

    for (codec, built_in) in CODECS {
        let partition = TopicPartition::new(codec, 0);
        assert_eq!(read.get(codec).copied(), built_in.then_some(RECORDS), "{codec}");
        let Some(error) = errors.get(&partition) else {
            assert!(built_in, "{codec}");
            continue;
        };
        assert!(!built_in, "{error}");
        assert_eq!((error.kind(), error.is_fatal()), (ErrorKind::MissingCodec, false), "{error}");
        let advice = format!("build with the cargo feature \"{codec}\"");
        assert!(error.to_string().starts_with(&format!("{codec}-0: ")), "{error}");
        assert!(error.to_string().contains(&advice), "{error}");
        assert_eq!(consumer.position(&partition), Some(0), "{codec}: the partition stops before the batch");
    }
    consumer.close(A_WHILE).await.unwrap();
}
