//! Prometheus's text format, version 0.0.4.
//!
//! A family's samples are contiguous, so that the groups are traversed once for each family. The text is generated piece by piece
//! while it is sent: 200,000 partitions make more than 100 MB.

mod families;
mod text;

use std::sync::Arc;

use bytes::Bytes;
use offtake_lag::Report;

use crate::view::View;
use families::{Family, Scope};
use text::Text;

/// Sets of metric names, in addition to Offtake's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The names of `danielqsj/kafka_exporter`: `kafka_consumergroup_lag`, `kafka_topic_partition_current_offset`, …
    pub kafka_exporter: bool,
    /// The names of KMinion: `kminion_kafka_consumer_group_topic_lag`, …
    pub kminion: bool,
}

/// The size of a piece.
const PIECE: usize = 64 << 10;

/// The text of `/metrics`, in pieces.
#[derive(Debug)]
pub struct Exposition {
    from: Reported,
    families: Vec<&'static Family>,
    family: usize,
    /// The next item of the family's scope.
    item: usize,
}

/// The input of families.
#[derive(Debug)]
struct Reported {
    cluster: String,
    report: Arc<Report>,
    view: View,
}

impl Exposition {
    /// The text for a view, with the cluster's name in labels.
    #[must_use]
    pub fn new(view: View, cluster_name: Option<&str>, names: Names) -> Self {
        let cluster = view.cluster(cluster_name).to_owned();
        let report = view.fresh().cloned().unwrap_or_default();
        let mut families: Vec<_> = families::OWN.iter().collect();
        if names.kafka_exporter {
            families.extend(families::KAFKA_EXPORTER);
        }
        if names.kminion {
            families.extend(families::KMINION);
        }
        families.extend(families::MONITOR);
        Self { from: Reported { cluster, report, view }, families, family: 0, item: 0 }
    }

    /// The complete text.
    #[must_use]
    pub fn text(self) -> String {
        let pieces: Vec<u8> = self.flatten().collect();
        String::from_utf8_lossy(&pieces).into_owned()
    }
}

impl Iterator for Exposition {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Text::default();
        while let Some(family) = self.families.get(self.family) {
            if self.item == 0 {
                out.begin(family.name, family.help, family.kind);
            } else {
                out.resume(family.name);
            }
            let from = &self.from;
            let more = match family.scope {
                Scope::Group(write) => {
                    from.report.groups.get(self.item).map(|group| write(&mut out, from, group))
                }
                Scope::Partition(write) => {
                    let partition = from.report.partitions.get(self.item);
                    partition.map(|partition| write(&mut out, from, partition))
                }
                Scope::Topic(write) => {
                    let rest = from.report.partitions.get(self.item..).unwrap_or_default();
                    let topic = rest.chunk_by(|left, right| left.topic == right.topic).next();
                    topic.map(|topic| {
                        write(&mut out, from, topic);
                        self.item += topic.len() - 1;
                    })
                }
                Scope::Monitor(write) => (self.item == 0).then(|| write(&mut out, &from.view)),
            };
            if more.is_some() {
                self.item += 1;
            } else {
                (self.family, self.item) = (self.family + 1, 0);
            }
            if out.len() >= PIECE {
                break;
            }
        }
        out.into_bytes()
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::sample_report;
