import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** What Java's consumer reads by hand assignment, from the first record to the end as it was at the start. */
final class Reading {
    private Reading() {}

    static Properties config(String bootstrap, String isolation) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        config.put("isolation.level", isolation);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("reconnect.backoff.max.ms", "500");
        return config;
    }

    /** {@code topics}, {@code isolation}, {@code partitions}: a row a record, as {@code offtake consume --json} prints it. */
    static ObjectNode read(Tool.Call call) {
        long[] count = {0};
        toTheEnd(call, record -> {
            count[0]++;
            call.row(json(record));
        });
        return Tool.JSON.createObjectNode().put("records", count[0]);
    }

    /** The checksum and counts of {@code offtake bench consume}, of the same topics. */
    static ObjectNode checksum(Tool.Call call) {
        boolean withHeaders = call.flag("headers");
        long[] sums = new long[4]; // records, bytes, checksum, order errors
        Map<TopicPartition, Long> last = new HashMap<>();
        long start = System.nanoTime();
        toTheEnd(call, record -> {
            byte[] key = record.key();
            byte[] value = record.value();
            int keyLength = key == null ? 0 : key.length;
            int valueLength = value == null ? 0 : value.length;
            long sum = 31 * (record.offset() + 1) + 17L * record.partition() + 7L * valueLength + 5L * keyLength;
            if (valueLength > 0) sum += (value[0] & 0xff) + 3L * (value[valueLength - 1] & 0xff);
            if (withHeaders) {
                for (Header header : record.headers()) {
                    int length = header.value() == null ? 0 : header.value().length;
                    sum += 11 + header.key().getBytes(StandardCharsets.UTF_8).length + length;
                }
            }
            sums[0]++;
            sums[1] += keyLength + valueLength;
            sums[2] += sum;
            Long before = last.put(new TopicPartition(record.topic(), record.partition()), record.offset());
            if (before != null && record.offset() != before + 1) sums[3]++;
        });
        return Tool.JSON.createObjectNode().put("records", sums[0]).put("bytes", sums[1])
            .put("seconds", (System.nanoTime() - start) / 1e9).put("order_errors", sums[3]).put("checksum", Long.toUnsignedString(sums[2]));
    }

    /** One partition after the other, so that records come in order of topic, partition and offset. */
    private static void toTheEnd(Tool.Call call, Consumer<ConsumerRecord<byte[], byte[]>> each) {
        Properties config = config(call.bootstrap, call.text("isolation", "read_uncommitted"));
        config.put("max.partition.fetch.bytes", Integer.toString(8 << 20));
        config.put("max.poll.records", "10000");
        config.put("fetch.max.wait.ms", "100");
        List<Integer> only = call.list("partitions", Integer.class);
        long patience = call.number("timeout_ms", 60_000) * 1_000_000;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : call.list("topics", String.class)) {
                consumer.partitionsFor(topic).stream().map(info -> new TopicPartition(topic, info.partition()))
                    .filter(tp -> only.isEmpty() || only.contains(tp.partition()))
                    .sorted(Comparator.comparingInt(TopicPartition::partition)).forEach(partitions::add);
            }
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            for (TopicPartition partition : partitions) {
                consumer.assign(List.of(partition));
                consumer.seekToBeginning(List.of(partition));
                long end = ends.get(partition);
                long progress = System.nanoTime();
                for (long position = consumer.position(partition); position < end;) {
                    consumer.poll(Duration.ofMillis(200)).forEach(record -> {
                        if (record.offset() < end) each.accept(record);
                    });
                    long now = consumer.position(partition);
                    if (now > position) progress = System.nanoTime();
                    else if (System.nanoTime() - progress > patience) throw new IllegalStateException(
                        partition + " stands at " + position + " of " + end);
                    position = now;
                }
            }
        }
    }

    static ObjectNode json(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode row = Tool.JSON.createObjectNode();
        row.put("topic", record.topic()).put("partition", record.partition()).put("offset", record.offset());
        row.put("timestamp", record.timestamp());
        row.put("timestamp_type", switch (record.timestampType()) {
            case CREATE_TIME -> "create";
            case LOG_APPEND_TIME -> "log_append";
            case NO_TIMESTAMP_TYPE -> "none";
        });
        bytes(row, "key", record.key());
        bytes(row, "value", record.value());
        ArrayNode headers = row.putArray("headers");
        for (Header header : record.headers()) {
            ArrayNode pair = headers.addArray().add(header.key());
            String text = utf8(header.value());
            if (header.value() == null) pair.addNull();
            else if (text != null) pair.add(text);
            else pair.addObject().put("base64", Base64.getEncoder().encodeToString(header.value()));
        }
        return row;
    }

    private static void bytes(ObjectNode row, String name, byte[] bytes) {
        String text = utf8(bytes);
        if (bytes == null) row.putNull(name);
        else if (text != null) row.put(name, text);
        else row.put(name + "_base64", Base64.getEncoder().encodeToString(bytes));
    }

    private static String utf8(byte[] bytes) {
        try {
            return bytes == null ? null : StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        } catch (CharacterCodingException notText) {
            return null;
        }
    }
}
