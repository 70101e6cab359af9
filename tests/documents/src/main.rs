//! The public interfaces of the crates that users depend on, as text: `tests/documents/*.txt`. A change of one shows
//! in review, and never happens by accident. `scripts/api` compares, `scripts/api renew` writes them anew.
//!
//! The interface is read from rustdoc's pages, as these are what a user sees: every item at every path, including items
//! that other crates of ours define, with its declaration, methods and traits. So no nightly compiler is needed. A page
//! that is not understood is an error, never an empty entry.
//!
//! A crate must also re-export the types that its interface names: a user of `offtake` does not depend on
//! `offtake-wire`. Exempt are `std`, `bytes` and the few others in [`SHARED`], and the crates that a crate builds on by
//! public interfaces alone ([`BUILT_ON`]).

mod page;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Crates whose types every user has, or names in a dependency of their own.
const SHARED: [&str; 9] =
    ["alloc", "bytes", "core", "futures_core", "serde", "serde_core", "serde_json", "std", "tokio"];

/// Crates that extend others of ours, and those others: their users depend on these, too, and name their items.
const BUILT_ON: [(&str, &[&str]); 5] = [
    ("offtake-exactly-once", &["offtake", "offtake-producer"]),
    ("offtake-worker", &["offtake", "offtake-producer"]),
    ("offtake-schema", &["offtake"]),
    ("offtake-lag", &["offtake-admin", "offtake"]),
    ("offtake-monitor", &["offtake-lag"]),
];

/// The crate that only our own ones use. They depend on the crates whose types it names.
const INTERNAL: &str = "offtake-client";

const USAGE: &str = "usage: offtake-documents compare|renew DOC-FOLDER SNAPSHOT-FOLDER CRATE…";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [what, docs, snapshots, crates @ ..] = arguments else { return Err(USAGE.to_owned()) };
    if crates.is_empty() || !["compare", "renew"].contains(&what.as_str()) {
        return Err(USAGE.to_owned());
    }
    let mut differences = Vec::new();
    let mut hidden = Vec::new();
    for name in crates {
        let found = interface(&folder(Path::new(docs), name))?;
        let path = Path::new(snapshots).join(format!("{name}.txt"));
        if name != INTERNAL {
            hidden.extend(unnameable(name, Path::new(docs))?);
        }
        if what == "renew" {
            fs::write(&path, found).map_err(|error| format!("{}: {error}", path.display()))?;
            continue;
        }
        let before = read(&path)?;
        differences.extend(difference(&before, &found).map(|lines| format!("{name}:\n{lines}")));
    }
    if !hidden.is_empty() {
        return Err(format!(
            "{}Re-export it from that crate, or take it out of the interface (`#[doc(hidden)]`, if only our own crates use it).",
            hidden.concat()
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}The public interface has changed. If that is meant: scripts/api renew, and a line in CHANGELOG.md.",
        differences.concat()
    ))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The pages in `folder`, each with the link that leads to it.
fn pages(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let index = read(&folder.join("all.html"))?;
    let mut items: Vec<_> = page::links(&index).collect();
    items.sort_unstable();
    if items.is_empty() {
        return Err(format!("{} lists no item", folder.join("all.html").display()));
    }
    items.into_iter().map(|link| Ok((link.to_owned(), read(&folder.join(link))?))).collect()
}

/// The interface of the crate whose pages are in `folder`, item by item.
fn interface(folder: &Path) -> Result<String, String> {
    let mut text = String::new();
    for (link, page) in pages(folder)? {
        let item = page::item(&link, &page).map_err(|error| format!("{link}: {error}"))?;
        text.push_str(&item);
        text.push('\n');
    }
    Ok(text)
}

/// The folder of a crate's rustdoc pages.
fn folder(docs: &Path, name: &str) -> PathBuf {
    docs.join(name.replace('-', "_"))
}

/// Types and traits in the interface of this crate that users of it, and of the crates it builds on, cannot name; a
/// line for each.
fn unnameable(name: &str, docs: &Path) -> Result<Vec<String>, String> {
    let own = name.replace('-', "_");
    let mut others = BTreeSet::new();
    for (_, crates) in BUILT_ON.iter().filter(|(built, _)| *built == name) {
        for other in *crates {
            let links = pages(&folder(docs, other))?.into_iter();
            others.extend(links.filter_map(|(link, _)| Some(page::name(&link)?.to_owned())));
        }
    }
    let mut lines = Vec::new();
    for (link, page) in pages(&folder(docs, name))? {
        let named = page::names(&link, &page).map_err(|error| format!("{link}: {error}"))?;
        let foreign = named.filter(|path| {
            let root = path.split("::").next().unwrap_or(path);
            // An item of ours has the same name wherever it is re-exported.
            let is_in_others = root.starts_with("offtake")
                && path.rsplit("::").next().is_some_and(|last| others.contains(last));
            root != own && !SHARED.contains(&root) && !is_in_others
        });
        lines
            .extend(foreign.map(|path| format!("{name}: {link} names {path}, which {name} does not have\n")));
    }
    lines.dedup();
    Ok(lines)
}

/// The lines that only one of the texts has, each below the item that it belongs to.
fn difference(before: &str, after: &str) -> Option<String> {
    let (old, new) = (lines(before), lines(after));
    let gone = old.iter().filter(|line| !new.contains(line)).map(|(item, line)| (item, '-', line));
    let come = new.iter().filter(|line| !old.contains(line)).map(|(item, line)| (item, '+', line));
    let mut changed: Vec<_> = gone.chain(come).collect();
    changed.sort_by_key(|(item, ..)| *item);
    let told: String = changed.iter().map(|(item, sign, line)| format!("{sign} {item}: {line}\n")).collect();
    match before == after {
        true => None,
        // The same lines in another order, or another number of times.
        false if told.is_empty() => Some("the order of the lines\n".to_owned()),
        false => Some(told),
    }
}

/// Each line with the item that it is about.
fn lines(text: &str) -> Vec<(&str, &str)> {
    let mut item = "";
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("    ") {
            Some(line) => lines.push((item, line)),
            None => item = line,
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls that a guide names, `Consumer::poll`.
    fn calls(guide: &str) -> BTreeSet<(&str, &str)> {
        let code = guide.split('`').skip(1).step_by(2);
        code.filter_map(|code| code.split_once("::"))
            .filter(|(of, call)| {
                let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
                of.starts_with(char::is_uppercase) && is_name(of) && is_name(call)
            })
            .collect()
    }

    #[test]
    fn every_call_that_the_guides_name_exists() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = ["offtake.txt", "offtake-admin.txt", "offtake-producer.txt"];
        let interface = files.map(|file| read(&folder.join(file)).unwrap()).concat();
        let lines = lines(&interface);
        let ends = |item: &str, name: &str| item.rsplit([':', ' ']).next() == Some(name);
        let exists = |of: &str, call: &str| {
            lines.iter().any(|(item, line)| {
                let line = line.trim_start();
                ends(item, of)
                    && (line.contains(&format!("fn {call}("))
                        || line.contains(&format!("fn {call}<"))
                        || line.trim_end_matches(',') == call
                        || line.starts_with(&format!("{call} {{"))
                        || line.starts_with(&format!("{call}(")))
            })
        };
        // Names of the other client's own API.
        let foreign = [
            "ClientConfig",
            "ConsumerContext",
            "ClientContext",
            "StreamConsumer",
            "BaseConsumer",
            "BaseProducer",
            "ProducerContext",
            "BorrowedMessage",
            "CommitMode",
        ];
        for guide in ["from-java.md", "from-rust-rdkafka.md"] {
            let text = read(&folder.join("../../docs").join(guide)).unwrap();
            let named: Vec<_> = calls(&text).into_iter().filter(|(of, _)| !foreign.contains(of)).collect();
            assert!(named.len() > 40, "{guide}: {named:?}");
            for (of, call) in named {
                assert!(exists(of, call), "{guide}: {of}::{call}");
            }
        }
    }

    #[test]
    fn a_line_that_came_or_went_is_told_with_its_item() {
        let before = "struct A\n    pub fn one()\n    pub fn two()\n\nstruct B\n    pub fn one()\n";
        assert_eq!(difference(before, before), None);
        let after = "struct A\n    pub fn one()\n\nstruct B\n    pub fn one()\n    pub fn two()\n";
        assert_eq!(
            difference(before, after).as_deref(),
            Some("- struct A: pub fn two()\n+ struct B: pub fn two()\n")
        );
    }
}
