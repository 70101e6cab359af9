import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.FinalizedVersionRange;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;

/** Topics: making them, changing them, and moving their leaders. Each command answers once the change can be seen. */
final class Administering {
    private Administering() {}

    /** {@code topic}, {@code partitions}, {@code replication} (absent: the broker's own), {@code configs}. */
    static ObjectNode createTopic(Tool.Call call) throws Exception {
        Admin admin = Clients.admin(call.bootstrap);
        String topic = call.text("topic");
        int partitions = (int) call.number("partitions", 1);
        Optional<Short> replication =
            call.args.hasNonNull("replication") ? Optional.of((short) call.number("replication", 1)) : Optional.empty();
        admin.createTopics(List.of(new NewTopic(topic, Optional.of(partitions), replication).configs(call.map("configs")))).all().get();
        await("topic " + topic + " has its leaders", () -> leaders(admin, topic) == partitions);
        return Tool.JSON.createObjectNode();
    }

    /** {@code feature}, {@code level}: the level to finalize in the cluster; 0 disables it. */
    static ObjectNode setFeature(Tool.Call call) throws Exception {
        Admin admin = Clients.admin(call.bootstrap);
        String feature = call.text("feature");
        short level = (short) call.number("level", 0);
        boolean lower = level < finalized(admin, feature);
        FeatureUpdate.UpgradeType way = lower ? FeatureUpdate.UpgradeType.SAFE_DOWNGRADE : FeatureUpdate.UpgradeType.UPGRADE;
        admin.updateFeatures(Map.of(feature, new FeatureUpdate(level, way)), new UpdateFeaturesOptions()).all().get();
        await("a broker tells of " + feature + " " + level, () -> finalized(admin, feature) == level);
        return Tool.JSON.createObjectNode();
    }

    private static short finalized(Admin admin, String feature) {
        try {
            FinalizedVersionRange range = admin.describeFeatures().featureMetadata().get().finalizedFeatures().get(feature);
            return range == null ? 0 : range.maxVersionLevel();
        } catch (InterruptedException | ExecutionException failed) {
            throw new IllegalStateException(failed);
        }
    }

    static ObjectNode deleteTopic(Tool.Call call) throws Exception {
        Admin admin = Clients.admin(call.bootstrap);
        admin.deleteTopics(List.of(call.text("topic"))).all().get();
        await("topic is gone", () -> leaders(admin, call.text("topic")) == 0);
        return Tool.JSON.createObjectNode();
    }

    /** {@code partitions}: how many there are afterwards. */
    static ObjectNode createPartitions(Tool.Call call) throws Exception {
        Admin admin = Clients.admin(call.bootstrap);
        int partitions = (int) call.number("partitions", 1);
        admin.createPartitions(Map.of(call.text("topic"), NewPartitions.increaseTo(partitions))).all().get();
        await("new partitions have leaders", () -> leaders(admin, call.text("topic")) == partitions);
        return Tool.JSON.createObjectNode();
    }

    static ObjectNode alterConfigs(Tool.Call call) throws Exception {
        setConfigs(Clients.admin(call.bootstrap), call.text("topic"), call.map("configs"));
        return Tool.JSON.createObjectNode();
    }

    static void setConfigs(Admin admin, String topic, Map<String, String> configs) throws Exception {
        List<AlterConfigOp> changes = configs.entrySet().stream()
            .map(each -> new AlterConfigOp(new ConfigEntry(each.getKey(), each.getValue()), AlterConfigOp.OpType.SET)).toList();
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), changes)).all().get();
    }

    /** Sets {@code configs} of {@code broker} at run time. */
    static ObjectNode alterBroker(Tool.Call call) throws Exception {
        List<AlterConfigOp> changes = call.map("configs").entrySet().stream()
            .map(each -> new AlterConfigOp(new ConfigEntry(each.getKey(), each.getValue()), AlterConfigOp.OpType.SET)).toList();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, Long.toString(call.number("broker", 1)));
        Clients.admin(call.bootstrap).incrementalAlterConfigs(Map.of(broker, changes)).all().get();
        return Tool.JSON.createObjectNode();
    }

    static ObjectNode describeTopic(Tool.Call call) throws Exception {
        TopicDescription topic = describe(Clients.admin(call.bootstrap), call.text("topic"));
        ObjectNode done = Tool.JSON.createObjectNode().put("topic", topic.name()).put("topic_id", topic.topicId().toString());
        ArrayNode partitions = done.putArray("partitions");
        for (TopicPartitionInfo info : topic.partitions()) {
            ObjectNode each = partitions.addObject().put("partition", info.partition()).put("leader", leader(info));
            ArrayNode replicas = each.putArray("replicas");
            info.replicas().forEach(node -> replicas.add(node.id()));
            ArrayNode isr = each.putArray("isr");
            info.isr().forEach(node -> isr.add(node.id()));
        }
        return done;
    }

    /** Removes the records before {@code before} of {@code partition}; -1 for all. Answers with the new low watermark. */
    static ObjectNode deleteRecords(Tool.Call call) throws Exception {
        TopicPartition partition = new TopicPartition(call.text("topic"), (int) call.number("partition", 0));
        long low = Clients.admin(call.bootstrap)
            .deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(call.number("before", -1))))
            .lowWatermarks().get(partition).get().lowWatermark();
        return Tool.JSON.createObjectNode().put("low_watermark", low);
    }

    /** {@code at}: earliest, latest, max_timestamp or epoch milliseconds. */
    static ObjectNode listOffsets(Tool.Call call) throws Exception {
        Admin admin = Clients.admin(call.bootstrap);
        String at = call.text("at", "latest");
        OffsetSpec spec = switch (at) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "max_timestamp" -> OffsetSpec.maxTimestamp();
            default -> OffsetSpec.forTimestamp(Long.parseLong(at));
        };
        IsolationLevel isolation = call.text("isolation", "read_uncommitted").equals("read_committed")
            ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED;
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        for (TopicPartitionInfo info : describe(admin, call.text("topic")).partitions())
            wanted.put(new TopicPartition(call.text("topic"), info.partition()), spec);
        Map<TopicPartition, ListOffsetsResultInfo> found = admin.listOffsets(wanted, new ListOffsetsOptions(isolation)).all().get();
        ArrayNode offsets = Tool.JSON.createArrayNode();
        for (int partition = 0; partition < wanted.size(); partition++) {
            ListOffsetsResultInfo info = found.get(new TopicPartition(call.text("topic"), partition));
            offsets.addArray().add(partition).add(info.offset()).add(info.timestamp());
        }
        ObjectNode done = Tool.JSON.createObjectNode();
        done.set("offsets", offsets);
        return done;
    }

    /** Makes broker {@code to} lead {@code partition} of {@code topic}; a replica is moved there when it has none. */
    static ObjectNode moveLeader(Tool.Call call) throws Exception {
        move(Clients.admin(call.bootstrap), new TopicPartition(call.text("topic"), (int) call.number("partition", 0)),
            (int) call.number("to", -1));
        return Tool.JSON.createObjectNode();
    }

    static void move(Admin admin, TopicPartition partition, int to) throws Exception {
        List<Integer> replicas = new ArrayList<>(info(admin, partition).replicas().stream().map(Node::id).toList());
        boolean present = replicas.remove((Integer) to);
        if (!present && !replicas.isEmpty()) replicas.remove(replicas.size() - 1);
        replicas.add(0, to);
        admin.alterPartitionReassignments(Map.of(partition, Optional.of(new NewPartitionReassignment(replicas)))).all().get();
        await("the replicas of " + partition + " are in place and in sync", () -> {
            TopicPartitionInfo now = info(admin, partition);
            return now.replicas().stream().map(Node::id).toList().equals(replicas)
                && now.isr().stream().anyMatch(node -> node.id() == to);
        });
        await(to + " leads " + partition, () -> {
            if (leader(info(admin, partition)) == to) return true;
            try {
                admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).partitions().get();
            } catch (ExecutionException notYet) {
                if (notYet.getCause() instanceof ElectionNotNeededException) return false;
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
            return false;
        });
    }

    static int leader(TopicPartitionInfo info) {
        return info.leader() == null ? -1 : info.leader().id();
    }

    private static TopicPartitionInfo info(Admin admin, TopicPartition partition) {
        try {
            return describe(admin, partition.topic()).partitions().get(partition.partition());
        } catch (Exception failure) {
            throw new IllegalStateException(failure);
        }
    }

    static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    /** How many partitions of a topic have a leader; none where the topic is unknown. */
    private static int leaders(Admin admin, String topic) {
        try {
            return (int) describe(admin, topic).partitions().stream().filter(info -> leader(info) >= 0).count();
        } catch (Exception unknown) {
            return 0;
        }
    }

    static void await(String what, BooleanSupplier done) throws InterruptedException {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!done.getAsBoolean()) {
            if (System.nanoTime() > deadline) throw new IllegalStateException("not within 60 s: " + what);
            Thread.sleep(20);
        }
    }
}
