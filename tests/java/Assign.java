import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Runs Java's assignors on generated groups: {@code java -cp <libs> Assign.java SEED HISTORIES}. Each history
 * is one group whose members come, go, change their minds and now and then claim what is not theirs. Its rounds are
 * written as lines, {@code round} first: {@code topic NAME PARTITIONS RACKS}, {@code member ID INSTANCE GENERATION RACK TOPICS
 * OWNED} and {@code gets ID PARTITIONS}, where "-" stands for nothing, partitions are {@code topic:index,...} and the racks of
 * each partition's replicas are {@code rack+rack,...} ("-" alone: of none). In some groups nobody has a rack, in others all
 * or some have. Members are put into Java's tables in the order of their ids.
 */
@SuppressWarnings("removal") // of the constructor of ConsumerGroupMetadata, which the sticky assignor is told of
public final class Assign {
    /** Two in each of three racks, and one without a rack. */
    private static final Node[] NODES = new Node[7];

    static {
        for (int id = 0; id < NODES.length; id++)
            NODES[id] = new Node(id, "127.0.0.1", 1 + id, id < 6 ? "r" + id % 3 : null);
    }

    private final Random random;
    private final ConsumerPartitionAssignor assignor;
    private final TreeMap<String, Integer> topics = new TreeMap<>();
    private final TreeMap<String, Member> members = new TreeMap<>();
    private final TreeMap<String, List<List<Integer>>> replicas = new TreeMap<>();
    private final int replication;
    /** Of ten members, how many have a rack. */
    private final int withRack;
    private int generation = 0;

    private static final class Member {
        String instance;
        String rack;
        TreeSet<String> topics = new TreeSet<>();
        TreeSet<String> owned = new TreeSet<>();
        int generation = -1;
        /** The sticky assignor's state between rounds. */
        StickyAssignor sticky = new StickyAssignor();
    }

    private Assign(Random random) {
        this.random = random;
        this.assignor = switch (random.nextInt(6)) {
            case 0 -> new RangeAssignor();
            case 1 -> new RoundRobinAssignor();
            case 2, 3 -> new StickyAssignor();
            default -> new CooperativeStickyAssignor();
        };
        this.replication = 1 + random.nextInt(3);
        this.withRack = switch (random.nextInt(4)) {
            case 0 -> 0;
            case 1 -> 7;
            default -> 10;
        };
    }

    public static void main(String[] args) throws Exception {
        ExecutorService worker = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        for (int history = 0; history < Integer.parseInt(args[1]); history++) {
            Assign group = new Assign(new Random(Long.parseLong(args[0]) * 1_000_003 + history));
            group.live(worker);
        }
        System.out.flush();
        System.exit(0);
    }

    private void live(ExecutorService worker) throws Exception {
        boolean alike = random.nextInt(3) == 0;
        int most = random.nextInt(12) == 0 ? 40 : 9;
        boolean sameCounts = random.nextInt(3) == 0;
        int same = 1 + random.nextInt(most);
        for (int n = 1 + random.nextInt(5); n > 0; n--) topics.put("t" + n, sameCounts ? same : 1 + random.nextInt(most));
        for (int n = 1 + random.nextInt(most == 40 ? 25 : 7); n > 0; n--) join(alike);
        for (int round = 1 + random.nextInt(6); round > 0; round--) {
            String said = describe();
            Map<String, List<TopicPartition>> answer;
            try {
                answer = worker.submit((Callable<Map<String, List<TopicPartition>>>) this::ask).get(5, TimeUnit.SECONDS);
            } catch (ExecutionException | TimeoutException broken) {
                System.err.println(assignor.name() + " gave up: " + broken);
                return;
            }
            System.out.print(said);
            generation++;
            answer.forEach((id, partitions) -> {
                Member member = members.get(id);
                member.owned = partitions.stream().map(tp -> tp.topic() + ":" + tp.partition())
                    .collect(Collectors.toCollection(TreeSet::new));
                System.out.println("gets " + id + " " + list(member.owned));
                member.generation = generation;
                member.sticky.onAssignment(new Assignment(partitions), metadata(id));
            });
            change(alike);
        }
    }

    private ConsumerGroupMetadata metadata(String id) {
        return new ConsumerGroupMetadata("group", generation, id, Optional.empty());
    }

    private void join(boolean alike) {
        Member member = new Member();
        if (random.nextInt(5) == 0) member.instance = "s" + random.nextInt(100) + "-" + members.size();
        if (random.nextInt(10) < withRack) member.rack = "r" + random.nextInt(random.nextInt(4) == 0 ? 5 : 3);
        if (alike) member.topics.addAll(topics.keySet());
        else choose(member);
        members.put(String.format("c%d-%08x", 1 + random.nextInt(3), random.nextInt()), member);
    }

    private void choose(Member member) {
        member.topics.clear();
        for (String topic : topics.keySet()) if (random.nextInt(3) > 0) member.topics.add(topic);
        if (member.topics.isEmpty()) member.topics.add(topics.firstKey());
    }

    private void change(boolean alike) {
        List<String> ids = new ArrayList<>(members.keySet());
        for (int n = random.nextInt(3); n > 0; n--) {
            String id = ids.get(random.nextInt(ids.size()));
            switch (random.nextInt(9)) {
                case 0, 1 -> join(alike);
                case 2, 3 -> {
                    if (members.size() > 1) members.remove(id);
                    ids = new ArrayList<>(members.keySet());
                }
                case 4 -> {
                    String topic = new ArrayList<>(topics.keySet()).get(random.nextInt(topics.size()));
                    topics.merge(topic, 1 + random.nextInt(4), Integer::sum);
                }
                case 5 -> {
                    if (!alike && assignor instanceof CooperativeStickyAssignor) {
                        choose(members.get(id));
                        members.get(id).owned.removeIf(tp -> !members.get(id).topics.contains(tp.split(":")[0]));
                    }
                }
                case 6 -> lag(members.get(id), 1 + random.nextInt(2));
                case 7 -> claim(members.get(id), ids);
                default -> {
                    // Never fewer than before: Java then hands out partitions that are gone.
                    topics.merge("z" + random.nextInt(3), 1 + random.nextInt(5), Math::max);
                    if (alike) members.values().forEach(member -> member.topics.addAll(topics.keySet()));
                }
            }
        }
    }

    /** It missed some generations. */
    private void lag(Member member, int by) {
        member.generation = Math.max(-1, member.generation - by);
        remember(member);
    }

    /** It claims to own partitions of another member. */
    private void claim(Member member, List<String> ids) {
        for (String tp : members.get(ids.get(random.nextInt(ids.size()))).owned)
            if (random.nextBoolean() && member.topics.contains(tp.split(":")[0])) member.owned.add(tp);
        remember(member);
    }

    private void remember(Member member) {
        List<TopicPartition> partitions = partitions(member);
        member.sticky = new StickyAssignor();
        member.sticky.onAssignment(new Assignment(partitions),
            new ConsumerGroupMetadata("group", member.generation, "", Optional.empty()));
    }

    private static List<TopicPartition> partitions(Member member) {
        return member.owned.stream().map(tp -> tp.split(":"))
            .map(tp -> new TopicPartition(tp[0], Integer.parseInt(tp[1]))).toList();
    }

    private String describe() {
        StringBuilder said = new StringBuilder("round " + assignor.name() + "\n");
        topics.forEach((topic, count) -> said.append("topic ").append(topic).append(' ').append(count).append(' ')
            .append(withRack == 0 ? "-" : replicas(topic, count).stream().map(Assign::racks).collect(Collectors.joining(",")))
            .append('\n'));
        members.forEach((id, member) -> said.append(String.join(" ", "member", id,
            member.instance == null ? "-" : member.instance, member.generation < 0 ? "-" : Integer.toString(member.generation),
            member.rack == null ? "-" : member.rack,
            list(member.topics), tells(member) ? list(member.owned) : "-")).append('\n'));
        return said.toString();
    }

    /** Their racks; partitions added since get some rack. */
    private List<List<Integer>> replicas(String topic, int count) {
        List<List<Integer>> of = replicas.computeIfAbsent(topic, name -> new ArrayList<>());
        while (of.size() < count) {
            TreeSet<Integer> nodes = new TreeSet<>();
            while (nodes.size() < replication) nodes.add(random.nextInt(random.nextInt(8) == 0 ? NODES.length : 6));
            of.add(new ArrayList<>(nodes));
        }
        return of;
    }

    private static String racks(List<Integer> nodes) {
        TreeSet<String> racks = new TreeSet<>();
        for (int node : nodes) if (NODES[node].rack() != null) racks.add(NODES[node].rack());
        return racks.isEmpty() ? "-" : String.join("+", racks);
    }

    /** A sticky member that has never been assigned anything has nothing to remember. */
    private boolean tells(Member member) {
        return !(assignor instanceof StickyAssignor) || member.generation >= 0;
    }

    private static String list(Set<String> items) {
        return items.isEmpty() ? "-" : String.join(",", items);
    }

    private Map<String, List<TopicPartition>> ask() throws Exception {
        List<PartitionInfo> infos = new ArrayList<>();
        topics.forEach((topic, count) -> {
            for (int p = 0; p < count; p++) {
                Node[] at = replicas(topic, count).get(p).stream().map(node -> NODES[node]).toArray(Node[]::new);
                infos.add(new PartitionInfo(topic, p, at[0], at, at));
            }
        });
        Map<String, Subscription> subscriptions = new HashMap<>();
        members.forEach((id, member) -> {
            Subscription subscription = new Subscription(new ArrayList<>(member.topics),
                assignor instanceof StickyAssignor && tells(member) ? member.sticky.subscriptionUserData(member.topics) : null,
                partitions(member), member.generation, Optional.ofNullable(member.rack));
            subscription.setGroupInstanceId(Optional.ofNullable(member.instance));
            subscriptions.put(id, subscription);
        });
        // A new assignor each time: it remembers the newest generation it has ever seen.
        ConsumerPartitionAssignor fresh = assignor.getClass().getDeclaredConstructor().newInstance();
        Cluster cluster = new Cluster("cluster", Arrays.asList(NODES), infos, Set.of(), Set.of());
        Map<String, List<TopicPartition>> answer = new TreeMap<>();
        fresh.assign(cluster, new GroupSubscription(subscriptions)).groupAssignment()
            .forEach((id, assignment) -> answer.put(id, assignment.partitions()));
        return answer;
    }
}
