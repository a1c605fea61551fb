package org.raftmq.interop;

import java.io.IOException;
import java.net.SocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Fills a store and checks it again, whichever broker opens it. A manifest tells what each send was answered.
 *
 * Arguments: {@code --namesrv HOST:PORT --manifest FILE write|read|commit-offsets|check-offsets}. {@code write} goes on
 * after what the manifest holds already; {@code read} wants exactly what it holds.
 */
@SuppressWarnings("deprecation")
public final class StoreCheck {
    private static final String[] TOPICS = {"store-check-a", "store-check-b"};
    private static final int[] QUEUES = {4, 8};
    private static final String GROUP = "store-check-group";
    /** Enough to fill a segment of 8 MiB with what does not compress; a multiple of ten. */
    private static final int ROUND = 120;

    private final Clients clients;
    private final Path manifest;

    private StoreCheck(Clients clients, Path manifest) {
        this.clients = clients;
        this.manifest = manifest;
    }

    public static void main(String[] arguments) {
        try (Clients clients = new Clients(arguments[1], "store-check")) {
            StoreCheck check = new StoreCheck(clients, Paths.get(arguments[3]));
            switch (arguments[4]) {
                case "write": check.write(); break;
                case "read": check.read(); break;
                case "commit-offsets": check.commitOffsets(); break;
                case "check-offsets": check.checkOffsets(); break;
                default: throw new IllegalArgumentException(arguments[4]);
            }
        } catch (Throwable failed) {
            failed.printStackTrace(System.out);
            System.exit(1);
        }
        System.out.println("done");
        System.exit(0);
    }

    private void write() throws Exception {
        DefaultMQProducer producer = clients.producer();
        List<Entry> known = entries();
        for (int i = 0; i < TOPICS.length; i++) {
            String topic = TOPICS[i];
            int queues = QUEUES[i];
            if (known.isEmpty()) {
                Versions.createTopic(producer, "TBW102", topic, queues);
            }
            Check.eventually(() -> Versions.readQueues(Clients.instance(producer), topic) == queues, "a route to " + topic);
        }
        Map<String, Long> ends = new HashMap<>();
        known.forEach(entry -> ends.merge(entry.queueKey(), entry.offset + 1, Math::max));
        int first = known.size();
        List<Entry> written = new ArrayList<>();
        for (int number = first; number < first + ROUND;) {
            String topic = topic(number);
            if (number % 10 == 4) {
                // A batch is one send of three messages of one topic, each with its own number.
                List<Message> batch = new ArrayList<>();
                for (int i = 0; i < 3; i++) {
                    batch.add(message(topic, number + i));
                }
                SendResult result = producer.send(batch);
                for (int i = 0; i < 3; i++) {
                    written.add(new Entry(number + i, topic, result.getMessageQueue().getQueueId(),
                        result.getQueueOffset() + i, result.getMsgId().split(",")[i],
                        result.getOffsetMsgId().split(",")[i]));
                }
                number += 3;
            } else {
                SendResult result = producer.send(message(topic, number));
                written.add(new Entry(number, topic, result.getMessageQueue().getQueueId(), result.getQueueOffset(),
                    result.getMsgId(), result.getOffsetMsgId()));
                number++;
            }
        }
        for (Entry entry : written) {
            // Queues go on where the store left them.
            long end = ends.getOrDefault(entry.queueKey(), 0L);
            Check.equal(end, entry.offset, "queue offset of " + entry.number + " in " + entry.queueKey());
            ends.put(entry.queueKey(), end + 1);
        }
        save(written);
    }

    private void read() throws Exception {
        DefaultMQPullConsumer reader = clients.pullConsumer(clients.unique("reader"));
        Map<String, Entry> expected = new HashMap<>();
        entries().forEach(entry -> expected.put(entry.queueKey() + "/" + entry.offset, entry));
        int total = expected.size();
        for (int i = 0; i < TOPICS.length; i++) {
            String topic = TOPICS[i];
            Check.eventually(() -> {
                try {
                    return !reader.fetchSubscribeMessageQueues(topic).isEmpty();
                } catch (Exception notYet) {
                    return false;
                }
            }, "a route to " + topic);
            Check.equal(QUEUES[i], ReadBack.queues(reader, topic).size(), "queues of " + topic);
            for (MessageExt message : ReadBack.topic(reader, topic)) {
                String key = topic + "/" + message.getQueueId() + "/" + message.getQueueOffset();
                Entry entry = expected.remove(key);
                Check.that(entry != null, "nothing was sent to " + key);
                Check.equal(entry.number, Bodies.number(message), "number at " + key);
                Check.equal(entry.msgId, message.getMsgId(), "message id at " + key);
                Check.equal(entry.offsetMsgId, offsetMsgId(message), "offset id at " + key);
                Bodies.check(message, topic, tag(entry.number), body(entry.number));
            }
        }
        Check.equal(0, expected.size(), "messages that are missing: " + expected.keySet());
        System.out.println(total + " messages");
    }

    private void commitOffsets() throws Exception {
        DefaultMQPullConsumer consumer = clients.pullConsumer(GROUP);
        for (MessageQueue queue : ReadBack.queues(consumer, TOPICS[0])) {
            // The pull makes a 5.x broker know the group.
            consumer.pull(queue, "*", 0, 1);
            consumer.updateConsumeOffset(queue, queue.getQueueId() + 1);
            consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        }
        checkOffsets();
    }

    private void checkOffsets() throws Exception {
        DefaultMQProducer asker = clients.producer();
        Check.eventually(() -> {
            try {
                return Versions.readQueues(Clients.instance(asker), TOPICS[0]) == QUEUES[0];
            } catch (Exception notYet) {
                return false;
            }
        }, "a route to " + TOPICS[0]);
        for (int queue = 0; queue < QUEUES[0]; queue++) {
            asker.fetchPublishMessageQueues(TOPICS[0]);
            Restarts.awaitCommitted(asker, TOPICS[0], GROUP, queue, queue + 1);
        }
    }

    private static String topic(int number) {
        return TOPICS[number / 10 % TOPICS.length];
    }

    private static String tag(int number) {
        return number % 4 == 3 ? null : "tag-" + number % 4;
    }

    private static byte[] body(int number) {
        switch (number % 10) {
            case 0: return Bodies.large(number, 200_000);
            case 1: return Bodies.large(number, 900_000 + number);
            case 2: return new byte[] {(byte) number};
            default: return Bodies.small(topic(number), number);
        }
    }

    private static Message message(String topic, int number) {
        return Bodies.message(topic, tag(number), number, body(number));
    }

    private static String offsetMsgId(MessageExt message) {
        SocketAddress host = message.getStoreHost();
        return MessageDecoder.createMessageId(host, message.getCommitLogOffset());
    }

    private List<Entry> entries() throws IOException {
        List<Entry> entries = new ArrayList<>();
        if (Files.exists(manifest)) {
            for (String line : Files.readAllLines(manifest)) {
                entries.add(Entry.parse(line));
            }
        }
        return entries;
    }

    private void save(List<Entry> written) throws IOException {
        List<String> lines = new ArrayList<>();
        written.forEach(entry -> lines.add(entry.line()));
        Files.write(manifest, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /** One message and where the answer said that it lies. */
    private static final class Entry {
        final int number;
        final String topic;
        final int queue;
        final long offset;
        final String msgId;
        final String offsetMsgId;

        Entry(int number, String topic, int queue, long offset, String msgId, String offsetMsgId) {
            this.number = number;
            this.topic = topic;
            this.queue = queue;
            this.offset = offset;
            this.msgId = msgId;
            this.offsetMsgId = offsetMsgId;
        }

        String queueKey() {
            return topic + "/" + queue;
        }

        String line() {
            return String.join("\t", Integer.toString(number), topic, Integer.toString(queue), Long.toString(offset), msgId,
                offsetMsgId);
        }

        static Entry parse(String line) {
            String[] fields = line.split("\t");
            return new Entry(Integer.parseInt(fields[0]), fields[1], Integer.parseInt(fields[2]), Long.parseLong(fields[3]),
                fields[4], fields[5]);
        }
    }
}
