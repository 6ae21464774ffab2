import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member of a consumer group that goes on where the group is (at the start where it has no offset), reads "records" of the topics or
 * up to their ends, commits, and leaves. What it read is written as `Dump` does, one file per topic.
 */
final class Group {
    private static final long STUCK_MS = 60_000;

    static Object run(JsonNode r) throws Exception {
        List<String> topics = new ArrayList<>();
        r.get("topics").forEach(topic -> topics.add(topic.asText()));
        long limit = r.path("records").asLong(Long.MAX_VALUE);
        Map<TopicPartition, List<ConsumerRecord<byte[], byte[]>>> read = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(r)) {
            consumer.subscribe(topics);
            long deadline = System.currentTimeMillis() + STUCK_MS;
            long count = 0;
            while (count < limit) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    read.computeIfAbsent(new TopicPartition(record.topic(), record.partition()), tp -> new ArrayList<>()).add(record);
                    count++;
                    deadline = System.currentTimeMillis() + STUCK_MS;
                }
                if (atEnd(consumer)) {
                    break;
                }
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("nothing comes any more after " + count + " records");
                }
            }
            consumer.commitSync();
            return write(r, topics, read, consumer, consumer.assignment());
        }
    }

    private static boolean atEnd(KafkaConsumer<byte[], byte[]> consumer) {
        Set<TopicPartition> assigned = consumer.assignment();
        return !assigned.isEmpty()
            && consumer.endOffsets(assigned).entrySet().stream().allMatch(e -> consumer.position(e.getKey()) >= e.getValue());
    }

    /** Topic to {"file", "partitions": partition to [0, position, records]}. */
    private static Object write(JsonNode r, List<String> topics, Map<TopicPartition, List<ConsumerRecord<byte[], byte[]>>> read,
        KafkaConsumer<byte[], byte[]> consumer, Set<TopicPartition> assigned) throws Exception {
        Map<String, Object> result = new TreeMap<>();
        for (String topic : topics) {
            Path file = Path.of(r.get("file").asText() + "-" + topic);
            Map<Integer, long[]> partitions = new TreeMap<>();
            try (BufferedWriter out = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
                for (TopicPartition tp : assigned.stream().filter(tp -> tp.topic().equals(topic)).toList()) {
                    List<ConsumerRecord<byte[], byte[]>> records = read.getOrDefault(tp, List.of());
                    for (ConsumerRecord<byte[], byte[]> record : records) {
                        Dump.write(out, record);
                    }
                    partitions.put(tp.partition(), new long[] {0, consumer.position(tp), records.size()});
                }
            }
            result.put(topic, Map.of("file", file.toString(), "partitions", partitions));
        }
        return result;
    }

    private static KafkaConsumer<byte[], byte[]> consumer(JsonNode r) {
        Properties p = new Properties();
        p.put("bootstrap.servers", r.get("bootstrap").asText());
        p.put("group.id", r.get("group").asText());
        p.put("isolation.level", "read_committed");
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.put("max.poll.records", "100");
        p.put("max.partition.fetch.bytes", "8192");
        p.put("fetch.max.wait.ms", "20");
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }
}
