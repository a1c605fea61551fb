package org.raftmq.interop;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** {@code DefaultLitePullConsumer}: queues given by the group, and queues that the caller assigns. */
final class LitePulls {
    private LitePulls() {
    }

    /** Asked for by name, see {@link Versions#litePullScenarios}. */
    static Map<String, Suite.Scenario> scenarios() {
        Map<String, Suite.Scenario> scenarios = new LinkedHashMap<>();
        scenarios.put("lite-pull-subscribe", LitePulls::subscribe);
        scenarios.put("lite-pull-assign", LitePulls::assign);
        scenarios.put("offsets-kept-lite-pull", LitePulls::restarts);
        return scenarios;
    }

    static String tag(int number) {
        return number % 3 == 0 ? "third" : "rest";
    }

    static int subscribe(Clients clients) throws Exception {
        String topic = clients.unique("lite");
        DefaultMQProducer producer = clients.producer();
        for (int i = 0; i < 300; i++) {
            producer.send(Bodies.message(topic, tag(i), i));
        }
        DefaultLitePullConsumer all = consumer(clients, clients.unique("lite-all"));
        all.subscribe(topic, "*");
        all.start();
        Set<Integer> seen = pollExactly(all, topic, 300);
        Check.equal(Inbox.range(0, 300), seen, "messages");

        DefaultLitePullConsumer some = consumer(clients, clients.unique("lite-some"));
        some.subscribe(topic, "third");
        some.start();
        Set<Integer> thirds = pollExactly(some, topic, 100);
        Check.that(thirds.stream().allMatch(number -> number % 3 == 0), "only the third ones: " + thirds);

        // Sent while the consumer waits in its held pulls.
        for (int i = 300; i < 350; i++) {
            producer.send(Bodies.message(topic, tag(i), i));
        }
        Check.equal(Inbox.range(300, 350), pollExactly(all, topic, 50), "messages sent later");
        return 450;
    }

    static int assign(Clients clients) throws Exception {
        String topic = clients.unique("assigned");
        DefaultMQProducer producer = clients.producer();
        Versions.createTopic(producer, "TBW102", topic, 4);
        Check.eventually(() -> Versions.readQueues(Clients.instance(producer), topic) == 4, "a route with 4 queues");
        List<MessageQueue> published = producer.fetchPublishMessageQueues(topic);
        published.sort(Comparator.naturalOrder());
        for (int i = 0; i < 100; i++) {
            producer.send(Bodies.message(topic, tag(i), i), published.get(i % 2));
        }
        String group = clients.unique("assigner");
        DefaultLitePullConsumer consumer = consumer(clients, group);
        consumer.setAutoCommit(false);
        consumer.start();
        List<MessageQueue> queues = new ArrayList<>(consumer.fetchMessageQueues(topic));
        queues.sort(Comparator.naturalOrder());
        Check.equal(4, queues.size(), "queues");
        consumer.assign(queues);
        Check.equal(Inbox.range(0, 100), pollExactly(consumer, topic, 100), "messages from the beginning");

        // A seek while pulls bring messages may repeat some (a race inside the client), so only at rest.
        MessageQueue even = published.get(0);
        consumer.seekToBegin(even);
        Set<Integer> again = pollExactly(consumer, topic, 50);
        Check.that(again.stream().allMatch(number -> number % 2 == 0), "the even ones again: " + again);

        // One queue again from a chosen offset, then from its end.
        MessageQueue odd = published.get(1);
        consumer.seek(odd, 40);
        Set<Integer> tail = pollExactly(consumer, topic, 10);
        Check.that(tail.stream().allMatch(number -> number >= 80), "from offset 40: " + tail);
        consumer.seekToEnd(odd);
        producer.send(Bodies.message(topic, tag(100), 100), odd);
        Check.equal(Set.of(100), pollExactly(consumer, topic, 1), "after the end");
        long late = consumer.offsetForTimestamp(odd, System.currentTimeMillis() + 60_000);
        Check.that(late == 50 || late == 51, "offset of a time to come: " + late);

        consumer.commitSync();
        // 4.7.0 says 0 for ever, with Java's broker too.
        if (!Versions.client().startsWith("V4_7")) {
            Check.eventually(() -> consumer.committed(odd) == 51, () -> "committed 51, is " + consumer.committed(odd));
        }
        return 161;
    }

    /** Offsets outlive the consumer. */
    static int restarts(Clients clients) throws Exception {
        String topic = clients.unique("kept-lite");
        String group = clients.unique("lite-keeper");
        DefaultMQProducer producer = clients.producer();
        for (int round = 0; round < 3; round++) {
            for (int i = round * 50; i < round * 50 + 50; i++) {
                producer.send(Bodies.message(topic, tag(i), i));
            }
            DefaultLitePullConsumer consumer = consumer(clients, group);
            consumer.subscribe(topic, "*");
            consumer.start();
            Check.equal(Inbox.range(round * 50, round * 50 + 50), pollExactly(consumer, topic, 50),
                "messages of round " + round);
            consumer.commitSync();
            consumer.shutdown();
        }
        return 150;
    }

    /** Not started: the scenario subscribes or assigns. */
    private static DefaultLitePullConsumer consumer(Clients clients, String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        clients.configure(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullThreadNums(4);
        clients.closeAtEnd(consumer::shutdown);
        return consumer;
    }

    /** Polls until {@code count} messages came, then a little more: no number twice, no more than {@code count}. */
    static Set<Integer> pollExactly(DefaultLitePullConsumer consumer, String topic, int count) throws Exception {
        Set<Integer> seen = new HashSet<>();
        long end = System.nanoTime() + Check.PATIENCE_MS * 1_000_000;
        while (seen.size() < count && System.nanoTime() < end) {
            file(consumer.poll(500), topic, seen);
        }
        Check.equal(count, seen.size(), "messages polled");
        file(consumer.poll(1_000), topic, seen);
        Check.equal(count, seen.size(), "messages after the last");
        return seen;
    }

    private static void file(List<MessageExt> polled, String topic, Set<Integer> seen) {
        for (MessageExt message : polled) {
            int number = Bodies.number(message);
            Bodies.check(message, topic, tag(number));
            Check.that(seen.add(number), number + " was polled twice");
        }
    }
}
