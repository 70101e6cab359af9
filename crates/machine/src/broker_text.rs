//! What a broker says in words.

/// At most so many characters of it are shown.
const SHOWN: usize = 512;

/// Words of a broker, fit for an error or a log: of a bounded length, and without control characters, which a terminal would obey.
#[must_use]
pub fn broker_text(words: &str) -> String {
    words.chars().take(SHOWN).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_moves_a_cursor_or_fills_a_screen() {
        assert_eq!(broker_text("no\u{1b}[2J such\r\n\0 member"), "no[2J such member");
        assert_eq!(broker_text(&"x".repeat(100_000)).len(), SHOWN);
    }
}
