//! The state of the screen: takes keys and reports, and knows no terminal and no clock.

use std::{cmp::Ordering, time::Duration};

use offtake_lag::{GroupReport, PartitionReport, Report};
use ratatui::style::{Color, Style};

use super::{history::Histories, keys::Key, order::Order};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Stay,
    Leave,
}

/// The content of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Groups,
    /// A group, by its name, with its partitions or its members.
    Group {
        name: String,
        tab: Tab,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Partitions,
    Members,
}

/// The receiver of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    Rows,
    /// The filter is being typed.
    Filter,
    Help,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Records,
    Seconds,
}

/// The rows of one screen: the selection, the filter, the order.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    /// Remains selected while rows move.
    pub(super) selected: Option<String>,
    pub(super) filter: String,
    pub(super) order: Order,
    pub(super) reversed: bool,
}

impl Rows {
    fn new() -> Self {
        Self { selected: None, filter: String::new(), order: Order::Status, reversed: false }
    }

    fn sorted<'a, T>(
        &self,
        rows: &mut Vec<&'a T>,
        name: fn(&T) -> String,
        compare: impl Fn(&T, &T) -> Ordering,
    ) {
        let wanted = self.filter.to_lowercase();
        rows.retain(|row| name(row).to_lowercase().contains(&wanted));
        rows.sort_by(|left, right| if self.reversed { compare(right, left) } else { compare(left, right) });
    }
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) report: Option<Report>,
    /// Why the last round returned no report.
    pub(super) failure: Option<String>,
    pub(super) histories: Histories,
    pub(super) interval: Duration,
    pub(super) screen: Screen,
    pub(super) focus: Focus,
    pub(super) unit: Unit,
    /// Reports are ignored, so that the screen stays as it is.
    pub(super) is_paused: bool,
    pub(super) groups: Rows,
    /// The rows of the shown group, on either tab.
    pub(super) detail: Rows,
    /// How many rows fit, as of the last frame.
    pub(super) page: usize,
    has_colour: bool,
}

impl App {
    pub(super) fn new(interval: Duration, has_colour: bool) -> Self {
        Self {
            report: None,
            failure: None,
            histories: Histories::default(),
            interval,
            screen: Screen::Groups,
            focus: Focus::Rows,
            unit: Unit::Records,
            is_paused: false,
            groups: Rows::new(),
            detail: Rows::new(),
            page: 10,
            has_colour,
        }
    }

    /// The style of a colour. Without colours, words carry the same information.
    pub(super) fn colour(&self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn on_round(&mut self, round: Result<Report, String>) {
        match round {
            Ok(report) => {
                self.failure = None;
                let looked_at = match &self.screen {
                    Screen::Group { name, .. } => Some(name.as_str()),
                    Screen::Groups => None,
                };
                self.histories.push(&report, looked_at);
                if !self.is_paused {
                    self.report = Some(report);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    pub(super) fn on_key(&mut self, key: Key) -> Flow {
        if matches!(key, Key::Interrupt | Key::Gone) {
            return Flow::Leave;
        }
        match self.focus {
            Focus::Help => self.focus = Focus::Rows,
            Focus::Filter => self.on_filter_key(key),
            Focus::Rows => return self.on_row_key(key),
        }
        Flow::Stay
    }

    fn on_filter_key(&mut self, key: Key) {
        let rows = self.rows_mut();
        match key {
            Key::Letter(letter) => rows.filter.push(letter),
            Key::Erase => drop(rows.filter.pop()),
            Key::Back => {
                rows.filter.clear();
                self.focus = Focus::Rows;
            }
            Key::Enter => self.focus = Focus::Rows,
            Key::Up | Key::Down | Key::PageUp | Key::PageDown => self.step(key),
            _ => {}
        }
    }

    fn on_row_key(&mut self, key: Key) -> Flow {
        match key {
            Key::Letter('q') => return Flow::Leave,
            Key::Letter('?' | 'h') => self.focus = Focus::Help,
            Key::Letter('/') => self.focus = Focus::Filter,
            Key::Letter('s') => {
                let rows = self.rows_mut();
                (rows.order, rows.reversed) = (rows.order.next(), false);
            }
            Key::Letter('r') => {
                let rows = self.rows_mut();
                rows.reversed = !rows.reversed;
            }
            Key::Letter('u') => {
                self.unit = match self.unit {
                    Unit::Records => Unit::Seconds,
                    Unit::Seconds => Unit::Records,
                }
            }
            Key::Letter('p' | ' ') => self.is_paused = !self.is_paused,
            Key::Tab | Key::Letter('m') => {
                if let Screen::Group { tab, .. } = &mut self.screen {
                    *tab = if *tab == Tab::Partitions { Tab::Members } else { Tab::Partitions };
                    self.detail.selected = None;
                }
            }
            Key::Enter => self.open(),
            Key::Back => self.back(),
            key => self.step(key),
        }
        Flow::Stay
    }

    fn open(&mut self) {
        let Screen::Groups = self.screen else { return };
        if let Some(name) = self.names().get(self.selected()).cloned() {
            self.groups.selected = Some(name.clone());
            self.screen = Screen::Group { name, tab: Tab::Partitions };
            self.detail = Rows::new();
        }
    }

    /// Goes back: out of a filter first, then out of a group.
    fn back(&mut self) {
        if !self.rows().filter.is_empty() {
            self.rows_mut().filter.clear();
        } else {
            self.screen = Screen::Groups;
        }
    }

    fn step(&mut self, key: Key) {
        let names = self.names();
        let (at, last) = (self.selected(), names.len().saturating_sub(1));
        let to = match key {
            Key::Up | Key::Letter('k') => at.saturating_sub(1),
            Key::Down | Key::Letter('j') => at + 1,
            Key::PageUp => at.saturating_sub(self.page),
            Key::PageDown => at + self.page,
            Key::Home | Key::Letter('g') => 0,
            Key::End | Key::Letter('G') => last,
            _ => return,
        };
        self.rows_mut().selected = names.get(to.min(last)).cloned();
    }

    pub(super) fn rows(&self) -> &Rows {
        if self.screen == Screen::Groups { &self.groups } else { &self.detail }
    }

    fn rows_mut(&mut self) -> &mut Rows {
        if self.screen == Screen::Groups { &mut self.groups } else { &mut self.detail }
    }

    /// The index of the selected row, or the first if that is gone.
    pub(super) fn selected(&self) -> usize {
        let selected = self.rows().selected.as_ref();
        selected.and_then(|name| self.names().iter().position(|other| other == name)).unwrap_or(0)
    }

    /// The shown rows, by names that stay the same.
    fn names(&self) -> Vec<String> {
        match &self.screen {
            Screen::Groups => self.shown_groups().iter().map(|group| group.group.clone()).collect(),
            Screen::Group { tab: Tab::Partitions, .. } => {
                self.shown_partitions().into_iter().map(partition_name).collect()
            }
            Screen::Group { tab: Tab::Members, .. } => {
                self.shown_members().iter().map(|member| member.member_id.clone()).collect()
            }
        }
    }

    pub(super) fn shown_groups(&self) -> Vec<&GroupReport> {
        let mut rows: Vec<_> = self.report.iter().flat_map(|report| &report.groups).collect();
        let order = self.groups.order;
        self.groups.sorted(&mut rows, |group| group.group.clone(), |left, right| order.groups(left, right));
        rows
    }

    /// The group that is shown, unless it is gone.
    pub(super) fn group(&self) -> Option<&GroupReport> {
        let Screen::Group { name, .. } = &self.screen else { return None };
        self.report.as_ref()?.groups.iter().find(|group| group.group == *name)
    }

    pub(super) fn shown_partitions(&self) -> Vec<&PartitionReport> {
        let mut rows: Vec<_> = self.group().into_iter().flat_map(|group| &group.partitions).collect();
        let order = self.detail.order;
        self.detail.sorted(&mut rows, partition_name, |left, right| order.partitions(left, right));
        rows
    }

    pub(super) fn shown_members(&self) -> Vec<&offtake_lag::MemberReport> {
        let mut rows: Vec<_> = self.group().into_iter().flat_map(|group| &group.members).collect();
        let name = |member: &offtake_lag::MemberReport| format!("{} {}", member.client_id, member.member_id);
        self.detail.sorted(&mut rows, name, |left, right| {
            (&left.client_id, &left.member_id).cmp(&(&right.client_id, &right.member_id))
        });
        rows
    }
}

pub(super) fn partition_name(partition: &PartitionReport) -> String {
    format!("{}-{}", partition.topic, partition.partition)
}

#[cfg(test)]
mod tests;
