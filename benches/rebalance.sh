#!/usr/bin/env bash
# How long records stop flowing when a member joins or leaves: Offtake, Java, librdkafka (kcat) and franz-go on one real
# Kafka, in turn. benches/README.md says what the columns mean.
#
#   benches/rebalance.sh                                       five runs of each; half an hour
#   benches/rebalance.sh --runs 1 --systems offtake --wire     one run of ours, and every request of it counted
#   benches/rebalance.sh --idle 30                             what a group costs that has nothing to do
#
# Systems that are not installed are named and left out. The Go program takes franz-go from the module proxy.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

franz=()
if command -v go >/dev/null; then
    program=$(realpath -m "${CARGO_TARGET_DIR:-target}/rebalance/franz")
    (cd benches/rebalance/franz && go build -buildvcs=false -o "$program" .)
    franz=(--franz "$program")
else
    echo "rebalance: go is not installed: franz-go is left out" >&2
fi
cargo build --locked --quiet --release --package offtake-benches --bin rebalance
exec "${CARGO_TARGET_DIR:-target}/release/rebalance" "${franz[@]}" "$@"
