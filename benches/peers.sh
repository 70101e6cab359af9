#!/usr/bin/env bash
# The cost of consumers and producers: Offtake beside Java, librdkafka, franz-go, krafka, rskafka, barnabas and the floor, on the same
# topics of one real Kafka, in turn. benches/README.md explains the tables.
#
#   benches/peers.sh --runs 5                                      CPU and memory, all topics
#   benches/peers.sh --all --keep /var/tmp/peers --out peers.csv   everything, on topics that are kept for the next time
#   benches/peers.sh --runs 2 --scale 0.1 --rows 1k-none           a quick look
#
# Rivals are built from the registries into target/peers, outside the workspace. Those that cannot be built are named
# and left out; the reason is in target/peers/NAME.log.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
programs=$target/peers
mkdir -p "$programs/java"

# build NAME COMMAND…: after a failure removes an older program, so that it is not measured instead.
build() {
    local name=$1
    shift
    echo "peers: building $name" >&2
    if ! "$@" >"$programs/$name.log" 2>&1; then
        rm -f "${programs:?}/$name"
        echo "peers: $name cannot be built, and is left out: $programs/$name.log" >&2
    fi
}

rust() {
    CARGO_TARGET_DIR=$programs/rust cargo build --locked --release --manifest-path benches/peers/rust/Cargo.toml \
        --features "$1" --bins && cp "$programs/rust/release/$1" "$programs/$1"
}

go_program() {
    (cd benches/peers/go && go build -buildvcs=false -o "$programs/franz-go" .)
}

java_classes() {
    rm -f "$programs"/java/*.class
    scripts/kafka-fetch 4.3.0 &&
        javac -nowarn -d "$programs/java" -cp "${OFFTAKE_KAFKA_DIR:-$root/.kafka}/4.3.0/libs/*" benches/peers/java/*.java
}

for rival in floor rdkafka krafka rskafka barnabas; do build "$rival" rust "$rival"; done
cp -f "$programs/rust/release/rdkafka-send" "$programs/" 2>/dev/null || rm -f "$programs/rdkafka-send"
build franz-go go_program
build java-classes java_classes

cargo build --locked --quiet --release --package offtake-cli --bin offtake
cargo build --locked --quiet --release --package offtake-benches --bin peers
export OFFTAKE_BIN=$target/release/offtake
exec "$target/release/peers" --programs "$programs" "$@"
