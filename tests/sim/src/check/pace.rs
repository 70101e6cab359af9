//! LIVE8: an application that is slow between polls does not fall behind without bound: the more records wait, the more a poll returns.
//! Checked in runs made for it: records keep arriving, there are no faults, one member reads them all.

use std::{collections::BTreeMap, time::Duration};

use super::Complaints;
use crate::{
    events::{Event, Place, What},
    plan::{Plan, Reset},
};

/// The time of some polls: an older record has been skipped for no reason.
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
                // Records from before the reader are not due to it, if it begins at the end.
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
