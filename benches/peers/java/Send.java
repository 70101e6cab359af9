import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Java's producer for benches/peers: {@code SETTINGS BOOTSTRAP TOPIC SIZE CODEC COUNT}, as benches/README.md describes them. It
 * sends everything twice, with two producers; the line is about the second pass, when the JVM is warm, and {@code cold_seconds}
 * and {@code cold_cpu} about the first. Each record's callback is counted.
 */
public final class Send {
    private static final int DIFFERENT = 1024;
    private static final String[] WORDS = {"placed", "paid", "packed", "shipped", "delivered", "returned", "lamp", "chair", "kettle",
        "notebook", "umbrella", "bicycle", "coffee", "tea", "scarf", "clock"};

    private Send() {}

    public static void main(String[] args) throws IOException {
        if (args.length != 6) throw new IllegalArgumentException("usage: Send equal|default BOOTSTRAP TOPIC SIZE CODEC COUNT");
        int size = Integer.parseInt(args[3]);
        long count = Long.parseLong(args[5]);
        byte[][] values = values(size);
        double[] cold = pass(args, values, count), warm = pass(args, values, count);
        System.out.println(String.format(Locale.ROOT, "{\"records\":%d,\"bytes\":%d,\"seconds\":%f,\"user\":%f,\"sys\":%f,\"max_rss_kb\":%d,"
            + "\"cold_seconds\":%f,\"cold_cpu\":%f}", count, count * size, warm[0], warm[1], warm[2], peak(), cold[0], cold[1] + cold[2]));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    /** Seconds, and those of user and system time. */
    private static double[] pass(String[] args, byte[][] values, long count) throws IOException {
        long began = System.nanoTime();
        double[] used = processorTime();
        Properties config = new Properties();
        config.put("bootstrap.servers", args[1]);
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        config.put("compression.type", args[4]);
        if (args[0].equals("equal")) {
            config.put("linger.ms", "5");
            config.put("batch.size", "65536");
        }
        AtomicLong written = new AtomicLong();
        AtomicReference<Exception> failure = new AtomicReference<>();
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config);
        for (long nth = 0; nth < count; nth++) {
            producer.send(new ProducerRecord<>(args[2], values[(int) (nth % DIFFERENT)]), (where, error) -> {
                if (error != null) failure.set(error);
                else written.incrementAndGet();
            });
        }
        producer.flush();
        double seconds = (System.nanoTime() - began) / 1e9;
        double[] now = processorTime();
        if (written.get() != count) throw new IllegalStateException(written + " of " + count + " records were written", failure.get());
        producer.close();
        return new double[] {seconds, now[0] - used[0], now[1] - used[1]};
    }

    /** The values that every program sends: those of {@code offtake bench produce}. */
    private static byte[][] values(int size) {
        byte[][] all = new byte[DIFFERENT][];
        StringBuilder text = new StringBuilder();
        int random = 1;
        for (int nth = 0; nth < DIFFERENT; nth++) {
            while (text.length() < (nth + 1) * size) {
                random = random * 1664525 + 1013904223;
                text.append(WORDS[(random >>> 24) % 16]).append(' ');
            }
            text.setLength((nth + 1) * size);
        }
        byte[] bytes = text.toString().getBytes(StandardCharsets.US_ASCII);
        for (int nth = 0; nth < DIFFERENT; nth++) all[nth] = Arrays.copyOfRange(bytes, nth * size, (nth + 1) * size);
        return all;
    }

    /** Seconds of user and of system time, of all threads; Linux shows them in hundredths. */
    static double[] processorTime() throws IOException {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return new double[] {Long.parseLong(fields[11]) / 100.0, Long.parseLong(fields[12]) / 100.0};
    }

    private static long peak() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("[^0-9]", ""));
        }
        return 0;
    }
}
