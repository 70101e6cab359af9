//! The assignors that a member of a classic group offers: `partition.assignment.strategy`, and the
//! application's own.

use std::sync::Arc;

use offtake_group::{Assignor, BuiltIn, Strategy};

use super::{AssignmentStrategy, Config, ConfigError, GroupProtocol};

impl Config {
    /// The assignors by preference: those that `partition.assignment.strategy` lists, including the
    /// application's own where it names them. The application's others come first. If the property is not
    /// set, only the application's own are offered.
    pub(crate) fn assignors(&self, own: &[Arc<dyn Assignor>]) -> Result<Vec<Strategy>, ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        if !own.is_empty() && self.group_protocol == GroupProtocol::Consumer {
            return conflict(
                "an assignor of one's own cannot be used with `group.protocol=consumer`: the broker assigns there, \
                 as `group.remote.assignor` says"
                    .to_owned(),
            );
        }
        for (nth, assignor) in own.iter().enumerate() {
            let name = assignor.name();
            if name.is_empty() || BuiltIn::named(name).is_some() {
                return conflict(format!(
                    "an assignor of one's own cannot be named `{name}`: other clients would take it for Kafka's"
                ));
            }
            if own.iter().take(nth).any(|other| other.name() == name) {
                return conflict(format!("two assignors are named `{name}`: give each a name of its own"));
            }
        }
        let listed = &self.partition_assignment_strategy;
        let mut strategies = Vec::new();
        for strategy in listed {
            strategies.push(match strategy {
                AssignmentStrategy::Range => BuiltIn::Range.into(),
                AssignmentStrategy::RoundRobin => BuiltIn::RoundRobin.into(),
                AssignmentStrategy::Sticky => BuiltIn::Sticky.into(),
                AssignmentStrategy::CooperativeSticky => BuiltIn::CooperativeSticky.into(),
                AssignmentStrategy::Custom(name) => match own.iter().find(|own| own.name() == name) {
                    Some(own) => Strategy::Custom(Arc::clone(own)),
                    None => {
                        return conflict(format!(
                            "`partition.assignment.strategy` names `{name}`, which is not among Kafka's (`range`, \
                             `roundrobin`, `sticky`, `cooperative-sticky`) and has not been given to \
                             `Builder::assignor`"
                        ));
                    }
                },
            });
        }
        let named = |own: &dyn Assignor| {
            listed
                .iter()
                .any(|strategy| matches!(strategy, AssignmentStrategy::Custom(name) if name == own.name()))
        };
        let unnamed: Vec<_> = own.iter().filter(|own| !named(own.as_ref())).cloned().collect();
        let is_set = self.is_given("partition.assignment.strategy")
            || *listed != Self::default().partition_assignment_strategy;
        if !unnamed.is_empty() && !is_set {
            strategies.clear();
        }
        strategies.splice(0..0, unnamed.into_iter().map(Strategy::Custom));
        Ok(strategies)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use offtake_group::assignor::{MemberAssignment, Members, Partitions};

    use super::*;

    struct Named(&'static str);

    impl Assignor for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn assign(&self, _: &Partitions, _: &Members) -> BTreeMap<String, MemberAssignment> {
            BTreeMap::new()
        }
    }

    fn names(strategy: Option<&str>, own: &[&'static str]) -> Result<Vec<String>, String> {
        let mut config = Config::default();
        if let Some(strategy) = strategy {
            config.set("partition.assignment.strategy", strategy).unwrap();
        }
        let own: Vec<Arc<dyn Assignor>> =
            own.iter().map(|name| Arc::new(Named(name)) as Arc<dyn Assignor>).collect();
        let assignors = config.assignors(&own).map_err(|error| error.to_string())?;
        Ok(assignors.iter().map(|assignor| assignor.name().to_owned()).collect())
    }

    #[test]
    fn ones_own_assignors_join_the_list_by_name() {
        let listed = |strategy, own: &[&'static str]| names(strategy, own).unwrap().join(" ");
        assert_eq!(listed(None, &[]), "range cooperative-sticky");
        assert_eq!(listed(None, &["near", "far"]), "near far", "alone, unless the list is set");
        assert_eq!(listed(Some("cooperative-sticky"), &["near"]), "near cooperative-sticky", "first");
        assert_eq!(listed(Some("range,near,sticky"), &["near"]), "range near sticky", "at its place");
        assert_eq!(listed(Some("range,near"), &["far", "near"]), "far range near");
        assert_eq!(listed(Some("near"), &["near"]), "near");
    }

    #[test]
    fn an_assignor_that_cannot_be_meant_is_refused() {
        let refused = |strategy, own: &[&'static str]| names(strategy, own).unwrap_err();
        assert!(refused(Some("range,nosuch"), &[]).contains("names `nosuch`"));
        assert!(refused(None, &["sticky"]).contains("named `sticky`"));
        assert!(refused(None, &["near", "near"]).contains("two assignors are named `near`"));
        let config = Config { group_protocol: GroupProtocol::Consumer, ..Config::default() };
        let own: Arc<dyn Assignor> = Arc::new(Named("near"));
        assert!(config.assignors(&[own]).unwrap_err().to_string().contains("group.protocol=consumer"));
    }
}
