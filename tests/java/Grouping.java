import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.utils.Utils;

/** Groups as an operator sees and changes them. */
final class Grouping {
    private static final String OFFSETS = "__consumer_offsets";

    private Grouping() {}

    static ObjectNode listGroups(Tool.Call call) throws Exception {
        ObjectNode done = Tool.JSON.createObjectNode();
        ArrayNode groups = done.putArray("groups");
        Clients.admin(call.bootstrap).listGroups().all().get().forEach(group -> groups.addObject().put("group", group.groupId())
            .put("state", group.groupState().map(Object::toString).orElse(null))
            .put("type", group.type().map(Object::toString).orElse(null)));
        return done;
    }

    static ObjectNode describeGroup(Tool.Call call) throws Exception {
        ConsumerGroupDescription group = describe(call);
        ObjectNode done = Tool.JSON.createObjectNode().put("group", group.groupId()).put("state", group.groupState().toString())
            .put("type", group.type().toString()).put("assignor", group.partitionAssignor())
            .put("coordinator", group.coordinator().id());
        ArrayNode members = done.putArray("members");
        for (MemberDescription member : group.members()) {
            ObjectNode each = members.addObject().put("member_id", member.consumerId())
                .put("instance_id", member.groupInstanceId().orElse(null)).put("client_id", member.clientId())
                .put("host", member.host());
            ArrayNode partitions = each.putArray("partitions");
            member.assignment().topicPartitions().stream()
                .sorted(Comparator.comparing(TopicPartition::topic).thenComparingInt(TopicPartition::partition))
                .forEach(tp -> partitions.addArray().add(tp.topic()).add(tp.partition()));
        }
        return done;
    }

    private static ConsumerGroupDescription describe(Tool.Call call) throws Exception {
        String group = call.text("group");
        return Clients.admin(call.bootstrap).describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    static ObjectNode deleteGroup(Tool.Call call) throws Exception {
        Clients.admin(call.bootstrap).deleteConsumerGroups(List.of(call.text("group"))).all().get();
        return Tool.JSON.createObjectNode();
    }

    /** The committed offsets of {@code group}: {@code [[topic, partition, offset, leader epoch, metadata]…]}. */
    static ObjectNode committed(Tool.Call call) throws Exception {
        ObjectNode done = Tool.JSON.createObjectNode();
        ArrayNode offsets = done.putArray("offsets");
        Clients.admin(call.bootstrap).listConsumerGroupOffsets(call.text("group")).partitionsToOffsetAndMetadata().get()
            .entrySet().stream().filter(each -> each.getValue() != null)
            .sorted(Comparator.comparing((Map.Entry<TopicPartition, ?> each) -> each.getKey().topic())
                .thenComparingInt(each -> each.getKey().partition()))
            .forEach(each -> offsets.addArray().add(each.getKey().topic()).add(each.getKey().partition())
                .add(each.getValue().offset()).add(each.getValue().leaderEpoch().orElse(-1)).add(each.getValue().metadata()));
        return done;
    }

    /** {@code offsets}: {@code [[topic, partition, offset]…]}. */
    static ObjectNode alterOffsets(Tool.Call call) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode each : call.args.path("offsets"))
            offsets.put(new TopicPartition(each.get(0).asText(), each.get(1).asInt()), new OffsetAndMetadata(each.get(2).asLong()));
        Administering.await("the coordinator knows the topics of " + offsets.keySet(), () -> {
            try {
                Clients.admin(call.bootstrap).alterConsumerGroupOffsets(call.text("group"), offsets).all().get();
                return true;
            } catch (InterruptedException | ExecutionException failed) {
                // A topic counts as existing once one broker reports it. The coordinator may be another one, which lags.
                if (failed.getCause() instanceof UnknownTopicOrPartitionException) return false;
                throw new IllegalStateException(failed.getCause());
            }
        });
        return Tool.JSON.createObjectNode();
    }

    /** Moves the group's coordinator to broker {@code to}, or to any other: the leader of its partition of the offsets topic. */
    static ObjectNode moveCoordinator(Tool.Call call) throws Exception {
        Admin admin = Clients.admin(call.bootstrap);
        int partitions = Administering.describe(admin, OFFSETS).partitions().size();
        TopicPartition partition = new TopicPartition(OFFSETS, Utils.abs(call.text("group").hashCode()) % partitions);
        int from = describe(call).coordinator().id();
        int to = (int) call.number("to", -1);
        if (to < 0) to = admin.describeCluster().nodes().get().stream().mapToInt(Node::id).filter(id -> id != from).min().orElseThrow();
        int target = to;
        Administering.move(admin, partition, target);
        Administering.await("the coordinator is broker " + target, () -> {
            try {
                return describe(call).coordinator().id() == target;
            } catch (Exception loading) {
                return false;
            }
        });
        return Tool.JSON.createObjectNode().put("from", from).put("to", target);
    }
}
