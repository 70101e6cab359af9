import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The loop of an application that takes its time over each poll and commits it: {@code group}, {@code topic},
 * {@code work} (ms a poll), {@code seconds} from the first assignment on, {@code configs}; all else is Java's default.
 * A row each second, and the same in the end: {@code records}, {@code polls} that gave some, {@code mixed} ones with
 * several partitions, {@code commits}, {@code behind} (ends less positions), {@code lag} as the consumer tells it,
 * {@code cpu_ms} of the whole JVM since the assignment.
 */
final class Slow {
    private final KafkaConsumer<byte[], byte[]> consumer;
    private long records;
    private long polls;
    private long mixed;
    private long commits;
    private long cpu;

    private Slow(KafkaConsumer<byte[], byte[]> consumer) {
        this.consumer = consumer;
    }

    static ObjectNode slow(Tool.Call call) throws InterruptedException {
        Properties config = new Properties();
        config.put("bootstrap.servers", call.bootstrap);
        config.put("group.id", call.text("group"));
        config.put("auto.offset.reset", "earliest");
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        config.putAll(call.map("configs"));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config)) {
            return new Slow(consumer).live(call);
        }
    }

    private ObjectNode live(Tool.Call call) throws InterruptedException {
        long work = call.number("work", 20);
        consumer.subscribe(List.of(call.text("topic")));
        while (consumer.assignment().isEmpty()) consumer.poll(Duration.ofMillis(1));
        consumer.seekToBeginning(consumer.assignment());
        cpu = cpu();
        long begin = System.nanoTime();
        for (long seconds = 1; seconds <= call.number("seconds", 10); ) {
            ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(500));
            if (!polled.isEmpty()) {
                records += polled.count();
                polls++;
                if (polled.partitions().size() > 1) mixed++;
                Thread.sleep(work);
                consumer.commitSync();
                commits++;
            }
            if (System.nanoTime() - begin >= seconds * 1_000_000_000L) {
                call.event(figures().put("seconds", seconds++));
            }
        }
        return figures();
    }

    private ObjectNode figures() {
        long used = cpu() - cpu;
        Set<TopicPartition> all = consumer.assignment();
        long behind = consumer.endOffsets(all).entrySet().stream()
            .mapToLong(end -> end.getValue() - consumer.position(end.getKey())).sum();
        long lag = all.stream().mapToLong(partition -> consumer.currentLag(partition).orElse(0)).sum();
        return Tool.JSON.createObjectNode().put("records", records).put("polls", polls).put("mixed", mixed)
            .put("commits", commits).put("behind", behind).put("lag", lag).put("cpu_ms", used / 1_000_000);
    }

    /** Nanoseconds of all threads. */
    private static long cpu() {
        return ManagementFactory.getPlatformMXBean(com.sun.management.OperatingSystemMXBean.class).getProcessCpuTime();
    }
}
