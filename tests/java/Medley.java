import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TransactionAbortedException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Random topics, drawn from a seed: who writes (plain, idempotent, several transactions at a time), with which codec, in which sizes of
 * batches, in which order. `medley_start` leaves transactions open, with records of others behind them; `medley_end` ends them, writes more
 * and closes the producers. Topics `PREFIX.0`, `.1`, ..., `.stamped` (LogAppendTime), `.compacted` and `.trimmed`.
 */
final class Medley {
    private static final Map<String, Medley> OPEN = new ConcurrentHashMap<>();
    private static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    private static final String[] BATCH_BYTES = {"1", "600", "16384", "262144"};
    private static final int WRITERS = 10;
    private static final long CLEANER_MS = 60_000;
    /** A century: nothing is old enough to be compacted any more, so source and target keep the same records. */
    private static final String NEVER_MS = "3153600000000";

    private enum Kind { PLAIN, IDEMPOTENT, TRANSACTIONAL }

    /** A producer of its own kind, codec and size of batches. */
    private final class Writer {
        final KafkaProducer<byte[], byte[]> producer;
        final boolean transactional;
        boolean open;

        Writer(int number) {
            Kind kind = Kind.values()[number % 3];
            transactional = kind == Kind.TRANSACTIONAL;
            Properties p = new Properties();
            p.put("bootstrap.servers", bootstrap);
            p.put("compression.type", CODECS[(number / 2 + random.nextInt(2)) % CODECS.length]);
            p.put("batch.size", BATCH_BYTES[random.nextInt(BATCH_BYTES.length)]);
            p.put("linger.ms", String.valueOf(random.nextInt(4)));
            p.put("enable.idempotence", String.valueOf(kind != Kind.PLAIN));
            p.put("acks", "all");
            p.put("max.in.flight.requests.per.connection", "1");
            p.put("max.request.size", String.valueOf(4 * 1024 * 1024));
            if (transactional) {
                p.put("transactional.id", prefix + "-" + number);
                p.put("transaction.timeout.ms", "300000");
            }
            producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
            if (transactional) {
                producer.initTransactions();
            }
        }

        void send(int records) {
            if (transactional && !open) {
                producer.beginTransaction();
                open = true;
            }
            String topic = topics.get(random.nextInt(topics.size()));
            int partition = random.nextInt(partitions.get(topic));
            boolean one = random.nextInt(3) > 0;
            for (int n = 0; n < records; n++) {
                int to = one ? partition : random.nextInt(partitions.get(topic));
                producer.send(record(topic, to), (metadata, error) -> {
                    if (error != null && !(error instanceof TransactionAbortedException)) {
                        failure = error;
                    }
                });
            }
            producer.flush();
        }

        void end() {
            if (open && random.nextInt(2) == 0) {
                producer.abortTransaction();
            } else if (open) {
                producer.commitTransaction();
            }
            open = false;
        }
    }

    private final JsonNode r;
    private final String bootstrap;
    private final Admin admin;
    private final String prefix;
    private final Random random;
    private final int steps;
    private final long now = System.currentTimeMillis();
    private final List<String> topics = new ArrayList<>();
    private final Map<String, Integer> partitions = new HashMap<>();
    private final List<Writer> writers = new ArrayList<>();
    private final String compacted;
    private final String trimmed;
    /** The next segment's time: a minute apart, so that each run rolls one. */
    private long rolled = now - 86_400_000L;
    private long ranRecords;
    private volatile Exception failure;

    private Medley(JsonNode r) {
        this.r = r;
        bootstrap = r.get("bootstrap").asText();
        admin = Clusters.admin(r);
        prefix = r.get("prefix").asText();
        random = new Random(r.get("seed").asLong());
        steps = r.get("steps").asInt();
        compacted = prefix + ".compacted";
        trimmed = prefix + ".trimmed";
    }

    /** What topics there are. */
    static Object start(JsonNode r) throws Exception {
        Medley medley = new Medley(r);
        OPEN.put(medley.prefix, medley);
        return medley.begin();
    }

    static Object end(JsonNode r) throws Exception {
        OPEN.remove(r.get("prefix").asText()).finish();
        return true;
    }

    private Object begin() throws Exception {
        int plain = 2 + random.nextInt(2);
        for (int n = 0; n < plain; n++) {
            create(prefix + "." + n, 1 + random.nextInt(3), Map.of("max.message.bytes", "4194304"));
        }
        create(prefix + ".stamped", 2, Map.of("message.timestamp.type", "LogAppendTime", "max.message.bytes", "4194304"));
        create(trimmed, 3, Map.of("max.message.bytes", "4194304"));
        create(compacted, 2, Map.of("cleanup.policy", "compact", "segment.ms", "100", "min.cleanable.dirty.ratio", "0.01",
            "delete.retention.ms", NEVER_MS, "max.message.bytes", "4194304"));
        for (int n = 0; n < WRITERS; n++) {
            writers.add(new Writer(n));
        }
        compactedRuns(10);
        write(steps);
        trim();
        awaitCleaner();
        // What is open now stays so, with more of others behind it.
        for (Writer writer : writers) {
            if (writer.transactional && random.nextInt(2) == 0) {
                writer.send(1 + random.nextInt(5));
            } else {
                writer.end();
            }
        }
        for (Writer writer : writers) {
            if (!writer.transactional) {
                writer.send(1 + random.nextInt(30));
            }
        }
        check();
        return topics;
    }

    private void finish() throws Exception {
        try {
            for (Writer writer : writers) {
                writer.end();
            }
            write(steps / 4);
            for (Writer writer : writers) {
                writer.end();
            }
            check();
        } finally {
            writers.forEach(w -> w.producer.close(Duration.ofSeconds(10)));
        }
    }

    private void check() throws Exception {
        if (failure != null) {
            throw failure;
        }
    }

    private void create(String topic, int count, Map<String, String> configs) throws Exception {
        Clusters.create(admin, new NewTopic(topic, Optional.of(count), Optional.<Short>empty()).configs(configs));
        topics.add(topic);
        partitions.put(topic, count);
    }

    private void write(int count) {
        for (int step = 0; step < count; step++) {
            Writer writer = writers.get(random.nextInt(writers.size()));
            if (writer.open && random.nextInt(3) == 0) {
                writer.end();
            } else {
                writer.send(random.nextInt(8) == 0 ? 150 + random.nextInt(250) : 1 + random.nextInt(25));
            }
        }
    }

    /** Few keys, many updates, some taken back; every fourth run is a transaction. */
    private void compactedRuns(int runs) {
        for (int run = 0; run < runs; run++) {
            Writer writer = writers.get(run % 4 == 1 ? 2 + 3 * random.nextInt(2) : 3 * random.nextInt(3));
            if (writer.transactional) {
                writer.producer.beginTransaction();
                writer.open = true;
            }
            rolled += 60_000;
            for (int n = 0; n < 120; n++) {
                byte[] key = ("key-" + random.nextInt(20 + run * 5)).getBytes(StandardCharsets.UTF_8);
                byte[] value = random.nextInt(8) == 0 ? null : value(random.nextInt(200));
                writer.producer.send(new ProducerRecord<>(compacted, n % 2, rolled + n, key, value));
            }
            writer.producer.flush();
            ranRecords += 120;
            writer.end();
        }
        // A marker's segment, whose time is the broker's, is rolled by a later one only.
        for (int partition = 0; partition < 2; partition++) {
            byte[] key = "last".getBytes(StandardCharsets.UTF_8);
            long later = System.currentTimeMillis() + 1_000;
            writers.get(0).producer.send(new ProducerRecord<>(compacted, partition, later, key, value(10)));
        }
        writers.get(0).producer.flush();
    }

    /** Partition 0 somewhere, 1 to its last stable offset, 2 not at all. */
    private void trim() throws Exception {
        Map<Integer, Long> ends = new HashMap<>();
        for (var listed : admin.listOffsets(Map.of(
            new TopicPartition(trimmed, 0), OffsetSpec.latest(),
            new TopicPartition(trimmed, 1), OffsetSpec.latest())).all().get().entrySet()) {
            ends.put(listed.getKey().partition(), listed.getValue().offset());
        }
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        before.put(new TopicPartition(trimmed, 0), RecordsToDelete.beforeOffset(random.nextInt((int) (ends.get(0) + 1))));
        before.put(new TopicPartition(trimmed, 1), RecordsToDelete.beforeOffset(ends.get(1)));
        admin.deleteRecords(before).all().get();
    }

    /** Waits until the cleaner has passed over the first runs, then forbids it to take more. */
    private void awaitCleaner() throws Exception {
        long end = System.currentTimeMillis() + CLEANER_MS;
        while (kept() > ranRecords * 6 / 10) {
            if (System.currentTimeMillis() > end) {
                throw new IllegalStateException("the log cleaner has left " + kept() + " of " + ranRecords + " in " + compacted);
            }
            Thread.sleep(200);
        }
        Clusters.alter(admin, compacted, Map.of("min.compaction.lag.ms", NEVER_MS));
        // A pass that had begun before still ends with the old settings.
        long last = -1;
        for (long left = kept(); left != last; left = kept()) {
            last = left;
            Thread.sleep(1_200);
        }
    }

    /** Records of the first runs that are there. */
    private long kept() {
        long records = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = Dump.consumer(r)) {
            List<TopicPartition> all = List.of(new TopicPartition(compacted, 0), new TopicPartition(compacted, 1));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            while (ends.entrySet().stream().anyMatch(e -> consumer.position(e.getKey()) < e.getValue())) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    records += record.timestamp() < rolled + 1_000 ? 1 : 0;
                }
            }
        }
        return records;
    }

    private ProducerRecord<byte[], byte[]> record(String topic, int partition) {
        boolean keyed = topic.equals(compacted);
        byte[] key = keyed ? ("late-" + random.nextInt(1_000)).getBytes(StandardCharsets.UTF_8) : key();
        int length = random.nextInt(400) == 0 ? 300_000 : random.nextInt(20) == 0 ? random.nextInt(2_000) : random.nextInt(120);
        byte[] value = random.nextInt(10) == 0 ? null : value(length);
        var record = new ProducerRecord<>(topic, partition, keyed ? (Long) now : timestamp(), key, value);
        for (int n = random.nextInt(3) == 0 ? random.nextInt(5) : 0; n > 0; n--) {
            String[] names = {"trace", "trace", "", "größe", "with space", "a".repeat(100)};
            byte[][] values = {null, new byte[0], {(byte) 0xff, (byte) 0xfe, 0, (byte) 0x80}, value(12)};
            record.headers().add(new RecordHeader(names[random.nextInt(names.length)], values[random.nextInt(values.length)]));
        }
        return record;
    }

    private byte[] key() {
        switch (random.nextInt(5)) {
            case 0: return null;
            case 1: return new byte[0];
            case 2: return new byte[] {(byte) 0xff, 0, (byte) random.nextInt()};
            default: return ("key-" + random.nextInt(500)).getBytes(StandardCharsets.UTF_8);
        }
    }

    private byte[] value(int length) {
        byte[] value = new byte[length];
        if (random.nextBoolean()) {
            random.nextBytes(value);
        } else {
            java.util.Arrays.fill(value, (byte) ('a' + random.nextInt(26)));
        }
        return value;
    }

    /** From 1970 to half an hour ahead, out of order; or what the producer's clock says. */
    private Long timestamp() {
        switch (random.nextInt(8)) {
            case 0: return 0L;
            case 1: return null;
            case 2: return random.nextInt(1_000_000_000) * 1_000L;
            case 3: return now + random.nextInt(1_800_000);
            default: return now - random.nextInt(3_600_000);
        }
    }
}
