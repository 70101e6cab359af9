import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;
import software.amazon.msk.auth.iam.internals.AWS4SignedPayloadGenerator;
import software.amazon.msk.auth.iam.internals.AuthenticationRequestParams;

/** Prints what Amazon's library would send: for each line of host, key id, secret and optionally a session token, one line of JSON. */
public class Sign {
    public static void main(String[] args) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var generator = new AWS4SignedPayloadGenerator();
        for (String line; (line = lines.readLine()) != null; ) {
            String[] parts = line.split("\t");
            AwsCredentials keys = parts.length == 4
                ? AwsSessionCredentials.create(parts[1], parts[2], parts[3])
                : AwsBasicCredentials.create(parts[1], parts[2]);
            var params = AuthenticationRequestParams.create(parts[0], keys, "tests");
            System.out.println(new String(generator.signedPayload(params), StandardCharsets.UTF_8));
            System.out.flush();
        }
    }
}
