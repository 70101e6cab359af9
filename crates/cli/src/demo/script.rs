//! The schedule: when members join and leave, and how many orders there are. It depends on time alone.

use std::{collections::VecDeque, f64::consts::TAU, time::Duration};

/// The length of the story; a longer demo repeats it.
const SCRIPT_LENGTH: Duration = Duration::from_secs(15);
/// The most orders before the first member reads.
const FIRST_ORDERS: u64 = 2500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Another member joins the group.
    Join,
    /// The oldest member leaves.
    Leave,
}

/// The schedule of the whole demo.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) length: Duration,
    actions: VecDeque<(Duration, Action)>,
    story: Duration,
}

impl Script {
    pub(super) fn new(length: Duration) -> Self {
        let stories = u32::try_from(length.as_secs() / SCRIPT_LENGTH.as_secs()).unwrap_or(u32::MAX).max(1);
        let story = length / stories;
        let mut actions = VecDeque::from([(Duration::ZERO, Action::Join), (Duration::ZERO, Action::Join)]);
        for number in 0..stories {
            let begins = story.saturating_mul(number);
            actions.push_back((begins + story.mul_f64(0.36), Action::Join));
            actions.push_back((begins + story.mul_f64(0.66), Action::Leave));
        }
        Self { length, actions, story }
    }

    /// How many orders there are before the first member reads.
    pub(super) fn first_orders(&self) -> u32 {
        u32::try_from(self.length.as_secs().saturating_mul(170).min(FIRST_ORDERS)).unwrap_or(0)
    }

    /// The next action that is due.
    pub(super) fn action(&mut self, at: Duration) -> Option<Action> {
        let due = self.actions.front().is_some_and(|(due, _)| *due <= at);
        if due { self.actions.pop_front().map(|(_, action)| action) } else { None }
    }

    /// When the producer stops, so that all records are read by the end.
    pub(super) fn produce_until(&self) -> Duration {
        self.length.saturating_sub((self.length / 5).min(Duration::from_millis(2200)))
    }

    /// Orders per second: a rush that two members cannot keep up with, in time for the third, and smaller waves.
    pub(super) fn demand(&self, at: Duration) -> f64 {
        let story = self.story.as_secs_f64().max(0.001);
        let phase = (at.as_secs_f64() / story).fract();
        let rush = (-((phase - 0.32) / 0.10).powi(2)).exp();
        let waves = 0.5 * (TAU * phase * 2.7).sin() + 0.5 * (TAU * phase * 6.1 + 1.0).sin();
        820.0 + 1900.0 * rush + 160.0 * waves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(seconds: u64) -> Vec<Action> {
        let length = Duration::from_secs(seconds);
        let mut script = Script::new(length);
        std::iter::from_fn(|| script.action(length)).collect()
    }

    #[test]
    fn two_members_join_a_third_comes_and_one_leaves() {
        assert_eq!(actions(15), [Action::Join, Action::Join, Action::Join, Action::Leave]);
        assert_eq!(actions(3), [Action::Join, Action::Join, Action::Join, Action::Leave]);
    }

    #[test]
    fn a_long_demo_tells_the_story_again() {
        assert_eq!(actions(60).len(), 2 + 4 * 2);
    }

    #[test]
    fn nothing_happens_before_its_time() {
        let mut script = Script::new(Duration::from_secs(15));
        let now = std::iter::from_fn(|| script.action(Duration::from_secs(5))).count();
        assert_eq!(now, 2);
        assert_eq!(script.action(Duration::from_millis(5500)), Some(Action::Join));
    }

    #[test]
    fn demand_varies_between_a_few_hundred_and_a_few_thousand() {
        let script = Script::new(Duration::from_secs(15));
        let demands: Vec<f64> =
            (0..150).map(|tenth| script.demand(Duration::from_millis(tenth * 100))).collect();
        assert!(demands.iter().all(|demand| (500.0..3000.0).contains(demand)), "{demands:?}");
        assert!(
            demands.iter().any(|demand| *demand > 2000.0) && demands.iter().any(|demand| *demand < 1000.0)
        );
    }
}
