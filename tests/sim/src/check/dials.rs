//! A3: a broker that refuses connections is dialled less and less often.

use std::{collections::BTreeMap, time::Duration};

use super::Complaints;
use crate::{
    clock::ms,
    events::{Event, What, Who},
    plan::Plan,
};

/// This many refused dials in a row, without an accepted one …
const ROW: usize = 16;
/// … take at least this long: `reconnect.backoff.ms` is 50 and doubles up to 1 s, less a fifth of jitter, for each of the two addresses
/// that a broker may have (the bootstrap one, and its own); a constant one of 50 ms would take 800 ms.
const LEAST: Duration = Duration::from_millis(2_500);

#[derive(Debug, Default)]
pub(super) struct Dials {
    refused: BTreeMap<(Who, i32), Vec<Duration>>,
}

impl Dials {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        let What::Dialled { who, broker, refused } = &event.what else { return };
        // Without the connection code nothing backs off.
        if !plan.connections {
            return;
        }
        let row = self.refused.entry((*who, *broker)).or_default();
        if !refused {
            row.clear();
            return;
        }
        // Each lane with pending calls dials when the backoff is over: those dials count as one.
        let together = ms(2 * plan.latency.1 + 5);
        if row.last().is_some_and(|last| event.at <= *last + together) {
            return;
        }
        row.push(event.at);
        if row.len() < ROW {
            return;
        }
        let took = event.at - row[0];
        row.remove(0);
        if took < LEAST {
            let text = format!(
                "{who} dialled broker {broker} {ROW} times within {} ms, and was refused each time",
                took.as_millis()
            );
            complaints.add("A3", event.at, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0};
    use crate::events::What;

    fn dials(pauses: impl Iterator<Item = u64>, refused: bool) -> Forged {
        pauses.fold(Forged::new(), |forged, pause| {
            forged.wait(pause).tell(What::Dialled { who: M0, broker: 1, refused })
        })
    }

    #[test]
    fn a3_refused_dials_come_ever_less_often() {
        dials((0..40).map(|_| 50), true).is_found("A3");
        dials((0..40).map(|_| 50), false).holds();
        dials((0..12).map(|number| (40 << number.min(5)).min(800)), true).holds();
        dials((0..40_u32).map(|number| (40_u64 << number.min(5)).min(800)), true).holds();
    }
}
