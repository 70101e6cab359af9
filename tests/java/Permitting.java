import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialAlteration;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * The permissions of clients without a name: {@code operation} (READ, DESCRIBE) on {@code name}, a {@code resource} (TOPIC, GROUP).
 * These tools have no name either, so every denial applies to them too.
 */
final class Permitting {
    private Permitting() {}

    /** From now on it is refused; everything else that can be done to it stays allowed. */
    static ObjectNode forbid(Tool.Call call) throws Exception {
        AclBinding rest = binding(call, "User:*", AclOperation.ALL, AclPermissionType.ALLOW);
        create(call, List.of(rest, refusal(call)));
        return Tool.JSON.createObjectNode();
    }

    /** From now on it is allowed again. */
    static ObjectNode permit(Tool.Call call) throws Exception {
        delete(call, refusal(call));
        return Tool.JSON.createObjectNode();
    }

    /** Allows it to {@code principal}, in a cluster that denies everything not allowed. */
    static ObjectNode grant(Tool.Call call) throws Exception {
        create(call, List.of(permission(call)));
        return Tool.JSON.createObjectNode();
    }

    /** Ends a grant. */
    static ObjectNode withdraw(Tool.Call call) throws Exception {
        delete(call, permission(call));
        return Tool.JSON.createObjectNode();
    }

    /** A user of SCRAM: {@code name}, {@code password}, {@code mechanism} (SCRAM-SHA-256), {@code iterations}. */
    static ObjectNode user(Tool.Call call) throws Exception {
        ScramMechanism mechanism = ScramMechanism.fromMechanismName(call.text("mechanism"));
        ScramCredentialInfo info = new ScramCredentialInfo(mechanism, Integer.parseInt(call.text("iterations")));
        UserScramCredentialAlteration user =
            new UserScramCredentialUpsertion(call.text("name"), info, call.text("password"));
        Clients.admin(call.bootstrap).alterUserScramCredentials(List.of(user)).all().get();
        return Tool.JSON.createObjectNode();
    }

    private static void create(Tool.Call call, List<AclBinding> bindings) throws Exception {
        Clients.admin(call.bootstrap).createAcls(bindings).all().get();
        for (AclBinding binding : bindings) {
            await(call, binding, true);
        }
    }

    private static void delete(Tool.Call call, AclBinding binding) throws Exception {
        Clients.admin(call.bootstrap).deleteAcls(List.of(binding.toFilter())).all().get();
        await(call, binding, false);
    }

    /** The controller has decided; the brokers, of which tests of permissions have one, apply it a moment later. */
    private static void await(Tool.Call call, AclBinding binding, boolean exists) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        Admin admin = Clients.admin(call.bootstrap);
        while (admin.describeAcls(binding.toFilter()).values().get().isEmpty() == exists) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("the broker has not applied " + binding);
            }
            Thread.sleep(10);
        }
    }

    private static AclBinding refusal(Tool.Call call) {
        return binding(call, "User:ANONYMOUS", AclOperation.valueOf(call.text("operation")), AclPermissionType.DENY);
    }

    private static AclBinding permission(Tool.Call call) {
        AclOperation operation = AclOperation.valueOf(call.text("operation"));
        return binding(call, call.text("principal"), operation, AclPermissionType.ALLOW);
    }

    private static AclBinding binding(Tool.Call call, String who, AclOperation operation, AclPermissionType type) {
        ResourceType resource = ResourceType.valueOf(call.text("resource"));
        return new AclBinding(new ResourcePattern(resource, call.text("name"), PatternType.LITERAL),
            new AccessControlEntry(who, "*", operation, type));
    }
}
