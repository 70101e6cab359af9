//! Every saved input of the fuzz targets, and a few changes of each, without instrumented code: it is built with the other tests,
//! and takes seconds. `scripts/fuzz` searches for new inputs.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        panic::{AssertUnwindSafe, catch_unwind},
        path::{Path, PathBuf},
    };

    use offtake_fuzz::TARGETS;

    /// Changes of each input.
    const CHANGES: usize = 4;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// The input with a part cut out, or a byte changed, at places that depend on its content alone.
    fn changed(input: &[u8], number: usize) -> Vec<u8> {
        let mut mixed = input.iter().fold(number as u64 ^ 0x9e37_79b9_7f4a_7c15, |mixed, byte| {
            (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut below = |end: usize| {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((mixed >> 33) as usize).checked_rem(end).unwrap_or_default()
        };
        let mut output = input.to_vec();
        if number.is_multiple_of(2) {
            let from = below(output.len());
            let to = from + below(output.len() - from + 1);
            output.drain(from..to);
        } else if !output.is_empty() {
            let at = below(output.len());
            output[at] ^= 1 << below(8);
        }
        output
    }

    // One test, because the memory of an input is counted for the whole process.
    #[test]
    fn each_saved_input_and_changes_of_it_hold() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        let sources: Vec<_> = files(&fuzz.join("fuzz_targets"));
        let sources = sources.iter().map(|path| path.file_stem().unwrap().to_str().unwrap());
        assert_eq!(names, sources.collect(), "the table of targets is not that of fuzz_targets");

        for (name, target) in TARGETS {
            // A whole consumer takes a tenth of a second for each, and `crates/consumer/tests/hostile/scripts.rs` gives it all of them.
            if name == "engine" {
                continue;
            }
            let mut saved = files(&fuzz.join("corpus").join(name));
            // All corpora of messages have the same format.
            if name == "differential" {
                saved.extend(
                    ["request", "response"].map(|name| files(&fuzz.join("corpus").join(name))).concat(),
                );
            }
            assert!(!saved.is_empty(), "{name} has no saved input");
            for path in saved {
                let input = fs::read(&path).unwrap();
                for number in 0..=CHANGES {
                    let input = if number == 0 { input.clone() } else { changed(&input, number) };
                    let held = catch_unwind(AssertUnwindSafe(|| target(&input)));
                    assert!(
                        held.is_ok(),
                        "{name}: change {number} of {} fails: {input:02x?}",
                        path.display()
                    );
                }
            }
        }
    }
}
