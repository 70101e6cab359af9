//! `tests/COVERAGE.md` is held to what it says: each reference names exactly one test unless it says "family of", and the
//! figures at its head are those of its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the tests of a name lie.
const PLACES: [(&str, &str); 14] = [
    ("broker", "crates/broker"),
    ("cli", "crates/cli"),
    ("consumer", "crates/consumer"),
    ("differential", "tests/differential"),
    ("fetch", "crates/fetch"),
    ("group", "crates/group"),
    ("machine", "crates/machine"),
    ("net", "crates/net"),
    ("offsets", "crates/offsets"),
    ("oracle", "tests/oracle"),
    ("real", "tests/real"),
    ("sim", "tests/sim"),
    ("support", "tests/support"),
    ("wire", "crates/wire"),
];

/// Tests by file, which is named by the folders that lead to it.
fn tests(of: &str, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            tests(&format!("{of}/{}", entry.file_name().to_string_lossy()), &path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let file = if name == "mod" { of.to_owned() } else { format!("{of}/{name}") };
            let source = fs::read_to_string(&path).expect("a source");
            found.extend(names(&source).map(|test| (file.clone(), test)));
        }
    }
}

/// The functions that are tests: an attribute says so, with nothing between them but other attributes and comments.
fn names(source: &str) -> impl Iterator<Item = String> {
    let mut is_test = false;
    source.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            let name = name.and_then(|rest| rest.split_once('(')).map(|(name, _)| name.to_owned());
            return name.filter(|_| std::mem::take(&mut is_test));
        }
        None
    })
}

fn coverage() -> String {
    fs::read_to_string(root().join("tests/COVERAGE.md")).expect("tests/COVERAGE.md")
}

#[test]
fn each_reference_of_the_coverage_names_one_test_or_says_that_they_are_several() {
    let mut all = Vec::new();
    for (name, folder) in PLACES {
        tests(name, &root().join(folder), &mut all);
    }
    let reference = Regex::new("(family of )?`([a-z]+)((?:/[a-z_0-9]+)+)::([a-z0-9_]+)(…?)`").unwrap();
    let text = coverage();
    let mut odd = Vec::new();
    let mut count = 0;
    for found in reference.captures_iter(&text) {
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
        let (is_family, name, files, start, open) = (!part(1).is_empty(), part(2), part(3), part(4), part(5));
        let is_in = |file: &str| {
            let rest = file.strip_prefix(name).filter(|rest| rest.starts_with('/'));
            // Folders in between (`tests`, `src`) go without saying, as do what follows.
            rest.is_some_and(|rest| format!("{rest}/").contains(&format!("{files}/")))
        };
        let is_named = |test: &str| if open.is_empty() { test == start } else { test.starts_with(start) };
        let tests = all.iter().filter(|(file, test)| is_in(file) && is_named(test)).count();
        let fine = if is_family { tests > 1 } else { tests == 1 };
        if !fine {
            odd.push(format!("{}: {tests} tests", part(0)));
        }
        count += 1;
    }
    assert!(count > 500, "references are found: {count}");
    assert!(odd.is_empty(), "tests/COVERAGE.md, {} of {count} references: {odd:#?}", odd.len());
}

#[test]
fn the_historic_bugs_of_the_coverage_are_those_that_have_a_patch() {
    let number = Regex::new(r"\bbug (\d+)").unwrap();
    let text = coverage();
    let named: BTreeSet<u8> =
        number.captures_iter(&text).map(|found| found[1].parse().expect("a number")).collect();
    let patches: BTreeSet<u8> = fs::read_dir(root().join("tests/sim/mutants"))
        .expect("the patches")
        .map_while(Result::ok)
        .map(|entry| {
            entry.file_name().to_string_lossy().split('-').next().and_then(|number| number.parse().ok())
        })
        .map(|number| number.expect("NN-what-it-does.patch"))
        .filter(|number| *number != 0) // the switch
        .collect();
    assert_eq!(named, patches, "named, and in tests/sim/mutants");
}

/// Of each part: ids, tested, partly, waits for.
type Figures = [usize; 4];

#[test]
fn the_figures_of_the_coverage_are_those_of_its_tables() {
    let text = coverage();
    let mut counted: BTreeMap<String, Figures> = BTreeMap::new();
    let mut told: BTreeMap<String, Figures> = BTreeMap::new();
    let mut part = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            part = title.split(' ').next().filter(|first| first.starts_with('§')).map(str::to_owned);
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, ids, tested, partly, waits] = cells.as_slice()
            && (name.starts_with('§') || *name == "all")
        {
            let figures = [ids, tested, partly, waits].map(|figure| figure.parse().expect("a figure"));
            told.insert(name.split(' ').next().unwrap_or_default().to_owned(), figures);
        }
        let is_row = line.starts_with('|') && cells.first().is_some_and(|id| is_id(id));
        if let (Some(part), true) = (&part, is_row) {
            let mark = if line.contains("**waits") {
                3
            } else if line.contains("**partly**") {
                2
            } else {
                1
            };
            for of in [part.as_str(), "all"] {
                let figures = counted.entry(of.to_owned()).or_default();
                figures[0] += 1;
                figures[mark] += 1;
            }
        }
    }
    assert_eq!(told, counted, "told, and counted: ids, tested, partly, waits for");
}

/// `A1`, `S17`, `42`.
fn is_id(text: &str) -> bool {
    let digits = text.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
    text.len() <= digits.len() + 1 && !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}
