use offtake_lag::{MemberReport, Status};
use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::top::draw::draw;

fn partition(topic: &str, number: i32, lag: u64, status: Status) -> PartitionReport {
    PartitionReport {
        topic: topic.to_owned(),
        partition: number,
        lag: Some(lag),
        lag_seconds: Some(f64::from(u32::try_from(lag).unwrap()) / 10.0),
        status: Some(status),
        produced_per_second: Some(12.0),
        consumed_per_second: Some(7.5),
        member: (number == 0).then_some(0),
        ..PartitionReport::default()
    }
}

fn group(name: &str, partitions: Vec<PartitionReport>) -> GroupReport {
    GroupReport {
        group: name.to_owned(),
        state: "Stable".to_owned(),
        status: partitions.iter().filter_map(|partition| partition.status).max(),
        lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
        lag_seconds: partitions.iter().filter_map(|partition| partition.lag_seconds).reduce(f64::max),
        members: vec![MemberReport {
            member_id: "m-1".to_owned(),
            client_id: "svc".to_owned(),
            host: "/10.0.0.7".to_owned(),
            partitions: 1,
            ..MemberReport::default()
        }],
        partitions,
        ..GroupReport::default()
    }
}

fn report(at: i64) -> Report {
    Report {
        at: at * 1000,
        cluster: Some("c1".to_owned()),
        groups: vec![
            group(
                "audit",
                vec![partition("orders", 0, 5, Status::Ok), partition("orders", 1, 0, Status::Ok)],
            ),
            group(
                "billing",
                vec![partition("orders", 0, 1200, Status::Stop), partition("payments", 3, 70, Status::Warn)],
            ),
            group("search", vec![partition("orders", 0, 90, Status::Warn)]),
        ],
        ..Report::default()
    }
}

/// An app after two rounds, with these keys pressed: `+` Enter, `<` Escape, `v` down, `^` up, `t` Tab.
fn app(keys: &str) -> App {
    let mut app = App::new(Duration::from_secs(2), true);
    app.on_round(Ok(report(100)));
    app.on_round(Ok(report(102)));
    press(&mut app, keys);
    app
}

fn press(app: &mut App, keys: &str) {
    for letter in keys.chars() {
        let key = match letter {
            '+' => Key::Enter,
            '<' => Key::Back,
            'v' => Key::Down,
            '^' => Key::Up,
            't' => Key::Tab,
            letter => Key::Letter(letter),
        };
        assert_eq!(app.on_key(key), Flow::Stay, "{letter}");
    }
}

/// The lines of a frame.
fn frame(app: &mut App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

/// The first word of each row.
fn rows(app: &mut App) -> Vec<String> {
    let names = match app.screen {
        Screen::Groups => app.shown_groups().iter().map(|group| group.group.clone()).collect(),
        Screen::Group { tab: Tab::Partitions, .. } => {
            app.shown_partitions().into_iter().map(partition_name).collect()
        }
        Screen::Group { tab: Tab::Members, .. } => {
            app.shown_members().iter().map(|member| member.client_id.clone()).collect()
        }
    };
    let lines = frame(app, 120, 40).join("\n");
    for name in &names {
        let name: &String = name;
        assert!(lines.contains(name.as_str()), "{name} is not in\n{lines}");
    }
    names
}

#[test]
fn groups_are_shown_the_worst_first_with_charts_of_the_selected_one() {
    let mut app = app("");
    let lines = frame(&mut app, 120, 40);
    assert!(
        lines[0].starts_with("offtake top  cluster c1") && lines[0].ends_with("every 2.0 s"),
        "{lines:#?}"
    );
    assert_eq!(lines[1], "3 groups, 2 not ok, lag 1,365");
    assert_eq!(lines[2], " groups (3) by status");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&lines[3]), ["group", "status", "lag", "behind", "in/s", "out/s", "members", "state"]);
    assert_eq!(words(&lines[4]), ["billing", "stop", "1,270", "2", "min", "24", "15", "1", "Stable"]);
    assert_eq!(words(&lines[5])[..3], ["search", "warn", "90"]);
    assert_eq!(words(&lines[6])[..3], ["audit", "ok", "5"]);
    let all = lines.join("\n");
    assert!(all.contains("billing: lag in records") && all.contains("records a second, in and out"), "{all}");
    assert!(lines.last().unwrap().contains("q leaves"));
}

#[test]
fn rows_are_sorted_reversed_and_filtered() {
    let mut app = app("");
    assert_eq!(rows(&mut app), ["billing", "search", "audit"]);
    press(&mut app, "s"); // by lag
    assert_eq!(rows(&mut app), ["billing", "search", "audit"]);
    press(&mut app, "ss"); // by name
    assert_eq!(rows(&mut app), ["audit", "billing", "search"]);
    press(&mut app, "r");
    assert_eq!(rows(&mut app), ["search", "billing", "audit"]);
    press(&mut app, "/A");
    assert_eq!(app.focus, Focus::Filter);
    assert_eq!(rows(&mut app), ["search", "audit"]);
    press(&mut app, "+");
    assert_eq!((app.focus, app.groups.filter.as_str()), (Focus::Rows, "A"));
    press(&mut app, "<");
    assert_eq!(rows(&mut app), ["search", "billing", "audit"]);
    press(&mut app, "/nobody");
    assert_eq!(rows(&mut app), [""; 0]);
    press(&mut app, "+v+"); // nothing to select and nothing to open
    assert_eq!(app.screen, Screen::Groups);
}

#[test]
fn letters_of_a_filter_are_no_keys() {
    let mut app = app("/q?sr");
    assert_eq!(app.groups.filter, "q?sr");
    app.on_key(Key::Erase);
    assert_eq!(app.groups.filter, "q?s");
    press(&mut app, "<");
    assert_eq!((app.focus, app.groups.filter.as_str()), (Focus::Rows, ""));
}

#[test]
fn a_group_is_opened_shows_partitions_and_members_and_is_left() {
    let mut app = app("v+");
    assert_eq!(app.screen, Screen::Group { name: "search".to_owned(), tab: Tab::Partitions });
    press(&mut app, "<^+");
    assert_eq!(rows(&mut app), ["orders-0", "payments-3"]);
    let lines = frame(&mut app, 120, 40).join("\n");
    assert!(
        lines.contains("billing · partitions (2)") && lines.contains("orders-0: lag in records"),
        "{lines}"
    );
    press(&mut app, "v");
    assert!(frame(&mut app, 120, 40).join("\n").contains("payments-3: lag in records"));
    press(&mut app, "u");
    assert!(frame(&mut app, 120, 40).join("\n").contains("payments-3: lag in seconds"));
    press(&mut app, "t");
    assert_eq!(rows(&mut app), ["svc"]);
    press(&mut app, "<");
    assert_eq!(app.screen, Screen::Groups);
    assert_eq!(app.selected(), 0, "billing is selected still");
}

#[test]
fn the_selection_stays_at_its_row_while_rows_move() {
    let mut app = app("vv");
    assert_eq!(app.groups.selected.as_deref(), Some("audit"));
    let mut worse = report(104);
    worse.groups[0].status = Some(Status::DataLossImminent);
    app.on_round(Ok(worse));
    assert_eq!((rows(&mut app)[0].as_str(), app.selected()), ("audit", 0));
    let mut gone = report(106);
    gone.groups.remove(0);
    app.on_round(Ok(gone));
    assert_eq!(app.selected(), 0);
}

#[test]
fn a_group_that_is_gone_is_told() {
    let mut app = app("+");
    let mut gone = report(104);
    gone.groups.remove(1);
    app.on_round(Ok(gone));
    assert!(frame(&mut app, 120, 40).join("\n").contains("The group billing is not there any more"));
    press(&mut app, "vt+<");
    assert_eq!(app.screen, Screen::Groups);
}

#[test]
fn without_an_answer_the_failure_is_told_and_what_was_known_stays() {
    let mut app = App::new(Duration::from_secs(2), false);
    assert!(frame(&mut app, 80, 24)[1].contains("waits for the first answer"));
    app.on_round(Err("no broker at localhost:9092".to_owned()));
    assert!(frame(&mut app, 80, 24)[1].contains("no broker at localhost:9092"));
    app.on_round(Ok(report(1)));
    app.on_round(Err("no broker at localhost:9092".to_owned()));
    let lines = frame(&mut app, 120, 40);
    assert!(lines[1].contains("no broker") && lines[4].starts_with("billing"), "{lines:#?}");
    app.on_round(Ok(report(2)));
    assert!(!frame(&mut app, 120, 40)[1].contains("no broker"));
}

#[test]
fn a_pause_keeps_what_is_shown() {
    let mut app = app("p");
    app.on_round(Ok(Report::default()));
    assert!(frame(&mut app, 120, 40)[0].contains("paused"));
    assert_eq!(rows(&mut app).len(), 3);
    press(&mut app, " ");
    app.on_round(Ok(Report { at: 1, ..Report::default() }));
    assert_eq!(rows(&mut app), [""; 0]);
}

#[test]
fn help_lists_the_keys_and_any_key_closes_it() {
    let mut app = app("?");
    let lines = frame(&mut app, 100, 40).join("\n");
    assert!(
        lines.contains("keys (any key closes)") && lines.contains("filter by a part of the name"),
        "{lines}"
    );
    press(&mut app, "v");
    assert_eq!((app.focus, app.selected()), (Focus::Rows, 0));
}

#[test]
fn q_and_ctrl_c_leave_from_everywhere_but_q_in_a_filter() {
    assert_eq!(app("").on_key(Key::Letter('q')), Flow::Leave);
    assert_eq!(app("+").on_key(Key::Letter('q')), Flow::Leave);
    assert_eq!(app("/").on_key(Key::Letter('q')), Flow::Stay);
    for keys in ["", "+", "/", "?"] {
        assert_eq!(app(keys).on_key(Key::Interrupt), Flow::Leave);
        assert_eq!(app(keys).on_key(Key::Gone), Flow::Leave);
    }
}

#[test]
fn any_size_and_any_key_are_borne() {
    let mut state = 1u64;
    let mut app = app("");
    let keys = [
        Key::Up,
        Key::Down,
        Key::PageUp,
        Key::PageDown,
        Key::Home,
        Key::End,
        Key::Enter,
        Key::Back,
        Key::Tab,
        Key::Erase,
        Key::Redraw,
        Key::Letter('/'),
        Key::Letter('s'),
        Key::Letter('r'),
        Key::Letter('u'),
        Key::Letter('p'),
        Key::Letter('?'),
        Key::Letter('j'),
        Key::Letter('G'),
        Key::Letter('é'),
    ];
    for nth in 0..600u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = usize::try_from(state >> 33).unwrap();
        app.on_key(keys[dice % keys.len()]);
        if nth % 7 == 0 {
            app.on_round(if dice % 3 == 0 {
                Err("no".to_owned())
            } else {
                Ok(report(i64::try_from(nth).unwrap()))
            });
        }
        let size = [(1, 1), (3, 2), (20, 5), (40, 19), (79, 20), (200, 60)][dice % 6];
        frame(&mut app, size.0, size.1);
    }
}

#[test]
fn names_cannot_steer_the_terminal_and_numbers_that_are_none_are_borne() {
    let mut app = App::new(Duration::from_secs(2), true);
    let mut odd = report(1);
    odd.groups[0].group = "\u{1b}[2J\u{7}evil\n".to_owned();
    odd.groups[0].lag_seconds = Some(f64::NAN);
    odd.groups[1].partitions[0].produced_per_second = Some(f64::INFINITY);
    app.on_round(Ok(odd.clone()));
    app.on_round(Ok(odd));
    let lines = frame(&mut app, 120, 40).join("\n");
    assert!(lines.contains("evil") && !lines.contains('\u{1b}') && !lines.contains('\u{7}'), "{lines}");
}

#[test]
fn ten_thousand_partitions_are_shown_and_paged() {
    let mut app = App::new(Duration::from_secs(2), true);
    let partitions = (0..10_000).map(|number| partition("orders", number, 1, Status::Ok)).collect();
    app.on_round(Ok(Report { groups: vec![group("audit", partitions)], ..Report::default() }));
    press(&mut app, "+");
    frame(&mut app, 120, 40);
    press(&mut app, "G");
    assert_eq!(app.selected(), 9_999);
    app.on_key(Key::PageUp);
    assert_eq!(app.selected(), 9_999 - app.page);
    assert!(app.page > 10);
}

#[test]
fn courses_are_bounded_and_those_of_what_is_gone_go() {
    let mut app = App::new(Duration::from_secs(2), true);
    for at in 0..1000 {
        app.on_round(Ok(report(at)));
    }
    assert_eq!(app.histories.group("audit").count(), crate::top::history::ROUNDS);
    assert_eq!(app.histories.partition("audit", "orders", 1).count(), crate::top::history::ROUNDS);
    app.on_round(Ok(Report::default()));
    assert_eq!(app.histories.group("audit").count(), 0);
}
