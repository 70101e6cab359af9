//! Derives the configuration of each machine.

use std::time::Instant;

use offtake_group::Strategy;
use offtake_machine::OffsetSpec;

use crate::command::ListAt;
use crate::config::{AutoOffsetReset, Config, GroupProtocol};

pub(super) fn fetch(config: &Config, seed: u64) -> offtake_fetch::Config {
    offtake_fetch::Config {
        min_bytes: clamped(config.fetch_min_bytes),
        max_bytes: clamped(config.fetch_max_bytes),
        max_partition_bytes: clamped(config.max_partition_fetch_bytes),
        max_wait: config.fetch_max_wait,
        isolation: config.isolation_level,
        rack: config.client.rack(),
        budget: config.fetch_buffer_max_bytes,
        request_timeout: config.client.request_timeout,
        replica_lease: config.client.metadata_max_age,
        check_crcs: config.check_crcs,
        backoff: config.client.backoff(),
        seed,
    }
}

fn clamped(bytes: u32) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

pub(super) fn offsets(config: &Config, seed: u64, wall: (Instant, i64)) -> offtake_offsets::Config {
    offtake_offsets::Config {
        group: config.group_id.clone(),
        reset: match config.auto_offset_reset {
            AutoOffsetReset::Earliest => offtake_offsets::ResetPolicy::Earliest,
            AutoOffsetReset::Latest => offtake_offsets::ResetPolicy::Latest,
            AutoOffsetReset::None => offtake_offsets::ResetPolicy::None,
            AutoOffsetReset::ByDuration(ago) => offtake_offsets::ResetPolicy::ByDuration(ago),
        },
        isolation: config.isolation_level,
        request_timeout: config.client.request_timeout,
        backoff: config.client.backoff(),
        wall,
        seed,
    }
}

pub(super) fn group(config: &Config, assignors: &[Strategy], seed: u64) -> offtake_group::Config {
    let group = config.group_id.clone().unwrap_or_default();
    offtake_group::Config {
        instance_id: config.group_instance_id.clone(),
        protocol: if config.group_protocol == GroupProtocol::Consumer {
            offtake_group::Protocol::Consumer { remote_assignor: config.group_remote_assignor.clone() }
        } else {
            offtake_group::Protocol::Classic
        },
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        rebalance_timeout: config.max_poll_interval,
        request_timeout: config.client.request_timeout,
        backoff: config.client.backoff(),
        assignors: assignors.to_vec(),
        rack: config.client.rack(),
        seed,
        ..offtake_group::Config::new(group)
    }
}

pub(super) fn list_spec(at: ListAt) -> OffsetSpec {
    match at {
        ListAt::Earliest => OffsetSpec::Earliest,
        ListAt::Latest => OffsetSpec::Latest,
        ListAt::Timestamp(at) => OffsetSpec::Timestamp(at),
    }
}
