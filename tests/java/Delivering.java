import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member as an application writes one, for {@code benches/rebalance}: {@code group}, {@code topic}, {@code client},
 * {@code configs}; all else is Java's default. Prints {@code start} when it subscribes, and for each record its value and
 * the time in microseconds since the epoch; leaves the group when stdin ends.
 */
final class Delivering {
    private Delivering() {}

    static ObjectNode deliver(Tool.Call call) throws IOException {
        FileOutputStream out = new FileOutputStream(FileDescriptor.out);
        AtomicBoolean stopping = new AtomicBoolean();
        long records = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config(call))) {
            stopWithStdin(consumer, stopping);
            out.write("start\n".getBytes(StandardCharsets.US_ASCII));
            consumer.subscribe(List.of(call.text("topic")));
            while (!stopping.get()) {
                ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(100));
                if (polled.isEmpty()) continue;
                records += polled.count();
                out.write(lines(polled));
            }
        } catch (WakeupException asked) {
            // closed by now, which leaves the group
        }
        return Tool.JSON.createObjectNode().put("records", records);
    }

    private static Properties config(Tool.Call call) {
        Properties config = new Properties();
        config.put("bootstrap.servers", call.bootstrap);
        config.put("group.id", call.text("group"));
        config.put("client.id", call.text("client"));
        config.put("auto.offset.reset", "earliest");
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        config.putAll(call.map("configs"));
        return config;
    }

    private static byte[] lines(ConsumerRecords<byte[], byte[]> polled) throws IOException {
        Instant now = Instant.now();
        byte[] at = (" " + (now.getEpochSecond() * 1_000_000 + now.getNano() / 1000) + "\n").getBytes(StandardCharsets.US_ASCII);
        ByteArrayOutputStream lines = new ByteArrayOutputStream(64 * polled.count());
        for (ConsumerRecord<byte[], byte[]> record : polled) {
            lines.write(record.value());
            lines.write(at);
        }
        return lines.toByteArray();
    }

    private static void stopWithStdin(KafkaConsumer<byte[], byte[]> consumer, AtomicBoolean stopping) {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (IOException closed) {
                // as good as its end
            }
            stopping.set(true);
            consumer.wakeup();
        });
        watch.setDaemon(true);
        watch.start();
    }
}
