//! All figures, by table, row and system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use offtake_benches::spread;

use crate::system::System;

/// One table: `cpu`, `latency`; its rows have names of their own.
type Key = (&'static str, String, System);

/// Figures of all runs, in order of arrival.
#[derive(Default)]
pub(crate) struct Figures {
    of: BTreeMap<Key, Vec<f64>>,
    out: Option<File>,
}

impl Figures {
    pub(crate) fn to(path: Option<&Path>) -> Result<Self, String> {
        let mut figures = Self::default();
        if let Some(path) = path {
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            let mut file = File::create(path).map_err(failed)?;
            file.write_all(b"measure,row,system,run,value\n").map_err(failed)?;
            figures.out = Some(file);
        }
        Ok(figures)
    }

    pub(crate) fn add(&mut self, measure: &'static str, row: &str, system: System, value: f64) {
        let all = self.of.entry((measure, row.to_owned(), system)).or_default();
        all.push(value);
        if let Some(out) = &mut self.out
            && let Err(error) = writeln!(out, "{measure},{row},{system},{},{value:.6}", all.len())
        {
            eprintln!("peers: {error}");
            self.out = None;
        }
    }

    /// A table in Markdown: the median of each row and system, then the least and the most.
    pub(crate) fn print(&self, title: &str, measure: &str, rows: &[String], systems: &[System]) {
        let has = |system: &&System| rows.iter().any(|row| self.all(measure, row, **system).is_some());
        let systems: Vec<System> = systems.iter().filter(has).copied().collect();
        if systems.is_empty() {
            return;
        }
        println!("\n### {title}\n");
        let heads: Vec<&str> = systems.iter().map(|system| system.name()).collect();
        println!("| | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len()));
        for row in rows {
            let cells: Vec<String> = systems.iter().map(|system| self.cell(measure, row, *system)).collect();
            println!("| {row} | {} |", cells.join(" | "));
        }
    }

    fn all(&self, measure: &str, row: &str, system: System) -> Option<&Vec<f64>> {
        self.of.iter().find(|((m, r, s), _)| *m == measure && r == row && *s == system).map(|(_, all)| all)
    }

    fn cell(&self, measure: &str, row: &str, system: System) -> String {
        self.all(measure, row, system).map_or("–".to_owned(), |all| spread(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_what_came_of_its_row_and_system() {
        let mut figures = Figures::default();
        for value in [0.5, 123.4, 2.0, 12.34] {
            figures.add("cpu", "1k-none", System::Java, value);
        }
        assert_eq!(figures.cell("cpu", "1k-none", System::Java), "7.17 (0.500 – 123)");
        assert_eq!(figures.cell("cpu", "1k-none", System::Offtake), "–");
    }
}
