//! Compares two transcripts.

use std::collections::BTreeMap;

use crate::differential::{allowed::Allowed, conversation::Entry};

/// The differences, as text, and the permissions that were used.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) answers: usize,
    pub(crate) differences: Vec<String>,
    pub(crate) used: Vec<usize>,
}

pub(crate) fn compare(real: &[Entry], other: &[Entry], allowed: &[Allowed]) -> Compared {
    let mut compared = Compared::default();
    for (at, pair) in real.iter().zip(other).enumerate() {
        let (one, two) = pair;
        let title = format!("#{at} {}: {} v{} {{{}}}", one.script, one.api, one.version, one.request);
        if (&one.script, &one.api, one.version) != (&two.script, &two.api, two.version) {
            let they = format!("{}: {} v{}", two.script, two.api, two.version);
            compared.differences.push(format!("{title}\n    the scripts went apart: {they}"));
            break;
        }
        compared.answers += 1;
        let mut lines = Vec::new();
        for (path, left, right) in different(one, two) {
            let pass = allowed.iter().position(|entry| entry.covers(&one.api, &path, (&left, &right)));
            match pass {
                Some(pass) => compared.used.push(pass),
                None => lines.push(format!("    {path}: real {left}, here {right}")),
            }
        }
        if !lines.is_empty() {
            compared.differences.push(format!("{title}\n{}", lines.join("\n")));
        }
    }
    if real.len() != other.len() && compared.differences.is_empty() {
        compared.differences.push(format!("{} answers, and {}", real.len(), other.len()));
    }
    compared
}

/// Paths in the order of the first transcript, then those that only the second has.
fn different(one: &Entry, two: &Entry) -> Vec<(String, String, String)> {
    let missing = || "(nothing)".to_owned();
    let right: BTreeMap<&String, &String> = two.leaves.iter().map(|(path, value)| (path, value)).collect();
    let left: BTreeMap<&String, &String> = one.leaves.iter().map(|(path, value)| (path, value)).collect();
    let of_one = one.leaves.iter().map(|(path, value)| {
        (path.clone(), value.clone(), right.get(path).map_or_else(missing, |value| (*value).clone()))
    });
    let of_two = two
        .leaves
        .iter()
        .filter(|(path, _)| !left.contains_key(path))
        .map(|(path, value)| (path.clone(), missing(), value.clone()));
    of_one.chain(of_two).filter(|(_, left, right)| left != right).collect()
}

/// The transcript as lines, to be read and to be compared with later.
pub(crate) fn write(transcript: &[Entry]) -> String {
    let mut text = String::new();
    for entry in transcript {
        let Entry { script, api, version, request, leaves } = entry;
        text.push_str(&format!("> {script}\t{api}\t{version}\t{request}\n"));
        for (path, value) in leaves {
            text.push_str(&format!("{path}\t{value}\n"));
        }
    }
    text
}

/// Reads the text of [`write`].
pub(crate) fn read(text: &str) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("> ") {
            let parts: Vec<&str> = head.splitn(4, '\t').collect();
            all.push(Entry {
                script: parts[0].into(),
                api: parts[1].into(),
                version: parts[2].parse().unwrap(),
                request: parts[3].into(),
                leaves: Vec::new(),
            });
        } else {
            let (path, value) = line.split_once('\t').unwrap();
            all.last_mut().unwrap().leaves.push((path.into(), value.into()));
        }
    }
    all
}
