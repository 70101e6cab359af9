//! LIVE8: an application that takes its time for each poll does not fall behind without end: the more waits, the more a poll
//! returns. In runs that are made for it: records keep coming, nothing is wrong, one member reads them all.

use std::{collections::BTreeMap, time::Duration};

use super::Complaints;
use crate::{
    events::{Event, Place, What},
    plan::{Plan, Reset},
};

/// Some polls' worth of time: what is older has been passed over for no reason.
const BEHIND: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Pace {
    waits: BTreeMap<(Place, i64), Duration>,
    /// The first offset of each partition that was handed out.
    begun: BTreeMap<Place, i64>,
}

impl Pace {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        if plan.members.iter().all(|member| member.per_poll == 0) || !plan.faults.is_empty() {
            return;
        }
        match &event.what {
            What::Appended { at, offset, .. } => {
                self.waits.insert((at.clone(), *offset), event.at);
            }
            What::Delivered { at, offset, .. } => {
                self.waits.remove(&(at.clone(), *offset));
                self.begun.entry(at.clone()).or_insert(*offset);
            }
            What::Healed => {
                // What was there before the reader is not for it, where it begins at the end.
                let begun = |at: &Place| match plan.reset {
                    Reset::Earliest => Some(0),
                    Reset::Latest => self.begun.get(at).copied(),
                };
                self.waits.retain(|(at, offset), _| begun(at).is_some_and(|begun| begun <= *offset));
                let late = self.waits.values().filter(|since| **since + BEHIND < event.at).count();
                if late > 0 {
                    let (all, seconds) = (self.waits.len(), BEHIND.as_secs());
                    let text = format!("{all} records wait, {late} of them for more than {seconds} s");
                    complaints.add("LIVE8", event.at, text);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forged, M0};
    use crate::events::What;

    #[test]
    fn live8_a_slow_application_falls_behind() {
        let begun = || Forged::begun().planned(|plan| plan.members[0].per_poll = 20);
        begun()
            .planned(|plan| plan.reset = crate::plan::Reset::Earliest)
            .written(10..20, 0)
            .wait(2_100)
            .tell(What::Healed)
            .is_found("LIVE8");
        begun().written(10..20, 0).wait(1_000).tell(What::Healed).holds();
        begun().written(10..20, 0).handed(M0, 10..20, 0).wait(2_100).tell(What::Healed).holds();
    }
}
