import java.io.IOException;
import java.util.Locale;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Java's transactional producer for benches/peers: {@code MS BOOTSTRAP TOPIC SECONDS}, transactions of 100 records that are open for
 * as many ms at least. The first second, in which the JVM warms up, does not count.
 */
public final class Transact {
    private static final int RECORDS = 100;

    private Transact() {}

    public static void main(String[] args) throws Exception {
        long open = Long.parseLong(args[0]) * 1_000_000L;
        double seconds = Double.parseDouble(args[3]);
        Properties config = new Properties();
        config.put("bootstrap.servers", args[1]);
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        config.put("transactional.id", args[2]);
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config);
        producer.initTransactions();
        byte[] value = new byte[100];
        run(producer, args[2], value, open, 1);
        double[] used = Send.processorTime();
        long began = System.nanoTime();
        long transactions = run(producer, args[2], value, open, seconds);
        double took = (System.nanoTime() - began) / 1e9;
        double[] now = Send.processorTime();
        System.out.println(String.format(Locale.ROOT, "{\"records\":%d,\"transactions\":%d,\"seconds\":%f,\"user\":%f,\"sys\":%f}",
            transactions * RECORDS, transactions, took, now[0] - used[0], now[1] - used[1]));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static long run(KafkaProducer<byte[], byte[]> producer, String topic, byte[] value, long open, double seconds)
        throws IOException, InterruptedException {
        long began = System.nanoTime(), transactions = 0;
        while ((System.nanoTime() - began) / 1e9 < seconds) {
            long since = System.nanoTime();
            producer.beginTransaction();
            for (int nth = 0; nth < RECORDS; nth++) producer.send(new ProducerRecord<>(topic, value));
            long left = open - (System.nanoTime() - since);
            if (left > 0) Thread.sleep(left / 1_000_000L, (int) (left % 1_000_000L));
            producer.commitTransaction();
            transactions++;
        }
        return transactions;
    }
}
