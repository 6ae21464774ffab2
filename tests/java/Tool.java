import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/**
 * An independent Kafka client for tests: it shares no code with Twinlog. Reads one JSON request per line, {"id", "op", ...}, and
 * answers each with one line, {"id", "result"} or {"id", "error"}. Requests run at the same time; answers come as they are ready.
 */
public final class Tool {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        ExecutorService threads = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode request = JSON.readTree(line);
            threads.execute(() -> {
                String answer = answer(request);
                synchronized (out) {
                    out.println(answer);
                }
            });
        }
        Runtime.getRuntime().halt(0);
    }

    private static String answer(JsonNode request) {
        ObjectNode answer = JSON.createObjectNode();
        answer.set("id", request.get("id"));
        try {
            answer.set("result", JSON.valueToTree(run(request)));
        } catch (Throwable error) {
            Throwable cause = error instanceof java.util.concurrent.ExecutionException ? error.getCause() : error;
            System.err.println("failed: " + request);
            cause.printStackTrace();
            answer.put("error", cause.getClass().getSimpleName() + ": " + cause.getMessage());
        }
        return answer.toString();
    }

    private static Object run(JsonNode r) throws Exception {
        switch (r.get("op").asText()) {
            case "corpus": return new Corpus(r).run();
            case "medley_start": return Medley.start(r);
            case "medley_end": return Medley.end(r);
            case "dump": return Dump.run(r);
            case "consume": return Group.run(r);
            case "partitions_for_keys": return partitionsForKeys(r);
            case "mirror_client": return Mirror.run(r);
            case "load_start": return Load.start(r);
            case "load_stats": return Load.get(r).stats();
            case "load_stop": return Load.get(r).stop();
            case "tail_start": return Tail.start(r);
            case "tail_stats": return Tail.get(r).stats(r.path("reset").asBoolean());
            case "tail_stop": return Tail.get(r).stop();
            default: return Clusters.run(r);
        }
    }

    /** Where Kafka's own producer puts records with these keys (hex). */
    private static Object partitionsForKeys(JsonNode r) {
        List<Integer> partitions = new ArrayList<>();
        r.get("keys").forEach(key -> partitions.add(
            BuiltInPartitioner.partitionForKey(HexFormat.of().parseHex(key.asText()), r.get("partitions").asInt())));
        return partitions;
    }
}
