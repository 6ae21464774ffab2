import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.connect.mirror.MirrorClient;

/** MirrorMaker 2's own client library, pointed at a target: what applications and runbooks that know MM2 see there. */
final class Mirror {
    private static final Duration TIMEOUT = Duration.ofSeconds(20);

    /** Topics by kind, upstream clusters with hops, and the translated offsets of "group" from cluster "alias". */
    static Object run(JsonNode r) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", r.get("bootstrap").asText());
        Map<String, Object> result = new TreeMap<>();
        try (MirrorClient client = new MirrorClient(config)) {
            String alias = r.get("alias").asText();
            result.put("heartbeat_topics", client.heartbeatTopics());
            result.put("checkpoint_topics", client.checkpointTopics());
            result.put("upstream_clusters", client.upstreamClusters());
            result.put("remote_topics", client.remoteTopics(alias));
            result.put("all_remote_topics", client.remoteTopics());
            result.put("hops", client.replicationHops(alias));
            var offsets = client.remoteConsumerOffsets(r.get("group").asText(), alias, TIMEOUT);
            result.put("offsets", Clusters.list(offsets));
        }
        return result;
    }
}
