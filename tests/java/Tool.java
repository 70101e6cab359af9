import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Java's own Kafka clients, driven by the tests, which compare ours with the records they produce and read, and the partitions they own and commit.
 *
 * <p>Without arguments it serves: one JSON object a line on stdin, {@code {"id":7,"do":"read","bootstrap":"…",…}}, each
 * run on a thread of its own. Answers come on stdout: {@code {"id":7,"row":…}} any number of times, then
 * {@code {"id":7,"done":{…}}} or {@code {"id":7,"failed":"…","kind":"…"}}. It ends at once when stdin does, so it never
 * outlives the test that started it; open transactions then stay open at the broker.
 *
 * <p>With arguments, {@code BOOTSTRAP VERB KEY=VALUE…}, it runs one command and prints bare rows and the result.
 */
public final class Tool {
    static final ObjectMapper JSON = new ObjectMapper();
    private static final OutputStream OUT = new BufferedOutputStream(System.out, 1 << 16);

    /** The input of a command: its arguments, and the receiver of its rows. */
    static final class Call {
        final long id;
        final String bootstrap;
        final JsonNode args;
        private final boolean bare;

        Call(JsonNode args, boolean bare) {
            this.id = args.path("id").asLong();
            this.bootstrap = args.path("bootstrap").asText();
            this.args = args;
            this.bare = bare;
        }

        String text(String name) {
            if (!args.hasNonNull(name)) throw new IllegalArgumentException(args.path("do").asText() + " needs " + name);
            return args.get(name).asText();
        }

        String text(String name, String otherwise) {
            return args.hasNonNull(name) ? args.get(name).asText() : otherwise;
        }

        long number(String name, long otherwise) {
            return args.hasNonNull(name) ? args.get(name).asLong() : otherwise;
        }

        boolean flag(String name) {
            return args.path(name).asBoolean(false);
        }

        /** A field that is a list, or one bare value standing for a list of one. */
        <T> java.util.List<T> list(String name, Class<T> of) {
            JsonNode node = args.path(name);
            java.util.List<T> all = new java.util.ArrayList<>();
            if (node.isArray()) node.forEach(n -> all.add(JSON.convertValue(n, of)));
            else if (!node.isMissingNode() && !node.isNull()) all.add(JSON.convertValue(node, of));
            return all;
        }

        java.util.Map<String, String> map(String name) {
            JsonNode node = args.path(name);
            return node.isObject() ? JSON.convertValue(node, new TypeReference<>() {}) : java.util.Map.of();
        }

        void row(JsonNode row) {
            write(bare ? row : JSON.createObjectNode().put("id", id).set("row", row), false);
        }

        /** Writes a row and flushes it, as a caller may be waiting for it. */
        void event(JsonNode row) {
            write(bare ? row : JSON.createObjectNode().put("id", id).set("row", row), true);
        }
    }

    interface Command {
        ObjectNode run(Call call) throws Exception;
    }

    private static Command command(String name) {
        return switch (name) {
            case "produce" -> Producing::produce;
            case "fill" -> Producing::fill;
            case "trickle" -> Producing::trickle;
            case "begin" -> Producing::begin;
            case "commit" -> Producing::commit;
            case "abort" -> Producing::abort;
            case "read" -> Reading::read;
            case "checksum" -> Reading::checksum;
            case "member" -> Member::run;
            case "stop" -> Member::stop;
            case "deliver" -> Delivering::deliver;
            case "slow" -> Slow::slow;
            case "assign" -> Assigning::assign;
            case "create_topic" -> Administering::createTopic;
            case "delete_topic" -> Administering::deleteTopic;
            case "create_partitions" -> Administering::createPartitions;
            case "alter_configs" -> Administering::alterConfigs;
            case "alter_broker" -> Administering::alterBroker;
            case "set_feature" -> Administering::setFeature;
            case "describe_topic" -> Administering::describeTopic;
            case "delete_records" -> Administering::deleteRecords;
            case "list_offsets" -> Administering::listOffsets;
            case "move_leader" -> Administering::moveLeader;
            case "list_groups" -> Grouping::listGroups;
            case "describe_group" -> Grouping::describeGroup;
            case "delete_group" -> Grouping::deleteGroup;
            case "committed" -> Grouping::committed;
            case "alter_offsets" -> Grouping::alterOffsets;
            case "move_coordinator" -> Grouping::moveCoordinator;
            case "compact" -> Compacting::compact;
            case "forbid" -> Permitting::forbid;
            case "permit" -> Permitting::permit;
            case "grant" -> Permitting::grant;
            case "withdraw" -> Permitting::withdraw;
            case "user" -> Permitting::user;
            case "forget" -> Clients::forget;
            case "ping" -> call -> JSON.createObjectNode();
            default -> throw new IllegalArgumentException("no such command: " + name);
        };
    }

    private static synchronized void write(JsonNode line, boolean flush) {
        try {
            OUT.write(JSON.writeValueAsBytes(line));
            OUT.write('\n');
            if (flush) OUT.flush();
        } catch (IOException nobodyListens) {
            Runtime.getRuntime().halt(0);
        }
    }

    private static void answer(JsonNode line) {
        Call call = new Call(line, false);
        ObjectNode answer = JSON.createObjectNode().put("id", call.id);
        try {
            answer.set("done", command(line.path("do").asText()).run(call));
        } catch (Throwable failure) {
            Throwable cause = failure instanceof ExecutionException && failure.getCause() != null ? failure.getCause() : failure;
            answer.put("failed", String.valueOf(cause.getMessage())).put("kind", cause.getClass().getSimpleName());
            failure.printStackTrace();
        }
        write(answer, true);
    }

    private static void serve() throws IOException {
        ExecutorService threads = Executors.newCachedThreadPool();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 16);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode parsed = JSON.readTree(line);
            threads.execute(() -> answer(parsed));
        }
        Runtime.getRuntime().halt(0);
    }

    private static void once(String[] args) throws Exception {
        ObjectNode line = JSON.createObjectNode().put("bootstrap", args[0]).put("do", args[1]);
        for (int i = 2; i < args.length; i++) {
            int eq = args[i].indexOf('=');
            if (eq < 0) throw new IllegalArgumentException("not KEY=VALUE: " + args[i]);
            String value = args[i].substring(eq + 1);
            JsonNode parsed;
            try {
                parsed = JSON.readTree(value);
            } catch (IOException notJson) {
                parsed = JSON.getNodeFactory().textNode(value);
            }
            line.set(args[i].substring(0, eq), parsed);
        }
        int status = 0;
        if (args[1].equals("member")) Member.stopWithStdin();
        try {
            write(command(args[1]).run(new Call(line, true)), true);
        } catch (Exception failure) {
            System.err.println(failure);
            status = 1;
        }
        OUT.flush();
        Runtime.getRuntime().halt(status);
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 0) serve();
        else if (args.length == 1) throw new IllegalArgumentException("usage: Tool BOOTSTRAP VERB KEY=VALUE…");
        else once(args);
    }
}
