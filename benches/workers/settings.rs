//! The command line.

use std::fmt;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "workers [--runs 3] [--scale 1.0] [--only jobs,noop,killed,pipe] [--out figures.csv] --programs FOLDER --ours PROGRAM";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Handlers that wait.
    Jobs,
    /// Handlers that do nothing.
    Noop,
    /// Repeats after a kill.
    Killed,
    /// `offtake pipe` with a handler in Python.
    Pipe,
}

impl Section {
    const ALL: [Self; 4] = [Self::Jobs, Self::Noop, Self::Killed, Self::Pipe];

    fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Noop => "noop",
            Self::Killed => "killed",
            Self::Pipe => "pipe",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(crate) struct Settings {
    pub(crate) runs: u32,
    scale: f64,
    pub(crate) sections: Vec<Section>,
    pub(crate) out: Option<PathBuf>,
    /// The folder of the Java programs.
    pub(crate) programs: PathBuf,
    /// The folder of the Offtake programs.
    pub(crate) ours: PathBuf,
}

impl Settings {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            runs: 3,
            scale: 1.0,
            sections: Section::ALL.to_vec(),
            out: None,
            programs: PathBuf::new(),
            ours: PathBuf::new(),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            let wrong = |error: &dyn fmt::Display| format!("{name} {value}: {error}");
            match name.as_str() {
                "--runs" => settings.runs = value.parse().map_err(|error| wrong(&error))?,
                "--scale" => settings.scale = value.parse().map_err(|error| wrong(&error))?,
                "--only" => settings.sections = value.split(',').map(section).collect::<Result<_, _>>()?,
                "--out" => settings.out = Some(value.into()),
                "--programs" => settings.programs = value.into(),
                "--ours" => settings.ours = value.into(),
                _ => return Err(format!("{name} is not known")),
            }
        }
        Ok(settings)
    }

    /// The number of records, scaled by `--scale`.
    pub(crate) fn scaled(&self, records: u64) -> u64 {
        ((records as f64 * self.scale) as u64).max(1000)
    }
}

fn section(name: &str) -> Result<Section, String> {
    let found = Section::ALL.into_iter().find(|section| section.name() == name);
    found.ok_or_else(|| format!("{name} is no section"))
}
