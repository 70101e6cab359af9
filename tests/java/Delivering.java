import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member as an application writes one, for {@code benches/rebalance}: {@code group}, {@code topic}, {@code client},
 * {@code configs}; all else is Java's default. Prints {@code start} when it subscribes, and for each record its value and
 * the time in microseconds since the epoch; leaves the group when stdin ends. The environment's {@code SESSION_MS} is its
 * session's timeout; with {@code REVOKE_MS} it takes so long over the first that is revoked, and prints {@code revoking}
 * and {@code revoked}.
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
            consumer.subscribe(List.of(call.text("topic")), new Slow(out));
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
        String session = System.getenv("SESSION_MS");
        if (session != null) config.put("session.timeout.ms", session);
        config.putAll(call.map("configs"));
        return config;
    }

    /** Takes its time in a revocation, once. */
    private static final class Slow implements ConsumerRebalanceListener {
        private final FileOutputStream out;
        private String time = System.getenv("REVOKE_MS");

        Slow(FileOutputStream out) {
            this.out = out;
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            if (time == null || partitions.isEmpty()) return;
            long millis = Long.parseLong(time);
            time = null;
            try {
                out.write("revoking\n".getBytes(StandardCharsets.US_ASCII));
                Thread.sleep(millis);
                out.write("revoked\n".getBytes(StandardCharsets.US_ASCII));
            } catch (IOException | InterruptedException nobodyWaits) {
                throw new IllegalStateException(nobodyWaits);
            }
        }
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
