#!/usr/bin/env bash
# The speed of decoding Avro: Offtake, apache-avro, fastavro and Java's Avro, in turn.
#
#   benches/avro.sh [ROUNDS [SECONDS]]     3 rounds of 3 seconds each
#
# fastavro and Java are skipped, with a message, if OFFTAKE_PYTHON (default: python3) cannot import fastavro, or OFFTAKE_AVRO_JARS
# (a folder with Avro's jar and Jackson's) is not set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rounds=${1:-3}
seconds=${2:-3}
python=${OFFTAKE_PYTHON:-python3}
work=$(mktemp -d "${TMPDIR:-/tmp}/offtake-avro-XXXXXX")
trap 'rm -rf "$work"' EXIT

(cd "$here/peers/rust" && cargo build --quiet --release --features avro --bin avro)
rust=${CARGO_TARGET_DIR:-$here/peers/rust/target}/release/avro
"$rust" write "$work/records"

contenders=(offtake-typed offtake-borrowed offtake-resolved offtake-json apache-typed apache-serde apache-value apache-resolved)
if "$python" -c 'import fastavro' 2>/dev/null; then
    contenders+=(fastavro)
else
    echo "left out: fastavro, as $python cannot import it" >&2
fi
if [[ -n ${OFFTAKE_AVRO_JARS-} ]] && command -v java >/dev/null; then
    contenders+=(java)
    javac -cp "$OFFTAKE_AVRO_JARS/*" -d "$work" "$here/avro/Read.java"
else
    echo "left out: java, as there is none, or OFFTAKE_AVRO_JARS is not set" >&2
fi

for ((round = 1; round <= rounds; round++)); do
    for contender in "${contenders[@]}"; do
        case $contender in
            fastavro) line=$("$python" "$here/avro/read.py" "$work/records" "$seconds") ;;
            java) line=$(java -XX:+UseSerialGC -cp "$work:$OFFTAKE_AVRO_JARS/*" Read "$work/records" "$seconds" 2>/dev/null) ;;
            *) line=$("$rust" "$contender" "$work/records" "$seconds") ;;
        esac
        echo "$contender $line"
    done
done | tee "$work/lines" >&2

# Each contender's rounds in order: records per second, and processor seconds for a million records.
echo "| decoder | records/s | CPU s per million |"
echo "|---|---|---|"
for contender in "${contenders[@]}"; do
    sed -n "s/^$contender //p" "$work/lines" | tr -d '{}" ' | awk -F'[:,]' -v name="$contender" '
        { rates = rates (NR > 1 ? ", " : "") sprintf("%d", $2 / $4); costs = costs (NR > 1 ? ", " : "") sprintf("%.3f", $6 / $2 * 1e6) }
        END { printf "| %s | %s | %s |\n", name, rates, costs }'
done
