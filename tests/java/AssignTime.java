import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * How long Java's assignors take for the groups of {@code benches/assignors.rs}: {@code java -cp <libs> AssignTime.java MEMBERS
 * TOPICS PARTITIONS SECONDS [ASSIGNOR]}, so many partitions in each topic. What is timed is what a leader does between two
 * requests: all subscriptions are read, the assignor asked, all assignments written. Each case runs for SECONDS to warm up
 * and again to be measured, once at least; a line tells the median in milliseconds. A case that has taken twenty times as
 * long is given up, and the rest of its group with it. Time is the processor's, of the whole process, so that a machine that
 * is busy with other things says the same; {@code -XX:+UseSerialGC} makes it that of a clock otherwise.
 */
@SuppressWarnings("removal") // of the constructor of ConsumerGroupMetadata
public final class AssignTime {
    private final int members;
    private final int topics;
    private final int partitions;
    private final long nanos;
    private final Cluster cluster;
    private final com.sun.management.OperatingSystemMXBean system =
        (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();

    private AssignTime(String[] args) {
        members = Integer.parseInt(args[0]);
        topics = Integer.parseInt(args[1]);
        partitions = Integer.parseInt(args[2]);
        nanos = Long.parseLong(args[3]) * 1_000_000_000L;
        Node node = new Node(1, "127.0.0.1", 1);
        List<PartitionInfo> infos = new ArrayList<>();
        for (int topic = 0; topic < topics; topic++)
            for (int p = 0; p < partitions; p++)
                infos.add(new PartitionInfo(topic(topic), p, node, new Node[] {node}, new Node[] {node}));
        cluster = new Cluster("cluster", List.of(node), infos, Set.of(), Set.of());
    }

    public static void main(String[] args) throws Exception {
        AssignTime time = new AssignTime(args);
        for (ConsumerPartitionAssignor assignor : List.of(
            new RangeAssignor(), new RoundRobinAssignor(), new StickyAssignor(), new CooperativeStickyAssignor())) {
            if (args.length > 4 && !args[4].equals(assignor.name())) continue;
            for (boolean alike : new boolean[] {true, false}) time.group(assignor, alike);
        }
        System.exit(0);
    }

    private void group(ConsumerPartitionAssignor assignor, boolean alike) throws Exception {
        String of = assignor.name() + (alike ? " equal " : " unequal ");
        boolean sticky = assignor instanceof StickyAssignor || assignor instanceof CooperativeStickyAssignor;
        Map<String, ByteBuffer> fresh = told(assignor, alike, members, Map.of());
        if (!time(of + "fresh", assignor, fresh) || !sticky) return;
        Map<String, Assignment> before = assignments(assign(assignor, fresh));
        Map<String, ByteBuffer> left = told(assignor, alike, members, before);
        left.remove(id(members / 2));
        if (!time(of + "left", assignor, left)) return;
        Map<String, Assignment> fewer = assignments(assign(assignor, told(assignor, alike, members - 1, Map.of())));
        time(of + "joined", assignor, told(assignor, alike, members, fewer));
    }

    private boolean time(String what, ConsumerPartitionAssignor assignor, Map<String, ByteBuffer> told) throws Exception {
        boolean[] done = {false};
        List<Double> times = new ArrayList<>();
        Thread thread = new Thread(() -> {
            try {
                long warm = system.getProcessCpuTime() + nanos;
                do assign(assignor, told); while (system.getProcessCpuTime() < warm);
                long end = system.getProcessCpuTime() + nanos;
                do {
                    long start = system.getProcessCpuTime();
                    assign(assignor, told);
                    times.add((system.getProcessCpuTime() - start) / 1e6);
                } while (system.getProcessCpuTime() < end);
                done[0] = true;
            } catch (Exception broken) {
                System.out.println(what + " failed: " + broken);
            }
        });
        thread.setDaemon(true);
        thread.start();
        long limit = system.getProcessCpuTime() + 20 * nanos;
        while (thread.isAlive() && system.getProcessCpuTime() < limit) thread.join(100);
        if (!done[0]) {
            System.out.println(what + " not within " + 20 * nanos / 1_000_000_000 + " s");
            System.out.flush();
            return false;
        }
        times.sort(null);
        long heap = (Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory()) >> 20;
        System.out.printf("%s %.1f ms (%.1f to %.1f, %d runs, heap %d MiB)%n", what, times.get(times.size() / 2), times.get(0),
            times.get(times.size() - 1), times.size(), heap);
        System.out.flush();
        return true;
    }

    private Map<String, ByteBuffer> assign(ConsumerPartitionAssignor assignor, Map<String, ByteBuffer> told) throws Exception {
        Map<String, Subscription> subscriptions = new HashMap<>();
        told.forEach((id, bytes) ->
            subscriptions.put(id, ConsumerProtocol.deserializeSubscription(bytes.duplicate())));
        ConsumerPartitionAssignor fresh = assignor.getClass().getDeclaredConstructor().newInstance();
        Map<String, ByteBuffer> answer = new HashMap<>();
        fresh.assign(cluster, new GroupSubscription(subscriptions)).groupAssignment()
            .forEach((id, assignment) -> answer.put(id, ConsumerProtocol.serializeAssignment(assignment)));
        return answer;
    }

    private static Map<String, Assignment> assignments(Map<String, ByteBuffer> answer) {
        Map<String, Assignment> read = new HashMap<>();
        answer.forEach((id, bytes) -> read.put(id, ConsumerProtocol.deserializeAssignment(bytes.duplicate())));
        return read;
    }

    /** The subscriptions of members that were given this in generation 1. */
    private Map<String, ByteBuffer> told(ConsumerPartitionAssignor assignor, boolean alike, int members, Map<String, Assignment> given) {
        Map<String, ByteBuffer> told = new TreeMap<>();
        for (int member = 0; member < members; member++) {
            List<String> wanted = new ArrayList<>();
            for (int topic = 0; topic < topics; topic++) if (alike || wants(member, topic)) wanted.add(topic(topic));
            Assignment had = given.get(id(member));
            ByteBuffer userData = null;
            if (assignor instanceof StickyAssignor && had != null) {
                StickyAssignor sticky = new StickyAssignor();
                sticky.onAssignment(had, new ConsumerGroupMetadata("group", 1, id(member), Optional.empty()));
                userData = sticky.subscriptionUserData(Set.copyOf(wanted));
            }
            List<TopicPartition> owned =
                assignor instanceof CooperativeStickyAssignor && had != null ? had.partitions() : List.of();
            Subscription subscription = new Subscription(wanted, userData, owned, had == null ? -1 : 1, Optional.empty());
            told.put(id(member), ConsumerProtocol.serializeSubscription(subscription, (short) 3));
        }
        return told;
    }

    /** Two topics of five, each member others; the first tenth of the topics is wanted by one member of twenty. */
    private boolean wants(int member, int topic) {
        return topic < topics / 10 ? (member + topic) % 20 == 0 : (topic * 7 + member * 13) % 10 < 4;
    }

    private static String id(int member) {
        return String.format("member-%05d", member);
    }

    private static String topic(int topic) {
        return String.format("topic-%04d", topic);
    }
}
