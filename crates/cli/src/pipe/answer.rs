//! The answers of a handler.

use std::borrow::Cow;

use offtake::TopicPartition;
use serde::Deserialize;

/// The outcome of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandlerResult {
    Ok,
    Retry(String),
    Poison(String),
}

/// The record of an answer, and its outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    To(TopicPartition, i64, HandlerResult),
    /// The oldest unanswered record.
    Oldest(HandlerResult),
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    offset: i64,
    #[serde(borrow)]
    result: Cow<'a, str>,
    #[serde(default)]
    reason: Option<String>,
}

/// Parses an answer, given without its line end; or returns why it is invalid.
pub(super) fn parse(line: &[u8]) -> Result<Answer, String> {
    let line = line.trim_ascii_end();
    if line.starts_with(b"{") {
        let said: Line<'_> =
            serde_json::from_slice(line).map_err(|error| invalid_answer(line, &error.to_string()))?;
        let reason = said.reason.unwrap_or_default();
        let verdict = parse_result(&said.result, reason)
            .ok_or_else(|| invalid_answer(line, "`result` is ok, retry or poison"))?;
        return Ok(Answer::To(
            TopicPartition::new(said.topic.as_ref(), said.partition),
            said.offset,
            verdict,
        ));
    }
    let text = String::from_utf8_lossy(line);
    let (word, reason) = text.split_once(' ').unwrap_or((&text, ""));
    match parse_result(word, reason.trim().to_owned()) {
        Some(HandlerResult::Ok) if !reason.is_empty() => Err(invalid_answer(line, "nothing follows `ok`")),
        Some(verdict) => Ok(Answer::Oldest(verdict)),
        None => Err(invalid_answer(line, "write ok, retry REASON, poison REASON, or JSON")),
    }
}

fn parse_result(word: &str, reason: String) -> Option<HandlerResult> {
    let reason = |otherwise: &str| if reason.is_empty() { otherwise.to_owned() } else { reason.clone() };
    match word {
        "ok" => Some(HandlerResult::Ok),
        "retry" => Some(HandlerResult::Retry(reason("the handler asks for another attempt"))),
        "poison" => Some(HandlerResult::Poison(reason("the handler cannot handle it"))),
        _ => None,
    }
}

/// An error message with the beginning of the invalid answer.
fn invalid_answer(line: &[u8], why: &str) -> String {
    const SHOWN: usize = 100;
    let text = String::from_utf8_lossy(line.get(..SHOWN).unwrap_or(line));
    let dots = if line.len() > SHOWN { "…" } else { "" };
    format!("it wrote `{}{dots}`, which is not a valid answer: {why}", crate::text::table::visible(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(why: &str) -> HandlerResult {
        HandlerResult::Retry(why.to_owned())
    }

    #[test]
    fn an_answer_names_its_record_or_is_of_the_oldest() {
        let to = |verdict| Ok(Answer::To(TopicPartition::new("t", 3), 7, verdict));
        let json =
            |rest: &str| parse(format!(r#"{{"offset":7,"partition":3,"topic":"t",{rest}}}"#).as_bytes());
        assert_eq!(json(r#""result":"ok""#), to(HandlerResult::Ok));
        assert_eq!(json(r#""result":"ok","reason":null,"took_ms":5"#), to(HandlerResult::Ok));
        assert_eq!(json(r#""result":"retry","reason":"a \"lock\"""#), to(retry("a \"lock\"")));
        assert_eq!(json(r#""result":"poison","reason":"ü""#), to(HandlerResult::Poison("ü".to_owned())));
        assert_eq!(parse(b"ok"), Ok(Answer::Oldest(HandlerResult::Ok)));
        assert_eq!(parse(b"ok\r"), Ok(Answer::Oldest(HandlerResult::Ok)));
        assert_eq!(parse(b"retry the row is locked"), Ok(Answer::Oldest(retry("the row is locked"))));
        assert!(
            matches!(parse(b"retry"), Ok(Answer::Oldest(HandlerResult::Retry(why))) if why.contains("handler"))
        );
        assert!(
            matches!(parse(b"poison \xff"), Ok(Answer::Oldest(HandlerResult::Poison(why))) if why == "\u{fffd}")
        );
    }

    #[test]
    fn anything_else_is_nonsense_and_its_beginning_is_told() {
        let long = [b'x'; 5000];
        for line in [
            b"".as_slice(),
            b" ",
            b"OK",
            b"ok then",
            b"okay",
            b"starting up...",
            b"{}",
            b"{",
            br#"{"topic":"t","partition":0,"offset":1,"result":"done"}"#,
            br#"{"topic":"t","partition":"0","offset":1,"result":"ok"}"#,
            br#"{"topic":"t","partition":0,"result":"ok"}"#,
            br#"{"topic":"t","partition":0,"offset":99999999999999999999,"result":"ok"}"#,
            br#"["ok"]"#,
            b"\x1b[2Jok",
            &long,
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.len() < 400 && !why.contains('\u{1b}'), "{why}");
        }
        assert!(parse(b"Traceback (most recent").unwrap_err().contains("`Traceback (most recent`"));
    }
}
