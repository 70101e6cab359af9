//! What a broker says in words.

/// At most so many characters of it are shown.
const SHOWN: usize = 512;

/// Words of a broker, fit for an error or a log: of a bounded length, and without control characters, which a terminal would obey,
/// among them those that change the direction of the text.
#[must_use]
pub fn broker_text(words: &str) -> String {
    words.chars().take(SHOWN).filter(|c| !steers(*c)).collect()
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_moves_a_cursor_or_fills_a_screen() {
        assert_eq!(broker_text("no\u{1b}[2J such\r\n\0 member"), "no[2J such member");
        assert_eq!(broker_text("no \u{202e}such\u{2028} member"), "no such member");
        assert_eq!(broker_text(&"x".repeat(100_000)).len(), SHOWN);
    }
}
