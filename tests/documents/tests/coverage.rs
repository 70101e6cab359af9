//! Checks `tests/COVERAGE.md`: each reference names exactly one test unless it says "family of", the figures at its
//! head are those of its tables, and its ids are those of `docs/failures.md`. The ids cited in the sources exist too,
//! and public documentation cites none.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics says why")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folders of tests, by the names used in the document.
const PLACES: [(&str, &str); 22] = [
    ("admin", "crates/admin"),
    ("broker", "crates/broker"),
    ("cli", "crates/cli"),
    ("client", "crates/client"),
    ("consumer", "crates/consumer"),
    ("differential", "tests/real/differential"),
    ("exactly-once", "crates/exactly-once"),
    ("fetch", "crates/fetch"),
    ("group", "crates/group"),
    ("lag", "crates/lag"),
    ("machine", "crates/machine"),
    ("monitor", "crates/monitor"),
    ("net", "crates/net"),
    ("offsets", "crates/offsets"),
    ("oracle", "tests/real/oracle"),
    ("producer", "crates/producer"),
    ("real", "tests/real"),
    ("schema", "crates/schema"),
    ("sim", "tests/sim"),
    ("support", "tests/support"),
    ("wire", "crates/wire"),
    ("worker", "crates/worker"),
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

/// The functions with a test attribute, with only other attributes and comments in between.
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
    let reference = Regex::new("(family of )?`([a-z-]+)((?:/[a-z_0-9]+)+)::([a-z0-9_]+)(…?)`").unwrap();
    let text = coverage();
    let mut odd = Vec::new();
    let mut count = 0;
    for found in reference.captures_iter(&text) {
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
        let (is_family, name, files, start, open) = (!part(1).is_empty(), part(2), part(3), part(4), part(5));
        let is_in = |file: &str| {
            let rest = file.strip_prefix(name).filter(|rest| rest.starts_with('/'));
            // Folders in between (`tests`, `src`) may be left out, and so may the rest.
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
    // Whatever names a test otherwise would not be looked up.
    let meant = Regex::new("`[a-z-]+/[^`]*::[^`]*`").unwrap();
    let whole = Regex::new("^`[a-z-]+(?:/[a-z_0-9]+)+::[a-z0-9_]+…?`$").unwrap();
    let unseen = meant.find_iter(&text).filter(|found| !whole.is_match(found.as_str()));
    odd.extend(unseen.map(|found| format!("{}: no reference", found.as_str())));
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

/// For each part: ids, tested, partly, waiting.
type Figures = [usize; 4];

#[test]
fn the_figures_of_the_coverage_are_those_of_its_tables() {
    let mut counted: BTreeMap<String, Figures> = BTreeMap::new();
    let mut told: BTreeMap<String, Figures> = BTreeMap::new();
    for row in rows(&coverage()) {
        if let [name, ids, tested, partly, waits] = row.cells.as_slice()
            && row.part.is_empty()
            && ids.parse::<usize>().is_ok()
        {
            let figures = [ids, tested, partly, waits].map(|figure| figure.parse().expect("a figure"));
            told.insert(name.to_owned(), figures);
        }
        if row.id().is_some() {
            let line = row.cells.join("|");
            let mark = match () {
                () if line.contains("**waits") => 3,
                () if line.contains("**partly**") => 2,
                () => 1,
            };
            for of in [row.part.as_str(), "all"] {
                let figures = counted.entry(of.to_owned()).or_default();
                figures[0] += 1;
                figures[mark] += 1;
            }
        }
    }
    assert_eq!(told, counted, "told, and counted: ids, tested, partly, waits for");
}

/// A row of a table, and the section that the table is in.
struct Row {
    part: String,
    cells: Vec<String>,
}

fn rows(text: &str) -> Vec<Row> {
    let mut part = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut part);
        } else if line.starts_with('|') {
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            rows.push(Row { part: part.clone(), cells: cells.collect() });
        }
    }
    rows
}

/// `A1`, `INPUT42`, `SAFE17`: an id, alone.
const ID: &str = "(?:[A-Q]|BUG|INPUT|SEC|SAFE|LIVE|SEAM)[0-9]+";

impl Row {
    fn id(&self) -> Option<String> {
        let first = self.cells.first()?.clone();
        Regex::new(&format!("^{ID}$")).unwrap().is_match(&first).then_some(first)
    }
}

/// The ids of a document, each of which has one row.
fn ids_of(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for id in rows(text).iter().filter_map(Row::id) {
        assert!(ids.insert(id.clone()), "{id} has two rows");
    }
    ids
}

fn catalogue() -> BTreeSet<String> {
    ids_of(&fs::read_to_string(root().join("docs/failures.md")).expect("docs/failures.md"))
}

#[test]
fn the_catalogue_and_the_coverage_have_the_same_ids() {
    let (catalogue, coverage) = (catalogue(), ids_of(&coverage()));
    assert!(catalogue.len() > 300, "ids are found: {}", catalogue.len());
    let odd: Vec<_> = catalogue.symmetric_difference(&coverage).collect();
    assert!(odd.is_empty(), "in docs/failures.md or in tests/COVERAGE.md alone: {odd:?}");
}

/// Files written by people: sources, scripts, documents; without generated ones.
fn texts(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder").map_while(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if !["target", "corpus", "artifacts", "data"].contains(&name.as_str()) && !name.starts_with('.') {
                texts(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let is_written = ["rs", "md", "toml", "sh", "java", "patch"]
                .iter()
                .any(|end| name.ends_with(&format!(".{end}")));
            // This file contains the words that it searches for.
            if (is_written || text.starts_with("#!")) && !path.ends_with("documents/tests/coverage.rs") {
                found.push((path, text));
            }
        }
    }
}

#[test]
fn each_id_that_the_sources_cite_is_in_the_catalogue() {
    let catalogue = catalogue();
    let mut all = Vec::new();
    texts(&root(), &mut all);
    let new_line = Regex::new(r"\n\s*(?://[/!]?|#) ?").unwrap();
    let cited = Regex::new(r"\bFAILURES\b( [A-Z]+[0-9]+(?:(?:, | and | to )[A-Z]+[0-9]+)*)?").unwrap();
    let unlike_others = Regex::new(r"\b(?:BUG|INPUT|SEC|SAFE|LIVE|SEAM)[0-9]+\b").unwrap();
    let id = Regex::new("[A-Z]+[0-9]+").unwrap();
    let leading = Regex::new("^((?:[a-s]|bug|input|sec|safe|live|seam|row)_?[0-9]+)_").unwrap();
    let (mut odd, mut count) = (Vec::new(), 0);
    for (path, text) in all {
        let mut check = |id: &str, at: &str| {
            count += 1;
            if !catalogue.contains(id) {
                odd.push(format!("{}: {id}, in {at}", path.display()));
            }
        };
        let text = new_line.replace_all(&text, " ");
        for found in cited.captures_iter(&text) {
            match found.get(1) {
                Some(ids) => ids.as_str().split(", ").for_each(|part| {
                    id.find_iter(part).for_each(|id| check(id.as_str(), &found[0]));
                }),
                None => check("FAILURES without an id", &found[0]),
            }
        }
        for found in unlike_others.find_iter(&text) {
            check(found.as_str(), found.as_str());
        }
    }
    for (name, folder) in PLACES {
        let mut all = Vec::new();
        tests(name, &root().join(folder), &mut all);
        for (file, test) in all {
            let mut rest = test.as_str();
            while let Some(found) = leading.captures(rest) {
                count += 1;
                let id = found[1].to_uppercase();
                if !catalogue.contains(&id) {
                    odd.push(format!("{file}::{test}: {id}"));
                }
                rest = &rest[found[0].len()..];
            }
        }
    }
    assert!(count > 800, "ids are found: {count}");
    assert!(odd.is_empty(), "not in docs/failures.md: {odd:#?}");
}

/// Crates whose documentation users read.
const PUBLISHED: [&str; 9] =
    ["broker", "client", "consumer", "fetch", "group", "machine", "net", "offsets", "wire"];

#[test]
fn public_documentation_cites_no_ids() {
    let citation = Regex::new(
        r"\bFAILURES [A-Z]|[(;,] ?[A-Q][0-9]{1,2}[),;]|\b(?:BUG|INPUT|SEC|SAFE|LIVE|SEAM)[0-9]+\b",
    )
    .unwrap();
    let module = Regex::new(r"(?m)^\s*pub mod (\w+)").unwrap();
    let (mut odd, mut count) = (Vec::new(), 0);
    for name in PUBLISHED {
        let folder = root().join("crates").join(name).join("src");
        let mut files = Vec::new();
        if folder.is_dir() {
            texts(&folder, &mut files);
        }
        let modules: BTreeSet<String> = files
            .iter()
            .flat_map(|(_, text)| module.captures_iter(text).map(|found| found[1].to_owned()))
            .collect();
        for (path, text) in &files {
            let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let own =
                stem(path).filter(|stem| stem != "mod").or_else(|| stem(path.parent()?)).unwrap_or_default();
            let is_public_module = own == "lib" || modules.contains(&own);
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"))
            {
                let line = line.trim_start();
                let is_public =
                    if line.starts_with("///") { documents_public(&lines, at) } else { is_public_module };
                if (line.starts_with("///") || line.starts_with("//!")) && is_public {
                    count += 1;
                    if citation.is_match(line) {
                        odd.push(format!("{}:{}: {line}", path.display(), at + 1));
                    }
                }
            }
        }
    }
    assert!(count > 2000, "public documentation is found: {count} lines");
    assert!(odd.is_empty(), "users have no catalogue to look ids up in: {odd:#?}");
}

/// Whether the comment at this line documents a public item, or a variant of a public enum.
fn documents_public(lines: &[&str], at: usize) -> bool {
    let is_above = |line: &str| line.starts_with("//") || line.starts_with("#[") || line.ends_with(")]");
    let item = lines[at..].iter().position(|line| !is_above(line.trim())).map(|below| at + below);
    let Some(item) = item else { return false };
    let depth = |line: &str| line.len() - line.trim_start().len();
    let around = |at: usize| {
        let is_code = |line: &str| !line.is_empty() && !line.starts_with(['/', '#', '}', ')']);
        (0..at).rev().find(|above| is_code(lines[*above].trim()) && depth(lines[*above]) < depth(lines[at]))
    };
    let begins = |at: usize, with: &[&str]| with.iter().any(|word| lines[at].trim_start().starts_with(word));
    let is_variant = |at: usize| around(at).is_some_and(|outer| begins(outer, &["pub enum "]));
    let is_item =
        begins(item, &["fn ", "async fn ", "const ", "type ", "struct ", "enum ", "impl", "mod ", "trait "]);
    if begins(item, &["pub "]) {
        true
    } else if is_item {
        around(item).is_some_and(|outer| begins(outer, &["pub trait "]))
    } else {
        is_variant(item) || around(item).is_some_and(is_variant)
    }
}
