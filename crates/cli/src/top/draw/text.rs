//! Numbers for reading at a glance.

/// With a comma between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds, in the largest unit that is precise enough.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        7200.0..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// Records per second.
pub(super) fn rate(rate: f64) -> String {
    short(rate)
}

/// A number for an axis.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        ..10.0 if number.fract() == 0.0 => format!("{number:.0}"),
        ..10.0 => format!("{number:.1}"),
        10.0..10_000.0 => format!("{number:.0}"),
        10_000.0..1e6 => format!("{:.1}k", number / 1e3),
        1e6..1e9 => format!("{:.1}M", number / 1e6),
        _ => format!("{:.1}G", number / 1e9),
    }
}

/// A dash if the value is unknown.
pub(super) fn maybe<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_spans_have_a_unit_that_fits() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        let spans = [0.04, 9.94, 59.6, 120.0, 7200.0, 172_800.0, f64::INFINITY].map(span);
        assert_eq!(spans, ["0.0 s", "9.9 s", "60 s", "2 min", "2.0 h", "2 d", "inf d"]);
        let numbers = [0.0, 2.5, 17.4, 12_345.0, 3.2e6, 4e9].map(short);
        assert_eq!(numbers, ["0", "2.5", "17", "12.3k", "3.2M", "4.0G"]);
    }
}
