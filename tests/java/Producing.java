import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;

/** Records as the tests spell them out, and topics filled in bulk. */
final class Producing {
    private static final String ALPHABET = "etaoin shrdlu 0123456789 {\"order\":42,\"who\":\"nobody\"},";

    private Producing() {}

    /**
     * {@code records}: {@code {topic, partition, timestamp, key_base64, value_base64, headers: [[key, base64|null]…]}}; all
     * but the topic may be absent. {@code codec}, {@code transaction} (an id with an open transaction), {@code batch_size},
     * {@code flush_every} (records, where a batch must end), {@code idempotent} (true unless said). Answers with the offsets in the order of the records.
     */
    static ObjectNode produce(Tool.Call call) throws Exception {
        String transaction = call.text("transaction", null);
        String codec = call.text("codec", "none");
        KafkaProducer<byte[], byte[]> producer = transaction == null
            ? Clients.producer(call.bootstrap, codec, call.number("batch_size", 16384), call.args.path("idempotent").asBoolean(true))
            : Clients.transactional(call.bootstrap, transaction, codec);
        long flushEvery = call.number("flush_every", Long.MAX_VALUE);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode spec : call.args.path("records")) {
            sent.add(producer.send(record(spec)));
            if (sent.size() % flushEvery == 0) producer.flush();
        }
        producer.flush();
        ArrayNode offsets = Tool.JSON.createArrayNode();
        for (Future<RecordMetadata> each : sent) {
            RecordMetadata where = each.get();
            offsets.addArray().add(where.topic()).add(where.partition()).add(where.offset());
        }
        ObjectNode done = Tool.JSON.createObjectNode();
        done.set("offsets", offsets);
        return done;
    }

    private static ProducerRecord<byte[], byte[]> record(JsonNode spec) {
        Integer partition = spec.hasNonNull("partition") ? spec.get("partition").asInt() : null;
        Long timestamp = spec.hasNonNull("timestamp") ? spec.get("timestamp").asLong() : null;
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(spec.path("topic").asText(), partition, timestamp,
            bytes(spec.path("key_base64")), bytes(spec.path("value_base64")));
        for (JsonNode header : spec.path("headers")) record.headers().add(header.get(0).asText(), bytes(header.get(1)));
        return record;
    }

    private static byte[] bytes(JsonNode base64) {
        return base64 == null || base64.isNull() || base64.isMissingNode() ? null : Base64.getDecoder().decode(base64.asText());
    }

    /**
     * {@code count} records of {@code size} bytes, dealt out over {@code partitions} in turn; the same {@code seed} gives the
     * same bytes and timestamps. {@code key} adds a key of 12 bytes, {@code headers} that many headers. With {@code create}
     * the topic is made first.
     */
    static ObjectNode fill(Tool.Call call) throws Exception {
        String topic = call.text("topic");
        int partitions = (int) call.number("partitions", 1);
        long count = call.number("count", 1);
        int size = (int) call.number("size", 100);
        int headers = (int) call.number("headers", 0);
        boolean keyed = call.flag("key");
        if (call.flag("create")) Administering.createTopic(call);
        KafkaProducer<byte[], byte[]> producer =
            Clients.producer(call.bootstrap, call.text("codec", "none"), call.number("batch_size", 262144));

        SplittableRandom random = new SplittableRandom(call.number("seed", 1));
        byte[] pool = new byte[Math.max(1 << 20, 2 * size)];
        for (int i = 0; i < pool.length; i++) pool[i] = (byte) ALPHABET.charAt(random.nextInt(ALPHABET.length()));
        AtomicReference<Exception> failure = new AtomicReference<>();
        for (long i = 0; i < count && failure.get() == null; i++) {
            byte[] value = new byte[size];
            System.arraycopy(pool, random.nextInt(pool.length - size + 1), value, 0, size);
            byte[] key = keyed ? String.format("key-%08d", random.nextInt(1 << 20)).getBytes() : null;
            ProducerRecord<byte[], byte[]> record =
                new ProducerRecord<>(topic, (int) (i % partitions), 1_700_000_000_000L + i, key, value);
            for (int h = 0; h < headers; h++) record.headers().add("header-" + h, ("value " + (i + h)).getBytes());
            producer.send(record, (where, error) -> {
                if (error != null) failure.set(error);
            });
        }
        producer.flush();
        if (failure.get() != null) throw failure.get();
        return Tool.JSON.createObjectNode().put("records", count);
    }

    /**
     * One record after the other, each sent by itself ({@code linger.ms=0}): {@code rate} a second over {@code partitions}
     * in turn, for {@code seconds}. A value is the time in microseconds since the epoch. Answers with {@code records}, and
     * {@code silence_ms}, the longest time between two acknowledgements, which no consumer can shorten.
     */
    static ObjectNode trickle(Tool.Call call) throws Exception {
        String topic = call.text("topic");
        int partitions = (int) call.number("partitions", 1);
        long rate = call.number("rate", 1000);
        long count = rate * call.number("seconds", 10);
        AtomicReference<Exception> failure = new AtomicReference<>();
        AtomicLong last = new AtomicLong();
        AtomicLong silence = new AtomicLong();
        try (KafkaProducer<byte[], byte[]> producer = Clients.trickling(call.bootstrap)) {
            producer.partitionsFor(topic);
            long begin = System.nanoTime();
            last.set(begin);
            for (long i = 0; i < count && failure.get() == null; i++) {
                long early = begin + i * 1_000_000_000L / rate - System.nanoTime();
                if (early > 0) TimeUnit.NANOSECONDS.sleep(early);
                Instant now = Instant.now();
                byte[] value = Long.toString(now.getEpochSecond() * 1_000_000 + now.getNano() / 1000).getBytes();
                producer.send(new ProducerRecord<>(topic, (int) (i % partitions), null, value), (where, error) -> {
                    if (error != null) failure.set(error);
                    long at = System.nanoTime(); // callbacks come one after the other
                    silence.accumulateAndGet(at - last.getAndSet(at), Math::max);
                });
            }
            producer.flush();
        }
        if (failure.get() != null) throw failure.get();
        return Tool.JSON.createObjectNode().put("records", count).put("silence_ms", silence.get() / 1_000_000);
    }

    static ObjectNode begin(Tool.Call call) {
        Clients.transactional(call.bootstrap, call.text("transaction"), call.text("codec", "none")).beginTransaction();
        return Tool.JSON.createObjectNode();
    }

    static ObjectNode commit(Tool.Call call) {
        Clients.transactional(call.bootstrap, call.text("transaction"), "none").commitTransaction();
        return Tool.JSON.createObjectNode();
    }

    static ObjectNode abort(Tool.Call call) {
        Clients.transactional(call.bootstrap, call.text("transaction"), "none").abortTransaction();
        return Tool.JSON.createObjectNode();
    }
}
