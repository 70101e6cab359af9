//! LeaveGroup, v0 to v5: one member, or from v3 on several; an administrator may name static members without their
//! member ids.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        LeaveGroupRequest, LeaveGroupResponse, leave_group_request::MemberIdentity,
        leave_group_response::MemberResponse,
    },
};

use super::{Classic, Turn};
use crate::{
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_leave_group(&mut self, context: &Context, request: LeaveGroupRequest) -> Reply {
        let group = request.group_id.as_str().to_owned();
        if let Err(error) = self.check_leave(context, &group) {
            let code = self.refusal(context, error);
            return LeaveGroupResponse::default().with_error_code(code).into();
        }
        if self.is_of_consumer_protocol(&group) {
            return self.classic_leave_to_consumer(context, &request).into();
        }
        let leaving = if context.version >= 3 {
            request.members
        } else {
            vec![MemberIdentity::default().with_member_id(request.member_id)]
        };
        let unknown = |who: &MemberIdentity| answer(who, Err(ResponseError::UnknownMemberId));
        let members = self
            .turn(&group, |classic, turn| classic.leave(&leaving, turn))
            .unwrap_or_else(|| leaving.iter().map(unknown).collect());
        for member in &members {
            if let Some(error) = ResponseError::try_from_code(member.error_code) {
                self.refusal(context, error);
            }
        }
        if context.version >= 3 {
            return LeaveGroupResponse::default().with_members(members).into();
        }
        let code = members.first().map_or(0, |member| member.error_code);
        LeaveGroupResponse::default().with_error_code(code).into()
    }

    fn check_leave(&mut self, context: &Context, group: &str) -> Result<(), ResponseError> {
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_coordinator(context, group)
    }
}

impl Classic {
    fn leave(&mut self, leaving: &[MemberIdentity], turn: &mut Turn<'_>) -> Vec<MemberResponse> {
        let mut answers = Vec::new();
        let mut any = false;
        for who in leaving {
            let left = self.leave_one(who, turn);
            any |= left.is_ok();
            answers.push(answer(who, left));
        }
        if any && !self.is_empty() {
            self.rebalance(turn);
        }
        answers
    }

    fn leave_one(&mut self, who: &MemberIdentity, turn: &mut Turn<'_>) -> Result<(), ResponseError> {
        let instance = who.group_instance_id.as_deref();
        if who.member_id.is_empty() {
            let id = instance.and_then(|instance| self.statics.get(instance)).cloned();
            self.drop_member(&id.ok_or(ResponseError::UnknownMemberId)?, "left", turn);
        } else if self.pending.remove(who.member_id.as_str()).is_none() {
            self.check_member(&who.member_id, instance)?;
            self.drop_member(&who.member_id, "left", turn);
        }
        Ok(())
    }
}

fn answer(who: &MemberIdentity, left: Result<(), ResponseError>) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(who.member_id.clone())
        .with_group_instance_id(who.group_instance_id.clone())
        .with_error_code(left.err().map_or(0, |error| error.code()))
}
