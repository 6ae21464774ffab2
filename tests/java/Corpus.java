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
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A corpus of everything a topic may hold, the same for the same seed. Topics `PREFIX.mixed`, `.transactions`, `.compacted`, `.trimmed`,
 * `.large`, `.logappend` and `.empty`; "scale" multiplies the number of records (1: about 30,000).
 */
final class Corpus {
    private static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    private static final long COMPACTION_DEADLINE_MS = 90_000;
    private static final int LARGE_BYTES = 2 * 1024 * 1024;
    /** A century: nothing is old enough to be compacted any more, so source and target keep the same records. */
    private static final String NEVER_MS = "3153600000000";

    private final JsonNode r;
    private final Admin admin;
    private final String prefix;
    private final Random random;
    private final int scale;
    private final long now = System.currentTimeMillis();
    private final Map<String, Long> made = new TreeMap<>();
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private volatile Exception failure;

    Corpus(JsonNode r) {
        this.r = r;
        this.admin = Clusters.admin(r);
        this.prefix = r.path("prefix").asText("corpus");
        this.random = new Random(r.path("seed").asLong(1));
        this.scale = Math.max(1, r.path("scale").asInt(1));
    }

    /** Topic to number of records committed (compaction and trimming come off later). */
    Object run() throws Exception {
        create("mixed", 12, Map.of());
        create("transactions", 4, Map.of());
        create("compacted", 3, Map.of("cleanup.policy", "compact", "segment.ms", "100", "min.cleanable.dirty.ratio", "0.01",
            "delete.retention.ms", NEVER_MS));
        create("trimmed", 4, Map.of());
        create("large", 2, Map.of("max.message.bytes", String.valueOf(4 * 1024 * 1024)));
        create("logappend", 2, Map.of("message.timestamp.type", "LogAppendTime"));
        create("empty", 3, Map.of());
        try {
            // First, so that the cleaner works while the others are produced.
            step("compacted", this::compacted);
            step("mixed", this::mixed);
            step("transactions", this::transactions);
            step("trimmed", this::trimmed);
            step("large", this::large);
            step("logappend", () -> plain("logappend", 2, 500));
            step("compaction", this::awaitCompaction);
            if (failure != null) {
                throw failure;
            }
        } finally {
            producers.values().forEach(p -> p.close(Duration.ofSeconds(10)));
        }
        return made;
    }

    private interface Step {
        void run() throws Exception;
    }

    private void step(String what, Step step) throws Exception {
        long begin = System.currentTimeMillis();
        step.run();
        System.err.println("corpus: " + what + " took " + (System.currentTimeMillis() - begin) + " ms");
    }

    private String name(String topic) {
        return prefix + "." + topic;
    }

    private void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        Clusters.create(admin, new NewTopic(name(topic), Optional.of(partitions), Optional.<Short>empty()).configs(configs));
    }

    private KafkaProducer<byte[], byte[]> producer(String codec, boolean transactional) {
        return producers.computeIfAbsent(codec + transactional, key -> {
            Properties p = new Properties();
            p.put("bootstrap.servers", r.get("bootstrap").asText());
            p.put("compression.type", codec);
            p.put("acks", "all");
            p.put("linger.ms", "2");
            // See Load.
            p.put("max.in.flight.requests.per.connection", "1");
            p.put("batch.size", "65536");
            p.put("max.request.size", String.valueOf(8 * 1024 * 1024));
            if (transactional) {
                p.put("transactional.id", name("tx-" + codec));
            }
            KafkaProducer<byte[], byte[]> made = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
            if (transactional) {
                made.initTransactions();
            }
            return made;
        });
    }

    private void send(String codec, boolean transactional, ProducerRecord<byte[], byte[]> record) {
        producer(codec, transactional).send(record, (metadata, error) -> {
            if (error != null && !(error instanceof org.apache.kafka.common.errors.TransactionAbortedException)) {
                failure = error;
            }
        });
    }

    private void count(String topic, long records) {
        made.merge(name(topic), records, Long::sum);
    }

    /** Partitions 5 and 11 stay empty. */
    private void mixed() {
        int records = 20_000 * scale;
        for (int i = 0; i < records; ) {
            String codec = CODECS[random.nextInt(CODECS.length)];
            boolean transactional = random.nextInt(5) == 0;
            boolean abort = transactional && random.nextInt(3) == 0;
            int run = 1 + random.nextInt(120);
            if (transactional) {
                producer(codec, true).beginTransaction();
            }
            for (int n = 0; n < run; n++) {
                int partition = random.nextInt(10);
                send(codec, transactional, awkward(name("mixed"), partition < 5 ? partition : partition + 1));
            }
            finish(codec, transactional, abort);
            if (!abort) {
                count("mixed", run);
                i += run;
            }
        }
        flush();
    }

    /** Long and short, committed and aborted, of several producers one after the other; the last of each partition is aborted. */
    private void transactions() {
        for (int t = 0; t < 60 * scale; t++) {
            String codec = CODECS[random.nextInt(CODECS.length)];
            boolean abort = random.nextInt(2) == 0;
            int run = random.nextInt(10) == 0 ? 400 : 1 + random.nextInt(20);
            transaction("transactions", codec, run, abort, random.nextInt(4), random.nextInt(3) == 0);
        }
        for (int partition = 0; partition < 4; partition++) {
            transaction("transactions", "lz4", 5, true, partition, true);
        }
    }

    private void transaction(String topic, String codec, int run, boolean abort, int partition, boolean one) {
        producer(codec, true).beginTransaction();
        for (int n = 0; n < run; n++) {
            send(codec, true, awkward(name(topic), one ? partition : random.nextInt(4)));
        }
        finish(codec, true, abort);
        if (!abort) {
            count(topic, run);
        }
    }

    private void finish(String codec, boolean transactional, boolean abort) {
        if (!transactional) {
            return;
        }
        producer(codec, true).flush();
        if (abort) {
            producer(codec, true).abortTransaction();
        } else {
            producer(codec, true).commitTransaction();
        }
    }

    /** Few keys, many updates; timestamps a minute apart per run, so that each run rolls a segment. Some runs are transactions. */
    private void compacted() {
        long timestamp = now - 86_400_000L;
        for (int run = 0; run < 24; run++) {
            timestamp += 60_000;
            boolean transactional = run % 4 == 1;
            boolean abort = run % 8 == 1;
            String codec = CODECS[run % CODECS.length];
            if (transactional) {
                producer(codec, true).beginTransaction();
            }
            int records = 150 * scale;
            for (int n = 0; n < records; n++) {
                byte[] key = ("key-" + random.nextInt(40 + run * 5)).getBytes(StandardCharsets.UTF_8);
                byte[] value = random.nextInt(12) == 0 ? null : value(random.nextInt(200));
                send(codec, transactional, new ProducerRecord<>(name("compacted"), n % 3, timestamp + n, key, value));
            }
            finish(codec, transactional, abort);
            flush();
            if (!abort) {
                count("compacted", records);
            }
        }
    }

    /** Waits until the cleaner has taken records from every partition, then forbids it to take more. */
    private void awaitCompaction() throws Exception {
        long end = System.currentTimeMillis() + COMPACTION_DEADLINE_MS;
        long before = made.get(name("compacted"));
        while (remaining() > before * 6 / 10) {
            if (System.currentTimeMillis() > end) {
                throw new IllegalStateException("the log cleaner has left " + remaining() + " of " + before + " records");
            }
            Thread.sleep(200);
        }
        Clusters.alter(admin, name("compacted"), Map.of("min.compaction.lag.ms", NEVER_MS));
        // A pass that had begun before still ends with the old settings.
        long last = -1;
        for (long left = remaining(); left != last; left = remaining()) {
            last = left;
            Thread.sleep(1_500);
        }
        made.put(name("compacted"), last);
    }

    private long remaining() {
        long records = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = Dump.consumer(r)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int p = 0; p < 3; p++) {
                all.add(new TopicPartition(name("compacted"), p));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            while (ends.entrySet().stream().anyMatch(e -> consumer.position(e.getKey()) < e.getValue())) {
                records += consumer.poll(Duration.ofMillis(200)).count();
            }
        }
        return records;
    }

    /** Partition 0 whole, 1 cut in the middle, 2 cut in the middle of its last batch, 3 cut to nothing. */
    private void trimmed() throws Exception {
        plain("trimmed", 4, 1_000);
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        before.put(new TopicPartition(name("trimmed"), 1), RecordsToDelete.beforeOffset(333));
        before.put(new TopicPartition(name("trimmed"), 2), RecordsToDelete.beforeOffset(999));
        before.put(new TopicPartition(name("trimmed"), 3), RecordsToDelete.beforeOffset(1_000));
        admin.deleteRecords(before).all().get();
        made.put(name("trimmed"), 1_000L + 667 + 1);
    }

    private void plain(String topic, int partitions, int each) {
        for (int n = 0; n < partitions * each; n++) {
            send("lz4", false, awkward(name(topic), n % partitions));
        }
        flush();
        count(topic, (long) partitions * each);
    }

    /** Records of 2 MiB, of noise and of one repeated byte, between small ones. */
    private void large() {
        for (int n = 0; n < 8; n++) {
            byte[] value = new byte[LARGE_BYTES];
            if (n % 2 == 0) {
                random.nextBytes(value);
            }
            String codec = CODECS[n % CODECS.length];
            send(codec, false, new ProducerRecord<>(name("large"), n % 2, timestamp(), key(), value));
            send(codec, false, awkward(name("large"), n % 2));
            producer(codec, false).flush();
            count("large", 2);
        }
    }

    private void flush() {
        producers.values().forEach(KafkaProducer::flush);
    }

    private ProducerRecord<byte[], byte[]> awkward(String topic, int partition) {
        byte[] value = random.nextInt(10) == 0 ? null : value(random.nextInt(20) == 0 ? random.nextInt(2_000) : random.nextInt(150));
        var record = new ProducerRecord<>(topic, partition, timestamp(), key(), value);
        if (random.nextInt(3) == 0) {
            headers(record);
        }
        return record;
    }

    private void headers(ProducerRecord<byte[], byte[]> record) {
        String[] names = {"trace", "trace", "", "größe", "with space", "a".repeat(100)};
        for (int n = random.nextInt(5); n >= 0; n--) {
            String name = names[random.nextInt(names.length)];
            byte[][] values = {null, new byte[0], {(byte) 0xff, (byte) 0xfe, 0, (byte) 0x80}, value(12)};
            record.headers().add(new RecordHeader(name, values[random.nextInt(values.length)]));
        }
    }

    private byte[] key() {
        switch (random.nextInt(6)) {
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

    /** From 1970 to half an hour ahead, out of order. */
    private long timestamp() {
        switch (random.nextInt(8)) {
            case 0: return 0;
            case 1: return 1;
            case 2: return random.nextInt(1_000_000_000) * 1_000L;
            case 3: return now + random.nextInt(1_800_000);
            default: return now - random.nextInt(3_600_000);
        }
    }
}
