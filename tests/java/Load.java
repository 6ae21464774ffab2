import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces to a topic at a steady rate until stopped. Values are `PARTITION:NUMBER:` and filling; numbers count up from 0 in each
 * partition and, the producer being idempotent, stand in the log without a gap. With `nulls` some keys and values are null.
 *
 * The filling holds a mark (see `marks.rs`): values must not show in any text of Twinlog's.
 */
final class Load implements Runnable {
    private static final Map<String, Load> RUNNING = new ConcurrentHashMap<>();
    /** Long enough for a broker to come back. */
    private static final String DELIVERY_MS = "300000";
    private static final long SLICE_NANOS = 5_000_000;
    private static final byte[] MARK = "mark-of-a-value-7c1f".getBytes(StandardCharsets.US_ASCII);
    /** Behind the longest `PARTITION:NUMBER:`. */
    private static final int MARK_AT = 24;

    private final JsonNode r;
    private final long[] sent;
    private final AtomicReference<Exception> failure = new AtomicReference<>();
    private final KafkaProducer<byte[], byte[]> producer;
    private final Thread thread = new Thread(this, "load");
    private volatile boolean stop;
    private final boolean nulls;
    private final byte[] filling;

    private Load(JsonNode r) {
        this.r = r;
        this.sent = new long[r.get("partitions").asInt()];
        for (int p = 0; p < sent.length; p++) {
            sent[p] = r.path("first").asLong(0);
        }
        this.nulls = r.path("nulls").asBoolean(false);
        this.filling = new byte[r.path("value_bytes").asInt(100)];
        new java.util.Random(1).nextBytes(filling);
        for (int i = 0; i < filling.length; i++) {
            filling[i] = (byte) ('a' + (filling[i] & 15));
        }
        if (filling.length >= MARK_AT + MARK.length) {
            System.arraycopy(MARK, 0, filling, MARK_AT, MARK.length);
        }
        Properties p = new Properties();
        p.put("bootstrap.servers", r.get("bootstrap").asText());
        p.put("acks", "all");
        p.put("linger.ms", r.path("linger_ms").asText("5"));
        p.put("batch.size", "131072");
        p.put("buffer.memory", "67108864");
        p.put("max.block.ms", DELIVERY_MS);
        p.put("delivery.timeout.ms", DELIVERY_MS);
        p.put("request.timeout.ms", "10000");
        p.put("reconnect.backoff.max.ms", "500");
        // A partition that was just made may refuse one batch as not yet led and take the next: with several in flight the producer
        // then waits for ever for a sequence number that can't come.
        p.put("max.in.flight.requests.per.connection", "1");
        // Partitions that were just added may have no leader in the first answer.
        p.put("metadata.max.age.ms", "2000");
        // Topics with the message format of old brokers refuse idempotent producers.
        p.put("enable.idempotence", r.path("idempotent").asText("true"));
        p.put("compression.type", r.path("compression").asText("lz4"));
        this.producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static Object start(JsonNode r) {
        Load load = new Load(r);
        RUNNING.put(r.get("name").asText(), load);
        load.thread.setDaemon(true);
        load.thread.start();
        return true;
    }

    static Load get(JsonNode r) {
        Load load = RUNNING.get(r.get("name").asText());
        if (load == null) {
            throw new IllegalArgumentException("no load " + r.get("name"));
        }
        return load;
    }

    @Override
    public void run() {
        double perSecond = r.get("rate").asDouble();
        // A bounded load: so many records and then no more.
        long limit = r.path("records").asLong(Long.MAX_VALUE);
        long begin = System.nanoTime();
        long made = 0;
        while (!stop && failure.get() == null && made < limit) {
            long due = Math.min(limit, (long) ((System.nanoTime() - begin) / 1e9 * perSecond));
            for (; made < due && !stop; made++) {
                send((int) (made % sent.length));
            }
            java.util.concurrent.locks.LockSupport.parkNanos(SLICE_NANOS);
        }
    }

    private void send(int partition) {
        byte[] head = (partition + ":" + sent[partition] + ":").getBytes(StandardCharsets.US_ASCII);
        byte[] value = Arrays.copyOf(head, Math.max(head.length, filling.length));
        System.arraycopy(filling, head.length, value, head.length, value.length - head.length);
        byte[] key = ("k" + sent[partition] % 97).getBytes(StandardCharsets.US_ASCII);
        if (nulls && sent[partition] % 5 == 3) {
            key = null;
        }
        if (nulls && sent[partition] % 7 == 4) {
            value = null;
        }
        sent[partition]++;
        producer.send(new ProducerRecord<>(r.get("topic").asText(), partition, System.currentTimeMillis(), key, value),
            (metadata, error) -> {
                if (error != null) {
                    failure.compareAndSet(null, error);
                }
            });
    }

    Object stats() throws Exception {
        if (failure.get() != null) {
            throw failure.get();
        }
        Map<Integer, Long> result = new TreeMap<>();
        for (int p = 0; p < sent.length; p++) {
            result.put(p, sent[p]);
        }
        return result;
    }

    /** Stops, waits for every acknowledgement, and tells how many records stand in each partition. */
    Object stop() throws Exception {
        stop = true;
        thread.join();
        producer.flush();
        producer.close();
        RUNNING.remove(r.get("name").asText());
        return stats();
    }
}
