#!/usr/bin/env bash
# The whole path of a value that has a schema: read from a topic of one real Kafka and decoded with the schema of a real registry. Offtake,
# schema_registry_converter's decoder on Offtake's records, Java's consumer with Avro's GenericRecord, and confluent-kafka with fastavro, in turn.
#
#   benches/typed.sh [ROUNDS [RECORDS]]     3 rounds of 500,000 records of ten fields and some 1 KiB
#
# Java is skipped, with a message, if OFFTAKE_AVRO_JARS (a folder with Avro's jar and Jackson's) is not set; Python if OFFTAKE_PYTHON
# (default: python3) cannot import fastavro and confluent_kafka. OFFTAKE_TYPED names a program that is built already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
rounds=${1:-3}
records=${2:-500000}
python=${OFFTAKE_PYTHON:-python3}
port=${OFFTAKE_TYPED_PORT:-29092}
kafka=${OFFTAKE_KAFKA_DIR:-$root/.kafka}
work=$(mktemp -d "${TMPDIR:-/tmp}/offtake-typed-XXXXXX")
pids=()
finish() {
    ((${#pids[@]})) && kill "${pids[@]}" 2>/dev/null && wait 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT

rust=${OFFTAKE_TYPED:-}
if [[ -z $rust ]]; then
    (cd "$here/peers/rust" && cargo build --quiet --release --features typed --bin typed)
    rust=${CARGO_TARGET_DIR:-$here/peers/rust/target}/release/typed
fi

registry_port=$((port + 10))
app=$("$root/scripts/registry-fetch")/app
(cd "$work" && exec java -Xmx256m -Dquarkus.http.port=$registry_port -Dquarkus.http.host=127.0.0.1 -jar "$app"/*-runner.jar) >"$work/registry.log" 2>&1 &
pids+=($!)
"$root/scripts/kafka-run" 4.3.0 "$port" >"$work/kafka.ready" 2>"$work/kafka.log" &
pids+=($!)
registry=http://127.0.0.1:$registry_port/apis/ccompat/v7
for ((waited = 0; waited < 240; waited++)); do
    grep -q ready "$work/kafka.ready" && curl -sf "$registry/schemas/types" >/dev/null && break
    sleep 0.5
done
"$root/scripts/kafka-tool" "127.0.0.1:$port" create_topic topic=typed partitions=4 >/dev/null
arguments=("127.0.0.1:$port" "$registry" typed "$records")
"$rust" fill "${arguments[@]}"

contenders=(offtake-bytes offtake-borrowed offtake-typed converter-value converter-typed)
if "$python" -c 'import fastavro, confluent_kafka' 2>/dev/null; then
    contenders+=(python)
else
    echo "left out: python, as $python cannot import fastavro and confluent_kafka" >&2
fi
if [[ -n ${OFFTAKE_AVRO_JARS-} ]]; then
    contenders+=(java)
    classes=$kafka/4.3.0/libs/*:$OFFTAKE_AVRO_JARS/*
    javac -cp "$classes" -d "$work" "$here/avro/Topic.java"
else
    echo "left out: java, as OFFTAKE_AVRO_JARS is not set" >&2
fi

for ((round = 1; round <= rounds; round++)); do
    for contender in "${contenders[@]}"; do
        case $contender in
            python) line=$("$python" "$here/avro/topic.py" "${arguments[@]}") ;;
            java) line=$(java -XX:+UseSerialGC -cp "$work:$classes" Topic "${arguments[@]}" 2>/dev/null) ;;
            *) line=$("$rust" "$contender" "${arguments[@]}") ;;
        esac
        echo "$contender $line"
    done
done | tee "$work/lines" >&2

# For each contender's rounds: the median, with the least and the most.
echo "| path | records/s | CPU s per million |"
echo "|---|---|---|"
for contender in "${contenders[@]}"; do
    columns=$(sed -n "s/^$contender //p" "$work/lines" | tr -d '{}" ' | awk -F'[:,]' '{ printf "%d %.3f\n", $2 / $4, $6 / $2 * 1e6 }')
    summary() { cut -d' ' -f"$1" <<<"$columns" | sort -g | awk '{ all[NR] = $1 } END { printf "%s (%s–%s)", all[int((NR + 1) / 2)], all[1], all[NR] }'; }
    echo "| $contender | $(summary 1) | $(summary 2) |"
done
