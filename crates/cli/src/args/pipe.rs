//! `pipe`.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};

use crate::text::time;

#[derive(Debug, Args)]
#[command(after_help = PIPE, after_long_help = PROTOCOL)]
pub(crate) struct Pipe {
    /// The topics
    #[arg(required = true, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topics: Vec<String>,
    /// The consumer group. Where it has committed nothing it starts at the first record (unless -X
    /// auto.offset.reset says otherwise)
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: String,
    /// The handler: run as /bin/sh -c 'exec CMD', so that CMD is a single command; several need sh -c '…' themselves
    #[arg(long, value_name = "CMD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) exec: String,
    /// The number of handlers that run at once. Default: one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// The number of records that one handler may have at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// Whether a handler gets records one after the other, or is run anew for each with the value on its stdin
    #[arg(long, value_enum, default_value_t = Mode::Records)]
    pub(crate) mode: Mode,
    /// How records and answers are delimited
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    pub(crate) framing: Framing,
    /// Which records are handled one after the other, retries included; records without a key are in no order
    #[arg(long, value_enum, default_value_t = Order::Key)]
    pub(crate) order: Order,
    /// How often a record is tried
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// How long a record waits before the second attempt, doubled before each further one, and the longest
    /// wait; each is drawn between half of that and the whole
    #[arg(long, value_name = "LEAST..MOST", default_value = "100ms..10s", value_parser = backoff)]
    pub(crate) backoff: Backoff,
    /// The topic for records that are poison or out of attempts. Without it such a record stops its partition,
    /// and the others go on
    #[arg(long, value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) dlq: Option<String>,
    /// Delays, in turn, for records that are out of attempts, before they are tried again: for 1m a record
    /// waits in topic GROUP.retry.1m (or in TOPIC, with TOPIC=1m), which has to exist. After the last it goes
    /// to --dlq
    #[arg(long, value_name = "DURATION,…", value_delimiter = ',', requires = "dlq", value_parser = retry_topic)]
    pub(crate) retry_topics: Vec<RetryTopic>,
    /// Allow a record in a retry topic to be overtaken by later ones of its key or partition: with
    /// --retry-topics and an --order
    #[arg(long, requires = "retry_topics")]
    pub(crate) allow_reordering: bool,
    /// The naming of the headers of dead letters
    #[arg(long, value_name = "SET", value_enum, default_value_t = DlqHeaders::Offtake, requires = "dlq")]
    pub(crate) dlq_headers: DlqHeaders,
    /// How often finished records are committed
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) commit_interval: Duration,
    /// Pause attempts when this share of the last N answers was `retry`, late or missing
    #[arg(long, value_name = "SHARE%/N", default_value = "50%/100", value_parser = breaker)]
    pub(crate) breaker: Share,
    /// How long the pause lasts; then a few records are tried, whose attempts do not count
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) breaker_pause: Duration,
    /// The most records that may wait
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) queue: u32,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How long the handlers may take to finish their records when the command stops
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// Write events to stderr as JSON lines
    #[arg(long)]
    pub(crate) events: bool,
}

const PIPE: &str = "`offtake pipe --help` says what a handler reads and how it answers.";

const PROTOCOL: &str = r#"What a handler reads, a line for each record: that of `consume --json`, and which attempt it is,
from 1 (here it is broken in two)
  {"topic":"orders","partition":0,"offset":7,"timestamp":1790000000000,
   "timestamp_type":"create","key":"k","value":"v","headers":[["h","x"]],"attempt":1}
Bytes that are no text come as key_base64 and value_base64. It answers each record with a line, in
any order
  {"topic":"orders","partition":0,"offset":7,"result":"ok"}
where the result may also be "retry" or "poison" with a "reason"; or it answers the oldest record
that is unanswered with one of
  ok
  retry REASON
  poison REASON
Those cannot be checked: keep its stdout for answers alone, and answer by JSON where a library may
write there too. It has to flush its stdout after each. Its stderr is passed on. --timeout counts
from when a record is given to it; what its start takes is among it, so let it be longer than that.
With --in-flight, those behind wait for those before them. A handler is killed with its process
group and started again if it takes longer than --timeout, writes anything else, or has a record
whose partition was taken away. Those of its other records are retried, and that was no attempt. Those of one that
ends or writes an invalid answer are retried too, and that attempt counts, as any of them may be the reason: so
the last attempt at one that has failed before is made with no other record at its handler. (With
--attempts 1 the first is the last: what is at a handler that ends has no other.) For the breaker a
handler that ends has failed once, however many records it had. One that cannot be run (the shell
ends with 126 or 127) ends the command. Before a handler is started again it is waited 100 ms, twice
as long each time that this goes on, 10 s at most (whatever --backoff says). At the end its stdin
is closed, and it may finish what it is at; a record that waits for such a start is waited for too.

While the breaker is not closed, what is retried uses up no attempts: a record that can never be
handled should be answered by poison.

--framing length: each record and each answer comes behind 4 bytes that say how long it is, as a
big-endian number. An answer is what would be a line. A record is 4 bytes that say how long the JSON
is, the JSON, the key and the value. The JSON has "key_length" and "value_length" (null where there
is none) instead of key and value.

--mode value: CMD is run for each record, with the value on its stdin and OFFTAKE_TOPIC,
OFFTAKE_PARTITION, OFFTAKE_OFFSET, OFFTAKE_ATTEMPT and OFFTAKE_KEY in its environment: no OFFTAKE_KEY
without a key, and OFFTAKE_KEY_BASE64 instead where the key has a byte 0. Status 0 is ok, 65 poison;
any other, or none within --timeout, is retry; but a CMD that cannot be run (126 or 127 before it
has ever run) ends the command. Its stdout and stderr are passed on."#;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Records,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    Lines,
    Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Key,
    Partition,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DlqHeaders {
    Offtake,
    Spring,
    Connect,
}

/// The topic in which a record that is out of attempts waits; without a name it is the group's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryTopic {
    name: Option<String>,
    /// The option as it was written.
    text: String,
    pub(crate) delay: Duration,
}

impl RetryTopic {
    pub(crate) fn name(&self, group: &str) -> String {
        self.name.clone().unwrap_or_else(|| format!("{group}.retry.{}", self.text))
    }
}

/// The shortest and the longest wait before a record is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

/// A share of a number of answers, 1 being all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) share: f64,
    pub(crate) of: usize,
}

fn duration(text: &str) -> Result<Duration, String> {
    match time::duration(text)? {
        0 => Err("the duration is zero: write a duration such as 10s".to_owned()),
        millis => Ok(Duration::from_millis(millis.unsigned_abs())),
    }
}

fn retry_topic(text: &str) -> Result<RetryTopic, String> {
    let (name, text) = match text.split_once('=') {
        Some(("", _)) => return Err("write it as 1m, or as TOPIC=1m".to_owned()),
        Some((name, text)) => (Some(name.to_owned()), text),
        None => (None, text),
    };
    Ok(RetryTopic { name, text: text.trim().to_owned(), delay: duration(text)? })
}

fn backoff(text: &str) -> Result<Backoff, String> {
    let (least, most) = text.split_once("..").ok_or("write it as 100ms..10s")?;
    let wait = |text| time::duration(text).map(|millis| Duration::from_millis(millis.unsigned_abs()));
    match (wait(least)?, wait(most)?) {
        (least, most) if least <= most => Ok(Backoff { least, most }),
        _ => Err("the first is longer than the second: write it as 100ms..10s".to_owned()),
    }
}

fn breaker(text: &str) -> Result<Share, String> {
    const FORM: &str = "write it as 50%/100: a share of so many answers, two at least";
    let (share, of) = text.split_once('/').ok_or(FORM)?;
    let share: f64 = share.strip_suffix('%').and_then(|share| share.trim().parse().ok()).ok_or(FORM)?;
    let of = of.trim().parse().ok().filter(|of| (2..=1_000_000).contains(of)).ok_or(FORM)?;
    if share > 0.0 && share <= 100.0 { Ok(Share { share: share / 100.0, of }) } else { Err(FORM.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_meant() {
        let millis = Duration::from_millis;
        assert_eq!(backoff("100ms..10s"), Ok(Backoff { least: millis(100), most: millis(10_000) }));
        assert_eq!(backoff("0s..0s"), Ok(Backoff { least: millis(0), most: millis(0) }));
        assert_eq!(breaker("50%/100"), Ok(Share { share: 0.5, of: 100 }));
        assert_eq!(breaker("100 %/2"), Ok(Share { share: 1.0, of: 2 }));
        for text in ["", "1s", "10s..1s", "..", "1..2", "-1s..1s"] {
            assert!(backoff(text).is_err(), "{text}");
        }
        for text in
            ["", "50", "50%", "50/100", "0%/10", "101%/10", "NaN%/10", "-5%/10", "50%/0", "50%/1", "50%/x"]
        {
            assert!(breaker(text).is_err(), "{text}");
        }
        let name = |text: &str| retry_topic(text).map(|topic| (topic.name("g"), topic.delay));
        assert_eq!(name("1m"), Ok(("g.retry.1m".to_owned(), millis(60_000))));
        assert_eq!(name("later=10s"), Ok(("later".to_owned(), millis(10_000))));
        assert!(name("=1m").is_err() && name("x").is_err() && name("0s").is_err());
        assert!(duration("0s").is_err() && duration("10s") == Ok(millis(10_000)));
    }
}
