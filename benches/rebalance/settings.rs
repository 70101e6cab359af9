//! The command line.

use std::path::PathBuf;

use crate::system::{Protocol, System};

pub(crate) struct Settings {
    pub(crate) runs: u32,
    pub(crate) systems: Vec<System>,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) partitions: i32,
    pub(crate) rate: u32,
    /// This bench, built before a change; its members are measured as well.
    pub(crate) before: Option<PathBuf>,
    /// The program of franz-go's members.
    pub(crate) franz: Option<PathBuf>,
    /// A file for a line per run.
    pub(crate) out: Option<PathBuf>,
    /// A folder for the members' stderr, deliveries and frames.
    pub(crate) logs: Option<PathBuf>,
    /// Sends all traffic of the members through a proxy that counts.
    pub(crate) wire: bool,
    /// Seconds to watch an idle group, in place of the rebalances.
    pub(crate) idle: u32,
    /// Seconds that a member takes for a revocation, in place of the plain rebalances.
    pub(crate) slow: u32,
}

pub(crate) const USAGE: &str = "\
rebalance [--runs 5] [--systems offtake,java,librdkafka,franz-go] [--protocols cooperative,kip848] [--partitions 12]
          [--rate 1000] [--before PROGRAM] [--franz PROGRAM] [--out runs.csv] [--logs FOLDER] [--wire] [--idle SECONDS]
          [--slow SECONDS]";

impl Settings {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            runs: 5,
            systems: System::ALL.into(),
            protocols: Protocol::ALL.into(),
            partitions: 12,
            rate: 1000,
            before: None,
            franz: None,
            out: None,
            logs: None,
            wire: false,
            idle: 0,
            slow: 0,
        };
        while let Some(argument) = arguments.next() {
            if argument == "--wire" {
                settings.wire = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--runs" => settings.runs = number(&value)?,
                "--systems" => settings.systems = named(&value, &System::ALL, System::name)?,
                "--protocols" => settings.protocols = named(&value, &Protocol::ALL, Protocol::name)?,
                "--partitions" => settings.partitions = number(&value)?,
                "--rate" => settings.rate = number(&value)?,
                "--before" => settings.before = Some(value.into()),
                "--franz" => settings.franz = Some(value.into()),
                "--out" => settings.out = Some(value.into()),
                "--logs" => settings.logs = Some(value.into()),
                "--idle" => settings.idle = number(&value)?,
                "--slow" => settings.slow = number(&value)?,
                _ => return Err(format!("{argument} is not known")),
            }
        }
        if settings.before.is_some() {
            let after_ours = usize::from(settings.systems.contains(&System::Offtake));
            settings.systems.insert(after_ours, System::Before);
        }
        let (even, those) = if settings.slow > 0 {
            (20, "four members and five must be able to share them evenly: 20, 40, …")
        } else {
            (6, "two members and three must be able to share them evenly: 6, 12, 18, …")
        };
        settings.partitions = settings.partitions.max(if settings.slow > 0 { even } else { 0 });
        if settings.partitions < even || settings.partitions % even != 0 {
            return Err(format!("--partitions: {those}"));
        }
        Ok(settings)
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// The values of a comma-separated list.
pub(crate) fn named<T: Copy>(
    text: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let find = |wanted: &str| all.iter().copied().find(|one| name(*one) == wanted);
    text.split(',').map(|one| find(one).ok_or_else(|| format!("`{one}` is not known"))).collect()
}
