"""fastavro: read.py FILE SECONDS, as described in benches/peers/rust/src/avro/main.rs."""

import io
import json
import struct
import sys
import time

import fastavro


def main() -> None:
    data, length = open(sys.argv[1], "rb").read(), float(sys.argv[2])
    pieces, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        pieces.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    schema = fastavro.parse_schema(json.loads(pieces.pop(0)))

    def once() -> None:
        for piece in pieces:
            fastavro.schemaless_reader(io.BytesIO(piece), schema, None)

    end = time.perf_counter() + length / 3
    while time.perf_counter() < end:
        once()
    start, before, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < start + length:
        once()
        count += len(pieces)
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    print(json.dumps({"records": count, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3)}))


main()
