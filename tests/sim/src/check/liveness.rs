//! Bounds in time: L7 `poll` and `close` return when they should; S15 nothing is left behind; S17 nobody panics.

use std::{collections::BTreeMap, time::Duration};

use super::Complaints;
use crate::{
    events::{Event, What, Who},
    plan::Plan,
};

#[derive(Debug, Default)]
pub(super) struct Liveness {
    polls: BTreeMap<Who, (Duration, Duration)>,
    closes: BTreeMap<Who, (Duration, Duration)>,
    /// While it was stopped, no time passed for it.
    frozen: BTreeMap<usize, Duration>,
    listening: BTreeMap<Who, Duration>,
}

impl Liveness {
    pub(super) fn feed(&mut self, plan: &Plan, event: &Event, complaints: &mut Complaints) {
        let at = event.at;
        match &event.what {
            What::PollBegins { who, timeout } => {
                self.polls.insert(*who, (at, *timeout));
            }
            What::PollEnds { who, .. } => self.ended(plan, at, *who, true, complaints),
            What::CloseBegins { who, timeout } => {
                self.closes.insert(*who, (at, *timeout));
            }
            What::CloseEnds { who } => self.ended(plan, at, *who, false, complaints),
            What::ListenerBegins { who, .. } => {
                self.listening.insert(*who, at);
            }
            What::ListenerEnds { who, .. } => {
                if let Some(began) = self.listening.remove(who) {
                    self.excuse(who.member, at - began);
                }
            }
            What::Frozen { who } => {
                self.frozen.insert(who.member, at);
            }
            What::Thawed { who } => {
                if let Some(since) = self.frozen.remove(&who.member) {
                    self.excuse(who.member, at - since);
                }
            }
            What::Panicked { who, message } => {
                complaints.add("S17", at, format!("{who} panicked: {message}"))
            }
            What::Over { tasks, connections } if *tasks > 0 || *connections > 0 => {
                let text =
                    format!("after all were closed, {tasks} tasks and {connections} connections were left");
                complaints.add("S15", at, text);
            }
            _ => {}
        }
    }

    fn excuse(&mut self, member: usize, by: Duration) {
        for calls in [&mut self.polls, &mut self.closes] {
            for (_, (_, allowed)) in calls.iter_mut().filter(|(who, _)| who.member == member) {
                *allowed += by;
            }
        }
    }

    fn ended(&mut self, _plan: &Plan, at: Duration, who: Who, poll: bool, complaints: &mut Complaints) {
        let (calls, name, slack) =
            if poll { (&mut self.polls, "poll", 50) } else { (&mut self.closes, "close", 100) };
        if let Some((began, allowed)) = calls.remove(&who) {
            let took = at - began;
            if took > allowed + Duration::from_millis(slack) {
                let text = format!("{who}: {name} took {} ms of {}", took.as_millis(), allowed.as_millis());
                complaints.add("L7", at, text);
            }
        }
    }
}
