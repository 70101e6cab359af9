import java.lang.management.ManagementFactory;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.stream.IntStream;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Java's consumer, and Avro's GenericRecord from Confluent's deserialiser: Topic BOOTSTRAP REGISTRY TOPIC COUNT. It reads everything
 * twice; the line is about the second pass, when the JVM is warm.
 */
public final class Topic {
    private static final com.fasterxml.jackson.databind.ObjectMapper JSON = new com.fasterxml.jackson.databind.ObjectMapper();
    private static Object sink;
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();
    private BinaryDecoder decoder;

    public static void main(String[] words) throws Exception {
        new Topic().run(words);
        System.out.println(new Topic().run(words));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private String run(String[] words) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", words[0]);
        config.put("auto.offset.reset", "earliest");
        config.put("max.poll.records", "10000");
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        long wanted = Long.parseLong(words[3]), records = 0, first = 0, before = processorTime();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config)) {
            consumer.assign(IntStream.range(0, 4).mapToObj(partition -> new TopicPartition(words[2], partition)).toList());
            consumer.seekToBeginning(consumer.assignment());
            while (records < wanted) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (first == 0) first = System.nanoTime();
                    sink = decode(words[1], record.value());
                    records++;
                }
            }
            double seconds = (System.nanoTime() - first) / 1e9, processor = (processorTime() - before) / 1e9;
            return String.format(Locale.ROOT, "{\"records\":%d,\"seconds\":%.3f,\"cpu_seconds\":%.3f}", records, seconds, processor);
        }
    }

    private GenericRecord decode(String registry, byte[] value) throws Exception {
        int id = ByteBuffer.wrap(value, 1, 4).getInt();
        GenericDatumReader<GenericRecord> reader = readers.get(id);
        if (reader == null) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build();
            String body = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
            reader = new GenericDatumReader<>(new Schema.Parser().parse(JSON.readTree(body).get("schema").asText()));
            readers.put(id, reader);
        }
        decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, decoder);
        return reader.read(null, decoder);
    }

    /** The processor time of the whole process, with its collector and compiler. */
    private static long processorTime() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }
}
