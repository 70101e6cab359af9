//! The resources used by the process so far, as Linux reports them; unknown on other systems.

use std::fs;

/// Ticks per second in `/proc`: fixed by the kernel's interface, whatever the machine's own rate.
const TICKS: f64 = 100.0;

/// User and system time of all threads, those that have ended included.
pub(super) fn cpu_seconds() -> Option<f64> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The peak resident memory.
pub(super) fn peak_rss_kib() -> Option<u64> {
    parse_status(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Fields 14 and 15; the second, a name in parentheses, may contain anything.
#[expect(clippy::cast_precision_loss, reason = "ticks of a process that ends some day")]
fn parse_stat(text: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system) as f64 / TICKS)
}

fn parse_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_ticks_are_found_behind_any_name() {
        let text = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0";
        assert_eq!(parse_stat(text), Some(2.0));
        assert_eq!(parse_stat("42"), None);
    }

    #[test]
    fn the_high_water_mark_is_found() {
        assert_eq!(parse_status("Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n"), Some(12345));
        assert_eq!(parse_status("Name:\tx\n"), None);
    }
}
