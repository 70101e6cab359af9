#!/usr/bin/env bash
# How long records stop flowing when a member joins or leaves: Offtake, Java, librdkafka (kcat) and franz-go on one real
# Kafka, in turn. benches/README.md explains the columns.
#
#   benches/rebalance.sh                                       five runs of each; half an hour
#   benches/rebalance.sh --runs 1 --systems offtake --wire     one run of ours, with every request counted
#   benches/rebalance.sh --idle 30                             the cost of an idle group
#
# Systems that are not installed are named and left out. The Go program gets franz-go from the module proxy.
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
