package org.raftmq.interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Messages and offsets outlive the brokers: between two consumers of a group, each broker is stopped in order or killed
 * with -9, one after the other, and started again.
 *
 * <p>Whoever started this JVM does that: for a line {@code RESTART stop} or {@code RESTART kill} on standard output he
 * answers with a line on standard input when all brokers serve again.
 */
@SuppressWarnings("deprecation")
final class BrokerRestarts {
    private static final int QUEUES = 4;
    private static final int ROUND = 100;
    private static final BufferedReader ANSWERS =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private BrokerRestarts() {
    }

    /**
     * One broker in classic mode writes offsets to a file by a timer, as RocketMQ's does (flushConsumerOffsetInterval,
     * 5 s), and at an orderly end: after a kill, the messages of the last round may come again, and no others.
     */
    static int one(Clients clients) throws Exception {
        return run(clients, true);
    }

    /** In a Raft group an offset that a query has shown is in the log, so nothing comes twice even after a kill. */
    static int three(Clients clients) throws Exception {
        return run(clients, false);
    }

    private static int run(Clients clients, boolean mayRepeatAfterKill) throws Exception {
        String topic = clients.unique("outlives");
        String group = clients.unique("survivor");
        String[] restarts = {"stop", "kill", "stop", "kill"};
        // One for all rounds, as users have it: it has to find the brokers again.
        DefaultMQProducer producer = clients.producer();
        awaitTemplate(producer);
        Pushes.send(producer, topic, 0, ROUND);
        consume(clients, producer, topic, group, Inbox.range(0, ROUND), Set.of());
        for (int i = 0; i < restarts.length; i++) {
            int from = (i + 1) * ROUND;
            // Half of them are sent before, so that messages have to survive, too.
            Pushes.send(producer, topic, from, from + ROUND / 2);
            restart(restarts[i]);
            awaitServing(producer, topic);
            Pushes.send(producer, topic, from + ROUND / 2, from + ROUND);
            boolean mayRepeat = mayRepeatAfterKill && restarts[i].equals("kill");
            Set<Integer> before = mayRepeat ? Inbox.range(from - ROUND, from) : Set.of();
            consume(clients, producer, topic, group, Inbox.range(from, from + ROUND), before);
        }
        return (restarts.length + 1) * ROUND;
    }

    /** A new consumer of the group is given what is wanted, each once, and nothing else but what may be repeated. */
    private static void consume(Clients clients, DefaultMQProducer asker, String topic, String group, Set<Integer> wanted,
        Set<Integer> mayRepeat) throws Exception {
        // From the last offset: without a kept one, what was sent meanwhile would be skipped.
        DefaultMQPushConsumer consumer = clients.pushConsumer(group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(topic, "*");
        Inbox inbox = new Inbox();
        consumer.registerMessageListener(inbox.listener(message -> Bodies.check(message, topic, "push")));
        consumer.start();
        Set<Integer> missing = new TreeSet<>(wanted);
        Check.eventually(() -> {
            inbox.received().forEach(message -> missing.remove(Bodies.number(message)));
            return missing.isEmpty();
        }, () -> missing.size() + " of " + wanted.size() + " messages never came: " + missing);
        Check.settle();
        Set<Integer> once = new HashSet<>();
        for (MessageExt message : inbox.received()) {
            int number = Bodies.number(message);
            Check.that(wanted.contains(number) || mayRepeat.contains(number), number + " came again after a restart");
            Check.that(once.add(number), number + " was delivered twice");
        }
        // As its timer would do in the end. What it commits when it shuts down goes one way to a broker that stops.
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        for (MessageQueue queue : asker.fetchPublishMessageQueues(topic)) {
            Restarts.awaitCommitted(asker, topic, group, queue.getQueueId(), asker.maxOffset(queue));
        }
        consumer.shutdown();
    }

    private static void restart(String how) throws Exception {
        System.out.println("RESTART " + how);
        System.out.flush();
        Check.equal("done", ANSWERS.readLine(), "answer to RESTART " + how);
    }

    /** A 5.5.0 broker says that it serves before the name server knows the topic that others are created from. */
    private static void awaitTemplate(DefaultMQProducer asker) throws Exception {
        Check.eventually(() -> {
            try {
                return Versions.readQueues(Clients.instance(asker), "TBW102") > 0;
            } catch (Exception notYet) {
                return false;
            }
        }, "a route to TBW102");
    }

    /** The brokers have said that they serve; the route may come a moment later, and a group may still elect. */
    private static void awaitServing(DefaultMQProducer asker, String topic) throws Exception {
        Check.eventually(() -> {
            try {
                List<MessageQueue> queues = asker.fetchPublishMessageQueues(topic);
                return queues.size() == QUEUES && asker.maxOffset(queues.get(0)) > 0;
            } catch (Exception notYet) {
                return false;
            }
        }, "the brokers serve again");
    }
}
