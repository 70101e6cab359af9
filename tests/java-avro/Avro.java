import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.Encoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.io.JsonEncoder;

/**
 * Runs Java's Avro on each line of the input: an object with `writer`, `reader` (schemas), `json` (a value in Avro's JSON) and `hex`
 * (its bytes). Prints an object with `encoded`, `decoded`, `compatible`, and `resolved` or `error`.
 */
public final class Avro {
    public static void main(String[] words) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode job = mapper.readTree(line);
            ObjectNode answer = mapper.createObjectNode();
            try {
                Schema writer = new Schema.Parser().parse(job.get("writer").toString());
                Schema reader = new Schema.Parser().parse(job.get("reader").toString());
                byte[] bytes = HexFormat.of().parseHex(job.get("hex").asText());
                Object datum = new GenericDatumReader<>(writer)
                    .read(null, DecoderFactory.get().jsonDecoder(writer, job.get("json").toString()));
                answer.put("encoded", HexFormat.of().formatHex(binary(writer, datum)));
                answer.set("decoded", mapper.readTree(read(writer, writer, bytes)));
                answer.put("compatible", SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getType()
                    == SchemaCompatibility.SchemaCompatibilityType.COMPATIBLE);
                try {
                    answer.set("resolved", mapper.readTree(read(writer, reader, bytes)));
                } catch (Exception error) {
                    answer.put("error", error.toString());
                }
            } catch (Exception error) {
                answer.put("failed", error.toString());
            }
            out.println(answer);
        }
        out.flush();
    }

    private static byte[] binary(Schema schema, Object datum) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Encoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<>(schema).write(datum, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    /** The value in the reader's schema, in Avro's JSON. */
    private static String read(Schema writer, Schema reader, byte[] bytes) throws Exception {
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(bytes, null);
        Object datum = new GenericDatumReader<>(writer, reader).read(null, decoder);
        if (!decoder.isEnd()) throw new IllegalStateException("bytes are left over");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        JsonEncoder encoder = EncoderFactory.get().jsonEncoder(reader, out);
        new GenericDatumWriter<>(reader).write(datum, encoder);
        encoder.flush();
        // It writes nothing for a record without fields.
        return out.size() == 0 ? "{}" : out.toString(StandardCharsets.UTF_8);
    }
}
