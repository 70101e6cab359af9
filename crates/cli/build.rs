//! The build facts in `offtake --version`: the commit, the target and the compiler, and nothing about machines
//! or folders.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let profile = env::var("PROFILE").unwrap_or_default();
    // Only in release builds, where it is worth a rebuild after every commit.
    let commit = if profile == "release" { commit() } else { None };
    let rustc = env::var("RUSTC").ok().and_then(|rustc| said(&rustc, &["--version"]));
    let rustc = rustc.as_deref().and_then(|version| version.split_whitespace().nth(1));
    set("OFFTAKE_BUILD_COMMIT", commit.as_deref().unwrap_or("not recorded"));
    set("OFFTAKE_BUILD_TARGET", &env::var("TARGET").unwrap_or_default());
    set("OFFTAKE_BUILD_PROFILE", &profile);
    set("OFFTAKE_BUILD_RUSTC", rustc.unwrap_or("unknown"));
}

fn set(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

/// The commit of these sources, with its date; `None` outside a repository, or in one that does not track them.
fn commit() -> Option<String> {
    said("git", &["ls-files", "--error-unmatch", "build.rs"])?;
    // This file grows with every commit and every checkout.
    let log = said("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    said("git", &["show", "--no-patch", "--abbrev=12", "--format=%h (%cs)", "HEAD"])
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
