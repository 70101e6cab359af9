//! The tokens of a `sasl.jaas.config`.

use std::{iter::Peekable, str::CharIndices};

use zeroize::Zeroizing;

use super::{JaasError, QUOTE_IT};
use crate::secret::Secret;

/// A token of a `sasl.jaas.config`.
pub(super) enum Token {
    Word(Zeroizing<Vec<u8>>),
    Quoted(Zeroizing<Vec<u8>>),
    Equals,
    Semicolon,
    End,
}

/// The tokens, each with its position.
pub(super) struct Tokens<'a> {
    chars: Peekable<CharIndices<'a>>,
    length: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { chars: text.char_indices().peekable(), length: text.len() }
    }

    pub(super) fn next(&mut self) -> Result<(usize, Token), JaasError> {
        loop {
            let Some((at, c)) = self.chars.next() else {
                return Ok((self.length, Token::End));
            };
            return Ok((
                at,
                match c {
                    '\0'..=' ' => continue,
                    '/' => {
                        self.comment(at)?;
                        continue;
                    }
                    ';' => Token::Semicolon,
                    '=' => Token::Equals,
                    '"' | '\'' => Token::Quoted(self.quoted(at, c)?),
                    c => Token::Word(self.word(c)),
                },
            ));
        }
    }

    /// Parses `= value`.
    pub(super) fn value(&mut self) -> Result<Secret, JaasError> {
        match self.next()? {
            (_, Token::Equals) => {}
            (at, _) => {
                return Err(JaasError::at(at, &format!("an option has no = after its name: {QUOTE_IT}")));
            }
        }
        match self.next()? {
            // Copies the value to its exact size, because the buffer has room for the whole text.
            (_, Token::Word(value) | Token::Quoted(value)) => Ok(Secret::from(value.as_slice())),
            (at, _) => Err(JaasError::at(at, &format!("an option has no value: {QUOTE_IT}"))),
        }
    }

    /// Skips `// …` and `/ …` to the end of the line, and `/* … */`.
    fn comment(&mut self, begin: usize) -> Result<(), JaasError> {
        if self.chars.next_if(|(_, c)| *c == '*').is_none() {
            while self.chars.next_if(|(_, c)| !matches!(c, '\n' | '\r')).is_some() {}
            return Ok(());
        }
        let mut star = false;
        for (_, c) in self.chars.by_ref() {
            match c {
                '/' if star => return Ok(()),
                c => star = c == '*',
            }
        }
        Err(JaasError::at(begin, "a comment is not closed"))
    }

    fn word(&mut self, first: char) -> Zeroizing<Vec<u8>> {
        let mut word = self.buffer();
        push(&mut word, first);
        let is_part = |c: char| !matches!(c, '\0'..=' ' | '/' | ';' | '=' | '"' | '\'');
        while let Some((_, c)) = self.chars.next_if(|(_, c)| is_part(*c)) {
            push(&mut word, c);
        }
        word
    }

    fn quoted(&mut self, begin: usize, quote: char) -> Result<Zeroizing<Vec<u8>>, JaasError> {
        let mut text = self.buffer();
        while let Some((_, c)) = self.chars.next() {
            match c {
                c if c == quote => return Ok(text),
                '\n' | '\r' => break,
                '\\' => match self.chars.next() {
                    Some((_, escaped)) => {
                        let c = self.unescape(escaped);
                        push(&mut text, c);
                    }
                    None => break,
                },
                c => push(&mut text, c),
            }
        }
        Err(JaasError::at(begin, "a quote is not closed on its line"))
    }

    /// Decodes the character after a backslash as Java does, with octal codes up to 377.
    fn unescape(&mut self, c: char) -> char {
        match c {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or_default();
                let more = if c <= '3' { 2 } else { 1 };
                for _ in 0..more {
                    let Some((_, digit)) = self.chars.next_if(|(_, c)| c.is_digit(8)) else { break };
                    code = code * 8 + digit.to_digit(8).unwrap_or_default();
                }
                char::from_u32(code).unwrap_or_default()
            }
            other => other,
        }
    }

    /// A buffer with room for the longest token, so that growing leaves no copy of a secret behind.
    fn buffer(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Vec::with_capacity(self.length))
    }
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
