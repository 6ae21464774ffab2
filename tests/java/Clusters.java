import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.resource.*;

/** Topics, groups, users and permissions: what a test arranges on a cluster, and what it asks of one. */
final class Clusters {
    private static final Map<String, Admin> ADMINS = new ConcurrentHashMap<>();

    static Admin admin(JsonNode r) {
        return ADMINS.computeIfAbsent(r.get("bootstrap").asText(), bootstrap -> {
            Properties p = new Properties();
            p.put("bootstrap.servers", bootstrap);
            p.put("default.api.timeout.ms", "60000");
            p.put("request.timeout.ms", "10000");
            p.put("reconnect.backoff.max.ms", "500");
            return Admin.create(p);
        });
    }

    static Object run(JsonNode r) throws Exception {
        Admin admin = admin(r);
        switch (r.get("op").asText()) {
            case "create_topic": return create(admin, r);
            case "add_partitions":
                admin.createPartitions(Map.of(topic(r), NewPartitions.increaseTo(r.get("partitions").asInt()))).all().get();
                awaitLeaders(admin, topic(r), r.get("partitions").asInt());
                return true;
            case "delete_topic": admin.deleteTopics(List.of(topic(r))).all().get(); return true;
            case "topics": return admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
            case "partitions": return partitions(admin, topic(r)).size();
            case "delete_records": return deleteRecords(admin, r);
            case "alter_topic": return alter(admin, r);
            case "topic_configs": return configs(admin, r);
            case "offsets": return offsets(admin, r);
            case "groups": return admin.listConsumerGroups().all().get().stream().map(ConsumerGroupListing::groupId)
                .collect(Collectors.toList());
            case "commit": return commit(admin, r);
            case "group_offsets": return groupOffsets(admin, r);
            case "all_group_offsets": return allGroupOffsets(admin, r);
            case "delete_group": admin.deleteConsumerGroups(List.of(r.get("group").asText())).all().get(); return true;
            case "share_group": return shareGroup(r);
            case "scram_user": return scramUser(admin, r);
            case "acl": return acl(admin, r);
            case "acls": return acls(admin);
            case "alter_cluster": return alterCluster(admin, r);
            case "quota": return quota(admin, r);
            default: throw new IllegalArgumentException("no such op: " + r.get("op"));
        }
    }

    static String topic(JsonNode r) {
        return r.get("topic").asText();
    }

    static Object create(Admin admin, JsonNode r) throws Exception {
        short replication = (short) r.path("replication").asInt(-1);
        NewTopic topic = new NewTopic(topic(r), Optional.of(r.get("partitions").asInt()),
            replication < 0 ? Optional.empty() : Optional.of(replication));
        create(admin, topic.configs(strings(r.path("configs"))));
        return true;
    }

    static void create(Admin admin, NewTopic topic) throws Exception {
        admin.createTopics(List.of(topic)).all().get();
        awaitLeaders(admin, topic.name(), topic.numPartitions());
    }

    /** Until every partition is led, a producer may be told that it doesn't exist. */
    private static void awaitLeaders(Admin admin, String topic, int count) throws Exception {
        long end = System.currentTimeMillis() + 30_000;
        while (System.currentTimeMillis() < end) {
            try {
                var partitions = partitions(admin, topic);
                if (partitions.size() >= count && partitions.stream().allMatch(p -> p.leader() != null && !p.leader().isEmpty())) {
                    return;
                }
            } catch (java.util.concurrent.ExecutionException notYet) {
                // The broker that was asked hasn't heard of it.
            }
            Thread.sleep(50);
        }
        throw new IllegalStateException(topic + " has no leaders after 30 s");
    }

    static List<org.apache.kafka.common.TopicPartitionInfo> partitions(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
    }

    static Map<String, String> strings(JsonNode node) {
        Map<String, String> map = new HashMap<>();
        node.fields().forEachRemaining(e -> map.put(e.getKey(), e.getValue().asText()));
        return map;
    }

    private static Object deleteRecords(Admin admin, JsonNode r) throws Exception {
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        r.get("before").fields().forEachRemaining(e -> before.put(
            new TopicPartition(topic(r), Integer.parseInt(e.getKey())), RecordsToDelete.beforeOffset(e.getValue().asLong())));
        admin.deleteRecords(before).all().get();
        return true;
    }

    private static Object alter(Admin admin, JsonNode r) throws Exception {
        alter(admin, topic(r), strings(r.get("configs")));
        return true;
    }

    static void alter(Admin admin, String topic, Map<String, String> configs) throws Exception {
        alter(admin, new ConfigResource(ConfigResource.Type.TOPIC, topic), configs);
    }

    /** An empty value takes a config back to its default. */
    private static void alter(Admin admin, ConfigResource resource, Map<String, String> configs) throws Exception {
        List<AlterConfigOp> ops = new ArrayList<>();
        configs.forEach((k, v) -> ops.add(new AlterConfigOp(new ConfigEntry(k, v),
            v.isEmpty() ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET)));
        admin.incrementalAlterConfigs(Map.of(resource, ops)).all().get();
    }

    /** The dynamic defaults of all brokers. */
    private static Object alterCluster(Admin admin, JsonNode r) throws Exception {
        alter(admin, new ConfigResource(ConfigResource.Type.BROKER, ""), strings(r.get("configs")));
        return true;
    }

    /** A quota of every client id; without a value it is removed. */
    private static Object quota(Admin admin, JsonNode r) throws Exception {
        Double value = r.hasNonNull("value") ? r.get("value").asDouble() : null;
        ClientQuotaEntity everybody =
            new ClientQuotaEntity(Collections.singletonMap(ClientQuotaEntity.CLIENT_ID, null));
        ClientQuotaAlteration.Op op = new ClientQuotaAlteration.Op(r.get("name").asText(), value);
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(everybody, List.of(op)))).all().get();
        return true;
    }

    /** What was set on the topic itself. */
    private static Object configs(Admin admin, JsonNode r) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic(r));
        Map<String, String> set = new TreeMap<>();
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) {
                set.put(entry.name(), entry.value());
            }
        }
        return set;
    }

    /** Per partition [log start, end]; the end is the last stable offset unless "isolation" says otherwise. */
    private static Object offsets(Admin admin, JsonNode r) throws Exception {
        Map<TopicPartition, OffsetSpec> first = new HashMap<>();
        Map<TopicPartition, OffsetSpec> last = new HashMap<>();
        partitions(admin, topic(r)).forEach(p -> {
            first.put(new TopicPartition(topic(r), p.partition()), OffsetSpec.earliest());
            last.put(new TopicPartition(topic(r), p.partition()), OffsetSpec.latest());
        });
        boolean uncommitted = "read_uncommitted".equals(r.path("isolation").asText());
        ListOffsetsOptions options = new ListOffsetsOptions(uncommitted
            ? org.apache.kafka.common.IsolationLevel.READ_UNCOMMITTED : org.apache.kafka.common.IsolationLevel.READ_COMMITTED);
        Map<Integer, long[]> result = new TreeMap<>();
        var starts = admin.listOffsets(first, options).all().get();
        var ends = admin.listOffsets(last, options).all().get();
        ends.forEach((tp, end) -> result.put(tp.partition(), new long[] {starts.get(tp).offset(), end.offset()}));
        return result;
    }

    /** "offsets": [{topic, partition, offset, metadata}] of one idle group. */
    private static Object commit(Admin admin, JsonNode r) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode o : r.get("offsets")) {
            offsets.put(new TopicPartition(topic(o), o.get("partition").asInt()),
                new OffsetAndMetadata(o.get("offset").asLong(), o.path("metadata").asText("")));
        }
        admin.alterConsumerGroupOffsets(r.get("group").asText(), offsets).all().get();
        return true;
    }

    private static Object groupOffsets(Admin admin, JsonNode r) throws Exception {
        String group = r.get("group").asText();
        return list(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
    }

    static ArrayNode list(Map<TopicPartition, OffsetAndMetadata> offsets) {
        ArrayNode list = Tool.JSON.createArrayNode();
        offsets.forEach((tp, o) -> {
            if (o != null) {
                ObjectNode one = list.addObject();
                one.put("topic", tp.topic()).put("partition", tp.partition()).put("offset", o.offset()).put("metadata", o.metadata());
            }
        });
        return list;
    }

    /** Group to its offsets, of every group whose id begins with "prefix". */
    private static Object allGroupOffsets(Admin admin, JsonNode r) throws Exception {
        Map<String, ListConsumerGroupOffsetsSpec> wanted = new HashMap<>();
        for (ConsumerGroupListing group : admin.listConsumerGroups().all().get()) {
            if (group.groupId().startsWith(r.get("prefix").asText())) {
                wanted.put(group.groupId(), new ListConsumerGroupOffsetsSpec());
            }
        }
        Map<String, ArrayNode> result = new TreeMap<>();
        if (!wanted.isEmpty()) {
            admin.listConsumerGroupOffsets(wanted).all().get().forEach((group, offsets) -> result.put(group, list(offsets)));
        }
        return result;
    }

    /** Makes a share group (KIP-932) that has read a little of "topic". */
    private static Object shareGroup(JsonNode r) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", r.get("bootstrap").asText());
        p.put("group.id", r.get("group").asText());
        var bytes = new org.apache.kafka.common.serialization.ByteArrayDeserializer();
        try (var consumer = new org.apache.kafka.clients.consumer.KafkaShareConsumer<>(p, bytes, bytes)) {
            consumer.subscribe(List.of(topic(r)));
            consumer.poll(java.time.Duration.ofSeconds(2));
        }
        return true;
    }

    private static Object scramUser(Admin admin, JsonNode r) throws Exception {
        ScramMechanism mechanism = ScramMechanism.fromMechanismName(r.path("mechanism").asText("SCRAM-SHA-256"));
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(r.get("user").asText(),
            new ScramCredentialInfo(mechanism, 4096), r.get("password").asText()))).all().get();
        return true;
    }

    /** Adds (or with "remove" removes) a permission of "principal": "permission" "operation" on "resource_type" "name", a
     * prefix where "prefixed" is true. */
    private static Object acl(Admin admin, JsonNode r) throws Exception {
        PatternType pattern = r.path("prefixed").asBoolean() ? PatternType.PREFIXED : PatternType.LITERAL;
        ResourcePattern resource = new ResourcePattern(ResourceType.fromString(r.get("resource_type").asText()),
            r.get("name").asText(), pattern);
        AccessControlEntry entry = new AccessControlEntry(r.get("principal").asText(), "*",
            AclOperation.fromString(r.get("operation").asText()),
            AclPermissionType.fromString(r.path("permission").asText("ALLOW")));
        AclBinding binding = new AclBinding(resource, entry);
        if (r.path("remove").asBoolean()) {
            admin.deleteAcls(List.of(binding.toFilter())).all().get();
        } else {
            admin.createAcls(List.of(binding)).all().get();
        }
        return true;
    }

    /** Each as "TYPE PATTERN name principal OPERATION PERMISSION". */
    private static Object acls(Admin admin) throws Exception {
        List<String> all = new ArrayList<>();
        for (AclBinding b : admin.describeAcls(AclBindingFilter.ANY).values().get()) {
            all.add(String.join(" ", b.pattern().resourceType().toString(), b.pattern().patternType().toString(),
                b.pattern().name(), b.entry().principal(), b.entry().operation().toString(), b.entry().permissionType().toString()));
        }
        return all;
    }
}
