import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.Collection;
import java.util.Comparator;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;

/**
 * A member of a group: {@code group}, {@code topics}, {@code assignors} (by name, in order of preference), {@code session}
 * and {@code heartbeat} in ms, {@code instance}, {@code configs}. Its rows are events in the shape of
 * {@code offtake consume --events}, and {@code {"event":"records","records":[[topic, partition, offset]…]}} after each poll
 * that gave some; these are committed before the next poll.
 */
final class Member implements ConsumerRebalanceListener {
    private static final Map<Long, Member> LIVE = new ConcurrentHashMap<>();

    private final Tool.Call call;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private volatile boolean stopping;

    private Member(Tool.Call call) {
        this.call = call;
        Properties config = Reading.config(call.bootstrap, call.text("isolation", "read_uncommitted"));
        config.put("group.id", call.text("group"));
        config.put("metadata.max.age.ms", "1000");
        if (!"consumer".equals(call.map("configs").get("group.protocol"))) { // KIP-848: the broker decides on these
            config.put("session.timeout.ms", Long.toString(call.number("session", 6000)));
            config.put("heartbeat.interval.ms", Long.toString(call.number("heartbeat", 500)));
            config.put("partition.assignment.strategy",
                call.list("assignors", String.class).stream().map(Member::assignor).toList());
        }
        String instance = call.text("instance", null);
        if (instance != null) config.put("group.instance.id", instance);
        config.putAll(call.map("configs"));
        this.consumer = new KafkaConsumer<>(config);
    }

    static String assignor(String name) {
        return switch (name) {
            case "range" -> RangeAssignor.class.getName();
            case "roundrobin" -> RoundRobinAssignor.class.getName();
            case "sticky" -> StickyAssignor.class.getName();
            case "cooperative-sticky" -> CooperativeStickyAssignor.class.getName();
            default -> throw new IllegalArgumentException("no such assignor: " + name);
        };
    }

    static ObjectNode run(Tool.Call call) {
        Member member = new Member(call);
        LIVE.put(call.id, member);
        try {
            return member.live();
        } finally {
            LIVE.remove(call.id);
        }
    }

    /** Asks {@code member}, the id of its own command, to leave the group; that command is then done. */
    static ObjectNode stop(Tool.Call call) {
        Member member = LIVE.get(call.number("member", -1));
        if (member != null) member.stop();
        return Tool.JSON.createObjectNode().put("found", member != null);
    }

    private void stop() {
        stopping = true;
        consumer.wakeup();
    }

    /** For a member run from the command line: it leaves when stdin closes or says "stop". */
    static void stopWithStdin() {
        Thread watch = new Thread(() -> {
            try {
                for (int c = System.in.read(); c >= 0 && c != '\n'; c = System.in.read()) {}
            } catch (java.io.IOException closed) {
                // as good as closed
            }
            LIVE.values().forEach(Member::stop);
        });
        watch.setDaemon(true);
        watch.start();
    }

    private ObjectNode live() {
        long records = 0;
        try (consumer) {
            consumer.subscribe(call.list("topics", String.class), this);
            while (!stopping) {
                ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(100));
                if (polled.isEmpty()) continue;
                records += polled.count();
                report(polled);
                commit();
            }
        } catch (WakeupException asked) {
            // stop: the consumer is closed, which leaves the group
        }
        return Tool.JSON.createObjectNode().put("records", records);
    }

    private void report(ConsumerRecords<byte[], byte[]> polled) {
        ObjectNode event = event("records");
        ArrayNode list = event.putArray("records");
        polled.forEach(record -> list.addArray().add(record.topic()).add(record.partition()).add(record.offset()));
        call.event(event);
    }

    private void commit() {
        try {
            consumer.commitSync();
        } catch (WakeupException asked) {
            // The wake-up belongs to `stop`; polled records are committed all the same.
            consumer.commitSync();
        } catch (org.apache.kafka.common.KafkaException refused) {
            call.event(event("error").put("message", refused.toString()));
            return;
        }
        ObjectNode event = event("committed");
        ArrayNode offsets = event.putArray("offsets");
        consumer.assignment().stream().sorted(ORDER)
            .forEach(tp -> offsets.addArray().add(tp.topic()).add(tp.partition()).add(consumer.position(tp)));
        call.event(event);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        change("assigned", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        change("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        change("lost", partitions);
    }

    private static final Comparator<TopicPartition> ORDER =
        Comparator.comparing(TopicPartition::topic).thenComparingInt(TopicPartition::partition);

    private void change(String name, Collection<TopicPartition> partitions) {
        ObjectNode event = event(name);
        fill(event.putArray("partitions"), partitions);
        // During a revocation callback the consumer still lists the revoked partitions.
        java.util.Set<TopicPartition> owned = new java.util.HashSet<>(consumer.assignment());
        if (!name.equals("assigned")) owned.removeAll(partitions);
        fill(event.putArray("owned"), owned);
        call.event(event.put("generation", consumer.groupMetadata().generationId())
            .put("member_id", consumer.groupMetadata().memberId()));
    }

    private static void fill(ArrayNode array, Collection<TopicPartition> partitions) {
        partitions.stream().sorted(ORDER).forEach(tp -> array.addArray().add(tp.topic()).add(tp.partition()));
    }

    private static ObjectNode event(String name) {
        return Tool.JSON.createObjectNode().put("event", name).put("at", System.currentTimeMillis());
    }
}
