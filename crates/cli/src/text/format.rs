//! `--format`: kcat's tokens and `%I`, parsed once and written for every record.

use std::str::FromStr;

use super::{number, row::Row, time};

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Timestamp,
    /// As RFC 3339.
    Time,
    Headers,
}

impl Default for Format {
    /// The value and a newline, as kcat prints.
    fn default() -> Self {
        Self { pieces: vec![Piece::Value, Piece::Literal(b"\n".to_vec())] }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => {
                    let token = chars.next().ok_or("% at the end: write %% for a percent sign")?;
                    if token == '%' {
                        literal.push(b'%');
                        continue;
                    }
                    let piece = token_piece(token).ok_or_else(|| {
                        format!("unknown token %{token}: there are %t %p %o %k %s %h %T %I %K %S and %%")
                    })?;
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
                '\\' => literal.push(escape(&mut chars)?),
                other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }
}

/// Text with its escapes, as bytes.
pub(crate) fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => bytes.push(escape(&mut chars)?),
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(bytes)
}

fn token_piece(token: char) -> Option<Piece> {
    Some(match token {
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        'k' => Piece::Key,
        'K' => Piece::KeyLength,
        's' => Piece::Value,
        'S' => Piece::ValueLength,
        'T' => Piece::Timestamp,
        'I' => Piece::Time,
        'h' => Piece::Headers,
        _ => return None,
    })
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let mut digit = || chars.next().and_then(|c| c.to_digit(16));
            match (digit(), digit()) {
                (Some(high), Some(low)) => Ok(u8::try_from(high << 4 | low).unwrap_or(0)),
                _ => Err("\\x needs two hexadecimal digits".to_owned()),
            }
        }
        Some(other) => Err(format!("unknown escape \\{other}: there are \\n \\r \\t \\0 \\xNN and \\\\")),
        None => Err("\\ at the end: write \\\\ for a backslash".to_owned()),
    }
}

impl Format {
    /// Appends `row`. On a terminal, control characters in the record are escaped, so that they have no effect.
    pub(crate) fn push<'a, H>(&self, out: &mut Vec<u8>, row: &Row<'a, H>, terminal: bool)
    where
        H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        let data = if terminal { push_visibly } else { push_raw };
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(row.topic.as_bytes()),
                Piece::Partition => number::push(out, i64::from(row.partition)),
                Piece::Offset => number::push(out, row.offset),
                Piece::Key => data(out, row.key.unwrap_or_default()),
                Piece::KeyLength => push_length(out, row.key),
                Piece::Value => data(out, row.value.unwrap_or_default()),
                Piece::ValueLength => push_length(out, row.value),
                Piece::Timestamp => number::push(out, row.timestamp),
                Piece::Time if row.timestamp < 0 => out.push(b'-'),
                Piece::Time => out.extend_from_slice(time::rfc3339(row.timestamp).as_bytes()),
                Piece::Headers => {
                    for (nth, (key, value)) in row.headers.clone().enumerate() {
                        out.extend_from_slice(if nth == 0 { b"" } else { b"," });
                        data(out, key);
                        out.push(b'=');
                        data(out, value.unwrap_or(b"NULL"));
                    }
                }
            }
        }
    }
}

/// -1 for null.
fn push_length(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    number::push(out, bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX)));
}

fn push_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Appends text with control characters escaped, among them U+009B, which begins an escape sequence like ESC [.
pub(crate) fn push_visibly(out: &mut Vec<u8>, bytes: &[u8]) {
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default().map(|c| u8::try_from(c).unwrap_or(b'?')));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, key: Option<&[u8]>, value: Option<&[u8]>, terminal: bool) -> Vec<u8> {
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"b", None)];
        let row = Row {
            topic: "orders",
            partition: 3,
            offset: 42,
            timestamp: 1_700_000_000_000,
            timestamp_type: "create",
            key,
            value,
            headers: headers.into_iter(),
        };
        let mut out = Vec::new();
        format.parse::<Format>().unwrap().push(&mut out, &row, terminal);
        out
    }

    #[test]
    fn every_token_is_written() {
        let out = written(
            "%t/%p/%o k=%k(%K) v=%s(%S) %T=%I %h %%\\n\\t\\0\\x41\\\\",
            Some(b"ab"),
            Some(b"cde"),
            false,
        );
        let expected =
            "orders/3/42 k=ab(2) v=cde(3) 1700000000000=2023-11-14T22:13:20.000Z a=1,b=NULL %\n\t\0A\\";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn null_has_no_bytes_and_length_minus_one() {
        assert_eq!(written("%k|%K|%s|%S", None, Some(b""), false), b"|-1||0");
    }

    #[test]
    fn bytes_pass_unchanged_to_a_pipe_and_cannot_steer_a_terminal() {
        let value: &[u8] = b"\x1b]0;owned\x07\xff\r\nok";
        assert_eq!(written("%s", None, Some(value), false), value);
        let shown = String::from_utf8(written("%s", None, Some(value), true)).unwrap();
        assert_eq!(shown, "\\u{1b}]0;owned\\u{7}\u{fffd}\\r\nok");
    }

    #[test]
    fn the_default_is_the_value_and_a_newline() {
        assert_eq!("%s\\n".parse::<Format>().unwrap(), Format::default());
    }

    #[test]
    fn an_invalid_format_is_refused() {
        for text in ["%", "%z", "\\", "\\q", "\\x4"] {
            assert!(text.parse::<Format>().is_err(), "{text}");
        }
    }
}
