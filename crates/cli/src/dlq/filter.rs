//! The selection of dead letters.

use regex::Regex;

use super::letter::Letter;
use crate::{args::Letters, consume::filter::Finder, failure::Failure};

/// All conditions have to hold.
pub(super) struct Filter {
    reason: Option<Regex>,
    from_topics: Vec<String>,
    key: Option<Finder>,
    since: Option<i64>,
    until: Option<i64>,
}

impl Filter {
    pub(super) fn of(args: &Letters) -> Result<Self, Failure> {
        Ok(Self {
            reason: args.reason.clone(),
            from_topics: args.from_topics.clone(),
            key: args.key_contains.as_deref().map(Finder::new).transpose()?,
            since: args.since,
            until: args.until,
        })
    }

    /// Whether a letter passes. One that lacks a field of a condition does not.
    pub(super) fn passes(&self, letter: &Letter<'_>) -> bool {
        let origin = &letter.origin;
        let failed_at = letter.failed_at();
        self.reason
            .as_ref()
            .is_none_or(|wanted| wanted.is_match(origin.reason.as_deref().unwrap_or_default()))
            && (self.from_topics.is_empty()
                || origin.topic.as_ref().is_some_and(|topic| self.from_topics.contains(topic)))
            && self.key.as_ref().is_none_or(|wanted| wanted.is_in(letter.record.key()))
            && self.since.is_none_or(|since| failed_at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| failed_at.is_some_and(|at| at < until))
    }
}
