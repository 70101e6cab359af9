//! [`Reachability`]: whether the cluster and its coordinator respond, and what to report of it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use offtake_fetch::BrokerError;
use offtake_machine::{BrokerId, CallError};

#[derive(Debug, Default)]
pub(super) struct Reachability {
    /// Consecutive failures to reach the brokers, until one succeeds.
    trouble: Option<Trouble>,
    /// The brokers for which a log line says that fetching fails.
    failing_fetches: BTreeSet<BrokerId>,
    /// Whether a broker has ever responded.
    ever: bool,
    new_brokers: VecDeque<(BrokerId, String, u16)>,
    wants_rebootstrap: bool,
    has_new_cluster: bool,
    search: CoordinatorSearch,
}

#[derive(Debug)]
struct Trouble {
    /// The last failure.
    last: CallError,
    /// Whether waiting would not end one of them.
    was_hopeless: bool,
    /// Whether they were logged (WARN).
    is_logged: bool,
}

/// Whether the group's coordinator is being looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CoordinatorSearch {
    /// It is known, or not needed.
    #[default]
    Over,
    Since(Instant),
    /// For so long that it was reported.
    Told,
}

/// What to report of the search for the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoordinatorNews {
    Missing,
    Found,
}

/// How long the coordinator is looked for before that is reported. For the very first member of any group,
/// the cluster has to create `__consumer_offsets`.
const REPORT_AFTER: Duration = Duration::from_secs(5);

impl Reachability {
    pub(super) fn answered(&mut self) {
        self.ever = true;
    }

    /// Notes that metadata has arrived. True if that ends a series of failures.
    pub(super) fn cluster_is_known(&mut self) -> bool {
        self.ever = true;
        self.has_new_cluster = true;
        let Some(trouble) = self.trouble.take() else { return false };
        if trouble.is_logged {
            tracing::info!("the cluster answers again");
        }
        true
    }

    /// Logs the first failure of a series. A connection that broke or could not be made has been logged
    /// already, by its address: a dead broker needs no other line, unless no broker has ever responded.
    pub(super) fn log_failure(&mut self, error: &CallError) {
        if self.ever && is_logged_by_address(error) {
            tracing::debug!(%error, "the cluster cannot be asked for metadata; trying again");
        } else {
            tracing::warn!(%error, "the cluster cannot be asked for metadata; trying again");
            self.logged();
        }
    }

    /// Notes that the failures were logged; their end is logged too.
    pub(super) fn logged(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.is_logged = true;
        }
    }

    /// The same for a broker that is fetched from.
    pub(super) fn log_fetch_failure(&mut self, broker: BrokerId, error: &BrokerError) {
        if matches!(error, BrokerError::Call(error) if is_logged_by_address(error)) {
            tracing::debug!(%broker, %error, "fetching fails; trying again");
        } else {
            tracing::warn!(%broker, %error, "fetching fails; trying again");
            self.failing_fetches.insert(broker);
        }
    }

    pub(super) fn log_fetch_recovery(&mut self, broker: BrokerId) {
        if self.failing_fetches.remove(&broker) {
            tracing::info!(%broker, "fetching from this broker no longer fails");
        } else {
            tracing::debug!(%broker, "fetching from this broker no longer fails");
        }
    }

    /// True if this is to be reported: the first failure of a series, and its first one that waiting cannot
    /// end.
    pub(super) fn fails(&mut self, error: CallError) -> bool {
        let is_hopeless = self.is_permanent(&error);
        match &mut self.trouble {
            Some(trouble) => {
                trouble.last = error;
                is_hopeless && !std::mem::replace(&mut trouble.was_hopeless, true)
            }
            None => {
                self.trouble = Some(Trouble { last: error, was_hopeless: is_hopeless, is_logged: false });
                true
            }
        }
    }

    /// The application begins anew: trouble that will not go away by waiting is news once more.
    pub(super) fn tell_again(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.was_hopeless = false;
        }
    }

    pub(super) fn trouble(&self) -> Option<&CallError> {
        self.trouble.as_ref().map(|trouble| &trouble.last)
    }

    /// Whether waiting cannot end the failures.
    pub(super) fn is_hopeless(&self) -> bool {
        self.trouble().is_some_and(|error| self.is_permanent(error))
    }

    fn is_permanent(&self, error: &CallError) -> bool {
        match error {
            // `offtake_net` knows which connections were accepted, and for how long none has been.
            CallError::Authentication { is_final, .. } => *is_final,
            error => !self.ever && !error.is_retriable(),
        }
    }

    /// Decides whether a needed coordinator is missing. A cluster that does not respond at all is reported as
    /// such instead.
    pub(super) fn coordinator_is_missing(
        &mut self,
        now: Instant,
        is_missing: bool,
    ) -> Option<CoordinatorNews> {
        use CoordinatorSearch::{Over, Since, Told};
        let since_is_long = |since| now.saturating_duration_since(since) >= REPORT_AFTER;
        let (search, news) = match (self.search, is_missing) {
            (Over, true) => (Since(now), None),
            // An unreachable cluster can name no coordinator: the time counts from when it is reachable
            // again.
            (Since(_), true) if self.trouble.is_some() => (Since(now), None),
            (Since(since), true) if since_is_long(since) => (Told, Some(CoordinatorNews::Missing)),
            (same, true) => (same, None),
            (Told, false) => (Over, Some(CoordinatorNews::Found)),
            (Over | Since(_), false) => (Over, None),
        };
        self.search = search;
        news
    }

    /// When the search will have taken long. During failures to reach the cluster there is no such time.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.search {
            CoordinatorSearch::Since(since) if self.trouble.is_none() => since.checked_add(REPORT_AFTER),
            CoordinatorSearch::Since(_) | CoordinatorSearch::Over | CoordinatorSearch::Told => None,
        }
    }

    pub(super) fn found(&mut self, broker: BrokerId, host: String, port: u16) {
        self.new_brokers.push_back((broker, host, port));
    }

    pub(super) fn next_found(&mut self) -> Option<(BrokerId, String, u16)> {
        self.new_brokers.pop_front()
    }

    pub(super) fn rebootstrap(&mut self) {
        self.wants_rebootstrap = true;
    }

    pub(super) fn take_rebootstrap(&mut self) -> bool {
        std::mem::take(&mut self.wants_rebootstrap)
    }

    pub(super) fn take_new_cluster(&mut self) -> bool {
        std::mem::take(&mut self.has_new_cluster)
    }
}

/// Whether the connection's own log line (`offtake_net`) covers it: the connection broke, or could not be
/// made.
fn is_logged_by_address(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Unreachable { .. } | CallError::Authentication { .. } | CallError::Disconnected { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(not_kafka: bool) -> CallError {
        CallError::Unreachable { address: "localhost:1".to_owned(), reason: "no".to_owned(), not_kafka }
    }

    #[test]
    fn a_coordinator_that_is_not_found_is_told_once_until_it_is() {
        let mut reach = Reachability::default();
        let began = crate::clock::now();
        let mut look = |seconds, is_missing| {
            let news = reach.coordinator_is_missing(began + Duration::from_secs(seconds), is_missing);
            (news, reach.poll_timeout().map(|at| (at - began).as_secs()))
        };
        assert_eq!(look(0, true), (None, Some(5)));
        assert_eq!(look(4, false), (None, None), "found in time");
        assert_eq!(look(10, true), (None, Some(15)));
        assert_eq!(look(14, true), (None, Some(15)));
        assert_eq!(look(15, true), (Some(CoordinatorNews::Missing), None));
        assert_eq!(look(60, true), (None, None), "once");
        assert_eq!(look(61, false), (Some(CoordinatorNews::Found), None));
        assert_eq!(look(62, false), (None, None));
        reach.fails(unreachable(false));
        reach.coordinator_is_missing(began, true);
        assert_eq!(reach.poll_timeout(), None);
        assert_eq!(reach.coordinator_is_missing(began + REPORT_AFTER, true), None, "nothing is reached");
        reach.cluster_is_known();
        assert_eq!(reach.poll_timeout(), Some(began + 2 * REPORT_AFTER), "and is not late at once");
    }

    #[test]
    fn trouble_that_will_not_go_away_is_news_behind_trouble_that_may() {
        let mut reach = Reachability::default();
        assert!(reach.fails(unreachable(false)));
        assert!(!reach.fails(unreachable(false)), "the same again");
        assert!(reach.fails(unreachable(true)));
        assert!(reach.is_hopeless());
        assert!(!reach.fails(unreachable(false)));
        assert!(!reach.fails(unreachable(true)), "two servers, of which one is no broker");
        reach.tell_again();
        assert!(!reach.fails(unreachable(false)), "that may go away");
        assert!(reach.fails(unreachable(true)), "to who has begun anew");
        assert!(!reach.fails(unreachable(true)));
        assert!(reach.cluster_is_known());
        assert!(reach.fails(unreachable(true)), "the first of another series");
        assert!(!reach.is_hopeless(), "a broker has answered before");
    }
}
