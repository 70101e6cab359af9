import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/**
 * A loop of {@code poll} that commits by itself: {@code PASSES BOOTSTRAP TOPIC GROUP COUNT MILLISECONDS CONCURRENCY LEDGER|-}. In place where there is
 * nothing to wait for, else on a pool of threads, of which each poll's records are waited for, in no order. The line is about the last pass,
 * each of which is a group of its own.
 */
public final class Loop {
    public static void main(String[] args) throws Exception {
        Tally tally = null;
        for (int pass = 1; pass <= Integer.parseInt(args[0]); pass++) {
            tally = new Tally(Long.parseLong(args[4]), Long.parseLong(args[5]), args[7]);
            run(args, pass, tally);
        }
        System.out.println(tally.line());
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void run(String[] args, int pass, Tally tally) throws Exception {
        boolean inPlace = args[5].equals("0");
        ExecutorService pool = inPlace ? null : Executors.newFixedThreadPool(Integer.parseInt(args[6]));
        try (KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(Tally.config(args[1], args[3] + "-" + pass))) {
            consumer.subscribe(List.of(args[2]));
            while (!tally.isDone()) {
                ConsumerRecords<String, byte[]> records = consumer.poll(Duration.ofMillis(100));
                List<Future<?>> tasks = new ArrayList<>();
                for (ConsumerRecord<String, byte[]> record : records) {
                    if (inPlace) tally.handle(record);
                    else tasks.add(pool.submit(() -> tally.handle(record)));
                }
                for (Future<?> task : tasks) task.get();
            }
        }
        if (pool != null) pool.shutdown();
    }
}
