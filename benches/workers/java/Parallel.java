import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/**
 * Confluent's Parallel Consumer in the order of keys: {@code PASSES BOOTSTRAP TOPIC GROUP COUNT MILLISECONDS CONCURRENCY LEDGER|- [COMMIT_MILLISECONDS]}.
 * The line is about the last pass, each of which is a group of its own. Nothing is set but the concurrency, and the commit interval if it is named.
 */
public final class Parallel {
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

    private static void run(String[] args, int pass, Tally tally) throws InterruptedException {
        Properties config = Tally.config(args[1], args[3] + "-" + pass);
        config.put("enable.auto.commit", "false");
        var options = ParallelConsumerOptions.<String, byte[]>builder()
            .ordering(ProcessingOrder.KEY)
            .maxConcurrency(Integer.parseInt(args[6]))
            .consumer(new KafkaConsumer<>(config));
        if (args.length > 8) options = options.commitInterval(Duration.ofMillis(Long.parseLong(args[8])));
        ParallelStreamProcessor<String, byte[]> processor = ParallelStreamProcessor.createEosStreamProcessor(options.build());
        processor.subscribe(List.of(args[2]));
        processor.poll(context -> tally.handle(context.getSingleConsumerRecord()));
        tally.await();
        processor.closeDontDrainFirst();
    }
}
