//! Runs the inputs saved by the fuzz targets.

use std::{fs, path::Path};

use crate::hostile;

#[test]
fn the_fuzzing_corpus_is_read_or_refused() {
    let targets = ["protobuf", "json_schema", "framing"];
    let runs: [fn(&[u8]); 3] = [hostile::protobuf, hostile::json_schema, hostile::framing];
    for (target, run) in targets.into_iter().zip(runs) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() > 5, "{target}");
        files.iter().for_each(|file| run(&fs::read(file).unwrap()));
    }
}
