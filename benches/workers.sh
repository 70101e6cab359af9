#!/usr/bin/env bash
# The cost of record handlers: Offtake's worker beside Confluent's Parallel Consumer and plain loops of `poll`, on the same topics of one
# real Kafka, in turn. benches/README.md explains the tables.
#
#   benches/workers.sh --runs 3                          all sections
#   benches/workers.sh --runs 1 --scale 0.1 --only noop  a quick look
#
# The Parallel Consumer comes from Maven Central into target/workers. If it cannot be fetched, it is named and left out.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
programs=$target/workers
mkdir -p "$programs/java"

fetch() {
    mvn -q -B -f benches/workers/java/pom.xml dependency:copy-dependencies -DoutputDirectory="$programs/libs" >"$programs/libs.log" 2>&1 &&
        javac -nowarn -d "$programs/java" -cp "$programs/libs/*" benches/workers/java/*.java >"$programs/java.log" 2>&1
}

if ! ls "$programs"/libs/parallel-consumer-core-*.jar >/dev/null 2>&1 || ! ls "$programs"/java/Parallel.class >/dev/null 2>&1; then
    echo "workers: fetching the Parallel Consumer" >&2
    fetch || echo "workers: what is Java cannot be built, and is left out: $programs/libs.log, $programs/java.log" >&2
fi
scripts/kafka-fetch 4.3.0

# The measured programs are optimized; the program that starts them need not be.
cargo build --locked --quiet --release --package offtake-bench-workers --package offtake-cli --bins
cargo build --locked --quiet --package offtake-benches --bin workers
export OFFTAKE_BIN=${OFFTAKE_BIN:-$target/release/offtake}
exec "$target/debug/workers" --programs "$programs" --ours "${OFFTAKE_WORKERS:-$target/release/workers-ours}" "$@"
