//! Finds the known name that was probably meant.

/// The one of `names` that was probably meant: the one that takes the fewest edits to become `wanted`, if
/// these are few; the first of equals. Case and separators are ignored: `sessionTimeoutMs` is
/// `session.timeout.ms`.
pub(crate) fn nearest(wanted: &str, names: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    // A name longer than any of ours is as unknown as its beginning.
    let wanted = letters(wanted.chars().take(128));
    let near = |name: &'static str| {
        let edits = distance(&wanted, &letters(name.chars()));
        (edits <= bound(wanted.len())).then_some((edits, name))
    };
    names.into_iter().filter_map(near).min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

/// The number of edits above which it is another name, not a misspelled one.
fn bound(length: usize) -> usize {
    match length {
        0..=3 => 0,
        4..=11 => 1,
        _ => 2,
    }
}

fn letters(name: impl Iterator<Item = char>) -> Vec<char> {
    name.flat_map(char::to_lowercase).filter(|c| !matches!(c, '.' | '_' | '-')).collect()
}

/// The number of characters to insert, remove, replace or swap with a neighbour (optimal string alignment).
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
        assert_eq!(nearest("grup.id", names), Some("group.id"));
        assert_eq!(nearest("sessionTimeoutMs", names), Some("session.timeout.ms"));
        assert_eq!(nearest("session.timeot.m", names), Some("session.timeout.ms"));
        assert_eq!(nearest("group_protocol", names), Some("group.protocol"));
    }

    /// Short names are others sooner: `ack` might mean anything.
    #[test]
    fn what_differs_by_more_than_its_length_allows_is_another_name() {
        for (wanted, name, is_near) in [
            ("ack", "acks", false),
            ("ackz", "acks", true),
            ("akcz", "acks", false),
            ("retries.max.xy", "retries.max.zz", true),
            ("abcdefghijx", "abcdefghijk", true),
            ("abcdefghixy", "abcdefghijk", false),
            ("abcdefghijxy", "abcdefghijkl", true),
            ("abcdefghixyz", "abcdefghijkl", false),
        ] {
            assert_eq!(nearest(wanted, [name]).is_some(), is_near, "{wanted} for {name}");
        }
    }

    #[test]
    fn a_name_that_is_unlike_any_has_none() {
        let names = ["debug", "client.id", "group.id", "ssl.keystore.key"];
        for name in ["", "acks", "linger.ms", "schema.registry.url", "bug", "topic"] {
            assert_eq!(nearest(name, names), None, "{name}");
        }
    }
}
