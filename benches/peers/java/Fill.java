import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Fills a topic for benches/peers: {@code BOOTSTRAP TOPIC PARTITIONS COUNT SIZE bytes|json CODEC BATCH}. {@code bytes}: values of
 * random letters, no key; {@code json}: values that are orders, a key, and two headers (68 bytes a record). Batches
 * of {@code BATCH} bytes, or of one record if that is 0, packed by Java; the same arguments give the same bytes. Records are dealt out in turn by eights.
 */
public final class Fill {
    private static final String[] NAMES = {"Ada", "Grace", "Edsger", "Barbara", "Donald", "Leslie", "Frances", "Ken", "Radia", "Tony"};
    private static final String[] GOODS = {"lamp, brass", "chair, oak", "kettle, 1.7 l", "notebook, ruled", "umbrella, black",
        "bicycle pump", "coffee, ground", "tea, loose", "scarf, wool", "rug, 2 x 3 m", "clock, wall", "screwdriver set"};
    private static final String[] STATES = {"placed", "paid", "packed", "shipped", "delivered", "returned"};
    private static final String[] CITIES = {"Lisbon", "Tromso", "Kyoto", "Valparaiso", "Leipzig", "Windhoek", "Halifax", "Ghent"};
    private static final String HEX = "0123456789abcdef";

    private Fill() {}

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        int partitions = Integer.parseInt(args[2]);
        long count = Long.parseLong(args[3]);
        int size = Integer.parseInt(args[4]);
        boolean json = args[5].equals("json");
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        config.put("compression.type", args[6]);
        config.put("batch.size", args[7]);
        config.put("linger.ms", args[7].equals("0") ? "0" : "1000");
        config.put("buffer.memory", Integer.toString(64 << 20));
        AtomicReference<Exception> failure = new AtomicReference<>();
        SplittableRandom random = new SplittableRandom(1);
        byte[] pool = new byte[1 << 20];
        for (int i = 0; i < pool.length; i++) pool[i] = (byte) ('!' + random.nextInt(90));
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config)) {
            for (long i = 0; i < count && failure.get() == null; i++) {
                byte[] key = json ? ("customer-" + (100_000 + random.nextInt(800_000))).getBytes(StandardCharsets.US_ASCII) : null;
                byte[] value = json ? order(random, i, size) : letters(random, pool, size);
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, (int) (i / 8 % partitions), key, value);
                if (json) {
                    record.headers().add("trace-id", hex(random, 32).getBytes(StandardCharsets.US_ASCII));
                    record.headers().add("content-type", "application/json".getBytes(StandardCharsets.US_ASCII));
                }
                producer.send(record, (where, error) -> {
                    if (error != null) failure.set(error);
                });
            }
        }
        if (failure.get() != null) throw failure.get();
    }

    private static byte[] letters(SplittableRandom random, byte[] pool, int size) {
        byte[] value = new byte[size];
        System.arraycopy(pool, random.nextInt(pool.length - size + 1), value, 0, size);
        return value;
    }

    /** An order of exactly so many bytes: a few goods, then a note that fills it up. */
    private static byte[] order(SplittableRandom random, long number, int size) {
        StringBuilder text = new StringBuilder(size + 64);
        text.append("{\"order_id\":\"").append(hex(random, 8)).append('-').append(hex(random, 12)).append("\",\"number\":").append(number)
            .append(",\"status\":\"").append(one(random, STATES)).append("\",\"created_at\":").append(1_700_000_000_000L + number * 37 + random.nextInt(30))
            .append(",\"customer\":{\"id\":").append(random.nextInt(1_000_000)).append(",\"name\":\"").append(one(random, NAMES))
            .append("\",\"email\":\"").append(hex(random, 10)).append("@example.org\",\"city\":\"").append(one(random, CITIES))
            .append("\",\"loyalty\":").append(random.nextInt(5) == 0).append("},\"items\":[");
        while (text.length() < size - 240) {
            text.append("{\"sku\":\"").append(hex(random, 8)).append("\",\"name\":\"").append(one(random, GOODS)).append("\",\"quantity\":")
                .append(1 + random.nextInt(5)).append(",\"price_cents\":").append(100 + random.nextInt(50_000)).append(",\"tax_rate\":0.19},");
        }
        text.setCharAt(text.length() - 1, ']');
        text.append(",\"currency\":\"EUR\",\"token\":\"").append(hex(random, 24)).append("\",\"note\":\"");
        while (text.length() < size - 2) text.append(one(random, GOODS)).append("; ");
        text.setLength(size - 2);
        return text.append("\"}").toString().getBytes(StandardCharsets.US_ASCII);
    }

    private static String one(SplittableRandom random, String[] of) {
        return of[random.nextInt(of.length)];
    }

    private static String hex(SplittableRandom random, int digits) {
        char[] text = new char[digits];
        for (int i = 0; i < digits; i++) text[i] = HEX.charAt(random.nextInt(16));
        return new String(text);
    }
}
