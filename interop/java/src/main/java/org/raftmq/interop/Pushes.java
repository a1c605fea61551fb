package org.raftmq.interop;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** The push consumer: two of a group share, broadcasting gives all to each, tags filter. */
final class Pushes {
    private Pushes() {
    }

    /**
     * Two consumers share four queues; when one leaves, the other takes over. The suite runs with a rebalance interval
     * of minutes, so every move of a queue here was caused by the broker's notice (request 40).
     */
    static int clustering(Clients clients) throws Exception {
        String topic = clients.unique("clustering");
        String group = clients.unique("sharing");
        DefaultMQProducer producer = clients.producer();
        send(producer, topic, 0, 4);
        Inbox[] inboxes = {new Inbox(), new Inbox()};
        DefaultMQPushConsumer[] consumers = new DefaultMQPushConsumer[2];
        for (int i = 0; i < 2; i++) {
            consumers[i] = clients.pushConsumer(group);
            consumers[i].subscribe(topic, "*");
            consumers[i].registerMessageListener(inboxes[i].listener(message -> Bodies.check(message, topic, "push")));
            consumers[i].start();
            if (i == 0) {
                Check.eventually(() -> Inbox.held(consumers[0], topic) == 4, "the first consumer holds 4 queues");
                Inbox.expectExactly(Inbox.range(0, 4), inboxes[0]);
                // The new owner of a queue reads the committed offset at once; a client commits by a timer.
                consumers[0].getDefaultMQPushConsumerImpl().persistConsumerOffset();
                Restarts.awaitCommittedSum(producer, topic, group, 4);
            }
        }
        Check.eventually(() -> Inbox.held(consumers[0], topic) == 2 && Inbox.held(consumers[1], topic) == 2,
            () -> "2 queues each; they hold " + Inbox.held(consumers[0], topic) + ", " + Inbox.held(consumers[1], topic));
        // The queues that moved start from the committed offset; nothing may come twice from here on.
        Inbox[] shared = {inboxes[0], inboxes[1]};
        send(producer, topic, 4, 1000);
        Inbox.expectExactly(Inbox.range(0, 1000), shared);
        Set<Integer> second = inboxes[1].queues();
        Check.equal(2, second.size(), "queues of the second consumer");
        Check.that(inboxes[0].received().stream().filter(message -> Bodies.number(message) >= 4)
            .noneMatch(message -> second.contains(message.getQueueId())), "a queue was served by both");

        consumers[0].shutdown();
        Check.eventually(() -> Inbox.held(consumers[1], topic) == 4, "the second consumer takes over all 4 queues");
        send(producer, topic, 1000, 1200);
        Inbox.expectExactly(Inbox.range(0, 1200), shared);
        return 1200;
    }

    static int broadcasting(Clients clients) throws Exception {
        String topic = clients.unique("broadcasting");
        String group = clients.unique("everyone");
        DefaultMQProducer producer = clients.producer();
        send(producer, topic, 0, 100);
        Inbox[] inboxes = {new Inbox(), new Inbox()};
        for (Inbox inbox : inboxes) {
            DefaultMQPushConsumer consumer = clients.pushConsumer(group);
            Versions.setMessageModel(consumer, "BROADCASTING");
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox.listener(message -> Bodies.check(message, topic, "push")));
            consumer.start();
        }
        send(producer, topic, 100, 300);
        for (Inbox inbox : inboxes) {
            Inbox.expectExactly(Inbox.range(0, 300), inbox);
        }
        return 600;
    }

    /** {@code AaAa} and {@code BBBB} have one hash: the broker lets both through and the client must not. */
    static int tags(Clients clients) throws Exception {
        String[] tags = {"red", "green", "blue", null, "AaAa", "BBBB", "rouge-ü"};
        int count = 350;
        String topic = clients.unique("tags");
        DefaultMQProducer producer = clients.producer();
        for (int i = 0; i < count; i++) {
            producer.send(Bodies.message(topic, tags[i % tags.length], i));
        }
        List<String> expressions = List.of("*", "red || blue", "AaAa", "rouge-ü", "none-such");
        Inbox[] inboxes = new Inbox[expressions.size()];
        for (int i = 0; i < inboxes.length; i++) {
            inboxes[i] = new Inbox();
            DefaultMQPushConsumer consumer = clients.pushConsumer(clients.unique("tags-" + i));
            consumer.subscribe(topic, expressions.get(i));
            consumer.registerMessageListener(inboxes[i].listener(message ->
                Bodies.check(message, topic, tags[Bodies.number(message) % tags.length])));
            consumer.start();
        }
        int asserted = 0;
        for (int i = 0; i < inboxes.length; i++) {
            Set<Integer> expected = matching(expressions.get(i), tags, count);
            Inbox.expectExactly(expected, inboxes[i]);
            asserted += expected.size();
        }
        return asserted;
    }

    private static Set<Integer> matching(String expression, String[] tags, int count) {
        Set<String> wanted = new HashSet<>(List.of(expression.split(" \\|\\| ")));
        return IntStream.range(0, count).boxed()
            .filter(i -> expression.equals("*") || wanted.contains(tags[i % tags.length])).collect(Collectors.toSet());
    }

    static void send(DefaultMQProducer producer, String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            producer.send(Bodies.message(topic, "push", i));
        }
    }
}
