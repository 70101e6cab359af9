import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import io.apicurio.registry.serde.avro.AvroKafkaDeserializer;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import io.apicurio.registry.serde.jsonschema.JsonSchemaKafkaDeserializer;
import io.apicurio.registry.serde.jsonschema.JsonSchemaKafkaSerializer;
import io.apicurio.registry.serde.protobuf.ProtobufKafkaDeserializer;
import io.apicurio.registry.serde.protobuf.ProtobufKafkaSerializer;
import io.apicurio.registry.utils.protobuf.schema.FileDescriptorUtils;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.io.JsonEncoder;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serializer;

/**
 * Runs Apicurio's own serialisers and deserialisers on each line of the input: an object with `type` (AVRO, PROTOBUF, JSON), `topic`,
 * `config`, `schema`, and either `value` (JSON, to be written) or `hex` and `headers` (to be read). Prints an object with `hex` and
 * `headers`, or with `value`; or with `failed`.
 */
public final class Serdes {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    public static void main(String[] words) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        System.setOut(System.err);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode job = MAPPER.readTree(line);
            ObjectNode answer = MAPPER.createObjectNode();
            try {
                if (job.has("hex")) {
                    read(job, answer);
                } else {
                    write(job, answer);
                }
            } catch (Exception | NoClassDefFoundError error) {
                Throwable cause = error.getCause() == null ? error : error.getCause();
                answer.put("failed", error + " / " + cause);
            }
            out.println(answer);
        }
        out.flush();
        System.exit(0); // some of their threads stay
    }

    private static Map<String, Object> config(JsonNode job) {
        Map<String, Object> config = new HashMap<>();
        job.get("config").fields().forEachRemaining(field -> config.put(field.getKey(), field.getValue().asText()));
        return config;
    }

    private static void write(JsonNode job, ObjectNode answer) throws Exception {
        String text = job.get("schema").asText(), value = job.get("value").toString();
        Object given = switch (job.get("type").asText()) {
            case "AVRO" -> {
                Schema schema = new Schema.Parser().parse(text);
                yield new GenericDatumReader<GenericRecord>(schema).read(null, DecoderFactory.get().jsonDecoder(schema, value));
            }
            case "PROTOBUF" -> {
                // Without Apicurio's additions to each file: its serialiser would register those, too.
                FileDescriptor file = FileDescriptor.buildFrom(
                    FileDescriptorUtils.toFileDescriptorProto(text, "given.proto", Optional.of("shop"), Map.of()), new FileDescriptor[0]);
                DynamicMessage.Builder builder = DynamicMessage.newBuilder(file.findMessageTypeByName(job.get("message").asText()));
                JsonFormat.parser().merge(value, builder);
                yield builder.build();
            }
            default -> job.get("value");
        };
        try (Serializer<Object> serializer = serializer(job.get("type").asText())) {
            serializer.configure(config(job), false);
            RecordHeaders headers = new RecordHeaders();
            byte[] bytes = serializer.serialize(job.get("topic").asText(), headers, given);
            answer.put("hex", HexFormat.of().formatHex(bytes));
            ObjectNode written = answer.putObject("headers");
            for (Header header : headers) {
                written.put(header.key(), HexFormat.of().formatHex(header.value()));
            }
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static Serializer<Object> serializer(String type) {
        return switch (type) {
            case "AVRO" -> (Serializer) new AvroKafkaSerializer<GenericRecord>();
            case "PROTOBUF" -> (Serializer) new ProtobufKafkaSerializer<Message>();
            default -> (Serializer) new JsonSchemaKafkaSerializer<JsonNode>();
        };
    }

    private static void read(JsonNode job, ObjectNode answer) throws Exception {
        RecordHeaders headers = new RecordHeaders();
        job.get("headers").fields().forEachRemaining(
            field -> headers.add(field.getKey(), HexFormat.of().parseHex(field.getValue().asText())));
        byte[] bytes = HexFormat.of().parseHex(job.get("hex").asText());
        Deserializer<?> deserializer = switch (job.get("type").asText()) {
            case "AVRO" -> new AvroKafkaDeserializer<GenericRecord>();
            case "PROTOBUF" -> new ProtobufKafkaDeserializer<DynamicMessage>();
            default -> new JsonSchemaKafkaDeserializer<JsonNode>();
        };
        try (deserializer) {
            deserializer.configure(config(job), false);
            Object value = deserializer.deserialize(job.get("topic").asText(), headers, bytes);
            String json;
            if (value instanceof GenericRecord) {
                json = avro((GenericRecord) value);
            } else if (value instanceof Message) {
                json = JsonFormat.printer().omittingInsignificantWhitespace().print((Message) value);
            } else {
                json = MAPPER.writeValueAsString(value);
            }
            answer.set("value", MAPPER.readTree(json));
        }
    }

    private static String avro(GenericRecord record) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        JsonEncoder encoder = EncoderFactory.get().jsonEncoder(record.getSchema(), out);
        new GenericDatumWriter<>(record.getSchema()).write(record, encoder);
        encoder.flush();
        return out.toString(StandardCharsets.UTF_8);
    }
}
