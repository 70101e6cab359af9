import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** The counts of one pass over the records: the same as in benches/workers/ours/tally.rs, from the first record to the last. */
final class Tally {
    private final long wanted;
    private final long work;
    private final FileOutputStream ledger;
    private final AtomicLong done = new AtomicLong(), bytes = new AtomicLong(), busy = new AtomicLong();
    private final CountDownLatch all = new CountDownLatch(1);
    private volatile boolean hasBegun;
    private long began, ended;
    private double usedBefore, used;

    /** {@code work}: milliseconds for each record. */
    Tally(long wanted, long work, String ledger) throws IOException {
        this.wanted = wanted;
        this.work = work;
        this.ledger = ledger.equals("-") ? null : new FileOutputStream(ledger, true);
    }

    /** The handler. */
    void handle(ConsumerRecord<String, byte[]> record) {
        begin();
        if (work > 0) {
            long from = System.nanoTime();
            try {
                Thread.sleep(work);
            } catch (InterruptedException cancelled) {
                throw new IllegalStateException(cancelled);
            }
            busy.addAndGet(System.nanoTime() - from);
        }
        byte[] value = record.value();
        bytes.addAndGet(value == null ? 0 : value.length);
        if (ledger != null) note(record);
        if (done.incrementAndGet() == wanted) {
            ended = System.nanoTime();
            used = processorTime();
            all.countDown();
        }
    }

    private void begin() {
        if (hasBegun) return;
        synchronized (this) {
            if (hasBegun) return;
            began = System.nanoTime();
            usedBefore = processorTime();
            hasBegun = true;
        }
    }

    /** One write for each line, so that a process that is killed loses none. */
    private void note(ConsumerRecord<String, byte[]> record) {
        try {
            ledger.write((record.partition() + " " + record.offset() + "\n").getBytes(StandardCharsets.US_ASCII));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    boolean isDone() {
        return all.getCount() == 0;
    }

    void await() throws InterruptedException {
        all.await();
    }

    String line() {
        return String.format(Locale.ROOT, "{\"records\":%d,\"bytes\":%d,\"seconds\":%f,\"cpu\":%f,\"busy\":%f,\"peak_kib\":%d}",
            wanted, bytes.get(), (ended - began) / 1e9, used - usedBefore, busy.get() / 1e9, peak());
    }

    /** The settings of both consumers. */
    static Properties config(String bootstrap, String group) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", group);
        config.put("auto.offset.reset", "earliest");
        config.put("session.timeout.ms", "6000");
        config.put("heartbeat.interval.ms", "500");
        config.put("key.deserializer", StringDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        return config;
    }

    /** Seconds of user and of system time, of all threads; Linux shows them in hundredths. */
    private static double processorTime() {
        try {
            String stat = Files.readString(Path.of("/proc/self/stat"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / 100.0;
        } catch (IOException notLinux) {
            throw new UncheckedIOException(notLinux);
        }
    }

    private static long peak() {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
            return 0;
        } catch (IOException notLinux) {
            throw new UncheckedIOException(notLinux);
        }
    }
}
