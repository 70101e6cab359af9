import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Runs one of Java's assignors on a group, without a broker: {@code assignor}, {@code topics} (name to number of
 * partitions) and {@code members}, {@code [{member, instance, topics, owned: [[topic, partition]…], generation}…]}. Answers
 * with {@code {member: [[topic, partition]…]}}.
 */
final class Assigning {
    private Assigning() {}

    static ObjectNode assign(Tool.Call call) throws Exception {
        ConsumerPartitionAssignor assignor = (ConsumerPartitionAssignor)
            Class.forName(Member.assignor(call.text("assignor"))).getDeclaredConstructor().newInstance();
        Node node = new Node(1, "127.0.0.1", 1);
        List<PartitionInfo> partitions = new ArrayList<>();
        call.args.path("topics").fields().forEachRemaining(topic -> {
            for (int partition = 0; partition < topic.getValue().asInt(); partition++)
                partitions.add(new PartitionInfo(topic.getKey(), partition, node, new Node[] {node}, new Node[] {node}));
        });
        Cluster cluster = new Cluster("cluster", List.of(node), partitions, Set.of(), Set.of());

        Map<String, Subscription> members = new HashMap<>();
        for (JsonNode member : call.args.path("members")) {
            List<String> topics = new ArrayList<>();
            member.path("topics").forEach(topic -> topics.add(topic.asText()));
            List<TopicPartition> owned = new ArrayList<>();
            member.path("owned").forEach(each -> owned.add(new TopicPartition(each.get(0).asText(), each.get(1).asInt())));
            int generation = member.hasNonNull("generation") ? member.get("generation").asInt() : -1;
            // The cooperative assignor's user data is the generation the owned partitions belong to (KIP-429, KIP-792).
            ByteBuffer userData = assignor.name().equals("cooperative-sticky") ? ByteBuffer.allocate(4).putInt(0, generation) : null;
            Subscription subscription = new Subscription(topics, userData, owned, generation, Optional.empty());
            if (member.hasNonNull("instance")) subscription.setGroupInstanceId(Optional.of(member.get("instance").asText()));
            members.put(member.path("member").asText(), subscription);
        }

        ObjectNode done = Tool.JSON.createObjectNode();
        assignor.assign(cluster, new GroupSubscription(members)).groupAssignment().forEach((member, assignment) -> {
            ArrayNode list = done.putArray(member);
            assignment.partitions().stream()
                .sorted(Comparator.comparing(TopicPartition::topic).thenComparingInt(TopicPartition::partition))
                .forEach(tp -> list.addArray().add(tp.topic()).add(tp.partition()));
        });
        return done;
    }
}
