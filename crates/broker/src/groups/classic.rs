//! The classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use kafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};

use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_join_group(&mut self, _context: &Context, _request: JoinGroupRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_sync_group(&mut self, _context: &Context, _request: SyncGroupRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_heartbeat(&mut self, _context: &Context, _request: HeartbeatRequest) -> Reply {
        Reply::Close
    }

    pub(crate) fn handle_leave_group(&mut self, _context: &Context, _request: LeaveGroupRequest) -> Reply {
        Reply::Close
    }
}

/// The members of a group of the classic protocol.
#[derive(Debug, Default)]
pub(crate) struct Classic {}
