package org.raftmq.interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Sends, consumes and asks for committed offsets without pause while someone else kills brokers, and writes down
 * everything that it was told; who started it judges. Clients are as users have them, but for a route poll of 1 s.
 *
 * Arguments: {@code --namesrv HOST:PORT --topic T --members HOST:PORT,... --history FILE}. Says {@code ready} when messages
 * flow. A line on standard input ends it: it stops sending, waits until everything is consumed and its offsets committed,
 * reads every queue back, says {@code done} and exits.
 */
@SuppressWarnings("deprecation")
public final class FailoverDriver {
    private static final int SYNC_SENDERS = 4;
    private static final int ASYNC_IN_FLIGHT = 16;
    /** Each sender, so that some 1000 messages a second come together and a gap is seen to a few milliseconds. */
    private static final int PAUSE_MS = 5;
    private static final int BODY_BYTES = 200;
    private static final int QUEUES = 4;
    private static final long CATCH_UP_MS = 120_000;
    private static final long COMMIT_MS = 60_000;

    private final String namesrv;
    private final String topic;
    private final String group;
    private final List<String> members;
    private final History history;
    private final AtomicInteger next = new AtomicInteger();
    private final Set<Integer> acknowledged = ConcurrentHashMap.newKeySet();
    private final Set<Integer> consumed = ConcurrentHashMap.newKeySet();
    private volatile boolean stopping;

    private FailoverDriver(String namesrv, String topic, List<String> members, History history) {
        this.namesrv = namesrv;
        this.topic = topic;
        this.group = topic + "-consumers";
        this.members = members;
        this.history = history;
    }

    public static void main(String[] arguments) throws Exception {
        String namesrv = null;
        String topic = null;
        String members = null;
        String file = null;
        for (int i = 0; i < arguments.length; i += 2) {
            switch (arguments[i]) {
                case "--namesrv": namesrv = arguments[i + 1]; break;
                case "--topic": topic = arguments[i + 1]; break;
                case "--members": members = arguments[i + 1]; break;
                case "--history": file = arguments[i + 1]; break;
                default: throw new IllegalArgumentException(arguments[i]);
            }
        }
        try (History history = new History(file)) {
            new FailoverDriver(namesrv, topic, List.of(members.split(",")), history).run();
        } catch (Throwable failed) {
            failed.printStackTrace(System.out);
            System.exit(1);
        }
        System.out.println("done");
        System.exit(0);
    }

    private void run() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(topic + "-producers");
        configure(producer, "producer");
        producer.start();
        firstMessage(producer);
        DefaultMQPushConsumer consumer = startConsumer();
        Check.eventually(() -> consumed.contains(0), "the first message is consumed");
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < SYNC_SENDERS; i++) {
            threads.add(start("sync-" + i, () -> sendSync(producer)));
        }
        threads.add(start("async", () -> sendAsync(producer)));
        for (String member : members) {
            threads.add(start("offsets of " + member, () -> pollOffsets(Clients.instance(producer), member)));
        }
        Check.eventually(() -> acknowledged.size() > 200 && consumed.size() > 200, "messages flow");
        System.out.println("ready");
        System.out.flush();

        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).readLine();
        stopping = true;
        for (Thread thread : threads) {
            thread.join();
        }
        history.line("S", History.now());
        awaitConsumer();
        awaitCommitted(Clients.instance(producer), readBack());
        consumer.shutdown();
        // The consumer commits once more at its end, and that takes nothing back either.
        for (String member : members) {
            for (int queue = 0; queue < QUEUES; queue++) {
                askOffset(Clients.instance(producer), member, queue);
            }
        }
        producer.shutdown();
    }

    /** Creates the topic on the way. */
    private void firstMessage(DefaultMQProducer producer) throws Exception {
        SendResult[] result = new SendResult[1];
        Check.eventually(() -> {
            try {
                result[0] = producer.send(message(0));
                return true;
            } catch (Exception notYet) {
                return false;
            }
        }, "a first message is accepted");
        next.set(1);
        acknowledge(0, History.now(), result[0]);
    }

    private DefaultMQPushConsumer startConsumer() throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        configure(consumer, "consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently)
            (messages, context) -> {
                for (MessageExt message : messages) {
                    int number = number(message);
                    consumed.add(number);
                    history.line("C", History.now(), number, message.getQueueId(), message.getQueueOffset());
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        consumer.start();
        return consumer;
    }

    private void sendSync(DefaultMQProducer producer) throws Exception {
        while (!stopping) {
            int number = next.getAndIncrement();
            long begin = History.now();
            try {
                acknowledge(number, begin, producer.send(message(number)));
            } catch (Exception failed) {
                fail(number, begin, failed);
            }
            Thread.sleep(PAUSE_MS);
        }
    }

    private void sendAsync(DefaultMQProducer producer) throws Exception {
        Semaphore inFlight = new Semaphore(ASYNC_IN_FLIGHT);
        while (!stopping) {
            inFlight.acquire();
            int number = next.getAndIncrement();
            long begin = History.now();
            try {
                producer.send(message(number), new SendCallback() {
                    @Override
                    public void onSuccess(SendResult result) {
                        acknowledge(number, begin, result);
                        inFlight.release();
                    }

                    @Override
                    public void onException(Throwable failed) {
                        fail(number, begin, failed);
                        inFlight.release();
                    }
                });
            } catch (Exception failed) {
                fail(number, begin, failed);
                inFlight.release();
            }
            Thread.sleep(PAUSE_MS);
        }
        inFlight.acquire(ASYNC_IN_FLIGHT);
    }

    private void acknowledge(int number, long begin, SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            history.line("F", begin, History.now(), number, result.getSendStatus());
            return;
        }
        history.line("A", begin, History.now(), number, result.getMessageQueue().getQueueId(), result.getQueueOffset());
        acknowledged.add(number);
    }

    private void fail(int number, long begin, Throwable why) {
        history.line("F", begin, History.now(), number, oneLine(why));
    }

    private static String oneLine(Throwable why) {
        return String.valueOf(why).lines().findFirst().orElse("").replace('\t', ' ');
    }

    /**
     * Each member is asked by a thread of its own, one request after the other: what one answer showed, no question asked
     * later may be answered with less, and a member that does not run keeps nobody from asking the others.
     */
    private void pollOffsets(MQClientInstance instance, String member) throws Exception {
        while (!stopping) {
            for (int queue = 0; queue < QUEUES && !stopping; queue++) {
                askOffset(instance, member, queue);
            }
            Thread.sleep(100);
        }
    }

    /** -1 for no offset and for no answer. */
    private long askOffset(MQClientInstance instance, String member, int queue) {
        long begin = History.now();
        try {
            long offset = Versions.committedOffset(instance, member, group, topic, queue);
            history.line("O", begin, History.now(), queue, offset, member);
            return offset;
        } catch (Exception unavailable) {
            // A dead, paused or leaderless member; it is asked again, and the history shows how often it said nothing.
            history.line("N", begin, History.now(), queue, member, oneLine(unavailable));
            return -1;
        }
    }

    /** Everything is consumed, so every member must come to say so; if one does not, the history shows it. */
    private void awaitCommitted(MQClientInstance instance, Map<Integer, Long> ends) throws Exception {
        long limit = System.currentTimeMillis() + COMMIT_MS;
        for (String member : members) {
            for (Map.Entry<Integer, Long> end : ends.entrySet()) {
                while (askOffset(instance, member, end.getKey()) != end.getValue() && System.currentTimeMillis() < limit) {
                    Thread.sleep(50);
                }
            }
        }
    }

    /** Everything acknowledged must reach the consumer; if it does not, the history shows it. */
    private void awaitConsumer() throws Exception {
        long end = System.currentTimeMillis() + CATCH_UP_MS;
        while (!consumed.containsAll(acknowledged) && System.currentTimeMillis() < end) {
            Thread.sleep(50);
        }
    }

    /** Returns the end of each queue. */
    private Map<Integer, Long> readBack() throws Exception {
        Map<Integer, Long> ends = new TreeMap<>();
        DefaultMQPullConsumer reader = new DefaultMQPullConsumer(topic + "-reader");
        configure(reader, "reader");
        reader.start();
        for (MessageQueue queue : ReadBack.queues(reader, topic)) {
            long at = reader.minOffset(queue);
            long max = reader.maxOffset(queue);
            history.line("Q", queue.getQueueId(), at, max);
            ends.put(queue.getQueueId(), max);
            while (at < max) {
                PullResult pulled = reader.pull(queue, "*", at, 32);
                for (MessageExt message : pulled.getMsgFoundList()) {
                    history.line("R", message.getQueueId(), message.getQueueOffset(), number(message));
                }
                Check.that(pulled.getNextBeginOffset() > at, "a pull goes on: " + pulled);
                at = pulled.getNextBeginOffset();
            }
        }
        reader.shutdown();
        return ends;
    }

    private void configure(ClientConfig client, String instance) {
        client.setNamesrvAddr(namesrv);
        client.setInstanceName(instance);
        client.setPollNameServerInterval(1_000);
    }

    private Message message(int number) {
        return new Message(topic, body(number));
    }

    private static byte[] body(int number) {
        byte[] body = new byte[BODY_BYTES];
        Arrays.fill(body, (byte) ('a' + number % 26));
        byte[] text = (number + " ").getBytes(StandardCharsets.US_ASCII);
        System.arraycopy(text, 0, body, 0, text.length);
        return body;
    }

    /** The message's number, or -1 if its body is none of ours. */
    private static int number(MessageExt message) {
        String text = new String(message.getBody(), StandardCharsets.US_ASCII);
        int space = text.indexOf(' ');
        int number = space > 0 ? Integer.parseInt(text.substring(0, space)) : -1;
        return number >= 0 && Arrays.equals(body(number), message.getBody()) ? number : -1;
    }

    private interface Work {
        void run() throws Exception;
    }

    private Thread start(String name, Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Throwable failed) {
                failed.printStackTrace(System.out);
                System.exit(1);
            }
        }, name);
        thread.start();
        return thread;
    }
}
