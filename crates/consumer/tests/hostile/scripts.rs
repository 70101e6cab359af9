//! The saved inputs of the fuzz target `engine`, and its findings.

use std::{fs, path::Path};

use crate::{scene::virtually, script};

/// Plays each in a thread of its own, which reports if it spins.
fn play(name: &str, input: Vec<u8>) {
    let played = virtually(async move { script::play(&input).await });
    assert_eq!(played, Ok(()), "{name}");
}

#[test]
fn the_saved_scripts_of_hostile_brokers() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/engine");
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "{} scripts", files.len());
    for file in files {
        play(&file.display().to_string(), fs::read(&file).unwrap());
    }
}
