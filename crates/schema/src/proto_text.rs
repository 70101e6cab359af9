//! The tokens of a `.proto` text, without comments and quoted texts, for checks before the text is compiled, or instead of
//! compiling it.

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword, a name with its dots, or a number.
    Word(&'a str),
    Sign(char),
}

struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.0 = self.0.trim_start();
            let first = self.0.chars().next()?;
            let after = self.0.get(first.len_utf8()..).unwrap_or_default();
            self.0 = match first {
                // A `#` begins a comment only within the values of options, and is not allowed elsewhere.
                '#' => after_line(after),
                '/' if after.starts_with('/') => after_line(after),
                '/' if after.starts_with('*') => {
                    after.get(1..).and_then(|inside| inside.split_once("*/")).map_or("", |(_, rest)| rest)
                }
                '"' | '\'' => after_quote(after, first),
                _ if is_of_word(first) => {
                    let end = self.0.find(|c| !is_of_word(c)).unwrap_or(self.0.len());
                    let (word, rest) = self.0.split_at(end);
                    self.0 = rest;
                    return Some(Token::Word(word));
                }
                _ => {
                    self.0 = after;
                    return Some(Token::Sign(first));
                }
            };
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

/// A quoted text does not continue on the next line.
fn after_quote(text: &str, quote: char) -> &str {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return text.get(at..).unwrap_or_default(),
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

/// The nesting depth of braces, brackets and parentheses.
#[cfg(feature = "protobuf")]
pub(crate) fn deepest(text: &str) -> usize {
    let mut depth: usize = 0;
    let mut deepest = 0;
    for token in Tokens(text) {
        match token {
            Token::Sign('{' | '[' | '(' | '<') => depth += 1,
            Token::Sign('}' | ']' | ')' | '>') => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The full name of the first top-level message.
pub(crate) fn first_message(text: &str) -> Option<String> {
    let (mut package, mut message) = (None, None);
    let mut depth = 0_usize;
    let mut begins = true; // a statement
    let mut tokens = Tokens(text);
    while let Some(token) = tokens.next() {
        let is_statement = depth == 0 && std::mem::replace(&mut begins, false);
        match token {
            Token::Word(keyword @ ("package" | "message")) if is_statement => {
                let Some(Token::Word(name)) = tokens.next() else { continue };
                let found = if keyword == "package" { &mut package } else { &mut message };
                found.get_or_insert(name);
            }
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => {
                depth = depth.saturating_sub(1);
                begins = depth == 0;
            }
            Token::Sign(';') => begins = depth == 0,
            _ => {}
        }
    }
    let message = message?;
    Some(package.map_or_else(|| message.to_owned(), |package| format!("{package}.{message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_behind_comments_and_fields_that_are_called_like_keywords() {
        for (text, name) in [
            ("syntax = \"proto3\";\npackage a.b;\nmessage Order{}", Some("a.b.Order")),
            ("message Order {}", Some("Order")),
            (
                "// The message of a package is an order.\nmessage Order { string package = 1; }",
                Some("Order"),
            ),
            ("/* message A {} */ option x = \"message B {\";; message/**/C{} message D{}", Some("C")),
            ("enum E { message = 0; package = 1; } message A { message B {} } package late;", Some("late.A")),
            ("service S { rpc message (A) returns (B); }", None),
            ("message", None),
            ("message {", None),
            ("", None),
        ] {
            assert_eq!(first_message(text).as_deref(), name, "{text}");
        }
    }

    #[cfg(feature = "protobuf")]
    #[test]
    fn only_what_is_no_comment_and_no_quotation_is_deep() {
        for (text, depth) in [
            ("message A { map<string, int32> a = 1; }", 2),
            ("// (((\n/* {{{ */ option a = \"[[[\\\"[\"; option b = '<<<';", 0),
            ("{ // }\n{ /* } */ { \"}\" { # }\n{", 5),
            ("\"open {\n{", 1),
            ("é{ü}", 1),
            ("/* {", 0),
        ] {
            assert_eq!(deepest(text), depth, "{text}");
        }
    }
}
