import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The clients that commands share, one set a cluster: making one costs more than most commands do. */
final class Clients {
    private static final Map<String, Admin> ADMINS = new ConcurrentHashMap<>();
    private static final Map<String, KafkaProducer<byte[], byte[]>> PRODUCERS = new ConcurrentHashMap<>();

    private Clients() {}

    static Admin admin(String bootstrap) {
        return ADMINS.computeIfAbsent(bootstrap, b -> {
            Properties config = new Properties();
            config.put("bootstrap.servers", b);
            config.put("default.api.timeout.ms", "60000");
            config.put("request.timeout.ms", "10000");
            config.put("reconnect.backoff.max.ms", "500");
            return Admin.create(config);
        });
    }

    /** Batches end where the caller flushes or a batch is full, not where the clock says. */
    static KafkaProducer<byte[], byte[]> producer(String bootstrap, String codec, long batchSize) {
        return producer(bootstrap, codec, batchSize, true);
    }

    /** Logs of the formats before 2 take records from producers without an id only. */
    static KafkaProducer<byte[], byte[]> producer(String bootstrap, String codec, long batchSize, boolean idempotent) {
        return PRODUCERS.computeIfAbsent(bootstrap + "|codec|" + codec + "|" + batchSize + "|" + idempotent, key -> {
            Properties config = producing(bootstrap, codec, batchSize);
            config.put("enable.idempotence", Boolean.toString(idempotent));
            return new KafkaProducer<>(config);
        });
    }

    /** The producer of one transactional id, fencing its predecessors when first asked for. */
    static KafkaProducer<byte[], byte[]> transactional(String bootstrap, String id, String codec) {
        return PRODUCERS.computeIfAbsent(bootstrap + "|transaction|" + id, key -> {
            Properties config = producing(bootstrap, codec, 16384);
            config.put("transactional.id", id);
            config.put("transaction.timeout.ms", "600000");
            KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config);
            producer.initTransactions();
            return producer;
        });
    }

    /** Sends each record by itself; for one caller, who closes it. */
    static KafkaProducer<byte[], byte[]> trickling(String bootstrap) {
        Properties config = producing(bootstrap, "none", 16384);
        config.put("linger.ms", "0");
        config.put("acks", "1");
        config.put("enable.idempotence", "false");
        return new KafkaProducer<>(config);
    }

    private static Properties producing(String bootstrap, String codec, long batchSize) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        config.put("compression.type", codec);
        config.put("batch.size", Long.toString(batchSize));
        config.put("linger.ms", "30000");
        // A new topic's leader may refuse the first batch and take the second; the first is then out of order for ever.
        config.put("max.in.flight.requests.per.connection", "1");
        config.put("max.request.size", Integer.toString(16 << 20));
        config.put("buffer.memory", Integer.toString(64 << 20));
        config.put("reconnect.backoff.max.ms", "500");
        return config;
    }

    /** Ends what talks to a cluster that is about to go away. Open transactions are left as they are. */
    static ObjectNode forget(Tool.Call call) {
        Admin admin = ADMINS.remove(call.bootstrap);
        if (admin != null) admin.close(Duration.ZERO);
        PRODUCERS.keySet().stream().filter(key -> key.startsWith(call.bootstrap + "|")).toList().forEach(key -> {
            KafkaProducer<byte[], byte[]> producer = PRODUCERS.remove(key);
            if (producer != null) producer.close(Duration.ZERO);
        });
        return Tool.JSON.createObjectNode();
    }
}
