//! `offtake demo`: a cluster in the box, a topic of orders, and a group that reads it.
//!
//! `run` is what happens, `script` when; `member` reads. `ledger` is the history of every record, `dashboard` the
//! present state; `display` and `screen` show it.

mod dashboard;
mod display;
mod ledger;
mod member;
mod orders;
mod run;
pub(crate) mod screen;
mod script;
mod source;
mod text;
mod verify;

use std::time::Duration;

use crate::{
    args::{Common, Demo},
    failure::Failure,
    output::Output,
    stop::Stop,
};
use display::{Display, Picture};
use ledger::Summary;
use run::{DemoRun, Ending};
use text::{count, grouped, seconds};

const ORDERS: &str = "orders";
const DEAD_LETTERS: &str = "orders.dlq";
const GROUP: &str = "demo";
const PARTITIONS: i32 = 12;

pub(crate) async fn run(common: &Common, args: Demo) -> Result<(), Failure> {
    let mut stop = Stop::listen_with_exit_hook(screen::restore)?;
    let length = Duration::from_secs(args.seconds);
    let at = match args.screenshot_at.map(Duration::try_from_secs_f64) {
        None => length.mul_f64(0.42),
        Some(Ok(at)) => at,
        Some(Err(error)) => return Err(Failure::Usage(format!("--screenshot-at: {error}"))),
    };
    let picture = args.screenshot.map(|to| Picture { to, at });
    let run = DemoRun::begin(length).await?;
    let mut display = Display::new(common.json, picture)?;
    let played = run.run(&mut display, &mut stop).await;
    drop(display); // the rest belongs on the normal screen
    let ending = played?;
    let summary = ending.ledger.summary(ending.dashboard.rebalances());
    let mut output = Output::stdout();
    if common.json {
        output.json(&serde_json::to_value(summary).unwrap_or_default());
    } else {
        output.buffer().extend_from_slice(summary_text(&ending, &summary, display::colour()).as_bytes());
    }
    output.flush()?;
    check_result(&ending, &summary)
}

/// The summary for people.
fn summary_text(ending: &Ending, summary: &Summary, colour: bool) -> String {
    let (bold, good, bad, faint, plain) = if colour {
        ("\x1b[1m", "\x1b[32m", "\x1b[31m", "\x1b[38;5;244m", "\x1b[0m")
    } else {
        ("", "", "", "", "")
    };
    let mut text = format!(
        "{bold}offtake demo{plain}  {}, {}, {}\n\n",
        seconds(ending.dashboard.at),
        count(ending.dashboard.members.len(), "member"),
        count(usize::try_from(summary.rebalances).unwrap_or(0), "rebalance"),
    );
    let committed = match ending.behind {
        0 => "and the group has committed all of it".to_owned(),
        behind => format!("{} are not committed and would be read again", grouped(behind)),
    };
    for (label, figure, note) in [
        ("produced", summary.produced, format!("to {ORDERS}, {PARTITIONS} partitions")),
        ("processed", summary.processed, committed),
        (
            "dead-lettered",
            summary.dead_lettered,
            format!("found in {DEAD_LETTERS}, with their bytes and their origin"),
        ),
        ("retried", summary.retried, "attempts after the first".to_owned()),
        ("repeated", summary.repeated, "handled although it had been before".to_owned()),
        ("lost", summary.lost, "by the ledger, offset by offset".to_owned()),
    ] {
        text.push_str(&format!("  {label:<14}{bold}{:>10}{plain}   {faint}{note}{plain}\n", grouped(figure)));
    }
    let sum = format!(
        "{} produced {} {} processed + {} dead-lettered",
        grouped(summary.produced),
        if summary.lost == 0 { "=" } else { "≠" },
        grouped(summary.processed),
        grouped(summary.dead_lettered)
    );
    text.push_str(&match summary.lost {
        0 => format!("\n{good}✓{plain} {sum}, none lost\n"),
        lost => format!("\n{bad}✗{plain} {sum}, {} lost\n", grouped(lost)),
    });
    text
}

fn check_result(ending: &Ending, summary: &Summary) -> Result<(), Failure> {
    let strange = ending.ledger.totals().strange;
    match (summary.lost, strange) {
        (0, 0) => Ok(()),
        (0, strange) => Err(Failure::failed(format!(
            "{} came back with other bytes than were produced",
            count(usize::try_from(strange).unwrap_or(usize::MAX), "record")
        ))),
        (lost, _) => Err(Failure::failed(format!(
            "{} of {} records were lost between {ORDERS} and the group; -v shows what the client went through",
            grouped(lost),
            grouped(summary.produced)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashboard::Dashboard;
    use ledger::{Ledger, Outcome};

    /// Two records, of which the group handled `handled`.
    fn ending(handled: i64) -> Ending {
        let mut ledger = Ledger::new(1);
        for offset in 0..2 {
            ledger.produced(0, offset, 7);
        }
        for offset in 0..handled {
            ledger.handled(0, offset, 7, Outcome::Processed);
        }
        Ending { dashboard: Dashboard::new(1, Duration::from_secs(3), String::new()), ledger, behind: 0 }
    }

    #[test]
    fn a_lost_record_is_said_and_fails_the_demo() {
        let ending = ending(1);
        let summary = ending.ledger.summary(0);
        assert!(
            summary_text(&ending, &summary, false)
                .contains("2 produced ≠ 1 processed + 0 dead-lettered, 1 lost")
        );
        let failure = check_result(&ending, &summary).unwrap_err();
        assert!(failure.to_string().starts_with("1 of 2 records were lost"), "{failure}");
    }

    #[test]
    fn a_strange_record_fails_it_too() {
        let mut ending = ending(2);
        ending.ledger.handled(0, 1, 8, Outcome::Processed);
        let failure = check_result(&ending, &ending.ledger.summary(0)).unwrap_err();
        assert!(failure.to_string().contains("other bytes"), "{failure}");
    }

    #[test]
    fn without_loss_the_sum_is_right_and_it_succeeds() {
        let ending = ending(2);
        let summary = ending.ledger.summary(0);
        assert!(
            summary_text(&ending, &summary, false)
                .contains("2 produced = 2 processed + 0 dead-lettered, none lost")
        );
        assert!(check_result(&ending, &summary).is_ok());
    }
}
