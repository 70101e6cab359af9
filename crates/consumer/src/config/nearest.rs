//! The known name that somebody meant.

/// The one of `names` that takes the fewest edits to become `wanted`; the first of equals.
pub(super) fn nearest(wanted: &str, names: impl IntoIterator<Item = &'static str>) -> &'static str {
    // A name longer than any of ours is as unknown as its beginning.
    let wanted: Vec<char> = wanted.chars().take(128).flat_map(char::to_lowercase).map(separator).collect();
    names
        .into_iter()
        .min_by_key(|name| distance(&wanted, &name.chars().collect::<Vec<_>>()))
        .unwrap_or("group.id")
}

/// `session_timeout_ms` and `session-timeout-ms` are as good as right.
fn separator(c: char) -> char {
    if matches!(c, '_' | '-') { '.' } else { c }
}

/// How many characters to put in, take out, replace or swap with a neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&last, j) + usize::from(x != y);
            best = best.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(a: &str, b: &str) -> usize {
        distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("", ""), 0);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("gruop", "group"), 1);
        assert_eq!(edits("ca", "abc"), 3);
    }

    #[test]
    fn the_one_with_the_fewest_edits_is_named() {
        let names = ["group.id", "group.protocol", "session.timeout.ms"];
        assert_eq!(nearest("grup.id", names), "group.id");
        assert_eq!(nearest("sessionTimeoutMs", names), "session.timeout.ms");
        assert_eq!(nearest("group_protocol", names), "group.protocol");
    }
}
