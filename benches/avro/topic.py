"""confluent-kafka (librdkafka) and fastavro: topic.py BOOTSTRAP REGISTRY TOPIC COUNT."""

import io
import json
import struct
import sys
import time
import urllib.request

import confluent_kafka
import fastavro


def main() -> None:
    bootstrap, registry, topic, wanted = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    config = {"bootstrap.servers": bootstrap, "group.id": "typed", "enable.auto.commit": False, "queued.min.messages": 1_000_000}
    consumer = confluent_kafka.Consumer(config)
    beginning = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, beginning) for partition in range(4)])
    schemas, records, first = {}, 0, None
    while records < wanted:
        for message in consumer.consume(1_000, 1.0):
            value = message.value()
            if message.error():
                sys.exit(str(message.error()))
            first = first or time.perf_counter()
            (number,) = struct.unpack_from(">I", value, 1)
            schema = schemas.get(number)
            if schema is None:
                with urllib.request.urlopen(f"{registry}/schemas/ids/{number}") as answer:
                    schema = schemas[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
            fastavro.schemaless_reader(io.BytesIO(memoryview(value)[5:]), schema, None)
            records += 1
    seconds, cpu = time.perf_counter() - first, time.process_time()
    print(json.dumps({"records": records, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3)}))


main()
