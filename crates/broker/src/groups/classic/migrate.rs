//! Converts a classic group into one of the consumer protocol, and back (KIP-848, migration).

use std::time::Instant;

use kafka_protocol::{error::ResponseError, protocol::StrBytes};

use super::{Classic, Member, State, join, sync};
use crate::{
    groups::consumer::{MigratingMember, Migration},
    model::Model,
};

impl Classic {
    /// The whole state of this group, for its conversion to the consumer protocol.
    pub(crate) fn migration(&self) -> Option<Migration> {
        let text = |name: &StrBytes| name.as_str().to_owned();
        let migrating = |(id, member): (&String, &Member)| MigratingMember {
            id: id.clone(),
            instance: member.instance.as_ref().map(text),
            client_id: text(&member.client_id),
            client_host: text(&member.client_host),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member
                .protocols
                .iter()
                .map(|(name, metadata)| (text(name), metadata.clone()))
                .collect(),
            assignment: member.assignment.clone(),
        };
        Some(Migration {
            protocol_type: self.protocol_type.as_ref().map(text),
            protocol: self.protocol.as_ref().map(text),
            generation: self.generation,
            members: self.members.iter().map(migrating).collect(),
        })
    }

    /// A stable group of these members, whose sessions begin now; the first leads.
    pub(crate) fn from_migration(migration: Migration, now: Instant) -> Option<Self> {
        let text = StrBytes::from_string;
        let mut classic = Self {
            state: State::Stable,
            generation: migration.generation,
            protocol_type: migration.protocol_type.map(text),
            leader: Some(migration.members.first()?.id.clone()),
            ..Self::default()
        };
        for migrating in migration.members {
            if let Some(instance) = &migrating.instance {
                classic.statics.insert(instance.clone(), migrating.id.clone());
            }
            let protocols = migrating.protocols.into_iter();
            let member = Member {
                instance: migrating.instance.map(text),
                client_id: text(migrating.client_id),
                client_host: text(migrating.client_host),
                rebalance_timeout: migrating.rebalance_timeout,
                session_timeout: migrating.session_timeout,
                protocols: protocols.map(|(name, metadata)| (text(name), metadata)).collect(),
                assignment: migrating.assignment,
                new: false,
                expires: Some(now + migrating.session_timeout),
                join: None,
                sync: None,
            };
            classic.members.insert(migrating.id, member);
        }
        classic.protocol = classic.select_protocol();
        classic.subscribed = classic.read_subscriptions();
        classic.store();
        Some(classic)
    }
}

impl Model {
    /// The classic group is about to be replaced: refuses pending joins and syncs, so that clients try them again.
    pub(crate) fn abandon_classic_calls(&mut self, group: &str) {
        let again = ResponseError::RebalanceInProgress;
        self.turn(group, |classic, turn| {
            for (id, member) in &mut classic.members {
                if let Some(waiting) = member.join.take() {
                    turn.answer_join(waiting, join::refused(id, again));
                }
                if let Some(waiting) = member.sync.take() {
                    turn.answer_sync(waiting, sync::refused(again));
                }
            }
        });
    }

    /// Rebalances the classic group of this name, which has lost or changed a member.
    pub(crate) fn rebalance_downgraded(&mut self, group: &str) {
        self.turn(group, Classic::rebalance);
    }
}
