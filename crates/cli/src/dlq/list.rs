//! `offtake dlq list`: the number of dead letters, by origin and reason.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    STOPPED, Work,
    filter::Filter,
    letter::Letter,
    source::{Next, Source},
};
use crate::{
    args::Letters,
    failure::{Failure, say},
    output::Output,
    text::{table::Sheet, time::rfc3339},
};

/// The most kinds that are counted separately: reasons may contain a number that differs in each.
const MOST_KINDS: usize = 10_000;
const OTHERS: &str = "(other reasons)";

pub(super) async fn run(work: &mut Work, args: &Letters) -> Result<(), Failure> {
    let filter = Filter::of(args)?;
    let mut source = Source::open(&work.config, &args.topic, None).await?;
    let mut counts = Counts::default();
    let read = loop {
        match source.next(&mut work.stop).await {
            Ok(Next::Records(records)) => {
                let letters = source.letters(&records);
                letters.filter(|letter| filter.passes(letter)).for_each(|letter| counts.add(&letter));
            }
            Ok(Next::End) => break Ok(()),
            Ok(Next::Stopped) => break Err(Failure::failed(STOPPED)),
            Err(failure) => break Err(failure),
        }
    };
    let closed = source.close().await;
    read.and(closed)?;
    counts.print(work.json, &mut work.output);
    Ok(())
}

/// Topic and reason, where they are known.
type Kind = (Option<String>, String);

#[derive(Default)]
struct Counts {
    by_kind: BTreeMap<Kind, Count>,
}

/// The number of letters of a kind, and when the first and the last failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    count: u64,
    span: Option<(i64, i64)>,
}

impl Counts {
    fn add(&mut self, letter: &Letter<'_>) {
        let mut kind = (letter.origin.topic.clone(), letter.reason().to_owned());
        if self.by_kind.len() >= MOST_KINDS && !self.by_kind.contains_key(&kind) {
            OTHERS.clone_into(&mut kind.1);
        }
        self.by_kind.entry(kind).or_default().add(letter.failed_at());
    }

    fn print(&self, json: bool, output: &mut Output) {
        let mut kinds: Vec<_> = self.by_kind.iter().collect();
        kinds.sort_by_key(|(kind, count)| (kind.0.as_deref(), std::cmp::Reverse(count.count)));
        let mut sheet = Sheet::new(&["from", "#count", "oldest", "newest", "#per hour", "reason"]);
        for ((topic, reason), count) in kinds {
            let (oldest, newest) = count.span.unzip();
            if json {
                let reason = Some(reason).filter(|reason| !reason.is_empty());
                output.json(&json!({
                    "topic": topic, "reason": reason, "count": count.count, "oldest": oldest, "newest": newest,
                    "per_hour": count.per_hour(),
                }));
                continue;
            }
            let time = |time: Option<i64>| time.map_or("-".to_owned(), rfc3339);
            sheet.row([
                topic.clone().unwrap_or("-".to_owned()),
                count.count.to_string(),
                time(oldest),
                time(newest),
                count.per_hour().map_or("-".to_owned(), |rate| format!("{rate:.1}")),
                if reason.is_empty() { "-".to_owned() } else { reason.clone() },
            ]);
        }
        match (json, self.by_kind.is_empty()) {
            (true, _) => {}
            (false, true) => say(format_args!("there are no such dead letters")),
            (false, false) => output.sheet(&sheet),
        }
    }
}

impl Count {
    fn add(&mut self, failed_at: Option<i64>) {
        self.count = self.count.saturating_add(1);
        if let Some(at) = failed_at {
            let (oldest, newest) = self.span.unwrap_or((at, at));
            self.span = Some((oldest.min(at), newest.max(at)));
        }
    }

    /// The rate between the first and the last; `None` where less than a minute passed between them, which says little about an hour.
    #[expect(clippy::cast_precision_loss, reason = "a rate is read to a few digits")]
    fn per_hour(&self) -> Option<f64> {
        let (oldest, newest) = self.span?;
        let millis = newest.saturating_sub(oldest);
        let more = self.count.saturating_sub(1);
        (millis >= 60_000 && more > 0).then(|| more as f64 * 3_600_000.0 / millis as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_those_after_the_first() {
        let mut count = Count::default();
        count.add(None);
        assert_eq!((count.span, count.per_hour()), (None, None));
        let mut count = Count::default();
        for at in [3_600_000, 0, 1_800_000] {
            count.add(Some(at));
        }
        assert_eq!((count.count, count.span), (3, Some((0, 3_600_000))));
        assert_eq!(count.per_hour(), Some(2.0));
        for (later, rate) in [(0, None), (140, None), (59_999, None), (60_000, Some(60.0))] {
            let mut two = Count::default();
            two.add(Some(5));
            two.add(Some(5 + later));
            assert_eq!(two.per_hour(), rate);
        }
    }
}
