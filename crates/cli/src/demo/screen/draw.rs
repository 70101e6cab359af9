//! Draws the dashboard on a canvas.

use std::{collections::VecDeque, time::Duration};

use super::canvas::{Canvas, Colour, Style};
use crate::demo::{
    dashboard::{Dashboard, Member, MemberStatus, Partition, Series},
    text::{count, grouped, seconds},
};

/// A member's colour; more members than colours share them.
const COLOURS: [Colour; 6] = [Colour(39), Colour(214), Colour(78), Colour(176), Colour(221), Colour(80)];
const BLACK: Colour = Colour(16);
/// The colour of a partition without owner.
const UNOWNED: Colour = Colour(238);
const ACCENT: Colour = Colour(44);
const RED: Colour = Colour(203);

/// The page is at most this wide, however wide the terminal is.
const WIDEST: usize = 100;
const LEFT: usize = 2;
/// The columns where partitions and sparklines begin.
const INDENT: usize = 14;
const SPARK: usize = INDENT + 16;
/// How long a partition is marked after its owner changed.
const FRESH: Duration = Duration::from_millis(1200);
/// The lag of a full bar.
const FULL_LAG: u64 = 250;
/// The number of members that are shown; those in the group come first.
const MEMBERS: usize = 3;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the whole page.
pub(crate) fn draw(dashboard: &Dashboard, canvas: &mut Canvas) {
    let right = canvas.width.min(WIDEST).saturating_sub(LEFT);
    head(dashboard, canvas, right);
    partitions(dashboard, canvas, right, 3);
    members(dashboard, canvas, right, 9);
    rates(dashboard, canvas, right, 10 + MEMBERS);
    totals(dashboard, canvas, 14 + MEMBERS);
    log(dashboard, canvas, 16 + MEMBERS);
}

fn head(dashboard: &Dashboard, canvas: &mut Canvas, right: usize) {
    let x = canvas.put(LEFT, 0, "offtake demo", Style::ink(ACCENT).bold());
    canvas.put(x + 2, 0, &format!("one group reads `orders` from {}", dashboard.broker), Style::FAINT);
    canvas.put_before(
        right,
        0,
        &format!("{} of {}", seconds(dashboard.at), seconds(dashboard.length)),
        Style::PLAIN,
    );
    let width = right.saturating_sub(LEFT);
    let gone =
        dashboard.at.min(dashboard.length).as_millis() * width as u128 / dashboard.length.as_millis().max(1);
    let gone = usize::try_from(gone).unwrap_or(width);
    let x = canvas.put(LEFT, 1, &"━".repeat(gone), Style::ink(ACCENT));
    canvas.put(x, 1, &"─".repeat(width.saturating_sub(gone)), Style::ink(UNOWNED));
}

fn partitions(dashboard: &Dashboard, canvas: &mut Canvas, right: usize, top: usize) {
    for (row, label) in ["partition", "owner", "", "lag"].into_iter().enumerate() {
        canvas.put(LEFT, top + row, label, Style::FAINT);
    }
    let room = right.saturating_sub(INDENT);
    let pitch = (room / dashboard.partitions.len().max(1)).clamp(4, 8);
    let wide = pitch - 1;
    for (index, partition) in dashboard.partitions.iter().enumerate() {
        let x = INDENT + index * pitch;
        canvas.put(x, top, &centred(&index.to_string(), wide), Style::FAINT);
        let (paper, mark) = owner(dashboard, partition);
        let block = Style::ink(if partition.owner.is_some() { BLACK } else { Colour(250) }).on(paper).bold();
        canvas.put(x, top + 1, &centred(&mark, wide), block);
        let fresh = partition.owner.is_some()
            && partition.changed > Duration::ZERO
            && dashboard.at.saturating_sub(partition.changed) < FRESH;
        canvas.put(x, top + 2, &centred(if fresh { "new" } else { "" }, wide), block);
        let ink = if partition.owner.is_some() { paper } else { Colour(244) };
        let bar = match partition.lag {
            0 => "·".to_owned(),
            lag => bar(lag, FULL_LAG, 8).to_string().repeat(wide),
        };
        let (bar, style) = if partition.lag == 0 {
            (centred(&bar, wide), Style::FAINT)
        } else {
            (bar, Style::ink(if partition.lag > FULL_LAG { RED } else { ink }))
        };
        canvas.put(x, top + 3, &bar, style);
        canvas.put(x, top + 4, &centred(&short(partition.lag), wide), Style::FAINT);
    }
}

fn owner(dashboard: &Dashboard, partition: &Partition) -> (Colour, String) {
    match partition.owner {
        Some(owner) if owner < dashboard.members.len() => (colour(owner), (owner + 1).to_string()),
        _ => (UNOWNED, "·".to_owned()),
    }
}

fn members(dashboard: &Dashboard, canvas: &mut Canvas, right: usize, top: usize) {
    let mut shown: Vec<(usize, &Member)> = dashboard.members.iter().enumerate().collect();
    // Members that have left are shown while there is room.
    while shown.len() > MEMBERS
        && let Some(gone) = shown.iter().position(|(_, member)| member.status == MemberStatus::Gone)
    {
        shown.remove(gone);
    }
    for (row, (index, member)) in shown.into_iter().take(MEMBERS).enumerate() {
        let y = top + row;
        let gone = member.status == MemberStatus::Gone;
        let style = if gone { Style::FAINT } else { Style::ink(colour(index)) };
        canvas.put(LEFT, y, if gone { "○" } else { "●" }, style);
        canvas.put(LEFT + 2, y, &member.name, if gone { Style::FAINT } else { style.bold() });
        let owned = dashboard.owned(index).len();
        let doing = match member.status {
            MemberStatus::Joining => "joining …".to_owned(),
            MemberStatus::Gone => "left".to_owned(),
            MemberStatus::Leaving => "leaving …".to_owned(),
            MemberStatus::Working => count(owned, "partition"),
        };
        canvas.put(INDENT, y, &doing, if gone { Style::FAINT } else { Style::PLAIN });
        if !gone {
            canvas.put(SPARK, y, &curve(dashboard, &member.handled.rates, right, peak(dashboard)), style);
            canvas.put_before(right.saturating_sub(16), y, &per_second(&member.handled), Style::PLAIN);
        }
        canvas.put_before(right, y, &format!("{} handled", grouped(member.handled.total)), Style::FAINT);
    }
}

/// The peak over all members, which are drawn on one scale, so that they can be compared.
fn peak(dashboard: &Dashboard) -> u64 {
    let rates = dashboard.members.iter().flat_map(|member| &member.handled.rates);
    rates.copied().max().unwrap_or(0)
}

fn rates(dashboard: &Dashboard, canvas: &mut Canvas, right: usize, top: usize) {
    let both = dashboard.produced.rates.iter().chain(&dashboard.handled.rates).copied().max().unwrap_or(0);
    let series = [("produced", &dashboard.produced, Colour(250)), ("handled", &dashboard.handled, ACCENT)];
    for (y, (label, series, ink)) in (top..).zip(series) {
        canvas.put(LEFT, y, label, Style::FAINT);
        canvas.put(INDENT, y, &grouped(series.total), Style::BOLD);
        canvas.put(SPARK, y, &curve(dashboard, &series.rates, right, both), Style::ink(ink));
        canvas.put_before(right.saturating_sub(16), y, &per_second(series), Style::BOLD);
    }
    let highest = dashboard.lag.iter().copied().max().unwrap_or(0);
    canvas.put(LEFT, top + 2, "lag", Style::FAINT);
    canvas.put(INDENT, top + 2, &grouped(dashboard.totals.waiting()), Style::BOLD);
    canvas.put(SPARK, top + 2, &curve(dashboard, &dashboard.lag, right, highest), Style::ink(Colour(214)));
}

/// A sparkline between its label and its figures. Samples of one moment are in one column.
fn curve(dashboard: &Dashboard, samples: &VecDeque<u64>, right: usize, peak: u64) -> String {
    let room = right.saturating_sub(SPARK + 26);
    sparkline(samples, room.min(dashboard.lag.len()), peak)
}

fn totals(dashboard: &Dashboard, canvas: &mut Canvas, y: usize) {
    let totals = dashboard.totals;
    let mut x = LEFT;
    for (label, figure, ink) in [
        ("processed", totals.processed, Colour(78)),
        ("retried", totals.retried, Colour(214)),
        ("dead letters", totals.dead_lettered, RED),
        ("repeated", totals.repeated, Colour(250)),
        ("rebalances", dashboard.rebalances(), ACCENT),
    ] {
        let end = canvas.put(x, y, label, Style::FAINT);
        x = canvas.put(end + 1, y, &grouped(figure), Style::ink(ink).bold()) + 3;
    }
}

fn log(dashboard: &Dashboard, canvas: &mut Canvas, top: usize) {
    let room = canvas.height.saturating_sub(top);
    let skip = dashboard.log.len().saturating_sub(room);
    for (y, line) in (top..).zip(dashboard.log.iter().skip(skip)) {
        canvas.put_before(LEFT + 6, y, &seconds(line.at), Style::FAINT);
        let style = line.member.map_or(Style::FAINT, |member| Style::ink(colour(member)));
        canvas.put(LEFT + 8, y, "│", style);
        canvas.put(LEFT + 10, y, &line.text, Style::PLAIN);
    }
}

fn colour(member: usize) -> Colour {
    COLOURS.get(member % COLOURS.len()).copied().unwrap_or(ACCENT)
}

fn per_second(series: &Series) -> String {
    format!("{}/s", grouped(series.rate()))
}

fn centred(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

/// A number in at most four letters.
fn short(number: u64) -> String {
    match number {
        0 => String::new(),
        1..10_000 => number.to_string(),
        _ => format!("{}k", number / 1000),
    }
}

/// A block for `value` out of `full`, in `eighths` steps.
fn bar(value: u64, full: u64, eighths: u64) -> char {
    let step = (value.saturating_mul(eighths) / full.max(1)).min(eighths.saturating_sub(1));
    usize::try_from(step).ok().and_then(|step| BARS.get(step)).copied().unwrap_or('█')
}

/// A sparkline with the newest sample on the right. No block has the full height, so that lines stay apart.
fn sparkline(samples: &VecDeque<u64>, width: usize, peak: u64) -> String {
    let skip = samples.len().saturating_sub(width);
    let bars = samples.iter().skip(skip).map(|sample| if *sample == 0 { ' ' } else { bar(*sample, peak, 7) });
    let blank = width.saturating_sub(samples.len());
    std::iter::repeat_n(' ', blank).chain(bars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two members share four partitions, one of which has just moved to a third, and one has no owner.
    fn dashboard() -> Dashboard {
        let mut dashboard = Dashboard::new(4, Duration::from_secs(15), "127.0.0.1:9".to_owned());
        for name in ["member-1", "member-2", "member-3"] {
            dashboard.joins(name.to_owned());
        }
        dashboard.assigned(0, &[0], Some(1));
        dashboard.assigned(1, &[1], Some(1));
        dashboard.at = Duration::from_secs(6);
        dashboard.assigned(2, &[2], Some(2));
        dashboard.totals.produced = 1500;
        dashboard.totals.processed = 1200;
        for (partition, lag) in dashboard.partitions.iter_mut().zip([0, 70, 150, 250]) {
            partition.lag = lag;
        }
        dashboard.produced.rates = VecDeque::from([100, 400, 800]);
        dashboard
    }

    fn drawn(dashboard: &Dashboard) -> Canvas {
        let mut canvas = Canvas::new(80, 26);
        draw(dashboard, &mut canvas);
        canvas
    }

    #[test]
    fn a_partition_has_the_colour_and_number_of_its_owner_and_nobodys_is_grey() {
        let canvas = drawn(&dashboard());
        assert_eq!(canvas.text(4).split_whitespace().collect::<Vec<_>>(), ["owner", "1", "2", "3", "·"]);
        let papers: Vec<_> = (0..4).map(|index| canvas.style(INDENT + index * 8, 4).paper).collect();
        assert_eq!(papers, [Some(COLOURS[0]), Some(COLOURS[1]), Some(COLOURS[2]), Some(UNOWNED)]);
        assert_eq!(canvas.style(INDENT + 7, 4).paper, None, "partitions stand apart");
    }

    #[test]
    fn a_partition_that_has_just_moved_is_marked_for_a_while() {
        let mut dashboard = dashboard();
        assert_eq!(drawn(&dashboard).text(5).trim(), "new");
        dashboard.at += FRESH;
        assert_eq!(drawn(&dashboard).text(5).trim(), "");
    }

    #[test]
    fn lag_is_a_bar_and_a_number_a_partition() {
        let canvas = drawn(&dashboard());
        assert_eq!(
            canvas.text(6).split_whitespace().collect::<Vec<_>>(),
            ["lag", "·", "▃▃▃▃▃▃▃", "▅▅▅▅▅▅▅", "███████"]
        );
        assert_eq!(canvas.text(7).split_whitespace().collect::<Vec<_>>(), ["70", "150", "250"]);
    }

    #[test]
    fn totals_and_log_are_there_on_a_terminal_of_24_lines() {
        let mut dashboard = dashboard();
        dashboard.say(None, "the newest line");
        let mut canvas = Canvas::new(80, 24);
        draw(&dashboard, &mut canvas);
        assert!(canvas.text(17).contains("processed 1,200"), "{}", canvas.text(17));
        assert!(canvas.text(23).contains("the newest line"), "{}", canvas.text(23));
    }

    #[test]
    fn no_size_is_too_small() {
        for (width, height) in [(0, 0), (1, 1), (10, 3), (40, 12)] {
            draw(&dashboard(), &mut Canvas::new(width, height));
        }
    }

    #[test]
    fn a_sparkline_ends_with_the_newest_sample() {
        assert_eq!(sparkline(&VecDeque::from([0, 1, 4, 8]), 6, 8), "   ▁▄▇");
        assert_eq!(sparkline(&VecDeque::from([8, 8, 1]), 2, 8), "▇▁");
    }
}
