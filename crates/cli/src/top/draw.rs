//! A frame: a header, rows, charts of the last minutes, and the keys.

mod charts;
mod text;

use offtake_lag::Status;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap},
};

use self::text::{count, maybe, rate, span};
use super::{
    app::{App, Focus, Rows, Screen, Tab, partition_name},
    history::{Point, sum},
};

/// The least number of lines for charts; with fewer there are rows only.
const LEAST_FOR_CHARTS: u16 = 20;

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let area = frame.area();
    let charts = if area.height >= LEAST_FOR_CHARTS { (area.height / 3).clamp(7, 16) } else { 0 };
    let layout =
        [Constraint::Length(2), Constraint::Fill(1), Constraint::Length(charts), Constraint::Length(1)];
    let [head, rows, below, foot] = Layout::vertical(layout).areas(area);
    app.page = usize::from(rows.height.saturating_sub(2)).max(1);
    draw_head(frame, head, app);
    match &app.screen {
        Screen::Groups => draw_groups(frame, rows, app),
        Screen::Group { tab: Tab::Partitions, .. } => draw_partitions(frame, rows, app),
        Screen::Group { tab: Tab::Members, .. } => draw_members(frame, rows, app),
    }
    if charts > 0 {
        let (title, history) = selected_course(app);
        charts::draw(frame, below, &title, &history, app);
    }
    draw_foot(frame, foot, app);
    if app.focus == Focus::Help {
        draw_help(frame, area);
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let mut first = vec![Span::styled("offtake top", bold())];
    let mut second = Vec::new();
    match &app.report {
        None => second.push(Span::styled("waits for the first answer of a broker", faint())),
        Some(report) => {
            if let Some(cluster) = &report.cluster {
                first.push(Span::styled(format!("  cluster {cluster}"), faint()));
            }
            let at = jiff::Timestamp::from_millisecond(report.at).unwrap_or_default();
            let at = at.to_zoned(jiff::tz::TimeZone::system());
            first.push(Span::raw(format!("  {}", at.strftime("%H:%M:%S"))));
            first.push(Span::styled(format!("  every {}", span(app.interval.as_secs_f64())), faint()));
            let bad = report.groups.iter().filter(|group| group.status > Some(Status::Ok)).count();
            let lag = report.groups.iter().map(|group| group.lag).fold(0, u64::saturating_add);
            second.push(Span::raw(format!("{} groups, ", report.groups.len())));
            let style = if bad > 0 { app.colour(Color::Yellow) } else { app.colour(Color::Green) };
            second.push(Span::styled(format!("{bad} not ok"), style));
            second.push(Span::raw(format!(", lag {}", count(lag))));
            if let Some(first) = report.failures.first() {
                let more = report.failures.len() - 1;
                let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
                second.push(Span::styled(format!("  {first}{more}"), app.colour(Color::Red)));
            } else if let Some(finding) = report.findings.first() {
                second.push(Span::styled(format!("  {}", finding.message), app.colour(Color::Yellow)));
            }
        }
    }
    if app.is_paused {
        first.push(Span::styled("  paused", app.colour(Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    if let Some(failure) = &app.failure {
        second = vec![Span::styled(failure.clone(), app.colour(Color::Red))];
    }
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), area);
}

/// A column: its title, its width, and whether it contains numbers.
type Column = (&'static str, Constraint, bool);

const GROUPS: [Column; 8] = [
    ("group", Constraint::Fill(3), false),
    ("status", Constraint::Length(18), false),
    ("lag", Constraint::Length(12), true),
    ("behind", Constraint::Length(9), true),
    ("in/s", Constraint::Length(9), true),
    ("out/s", Constraint::Length(9), true),
    ("members", Constraint::Length(7), true),
    ("state", Constraint::Length(18), false),
];

fn draw_groups(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let shown = app.shown_groups();
    let rows = shown.iter().map(|group| {
        let state = match &group.protocol {
            Some(protocol) => format!("{} ({protocol})", group.state),
            None => group.state.clone(),
        };
        vec![
            Cell::new(group.group.clone()),
            status(app, group.status),
            number(count(group.lag)),
            number(maybe(group.lag_seconds, span)),
            number(maybe(sum(group, |partition| partition.produced_per_second), rate)),
            number(maybe(sum(group, |partition| partition.consumed_per_second), rate)),
            number(group.members.len().to_string()),
            Cell::new(state),
        ]
    });
    let title = title("groups", shown.len(), &app.groups);
    draw_table(frame, area, app, &title, &GROUPS, rows.collect());
}

const PARTITIONS: [Column; 9] = [
    ("partition", Constraint::Fill(2), false),
    ("status", Constraint::Length(18), false),
    ("lag", Constraint::Length(12), true),
    ("behind", Constraint::Length(9), true),
    ("in/s", Constraint::Length(8), true),
    ("out/s", Constraint::Length(8), true),
    ("caught up in", Constraint::Length(12), true),
    ("data loss in", Constraint::Length(12), true),
    ("client", Constraint::Fill(1), false),
];

fn draw_partitions(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(group) = app.group() else { return draw_absence(frame, area, app) };
    let shown = app.shown_partitions();
    let rows = shown.iter().map(|partition| {
        let member = partition.member.and_then(|member| group.members.get(member));
        vec![
            Cell::new(partition_name(partition)),
            status(app, partition.status),
            number(maybe(partition.lag, count)),
            number(maybe(partition.lag_seconds, span)),
            number(maybe(partition.produced_per_second, rate)),
            number(maybe(partition.consumed_per_second, rate)),
            number(maybe(partition.catch_up_seconds, span)),
            number(maybe(partition.time_to_data_loss_seconds, span)),
            Cell::new(member.map_or("–", |member| &member.client_id).to_owned()),
        ]
    });
    let title = title(&format!("{} · partitions", group.group), shown.len(), &app.detail);
    draw_table(frame, area, app, &title, &PARTITIONS, rows.collect());
}

const MEMBERS: [Column; 5] = [
    ("client", Constraint::Fill(1), false),
    ("host", Constraint::Fill(1), false),
    ("partitions", Constraint::Length(10), true),
    ("instance", Constraint::Fill(1), false),
    ("member id", Constraint::Fill(2), false),
];

fn draw_members(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(group) = app.group() else { return draw_absence(frame, area, app) };
    let shown = app.shown_members();
    let rows = shown.iter().map(|member| {
        vec![
            Cell::new(member.client_id.clone()),
            Cell::new(member.host.clone()),
            number(member.partitions.to_string()),
            Cell::new(member.instance_id.clone().unwrap_or_else(|| "–".to_owned())),
            Cell::new(member.member_id.clone()),
        ]
    });
    let title = title(&format!("{} · members", group.group), shown.len(), &app.detail);
    draw_table(frame, area, app, &title, &MEMBERS, rows.collect());
}

fn draw_absence(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Screen::Group { name, .. } = &app.screen else { return };
    let text = format!("The group {name} is not there any more. Esc goes back to all groups.");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn title(what: &str, rows: usize, of: &Rows) -> String {
    let order =
        if of.reversed { format!("{}, reversed", of.order.name()) } else { of.order.name().to_owned() };
    let filter = if of.filter.is_empty() { String::new() } else { format!(" · filter \"{}\"", of.filter) };
    format!(" {what} ({rows}) by {order}{filter} ")
}

fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    title: &str,
    columns: &[Column],
    rows: Vec<Vec<Cell<'_>>>,
) {
    // Columns that do not fit are dropped, from the right: a name and a lag tell more than rates.
    let fixed = |column: &Column| match column.1 {
        Constraint::Length(length) => length + 1,
        _ => 12,
    };
    let mut room = area.width;
    let fits = columns.iter().take_while(|column| {
        let fits = fixed(column) <= room;
        room = room.saturating_sub(fixed(column));
        fits
    });
    let fits = fits.count().max(1);
    let columns = columns.get(..fits).unwrap_or(columns);
    let head = columns.iter().map(
        |(name, _, is_number)| {
            if *is_number { number((*name).to_owned()) } else { Cell::new(*name) }
        },
    );
    let is_empty = rows.is_empty();
    let rows = rows.into_iter().map(|cells| Row::new(cells.into_iter().take(fits)));
    let table = Table::new(rows, columns.iter().map(|(_, width, _)| *width))
        .header(Row::new(head).style(bold()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().title(Span::styled(title.to_owned(), bold())));
    let mut state = TableState::new().with_selected((!is_empty).then(|| app.selected()));
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let text = match (&app.focus, &app.screen) {
        (Focus::Filter, _) => format!("filter: {}█   Enter keeps it, Esc clears it", app.rows().filter),
        (_, Screen::Groups) => "Enter opens · / filters · s sorts · r reverses · u records or seconds · p pauses · ? keys · q leaves".to_owned(),
        (_, Screen::Group { .. }) => "Esc back · Tab members · / filters · s sorts · r reverses · u records or seconds · ? keys · q leaves".to_owned(),
    };
    frame.render_widget(Paragraph::new(Span::styled(text, faint())), area);
}

const KEYS: [(&str, &str); 14] = [
    ("↑ ↓  j k", "the row above, the row below"),
    ("PgUp PgDn", "a page"),
    ("Home End  g G", "the first row, the last row"),
    ("Enter →", "open the group"),
    ("Esc ←", "clear the filter; back to all groups"),
    ("Tab m", "partitions or members of the group"),
    ("/", "filter by a part of the name"),
    ("s", "sort by status, lag, seconds, name"),
    ("r", "reverse the order"),
    ("u", "charts in records or in seconds"),
    ("p Space", "pause: what is shown stays"),
    ("Ctrl-L", "draw again"),
    ("? h", "these keys"),
    ("q Ctrl-C", "leave"),
];

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(60);
    let height = area.height.min(u16::try_from(KEYS.len()).unwrap_or(u16::MAX) + 2);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let lines: Vec<_> = KEYS
        .iter()
        .map(|(keys, what)| Line::from(vec![Span::styled(format!(" {keys:<15}"), bold()), Span::raw(*what)]))
        .collect();
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" keys (any key closes) ");
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

/// The title of the charts, and their points.
fn selected_course(app: &App) -> (String, Vec<Point>) {
    match &app.screen {
        Screen::Groups => match app.shown_groups().get(app.selected()) {
            Some(group) => (group.group.clone(), app.histories.group(&group.group).collect()),
            None => (String::new(), Vec::new()),
        },
        Screen::Group { name, tab: Tab::Members } => (name.clone(), app.histories.group(name).collect()),
        Screen::Group { name, tab: Tab::Partitions } => match app.shown_partitions().get(app.selected()) {
            Some(partition) => {
                let history = app.histories.partition(name, &partition.topic, partition.partition);
                (partition_name(partition), history.collect())
            }
            None => (name.clone(), app.histories.group(name).collect()),
        },
    }
}

fn status(app: &App, status: Option<Status>) -> Cell<'static> {
    let Some(status) = status else { return Cell::new(Span::styled("–", faint())) };
    let colour = match status {
        Status::Ok => Color::Green,
        Status::Warn | Status::Rewind => Color::Yellow,
        Status::Err | Status::Stop | Status::Stall => Color::Red,
        Status::DataLossImminent => Color::Magenta,
    };
    Cell::new(Span::styled(status.name(), app.colour(colour)))
}

fn number(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
