//! Tests of a group whose offsets retention has overtaken.

use offtake::{Builder, Consumer};

use crate::support::{A_MOMENT, cluster, member, virtually};

async fn reads(consumer: &mut Consumer, polls: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    for _ in 0..polls {
        let records = consumer.poll(A_MOMENT).await.unwrap();
        for record in &records {
            offsets.push(record.offset());
            // Without `finish_each`, `poll` finishes them.
            if let Ok(ticket) = record.ticket() {
                ticket.finish().unwrap();
            }
        }
    }
    offsets
}

/// The offset chosen by `latest` is committed although no record arrives: otherwise the next start would be
/// out of range again, and skip what was written meanwhile.
#[test]
fn l1_records_written_after_a_reset_to_the_end_are_read_by_the_next_owner() {
    let of_poll: fn(Builder) -> Builder = |builder| builder;
    for build in [of_poll, Builder::finish_each] {
        virtually(async {
            let cluster = cluster(1).await;
            let latest = |name| build(member(&cluster, name).property("auto.offset.reset", "latest"));
            let mut first = build(member(&cluster, "first")).build().await.unwrap();
            first.subscribe("orders").await.unwrap();
            assert_eq!(reads(&mut first, 50).await, [0, 1, 2]);
            first.close(A_MOMENT * 100).await.unwrap();
            for value in 3..100_u8 {
                cluster.produce("orders", 0, None, Some(&[value])).unwrap();
            }
            cluster.with(|model, _| model.delete_records_before("orders", 0, 100));

            let mut second = latest("second").build().await.unwrap();
            second.subscribe("orders").await.unwrap();
            assert!(reads(&mut second, 100).await.is_empty());
            second.close(A_MOMENT * 100).await.unwrap();
            cluster.produce("orders", 0, None, Some(&[100])).unwrap();

            let mut third = latest("third").build().await.unwrap();
            third.subscribe("orders").await.unwrap();
            assert_eq!(reads(&mut third, 50).await, [100]);
            third.close(A_MOMENT * 100).await.unwrap();
        });
    }
}
