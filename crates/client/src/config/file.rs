//! Java's `.properties` syntax. Nothing in a value is expanded: `${…}` stays unchanged.

use super::ConfigError;

/// The names and values in the text of a `.properties` file, in order.
///
/// `#` and `!` begin a comment line; the name ends at the first `=`, `:` or blank; a backslash at the end of
/// a line continues it; `\t \n \r \f \uXXXX` and `\` before any other character have their meaning in Java.
pub fn parse_properties(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut properties = Vec::new();
    let mut lines = natural_lines(text);
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while ends_in_continuation(&line) {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim_start_matches(BLANKS));
        }
        let (name, value) = split(&line);
        let syntax = |reason| ConfigError::Syntax { line: number, reason };
        properties.push((unescape(name).map_err(syntax)?, unescape(value).map_err(syntax)?));
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Splits lines at `\n`, `\r` or `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(text);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else { return rest.take() };
        let (line, after) = text.split_at(end);
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..));
        Some(line)
    });
    (1..).zip(lines)
}

/// Whether the line ends in an odd number of backslashes.
fn ends_in_continuation(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// Splits a line into name and value, both still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && (BLANKS.contains(c) || matches!(c, '=' | ':'));
            escaped = *c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut units = Vec::new(); // UTF-16 units of \u escapes in a row: two of them may be one character
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    loop {
        let next = chars.next();
        let escape = if next == Some('\\') { chars.next() } else { None };
        if escape == Some('u') {
            let mut unit = 0;
            for _ in 0..4 {
                let digit = chars.next().and_then(|c| c.to_digit(16));
                unit = unit << 4 | digit.ok_or("`\\u` must be followed by four hexadecimal digits")?;
            }
            units.push(u16::try_from(unit).unwrap_or(0xfffd));
            continue;
        }
        if !units.is_empty() {
            plain.push_str(&String::from_utf16(&units).map_err(|_| "`\\u` escapes that are no character")?);
            units.clear();
        }
        match (next, escape) {
            (None, _) => return Ok(plain),
            (Some('\\'), Some('t')) => plain.push('\t'),
            (Some('\\'), Some('n')) => plain.push('\n'),
            (Some('\\'), Some('r')) => plain.push('\r'),
            (Some('\\'), Some('f')) => plain.push('\u{c}'),
            (Some('\\'), Some(other)) => plain.push(other),
            (Some('\\'), None) => {} // the file ends in a continuation
            (Some(other), _) => plain.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse_properties(text).unwrap()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn separators_comments_and_blanks_are_javas() {
        let text = "# one\n  ! two\n\na=1\r\nb : 2\rc 3\n  d\t=\t4 \ne\nf==5\ng:=6\n";
        let expected = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4 "), ("e", ""), ("f", "=5"), ("g", "=6")];
        assert_eq!(parsed(text), pairs(&expected));
    }

    #[test]
    fn a_backslash_continues_a_line_and_an_even_number_does_not() {
        assert_eq!(
            parsed("a=1,\\\n    2,\\\r\n  3\nb=x\\\\\nc=y"),
            pairs(&[("a", "1,2,3"), ("b", "x\\"), ("c", "y")])
        );
        assert_eq!(parsed("a=1\\"), pairs(&[("a", "1")]));
        assert_eq!(parsed("a=1\\\n#no comment here"), pairs(&[("a", "1#no comment here")]));
    }

    #[test]
    fn escapes_are_undone_in_names_and_values() {
        assert_eq!(parsed("a\\ b\\=c=\\t\\n\\\\\\q"), pairs(&[("a b=c", "\t\n\\q")]));
        assert_eq!(parsed("a=\\u00e9\\uD83D\\uDE00!"), pairs(&[("a", "é😀!")]));
        assert_eq!(parsed("\u{feff}a=1"), pairs(&[("a", "1")]));
    }

    #[test]
    fn a_broken_escape_is_refused_with_its_line() {
        let error = parse_properties("a=1\nb=\\u12").unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
        assert!(parse_properties("a=\\uD83D").is_err());
    }

    #[test]
    fn nothing_is_expanded() {
        let text = "a=${env:HOME}\nb=${file:/etc/passwd:x}";
        assert_eq!(parsed(text), pairs(&[("a", "${env:HOME}"), ("b", "${file:/etc/passwd:x}")]));
    }
}
