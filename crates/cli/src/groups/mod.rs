//! `offtake groups`: lists groups, and shows their members, the owned partitions and the committed offsets.

mod describe;
mod file;
mod idle;
mod plan;
mod reset;
mod scope;

use std::time::Duration;

use offtake_admin::Admin;
use serde_json::json;

pub(crate) use idle::check_idle;
pub(crate) use scope::Scope;

use crate::{
    args::{Common, Groups, GroupsCommand},
    failure::{self, Failure},
    output::Output,
    setup,
    text::table::{Sheet, visible},
};

pub(crate) async fn run(common: &Common, args: Groups) -> Result<(), Failure> {
    let config = setup::config(common)?;
    let limit = config.client.default_api_timeout;
    let mut admin = Admin::new(config)?;
    // The numbers of `describe` are read in several steps, none of which may use up the time of the others.
    if !matches!(args.what, GroupsCommand::Describe { .. }) {
        admin.within(limit);
    }
    let mut output = Output::stdout();
    let json = common.json;
    let done = match args.what {
        // It owns the client, and closes it.
        GroupsCommand::Describe { group } => {
            let done = describe::run(admin, limit, &group, json, &mut output).await;
            let written = output.flush().map_err(Failure::from);
            return done.and(written);
        }
        GroupsCommand::List => list(&mut admin, json, &mut output).await,
        GroupsCommand::Delete { groups } => delete(&mut admin, limit, groups, json, &mut output).await,
        GroupsCommand::Reset(reset) => reset::run(&mut admin, reset, json, &mut output).await,
    };
    admin.close().await;
    // Output from before a failure is printed all the same.
    let written = output.flush().map_err(Failure::from);
    done.and(written)
}

async fn list(admin: &mut Admin, json: bool, output: &mut Output) -> Result<(), Failure> {
    let groups = admin.list_groups().await?;
    let mut sheet = Sheet::new(&["group", "state", "type", "#coordinator"]);
    for group in groups {
        if json {
            output.json(&json!({
                "group": group.group, "state": group.state, "type": group.group_type,
                "coordinator": group.coordinator.0,
            }));
        } else {
            sheet.row([group.group, group.state, group.group_type, group.coordinator.0.to_string()]);
        }
    }
    if !json {
        output.sheet(&sheet);
    }
    Ok(())
}

/// How many groups are deleted within one `default.api.timeout.ms`: the coordinator of each is looked up.
const DELETED_AT_ONCE: usize = 20;

async fn delete(
    admin: &mut Admin,
    limit: Duration,
    mut groups: Vec<String>,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    groups.sort_unstable();
    groups.dedup();
    let (mut left_alone, mut failures, mut written) = (Vec::new(), Vec::new(), Ok(()));
    // A cluster that does not answer is waited for once; one of several coordinators, once for each of these chunks.
    let mut goes_on = true;
    for groups in groups.chunks(DELETED_AT_ONCE) {
        let alone = |group: &String| (group.clone(), Err(failure::left_alone(&format!("group `{group}`"))));
        let (all, failed) = match goes_on {
            true => (admin.delete_groups(groups).await, &mut failures),
            false => (groups.iter().map(alone).collect(), &mut left_alone),
        };
        goes_on = false;
        for (group, became) in all {
            if json {
                output.json(&json!({"group": group, "deleted": became.is_ok()}));
            } else if became.is_ok() {
                output.buffer().extend_from_slice(format!("deleted {}\n", visible(&group)).as_bytes());
            }
            goes_on |= !failure::took_too_long(&became);
            failed.extend(became.err());
        }
        // The rest is deleted also if nobody reads what was.
        if written.is_ok() {
            written = output.flush();
        }
        admin.within(limit);
    }
    // The last line is why.
    left_alone.extend(failures);
    failure::all_done(left_alone)?;
    Ok(written?)
}
