import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.UUID;
import org.apache.kerby.kerberos.kerb.server.KdcConfigKey;
import org.apache.kerby.kerberos.kerb.server.SimpleKdcServer;

/**
 * A KDC until stdin ends: {@code REALM PORT FOLDER SECONDS}, where a ticket lasts SECONDS. It carries out the lines on stdin,
 * and answers each with {@code ok}: {@code add NAME KEYTAB}, {@code rekey NAME KEYTAB}, {@code remove NAME}, {@code login NAME KEYTAB CACHE}
 * (as kinit). The first {@code ok} means that it is up.
 */
public class Kdc {
    public static void main(String[] args) throws Exception {
        var kdc = new SimpleKdcServer();
        int port = Integer.parseInt(args[1]);
        kdc.setKdcRealm(args[0]);
        kdc.setKdcHost("127.0.0.1");
        kdc.setKdcTcpPort(port);
        kdc.setKdcUdpPort(port);
        kdc.setWorkDir(new File(args[2]));
        kdc.getKdcConfig().setLong(KdcConfigKey.MAXIMUM_TICKET_LIFETIME, Long.parseLong(args[3]) * 1000);
        kdc.getKdcConfig().setLong(KdcConfigKey.MINIMUM_TICKET_LIFETIME, 1L);
        kdc.init();
        kdc.start();
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        System.out.println("ok");
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "add" -> {
                    kdc.createPrincipal(words[1]);
                    kdc.exportPrincipal(words[1], new File(words[2]));
                }
                case "rekey" -> {
                    kdc.getKadmin().changePassword(words[1], UUID.randomUUID().toString());
                    kdc.exportPrincipal(words[1], new File(words[2]));
                }
                case "remove" -> kdc.deletePrincipal(words[1]);
                case "login" -> {
                    var client = kdc.getKrbClient();
                    client.storeTicket(client.requestTgt(words[1], new File(words[2])), new File(words[3]));
                }
                default -> throw new IllegalArgumentException(line);
            }
            System.out.println("ok");
        }
        kdc.stop();
    }
}
