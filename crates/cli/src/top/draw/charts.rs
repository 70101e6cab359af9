//! Charts of the last minutes: lag, and records per second.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style},
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Block, Chart, Dataset, GraphType},
};

use super::{
    super::{
        app::{App, Unit},
        history::Point,
    },
    bold, faint,
    text::{short, span},
};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, title: &str, history: &[Point], app: &App) {
    let wide = area.width >= 80;
    let halves = if wide {
        [Constraint::Fill(1), Constraint::Fill(1)]
    } else {
        [Constraint::Fill(1), Constraint::Length(0)]
    };
    let [left, right] = Layout::horizontal(halves).spacing(if wide { 2 } else { 0 }).areas(area);
    let last = history.last().map_or(0, |point| point.at);
    #[expect(clippy::cast_precision_loss, reason = "charts show three digits")]
    let values = |value: fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        let at = |point: &Point| (point.at - last) as f64 / 1000.0;
        history.iter().filter_map(|point| Some((at(point), value(point)?))).collect()
    };
    #[expect(clippy::cast_precision_loss, reason = "charts show three digits")]
    let (lag, unit, show): (_, _, fn(f64) -> String) = match app.unit {
        Unit::Records => (values(|point| point.lag.map(|lag| lag as f64)), "records", short),
        Unit::Seconds => (values(|point| point.seconds), "seconds", span),
    };
    let name = format!(" {title}: lag in {unit} ");
    draw_one(frame, left, &name, &[("", &lag, app.colour(Color::Cyan))], show);
    if wide {
        let produced = values(|point| point.produced);
        let consumed = values(|point| point.consumed);
        let lines =
            [("in", &produced, app.colour(Color::Yellow)), ("out", &consumed, app.colour(Color::Green))];
        draw_one(frame, right, " records a second, in and out ", &lines, short);
    }
}

type Values = Vec<(f64, f64)>;

fn draw_one(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    lines: &[(&str, &Values, Style)],
    show: fn(f64) -> String,
) {
    let all = || lines.iter().flat_map(|(_, values, _)| values.iter());
    let most = all().map(|(_, value)| *value).fold(0.0, f64::max).max(1.0);
    let first = all().map(|(at, _)| *at).fold(-10.0, f64::min);
    let datasets = lines.iter().map(|(name, values, style)| {
        let set = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(*style);
        let set = if name.is_empty() { set } else { set.name(Span::styled((*name).to_owned(), *style)) };
        set.data(values)
    });
    let ticks = |labels: [String; 2]| labels.map(|label| Line::from(Span::styled(label, faint()))).to_vec();
    let chart = Chart::new(datasets.collect())
        .block(Block::new().title(Span::styled(title.to_owned(), bold())))
        .x_axis(
            Axis::default()
                .style(faint())
                .bounds([first, 0.0])
                .labels(ticks([span(-first) + " ago", "now".to_owned()])),
        )
        .y_axis(
            Axis::default().style(faint()).bounds([0.0, most]).labels(ticks(["0".to_owned(), show(most)])),
        );
    frame.render_widget(chart, area);
}
