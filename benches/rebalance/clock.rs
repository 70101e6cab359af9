//! The clock of a run: microseconds since the epoch, the same for every process of a machine.

use std::time::SystemTime;

pub(crate) type Micros = i64;

pub(crate) const MS: Micros = 1000;
pub(crate) const SECOND: Micros = 1000 * MS;

pub(crate) fn micros() -> Micros {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
