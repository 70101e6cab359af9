//! The output of the demo: a screen on a terminal, plain lines elsewhere, JSON on request.

use std::{fs, io::IsTerminal, path::PathBuf, time::Duration};

use serde_json::json;

use super::{
    dashboard::{Dashboard, MemberStatus, ranges},
    screen::{self, Canvas, Terminal},
    text::{grouped, seconds},
};
use crate::{failure::Failure, output::Output};

const LINE_EVERY: Duration = Duration::from_secs(1);
const OBJECT_EVERY: Duration = Duration::from_millis(500);
/// The size of a picture.
const PICTURE: (usize, usize) = (92, 28);

/// Where a picture is written, and when it is taken.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) to: PathBuf,
    pub(super) at: Duration,
}

enum Shape {
    Screen(Terminal),
    Lines { output: Output, said: usize },
    Json(Output),
}

pub(super) struct Display {
    shape: Shape,
    /// When the next line or object is due.
    due: Duration,
    picture: Option<Picture>,
}

impl Display {
    pub(super) fn new(json: bool, picture: Option<Picture>) -> Result<Self, Failure> {
        let shape = match json {
            true => Shape::Json(Output::stdout()),
            false if is_dumb() => Shape::Lines { output: Output::stdout(), said: 0 },
            false => Shape::Screen(Terminal::open(colour())?),
        };
        Ok(Self { shape, due: Duration::ZERO, picture })
    }

    pub(super) fn show(&mut self, dashboard: &Dashboard) -> Result<(), Failure> {
        if let Some(picture) = self.picture.take_if(|picture| dashboard.at >= picture.at) {
            take(dashboard, &picture)?;
        }
        match &mut self.shape {
            Shape::Screen(terminal) => {
                let mut canvas = terminal.canvas();
                screen::draw(dashboard, &mut canvas);
                terminal.show(canvas)?;
            }
            Shape::Lines { output, said } => {
                let new = dashboard.lines.saturating_sub(*said);
                *said = dashboard.lines;
                let skip = dashboard.log.len().saturating_sub(new);
                for line in dashboard.log.iter().skip(skip) {
                    push(output, &format!("{:>7}  {}", seconds(line.at), line.text));
                }
                if dashboard.at >= self.due {
                    self.due = dashboard.at + LINE_EVERY;
                    push(output, &status(dashboard));
                }
                output.flush()?;
            }
            Shape::Json(output) => {
                if dashboard.at >= self.due {
                    self.due = dashboard.at + OBJECT_EVERY;
                    output.json(&object(dashboard));
                    output.flush()?;
                }
            }
        }
        Ok(())
    }
}

/// Whether there is no terminal that can move its cursor.
fn is_dumb() -> bool {
    !std::io::stdout().is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn take(dashboard: &Dashboard, picture: &Picture) -> Result<(), Failure> {
    let mut canvas = Canvas::new(PICTURE.0, PICTURE.1);
    screen::draw(dashboard, &mut canvas);
    fs::write(&picture.to, screen::svg(&canvas, "offtake demo"))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", picture.to.display())))
}

fn push(output: &mut Output, line: &str) {
    output.buffer().extend_from_slice(line.as_bytes());
    output.buffer().push(b'\n');
}

fn status(dashboard: &Dashboard) -> String {
    let totals = dashboard.totals;
    let mut line = format!(
        "{:>7}  produced {} ({}/s)  handled {} ({}/s)  lag {}  retried {}  dead letters {} ",
        seconds(dashboard.at),
        grouped(totals.produced),
        grouped(dashboard.produced.rate()),
        grouped(dashboard.handled.total),
        grouped(dashboard.handled.rate()),
        grouped(totals.waiting()),
        grouped(totals.retried),
        grouped(totals.dead_lettered),
    );
    for (index, member) in dashboard.members.iter().enumerate() {
        if member.status != MemberStatus::Gone {
            let owned = dashboard.owned(index);
            let owned = if owned.is_empty() { "-".to_owned() } else { ranges(&owned) };
            line.push_str(&format!(" | {}: {owned}", member.name));
        }
    }
    line
}

fn object(dashboard: &Dashboard) -> serde_json::Value {
    let totals = dashboard.totals;
    let members: Vec<_> = (0..)
        .zip(&dashboard.members)
        .filter(|(_, member)| member.status != MemberStatus::Gone)
        .map(|(index, member)| {
            json!({
                "member": member.name,
                "partitions": dashboard.owned(index),
                "handled": member.handled.total,
                "records_per_second": member.handled.rate(),
            })
        })
        .collect();
    json!({
        "at": u64::try_from(dashboard.at.as_millis()).unwrap_or(u64::MAX),
        "produced": totals.produced,
        "processed": totals.processed,
        "dead_lettered": totals.dead_lettered,
        "retried": totals.retried,
        "repeated": totals.repeated,
        "lag": totals.waiting(),
        "rebalances": dashboard.rebalances(),
        "lag_by_partition": dashboard.partitions.iter().map(|partition| partition.lag).collect::<Vec<_>>(),
        "members": members,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dashboard() -> Dashboard {
        let mut dashboard = Dashboard::new(3, Duration::from_secs(15), "127.0.0.1:9".to_owned());
        for (name, owned) in [("member-1", &[0, 1][..]), ("member-2", &[2])] {
            let member = dashboard.joins(name.to_owned());
            dashboard.assigned(member, owned, Some(1));
        }
        dashboard.at = Duration::from_millis(2500);
        dashboard.totals.produced = 1200;
        dashboard.totals.processed = 1000;
        dashboard
    }

    #[test]
    fn a_line_shows_the_progress_and_the_owners() {
        let line = status(&dashboard());
        assert!(line.contains("produced 1,200 (0/s)") && line.contains("lag 200"), "{line}");
        assert!(line.ends_with("| member-1: 0-1 | member-2: 2"), "{line}");
    }

    #[test]
    fn an_object_shows_the_same_without_members_that_have_left() {
        let mut dashboard = dashboard();
        dashboard.set_status(0, MemberStatus::Gone);
        let object = object(&dashboard);
        assert_eq!(
            (&object["at"], &object["lag"], &object["rebalances"]),
            (&json!(2500), &json!(200), &json!(1))
        );
        let members = object["members"].as_array().unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0]["partitions"], json!([2]));
    }
}
