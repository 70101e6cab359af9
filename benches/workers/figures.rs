//! All figures, by section, row and column.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use offtake_benches::spread;

use crate::settings::Section;
use crate::system::{Done, Job};

/// A section, a row of its table, and a column.
type Key = (Section, String, &'static str);

#[derive(Default)]
pub(crate) struct Figures {
    of: BTreeMap<Key, Vec<f64>>,
    /// In the order of their first appearance.
    columns: Vec<(Section, &'static str)>,
    out: Option<File>,
}

impl Figures {
    pub(crate) fn to(path: Option<&Path>) -> Result<Self, String> {
        let mut figures = Self::default();
        if let Some(path) = path {
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            let mut file = File::create(path).map_err(failed)?;
            file.write_all(b"section,row,column,run,value\n").map_err(failed)?;
            figures.out = Some(file);
        }
        Ok(figures)
    }

    /// Notes the result of a process.
    pub(crate) fn note(&mut self, section: Section, row: &str, job: &Job, done: &Done) {
        let records = job.count as f64;
        self.add(section, row, "thousand records/s", records / done.seconds / 1000.0);
        self.add(section, row, "CPU s a million", done.cpu / records * 1e6);
        self.add(section, row, "MiB", done.peak_mib);
        if job.work > 0 {
            self.add(section, row, "handlers at work", done.busy / done.seconds);
            self.add(section, row, "ms a handler", done.busy / records * 1000.0);
        }
    }

    pub(crate) fn add(&mut self, section: Section, row: &str, column: &'static str, value: f64) {
        if !self.columns.contains(&(section, column)) {
            self.columns.push((section, column));
        }
        let all = self.of.entry((section, row.to_owned(), column)).or_default();
        all.push(value);
        let run = all.len();
        if let Some(out) = &mut self.out
            && let Err(error) = writeln!(out, "{section},\"{row}\",{column},{run},{value:.6}")
        {
            eprintln!("workers: {error}");
            self.out = None;
        }
    }

    /// A table in Markdown: the median of each row and column, then the least and the most.
    pub(crate) fn print(&self, section: Section, rows: &[String]) {
        let columns: Vec<_> =
            self.columns.iter().filter(|(of, _)| *of == section).map(|(_, column)| *column).collect();
        println!("\n### {section}\n\n| | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
        for row in rows {
            let cells = columns.iter().map(|column| {
                self.of.get(&(section, row.clone(), *column)).map_or("–".to_owned(), |all| spread(all))
            });
            println!("| {row} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}
