import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Java's consumer for benches/peers: {@code MODE SETTINGS BOOTSTRAP TOPIC PARTITIONS COUNT}, as benches/README.md describes
 * them. Tuned: {@code max.poll.records=10000} and {@code receive.buffer.bytes} left to the system. {@code read} and
 * {@code sleep-…} read everything twice, with two consumers; the line is about the second pass, when the JVM is warm, and
 * {@code cold_seconds} and {@code cold_cpu} about the first.
 */
public final class Peer {
    /** Records of the warm-up, whose latency does not count. */
    private static final int WARM_UP = 2000;

    private final String mode;
    private final long wanted;
    /** Milliseconds, after as many thousand records. */
    private final long sleeps;
    private final long began = System.nanoTime();
    private final double[] used = processorTime();
    private long records, bytes, headers, first, flowing, last;
    private long[] late = new long[1024];
    private int lates;

    private Peer(String mode, long count) {
        this.mode = mode;
        this.sleeps = mode.startsWith("sleep-") ? Long.parseLong(mode.substring("sleep-".length())) : 0;
        this.wanted = mode.equals("latency") ? count + WARM_UP : count;
    }

    public static void main(String[] args) throws IOException {
        if (args.length != 6) throw new IllegalArgumentException("usage: Peer MODE tuned|default BOOTSTRAP TOPIC PARTITIONS COUNT");
        String cold = "";
        if (args[0].equals("read") || args[0].startsWith("sleep")) {
            Peer pass = new Peer(args[0], Long.parseLong(args[5]));
            pass.run(args);
            double[] now = processorTime();
            cold = String.format(Locale.ROOT, ",\"cold_seconds\":%f,\"cold_cpu\":%f", pass.seconds(),
                now[0] + now[1] - pass.used[0] - pass.used[1]);
        }
        Peer pass = new Peer(args[0], Long.parseLong(args[5]));
        pass.run(args);
        System.out.println(pass.line(cold));
        System.out.flush();
        Runtime.getRuntime().halt(0); // closing the client is not measured
    }

    private void run(String[] args) {
        Properties config = new Properties();
        String[] address = args[2].split("\\+", 2);
        config.put("bootstrap.servers", address[0]);
        if (address.length == 2) {
            config.put("security.protocol", "SSL");
            config.put("ssl.truststore.type", "PEM");
            config.put("ssl.truststore.location", address[1]);
        }
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        config.put("auto.offset.reset", mode.equals("latency") ? "latest" : "earliest");
        if (args[1].equals("tuned")) {
            config.put("max.poll.records", "10000");
            config.put("receive.buffer.bytes", "-1");
        }
        boolean grouped = mode.equals("start-classic") || mode.equals("start-consumer");
        if (grouped) {
            config.put("group.id", "peers-" + ProcessHandle.current().pid() + "-" + micros());
            config.put("group.protocol", mode.substring("start-".length()));
        } else {
            config.put("enable.auto.commit", "false");
        }
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config);
        List<TopicPartition> all = IntStream.range(0, Integer.parseInt(args[4]))
            .mapToObj(partition -> new TopicPartition(args[3], partition)).toList();
        if (grouped) consumer.subscribe(List.of(args[3]));
        else consumer.assign(all);
        while (records < wanted && first == 0) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) add(record);
        }
        last = System.nanoTime();
        if (mode.equals("read") || sleeps > 0) consumer.close(CloseOptions.timeout(Duration.ZERO));
    }

    private double seconds() {
        return (last - began) / 1e9;
    }

    private void add(ConsumerRecord<byte[], byte[]> record) {
        byte[] key = record.key(), value = record.value();
        if (records++ == 0) flowing = System.nanoTime();
        bytes += (key == null ? 0 : key.length) + (value == null ? 0 : value.length);
        for (Header header : record.headers()) {
            headers += header.key().length() + (header.value() == null ? 0 : header.value().length);
        }
        if (!mode.equals("read")) look(value);
    }

    private void look(byte[] value) {
        if (sleeps > 0) {
            if (records % (1000 * sleeps) == 0) pause(sleeps);
        } else if (mode.equals("latency")) {
            if (records > WARM_UP) {
                String text = new String(value, StandardCharsets.US_ASCII);
                if (lates == late.length) late = Arrays.copyOf(late, 2 * lates);
                late[lates++] = micros() - Long.parseLong(text.substring(text.lastIndexOf(' ') + 1));
            }
        } else if (first == 0) {
            first = micros();
        }
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException nobodyDoes) {
            throw new IllegalStateException(nobodyDoes);
        }
    }

    private String line(String cold) throws IOException {
        double[] now = processorTime();
        long[] sorted = Arrays.copyOf(late, lates);
        Arrays.sort(sorted);
        List<String> shares = new ArrayList<>();
        for (double share : new double[] {0.5, 0.99, 0.999}) {
            shares.add(Long.toString(lates == 0 ? -1 : sorted[(int) ((lates - 1) * share)]));
        }
        return String.format(Locale.ROOT, "{\"records\":%d,\"bytes\":%d,\"header_bytes\":%d,\"seconds\":%f,\"flowing\":%f,\"user\":%f,\"sys\":%f,"
            + "\"max_rss_kb\":%d,\"first_at\":%d,\"p50\":%s,\"p99\":%s,\"p999\":%s%s}", records, bytes, headers, seconds(),
            (last - flowing) / 1e9, now[0] - used[0], now[1] - used[1], peak(), first, shares.get(0), shares.get(1), shares.get(2), cold);
    }

    private static long micros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
    }

    /** Seconds of user and of system time, of all threads; Linux shows them in hundredths. */
    private static double[] processorTime() {
        try {
            String stat = Files.readString(Path.of("/proc/self/stat"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            return new double[] {Long.parseLong(fields[11]) / 100.0, Long.parseLong(fields[12]) / 100.0};
        } catch (IOException notLinux) {
            throw new IllegalStateException(notLinux);
        }
    }

    private static long peak() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("[^0-9]", ""));
        }
        return 0;
    }
}
