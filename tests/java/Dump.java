import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic from each partition's log start to the end it had when reading began, and writes one line per record:
 * partition, offset, timestamp, timestamp type, key, value, headers; separated by tabs. Bytes are hex, `-` is null, and what is
 * longer than 64 bytes is `sha256:HASH:LENGTH`. Lines are ordered by partition, then offset.
 */
final class Dump {
    private static final int HEX_LIMIT = 64;
    private static final HexFormat HEX = HexFormat.of();
    private static final Duration POLL = Duration.ofMillis(200);
    private static final long STUCK_MS = 60_000;

    static Object run(JsonNode r) throws Exception {
        String topic = r.get("topic").asText();
        Map<String, Object> result = new TreeMap<>();
        Map<Integer, long[]> partitions = new TreeMap<>();
        long records = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(r);
             BufferedWriter out = Files.newBufferedWriter(Path.of(r.get("file").asText()), StandardCharsets.UTF_8)) {
            List<TopicPartition> all = consumer.partitionsFor(topic).stream()
                .map(p -> new TopicPartition(topic, p.partition()))
                .sorted((a, b) -> Integer.compare(a.partition(), b.partition())).toList();
            Map<TopicPartition, Long> begins = consumer.beginningOffsets(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            for (TopicPartition tp : all) {
                long read = one(consumer, tp, begins.get(tp), ends.get(tp), out);
                partitions.put(tp.partition(), new long[] {begins.get(tp), ends.get(tp), read});
                records += read;
            }
        }
        result.put("records", records);
        result.put("partitions", partitions);
        return result;
    }

    static KafkaConsumer<byte[], byte[]> consumer(JsonNode r) {
        Properties p = new Properties();
        p.put("bootstrap.servers", r.get("bootstrap").asText());
        p.put("isolation.level", r.path("isolation").asText("read_committed"));
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "none");
        p.put("fetch.max.bytes", "16777216");
        p.put("max.partition.fetch.bytes", "8388608");
        p.put("max.poll.records", "5000");
        // A fetch that waits at one partition's end would hold up the next partition.
        p.put("fetch.max.wait.ms", "20");
        p.put("reconnect.backoff.max.ms", "500");
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static long one(KafkaConsumer<byte[], byte[]> consumer, TopicPartition tp, long begin, long end, BufferedWriter out)
        throws Exception {
        consumer.assign(List.of(tp));
        consumer.seek(tp, begin);
        long records = 0;
        long lastMove = System.currentTimeMillis();
        long position = begin;
        while (position < end) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                if (record.offset() < end) {
                    write(out, record);
                    records++;
                }
            }
            long now = System.currentTimeMillis();
            if (consumer.position(tp) > position) {
                position = consumer.position(tp);
                lastMove = now;
            } else if (now - lastMove > STUCK_MS) {
                throw new IllegalStateException(tp + " does not move on from " + position + " of " + end);
            }
        }
        return records;
    }

    static void write(BufferedWriter out, ConsumerRecord<byte[], byte[]> record) throws IOException {
        StringBuilder line = new StringBuilder(200);
        line.append(record.partition()).append('\t').append(record.offset()).append('\t').append(record.timestamp()).append('\t')
            .append(record.timestampType().name).append('\t');
        bytes(line, record.key());
        line.append('\t');
        bytes(line, record.value());
        line.append('\t');
        for (Header header : record.headers()) {
            bytes(line, header.key().getBytes(StandardCharsets.UTF_8));
            line.append('=');
            bytes(line, header.value());
            line.append(';');
        }
        out.write(line.append('\n').toString());
    }

    private static void bytes(StringBuilder line, byte[] bytes) {
        if (bytes == null) {
            line.append('-');
        } else if (bytes.length <= HEX_LIMIT) {
            line.append(HEX.formatHex(bytes));
        } else {
            line.append("sha256:").append(HEX.formatHex(sha256().digest(bytes))).append(':').append(bytes.length);
        }
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
