import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/** Java's Avro: Read FILE SECONDS, as described in benches/peers/rust/src/avro/main.rs. */
public final class Read {
    private static Object sink;

    public static void main(String[] words) throws Exception {
        ByteBuffer file = ByteBuffer.wrap(Files.readAllBytes(Path.of(words[0]))).order(ByteOrder.LITTLE_ENDIAN);
        List<byte[]> pieces = new ArrayList<>();
        while (file.hasRemaining()) {
            byte[] piece = new byte[file.getInt()];
            file.get(piece);
            pieces.add(piece);
        }
        Schema schema = new Schema.Parser().parse(new String(pieces.remove(0), StandardCharsets.UTF_8));
        GenericDatumReader<GenericRecord> reader = new GenericDatumReader<>(schema);
        long length = (long) (Double.parseDouble(words[1]) * 1e9);
        run(reader, pieces, length / 3);
        long before = processorTime(), start = System.nanoTime();
        long count = run(reader, pieces, length);
        double seconds = (System.nanoTime() - start) / 1e9, processor = (processorTime() - before) / 1e9;
        System.out.printf("{\"records\":%d,\"seconds\":%.3f,\"cpu_seconds\":%.3f}%n", count, seconds, processor);
    }

    private static long run(GenericDatumReader<GenericRecord> reader, List<byte[]> pieces, long length) throws Exception {
        BinaryDecoder decoder = null;
        long end = System.nanoTime() + length, count = 0;
        while (System.nanoTime() < end) {
            for (byte[] piece : pieces) {
                decoder = DecoderFactory.get().binaryDecoder(piece, decoder);
                sink = reader.read(null, decoder);
            }
            count += pieces.size();
        }
        return count;
    }

    /** The processor time of the whole process, with its collector and compiler. */
    private static long processorTime() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }
}
