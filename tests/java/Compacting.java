import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;

/**
 * Makes the log cleaner do its work on {@code topic} now. The active segment is never cleaned, so a record with the key
 * {@code roll} is produced to end it; done when every other key is there at most once. Tombstones go with
 * {@code tombstones}, which leaves gaps where both the value and its deletion were.
 */
final class Compacting {
    private static final String ROLL = "roll";

    private Compacting() {}

    static ObjectNode compact(Tool.Call call) throws Exception {
        String topic = call.text("topic");
        boolean tombstones = call.flag("tombstones");
        Admin admin = Clients.admin(call.bootstrap);
        Map<String, String> eager = new HashMap<>(Map.of("cleanup.policy", "compact", "segment.ms", "100",
            "min.cleanable.dirty.ratio", "0.0001", "min.compaction.lag.ms", "0", "max.compaction.lag.ms", "100"));
        if (tombstones) eager.put("delete.retention.ms", "0");
        Administering.setConfigs(admin, topic, eager);
        List<TopicPartition> partitions = Administering.describe(admin, topic).partitions().stream()
            .map(TopicPartitionInfo::partition).map(partition -> new TopicPartition(topic, partition)).toList();
        KafkaProducer<byte[], byte[]> producer = Clients.producer(call.bootstrap, "none", 16384);
        byte[] roll = ROLL.getBytes(StandardCharsets.UTF_8);
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(Reading.config(call.bootstrap, "read_uncommitted"))) {
            consumer.assign(partitions);
            Administering.await(topic + " is compacted", () -> {
                for (TopicPartition partition : partitions)
                    producer.send(new ProducerRecord<>(topic, partition.partition(), roll, roll));
                producer.flush();
                return isClean(consumer, partitions, tombstones);
            });
        }
        return Tool.JSON.createObjectNode();
    }

    private static boolean isClean(KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> partitions, boolean tombstones) {
        consumer.seekToBeginning(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        Map<String, Integer> seen = new HashMap<>();
        boolean clean = true;
        while (partitions.stream().anyMatch(tp -> consumer.position(tp) < ends.get(tp))) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                String key = new String(record.key(), StandardCharsets.ISO_8859_1);
                if (key.equals(ROLL)) continue;
                if (seen.merge(record.partition() + "/" + key, 1, Integer::sum) > 1) clean = false;
                if (tombstones && record.value() == null) clean = false;
            }
        }
        return clean;
    }
}
