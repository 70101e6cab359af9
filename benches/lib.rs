//! The cost of the codec, measured; each bench is a file beside this one. And the format for figures of several runs.

/// The median of several figures, then the least and the most: `7.17 (0.500 – 123)`.
pub fn spread(all: &[f64]) -> String {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (middle(&sorted), sorted.first(), sorted.last()) {
        (Some(middle), Some(least), Some(most)) => {
            format!("{} ({} – {})", digits(middle), digits(*least), digits(*most))
        }
        _ => "–".to_owned(),
    }
}

/// The middle value, or the mean of the two middle ones.
fn middle(sorted: &[f64]) -> Option<f64> {
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(*sorted.get(low)?, *sorted.get(high)?))
}

/// Three digits, where that makes sense.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_the_least_and_the_most() {
        assert_eq!(spread(&[0.5, 123.4, 2.0, 12.34]), "7.17 (0.500 – 123)");
        assert_eq!(spread(&[0.0]), "0 (0 – 0)");
        assert_eq!(spread(&[]), "–");
        assert_eq!(middle(&[1.0, 2.0, 9.0]), Some(2.0));
    }
}
