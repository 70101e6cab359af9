//! Generates the saved corpora anew, except for the files that `capture` took from a real broker (`kafka-…`), and for
//! the findings of fuzzing (`found-…`):
//!
//! ```text
//! cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! ```
//!
//! Six sources: scripts of a broker; schemas and their values; a message with content in every field, for each version
//! in which an API changed; sets that Java wrote; keystores and PEM of Java and OpenSSL; and bad input, each named by
//! its id in `docs/failures.md`.

mod avro;
mod engine;
mod keystores;
mod messages;
mod offsets_topic;
mod records;
#[path = "../../../crates/wire/tests/messages/sample.rs"]
mod sample;
mod sasl;
mod schemas;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// The corpora, and their files.
struct Corpora {
    root: PathBuf,
    written: BTreeSet<PathBuf>,
}

impl Corpora {
    fn add(&mut self, target: &str, name: &str, parts: &[&[u8]]) {
        let path = self.root.join(target).join(name);
        let input = parts.concat();
        assert!(input.len() <= 16 << 10, "{} is large: {}", path.display(), input.len());
        fs::create_dir_all(self.root.join(target)).expect("the corpora can be written");
        fs::write(&path, input).expect("the corpora can be written");
        assert!(self.written.insert(path.clone()), "{} has two meanings", path.display());
    }

    /// Removes files that are no longer seeds.
    fn sweep(&self) -> io::Result<()> {
        for target in fs::read_dir(&self.root)? {
            for file in fs::read_dir(target?.path())? {
                let path = file?.path();
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let is_kept = name.starts_with("kafka-") || name.starts_with("found-");
                if !is_kept && !self.written.contains(&path) {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut corpora = Corpora { root, written: BTreeSet::new() };
    messages::filled(&mut corpora);
    messages::hostile(&mut corpora);
    messages::frames(&mut corpora);
    messages::consumer_protocol(&mut corpora);
    offsets_topic::records(&mut corpora);
    records::java(&mut corpora);
    records::batches(&mut corpora);
    records::legacy(&mut corpora);
    records::codecs(&mut corpora);
    keystores::files(&mut corpora);
    engine::scripts(&mut corpora);
    avro::schemas(&mut corpora);
    schemas::values(&mut corpora);
    sasl::exchanges(&mut corpora);
    sasl::configurations(&mut corpora);
    corpora.sweep().expect("the corpora can be written");
    println!("{} seeds", corpora.written.len());
}
