//! The modules of the crate have an order, which ARCHITECTURE.md explains: each uses only those below it.

use std::{fs, path::Path};

use regex::Regex;

/// From top to bottom.
const ORDER: [&str; 35] = [
    "builder",
    "consumer",
    "next",
    "rebalance",
    "listener",
    "progress",
    "delivery",
    "handle",
    "engine",
    "poll_waker",
    "view",
    "command",
    "inbox",
    "freed",
    "committing",
    "ledgers",
    "passed",
    "batches",
    "records",
    "unreadable",
    "ticket",
    "ledger",
    "health",
    "event",
    "gauges",
    "shared",
    "atomics",
    "config",
    "assignor",
    "offsets",
    "partition_list",
    "dial",
    "security",
    "error",
    "lib",
];

/// The names that `lib.rs` takes from other crates, and that all modules may use by their public name.
fn is_outside(name: &str) -> bool {
    ["clock", "one_or_many"].contains(&name) || name.starts_with(char::is_uppercase)
}

/// The source without comments and without test code.
fn code(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    Regex::new("(?m)//.*$").unwrap().replace_all(source, "").into_owned()
}

/// The modules of this crate that a source names: `crate::a::…`, and each of `crate::{a::…, b}`.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(rest.to_owned());
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (end, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.push(list[start..end].trim().to_owned());
                    start = end + 1;
                }
                _ => {}
            }
            if c == '}' && depth == 0 && start == end + 1 {
                break;
            }
        }
    }
    let word = |name: &String| {
        name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
    };
    names.iter().map(word).filter(|name| !name.is_empty()).collect()
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
            found.push(path);
        }
    }
}

#[test]
fn each_module_uses_only_those_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let place = |name: &str| ORDER.iter().position(|other| *other == name);
    let mut upwards = Vec::new();
    let mut seen = 0;
    for path in files {
        let within = path.strip_prefix(&root).unwrap();
        let module = within.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(above) = place(&module) else { panic!("give `{module}` a place in the order") };
        for name in used(&code(&path)).into_iter().filter(|name| !is_outside(name) && *name != module) {
            let Some(below) = place(&name) else {
                panic!("give `{name}` a place in the order: {module} uses it")
            };
            seen += 1;
            if below <= above && module != "lib" {
                upwards.push(format!("{} uses {name}", within.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} uses were found");
    assert!(upwards.is_empty(), "{upwards:#?}");
}
