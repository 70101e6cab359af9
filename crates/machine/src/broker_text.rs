//! Checks and shortens text that a broker sent.

/// How many characters of it are shown at most.
const SHOWN: usize = 512;

/// Prepares a broker's text for an error or a log: of bounded length, and without control characters, which a
/// terminal would obey, including those that change the direction of the text.
#[must_use]
pub fn broker_text(words: &str) -> String {
    words.chars().take(SHOWN).filter(|c| !is_control(*c)).collect()
}

/// The length of the longest DNS name, with its last dot, in bytes.
const LONGEST_HOST: usize = 254;

/// Whether a text that a broker sent as a host name could be one: it is used in errors and logs, and passed
/// to the resolver.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let odd = |c: char| is_control(c) || c.is_whitespace();
    !text.is_empty() && text.len() <= LONGEST_HOST && !text.contains(odd)
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_characters_that_steer_and_an_end() {
        for host in [
            "localhost",
            "10.0.0.1",
            "fe80::1%eth0",
            "broker-1.example.",
            "_b.svc.cluster.local",
            "bücher.example",
        ] {
            assert!(is_host(host), "{host}");
        }
        for odd in ["", " ", "127.0.0\u{8}\u{4}", "a b", "a\nb", "\u{202e}moc", &"x".repeat(255)] {
            assert!(!is_host(odd), "{odd:?}");
        }
    }

    #[test]
    fn nothing_of_it_moves_a_cursor_or_fills_a_screen() {
        assert_eq!(broker_text("no\u{1b}[2J such\r\n\0 member"), "no[2J such member");
        assert_eq!(broker_text("no \u{202e}such\u{2028} member"), "no such member");
        assert_eq!(broker_text(&"x".repeat(100_000)).len(), SHOWN);
    }
}
