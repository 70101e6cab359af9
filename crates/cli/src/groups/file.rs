//! `--from-file` and `--export`: offsets by partition, as CSV; `--from-file` also reads a plan printed by `--json`.
//!
//! The CSV format is that of Kafka's own command: `topic,partition,offset`, or `group,topic,partition,offset`
//! with several groups in one file. It has no header line.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use offtake::TopicPartition;
use serde_json::Value;

use crate::failure::Failure;

/// Larger files are not plans.
const LARGEST_FILE: u64 = 64 << 20;

/// Writes a line `topic,partition,offset` for each partition of one group, as Kafka's own command exports it
/// and reads it back. Topic names have no character that needs quotes.
pub(super) fn write<'a>(out: &mut Vec<u8>, offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>) {
    for (of, offset) in offsets {
        out.extend_from_slice(format!("{},{},{offset}\n", of.topic, of.partition).as_bytes());
    }
}

/// Reads a group's offsets from the file; `-` is stdin.
pub(super) fn read(path: &Path, group: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let shown = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let usage = |why: String| Failure::Usage(format!("cannot use {shown}: {why}"));
    let text = text(path).map_err(|error| usage(error.to_string()))?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(usage("it is too large for a list of offsets".to_owned()));
    }
    offsets(&text, group).map_err(usage)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One byte more shows that the input is too long.
    if path == Path::new("-") {
        io::stdin().lock().take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    } else {
        File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The content of one line.
struct Row {
    /// `None`: the group of the command.
    group: Option<String>,
    partition: TopicPartition,
    offset: i64,
}

fn offsets(text: &str, group: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let mut offsets = BTreeMap::new();
    let mut others = 0_usize;
    for (number, line) in (1_usize..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let row = if line.starts_with('{') { from_json(line) } else { from_csv(line) };
        let row = row.map_err(|why| format!("line {number}: {why}"))?;
        if row.group.is_some_and(|named| named != group) {
            others += 1;
        } else if offsets.insert(row.partition.clone(), row.offset).is_some() {
            return Err(format!("line {number}: {} is given twice", row.partition));
        }
    }
    match (offsets.is_empty(), others) {
        (false, _) => Ok(offsets),
        (true, 0) => Err("it is empty".to_owned()),
        (true, _) => Err(format!("it has offsets of other groups, and none of `{group}`")),
    }
}

fn from_csv(line: &str) -> Result<Row, String> {
    const FORMS: &str = "write topic,partition,offset or group,topic,partition,offset";
    let fields = fields(line).ok_or(FORMS)?;
    let (group, [topic, partition, offset]) = match fields.as_slice() {
        [topic, partition, offset] => (None, [topic, partition, offset]),
        [group, topic, partition, offset] => (Some(group.clone()), [topic, partition, offset]),
        _ => return Err(FORMS.to_owned()),
    };
    let partition =
        partition.parse().map_err(|_| format!("`{partition}` is not a valid partition; {FORMS}"))?;
    let offset = offset.parse().map_err(|_| format!("`{offset}` is not a valid offset; {FORMS}"))?;
    row(group, topic, partition, offset)
}

fn from_json(line: &str) -> Result<Row, String> {
    let object: Value = serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let without =
        |name: &str| format!("an object needs \"topic\", \"partition\" and \"to\"; \"{name}\" is not right");
    let topic = object["topic"].as_str().ok_or_else(|| without("topic"))?;
    let partition = object["partition"].as_i64().ok_or_else(|| without("partition"))?;
    let offset = object["to"].as_i64().ok_or_else(|| without("to"))?;
    row(object["group"].as_str().map(str::to_owned), topic, partition, offset)
}

fn row(group: Option<String>, topic: &str, partition: i64, offset: i64) -> Result<Row, String> {
    let index = i32::try_from(partition).ok().filter(|index| *index >= 0);
    let index = index.ok_or_else(|| format!("{partition} is not a valid partition"))?;
    if offset < 0 {
        return Err(format!("{offset} is not a valid offset: offsets begin with 0"));
    }
    if topic.is_empty() {
        return Err("the topic is missing".to_owned());
    }
    Ok(Row { group, partition: TopicPartition::new(topic, index), offset })
}

/// The fields of a line; quoted fields may contain commas, and doubled quotes.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.trim_start().strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                (field.trim().to_owned(), after)
            }
            Some(quoted) => {
                let (field, after) = unquoted(quoted)?;
                (field, after.trim_start())
            }
        };
        fields.push(field);
        match (after.is_empty(), after.strip_prefix(',')) {
            (true, _) => return Some(fields),
            (false, Some(next)) => rest = next,
            (false, None) => return None,
        }
    }
}

/// The text before the closing quote, and the rest after it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, i64)>, String> {
        let all = offsets(text, "g")?;
        Ok(all.into_iter().map(|(partition, offset)| (partition.to_string(), offset)).collect())
    }

    fn expected(all: &[(&str, i64)]) -> Result<Vec<(String, i64)>, String> {
        Ok(all.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect())
    }

    #[test]
    fn both_forms_of_kafkas_csv_are_read() {
        assert_eq!(read("orders,1,7\norders,0,3\n"), expected(&[("orders-0", 3), ("orders-1", 7)]));
        assert_eq!(read("\u{feff}g,orders,0,3\r\nh,orders,0,9\r\n\r\n"), expected(&[("orders-0", 3)]));
        assert_eq!(read("\"g\", orders , 0,\"3\""), expected(&[("orders-0", 3)]));
        let odd = offsets("\"a,\"\"b\",orders,0,3", "a,\"b").unwrap();
        assert_eq!(odd.into_values().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn exported_offsets_are_read_back() {
        let (a, b) = (TopicPartition::new("orders", 1), TopicPartition::new("pay.ments_x-y", 0));
        let mut csv = Vec::new();
        write(&mut csv, [(&a, 7), (&b, i64::MAX)]);
        let csv = String::from_utf8(csv).unwrap();
        assert_eq!(csv, "orders,1,7\npay.ments_x-y,0,9223372036854775807\n");
        assert_eq!(offsets(&csv, "g").unwrap(), BTreeMap::from([(a, 7), (b, i64::MAX)]));
    }

    #[test]
    fn a_plan_is_read_back() {
        let plan = r#"{"executed":false,"from":null,"group":"g","partition":0,"to":3,"topic":"orders"}
            {"executed":false,"from":5,"group":"h","partition":0,"to":4,"topic":"orders"}"#;
        assert_eq!(read(plan), expected(&[("orders-0", 3)]));
    }

    #[test]
    fn an_invalid_offsets_file_is_refused_with_its_line() {
        for (text, why) in [
            ("", "it is empty"),
            ("orders,0", "line 1: write topic,partition,offset"),
            ("\norders,0,1,2,3", "line 2: write topic,partition,offset"),
            ("topic,partition,offset", "line 1: `partition` is not a valid partition"),
            ("orders,0,3\norders,0,4", "line 2: orders-0 is given twice"),
            ("orders,0,-1", "-1 is not a valid offset"),
            ("orders,-1,1", "-1 is not a valid partition"),
            ("orders,2147483648,1", "2147483648 is not a valid partition"),
            (",0,1", "the topic is missing"),
            ("\"orders,0,1", "line 1: write"),
            ("\"orders\"x,0,1", "line 1: write"),
            ("h,orders,0,1", "none of `g`"),
            ("{\"topic\":\"orders\"}", "\"partition\" is not right"),
            ("{\"topic\":\"orders\",\"partition\":0,\"to\":\"1\"}", "\"to\" is not right"),
            ("{", "not a JSON object"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
