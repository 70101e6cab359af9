//! The command line.

use std::path::PathBuf;

use crate::rows::Row;
use crate::sending::Load;
use crate::system::System;

/// A section of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Cost,
    Pinned,
    Overlap,
    Latency,
    Start,
    Waste,
    Send,
    SendPinned,
    Transactions,
}

impl Section {
    const ALL: [Self; 9] = [
        Self::Cost,
        Self::Pinned,
        Self::Overlap,
        Self::Latency,
        Self::Start,
        Self::Waste,
        Self::Send,
        Self::SendPinned,
        Self::Transactions,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Pinned => "pinned",
            Self::Overlap => "overlap",
            Self::Latency => "latency",
            Self::Start => "start",
            Self::Waste => "waste",
            Self::Send => "send",
            Self::SendPinned => "send-pinned",
            Self::Transactions => "transactions",
        }
    }
}

pub(crate) struct Settings {
    /// In the requested order; only the cost by default.
    pub(crate) sections: Vec<Section>,
    pub(crate) runs: u32,
    pub(crate) systems: Vec<System>,
    pub(crate) rows: Vec<Row>,
    /// The loads to send.
    pub(crate) loads: Vec<Load>,
    /// Whether clients use TLS.
    pub(crate) tls: bool,
    /// A factor for the number of records in each row.
    pub(crate) scale: f64,
    /// The number of records whose latency is measured.
    pub(crate) records: u64,
    /// The folder of the broker's data, to be used again.
    pub(crate) keep: Option<PathBuf>,
    /// A file for a line per figure.
    pub(crate) out: Option<PathBuf>,
    /// The folder of the rivals' programs.
    pub(crate) programs: PathBuf,
}

pub(crate) const USAGE: &str = "\
peers [--cost] [--pinned] [--overlap] [--latency] [--start] [--waste] [--send] [--send-pinned] [--transactions] [--all] [--tls]
      [--runs 5]
      [--systems floor,java,librdkafka,franz-go,krafka,krafka-default,rskafka,barnabas,offtake]
      [--rows 100-none,100-single,1k-none,1k-many,json-none,json-lz4,json-zstd,json-snappy,json-gzip] [--scale 1.0] [--records 20000]
      [--loads 100-none,100-lz4,1k-none,1k-lz4,100-none-equal,100-lz4-equal,1k-none-equal,1k-lz4-equal]
      [--keep FOLDER] [--out figures.csv] [--programs FOLDER]";

impl Settings {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            sections: Vec::new(),
            runs: 5,
            systems: System::ALL.into(),
            rows: Row::ALL.into(),
            loads: Load::ALL.into(),
            tls: false,
            scale: 1.0,
            records: 20_000,
            keep: None,
            out: None,
            programs: "target/peers".into(),
        };
        while let Some(argument) = arguments.next() {
            let flag = argument.strip_prefix("--").unwrap_or_default();
            if flag == "all" {
                settings.sections = Section::ALL.into();
                continue;
            }
            if flag == "tls" {
                settings.tls = true;
                continue;
            }
            if let Some(section) = Section::ALL.iter().find(|section| section.name() == flag) {
                settings.sections.push(*section);
                continue;
            }
            let value =
                arguments.next().ok_or_else(|| format!("{argument} is not known, or needs a value"))?;
            match flag {
                "runs" => settings.runs = number(&value)?,
                "systems" => settings.systems = named(&value, &System::ALL, System::name)?,
                "loads" => settings.loads = named(&value, &Load::ALL, Load::name)?,
                "rows" => settings.rows = named(&value, &Row::ALL, Row::name)?,
                "scale" => settings.scale = number(&value)?,
                "records" => settings.records = number(&value)?,
                "keep" => settings.keep = Some(value.into()),
                "out" => settings.out = Some(value.into()),
                "programs" => settings.programs = value.into(),
                _ => return Err(format!("{argument} is not known")),
            }
        }
        if settings.sections.is_empty() {
            settings.sections.push(Section::Cost);
        }
        if settings.tls && settings.sections.iter().any(|of| !matches!(of, Section::Cost | Section::Pinned)) {
            return Err("--tls goes with --cost and --pinned".into());
        }
        if settings.runs == 0 || !(settings.scale > 0.0 && settings.scale <= 100.0) {
            return Err("--runs must be 1 at least, and --scale between 0 and 100".into());
        }
        Ok(settings)
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// The values of a comma-separated list.
fn named<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>, String> {
    let find = |wanted: &str| all.iter().copied().find(|one| name(*one) == wanted);
    text.split(',').map(|one| find(one).ok_or_else(|| format!("`{one}` is not known"))).collect()
}
