import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * Follows the copy of a `Load`'s topic as it arrives: longest silence, latency, and every number that is missing, repeated or out of
 * place. Polls every few milliseconds, so a silence is known to about 10 ms.
 */
final class Tail implements Runnable {
    private static final Map<String, Tail> RUNNING = new ConcurrentHashMap<>();
    private static final Duration POLL = Duration.ofMillis(20);
    private static final long RELIST_MS = 500;
    private static final int LONGEST_MS = 120_000;

    private final JsonNode r;
    private final Thread thread = new Thread(this, "tail");
    private volatile boolean stop;
    private volatile Exception failure;
    private final Map<Integer, Part> parts = new TreeMap<>();
    private final int[] latency = new int[LONGEST_MS + 1];

    private static final class Part {
        long next;
        long records;
        long duplicates;
        long missing;
        long misplaced;
        long lastArrival;
        long longestSilence;
        String firstWrong = "";
    }

    private Tail(JsonNode r) {
        this.r = r;
    }

    static Object start(JsonNode r) {
        Tail tail = new Tail(r);
        RUNNING.put(r.get("name").asText(), tail);
        tail.thread.setDaemon(true);
        tail.thread.start();
        return true;
    }

    static Tail get(JsonNode r) {
        Tail tail = RUNNING.get(r.get("name").asText());
        if (tail == null) {
            throw new IllegalArgumentException("no tail " + r.get("name"));
        }
        return tail;
    }

    @Override
    public void run() {
        try (KafkaConsumer<byte[], byte[]> consumer = Dump.consumer(r)) {
            long listed = 0;
            List<TopicPartition> assigned = new ArrayList<>();
            while (!stop) {
                long now = System.currentTimeMillis();
                if (now - listed > RELIST_MS) {
                    listed = now;
                    assign(consumer, assigned);
                }
                if (assigned.isEmpty()) {
                    Thread.sleep(POLL.toMillis());
                    continue;
                }
                accept(consumer.poll(POLL));
            }
        } catch (Exception error) {
            failure = error;
            error.printStackTrace();
        }
    }

    private void assign(KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> assigned) {
        String topic = r.get("topic").asText();
        var listed = consumer.listTopics().getOrDefault(topic, List.of());
        List<TopicPartition> fresh = new ArrayList<>();
        listed.forEach(p -> {
            TopicPartition tp = new TopicPartition(topic, p.partition());
            if (!assigned.contains(tp)) {
                fresh.add(tp);
            }
        });
        if (!fresh.isEmpty()) {
            Map<TopicPartition, Long> positions = new HashMap<>();
            assigned.forEach(tp -> positions.put(tp, consumer.position(tp)));
            positions.putAll(consumer.beginningOffsets(fresh));
            assigned.addAll(fresh);
            consumer.assign(assigned);
            positions.forEach(consumer::seek);
        }
    }

    private synchronized void accept(Iterable<ConsumerRecord<byte[], byte[]>> records) {
        long now = System.currentTimeMillis();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            Part part = parts.computeIfAbsent(record.partition(), p -> new Part());
            if (part.lastArrival > 0) {
                part.longestSilence = Math.max(part.longestSilence, now - part.lastArrival);
            }
            part.lastArrival = now;
            part.records++;
            latency[(int) Math.max(0, Math.min(LONGEST_MS, now - record.timestamp()))]++;
            judge(part, record);
        }
    }

    private static void judge(Part part, ConsumerRecord<byte[], byte[]> record) {
        String[] head = new String(record.value(), 0, Math.min(40, record.value().length), StandardCharsets.US_ASCII).split(":", 3);
        long number = Long.parseLong(head[1]);
        if (Integer.parseInt(head[0]) != record.partition()) {
            part.misplaced++;
        }
        if (number == part.next) {
            part.next++;
            return;
        }
        if (part.firstWrong.isEmpty()) {
            part.firstWrong = "partition " + record.partition() + " offset " + record.offset() + " holds number " + number
                + " where " + part.next + " was due";
        }
        if (number < part.next) {
            part.duplicates++;
        } else {
            part.missing += number - part.next;
            part.next = number + 1;
        }
    }

    synchronized Object stats(boolean reset) throws Exception {
        if (failure != null) {
            throw failure;
        }
        long now = System.currentTimeMillis();
        Map<String, Object> result = new HashMap<>();
        Map<Integer, Object> each = new TreeMap<>();
        long records = 0;
        long silence = 0;
        long wrong = 0;
        String firstWrong = "";
        for (Map.Entry<Integer, Part> entry : parts.entrySet()) {
            Part part = entry.getValue();
            // A silence that has not ended yet counts as well.
            long longest = Math.max(part.longestSilence, part.lastArrival > 0 && !stop ? now - part.lastArrival : 0);
            each.put(entry.getKey(), Map.of("records", part.records, "next", part.next, "duplicates", part.duplicates,
                "missing", part.missing, "misplaced", part.misplaced, "silence_ms", longest));
            records += part.records;
            silence = Math.max(silence, longest);
            wrong += part.duplicates + part.missing + part.misplaced;
            firstWrong = firstWrong.isEmpty() ? part.firstWrong : firstWrong;
            if (reset) {
                part.longestSilence = 0;
            }
        }
        result.put("partitions", each);
        result.put("records", records);
        result.put("silence_ms", silence);
        result.put("wrong", wrong);
        result.put("first_wrong", firstWrong);
        result.put("p50_ms", percentile(0.50));
        result.put("p99_ms", percentile(0.99));
        if (reset) {
            java.util.Arrays.fill(latency, 0);
        }
        return result;
    }

    private int percentile(double share) {
        long all = 0;
        for (int count : latency) {
            all += count;
        }
        long seen = 0;
        for (int ms = 0; ms <= LONGEST_MS; ms++) {
            seen += latency[ms];
            if (seen >= all * share && seen > 0) {
                return ms;
            }
        }
        return -1;
    }

    Object stop() throws Exception {
        Object result = stats(false);
        stop = true;
        thread.join();
        RUNNING.remove(r.get("name").asText());
        return result;
    }
}
