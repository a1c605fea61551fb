package org.raftmq.interop;

import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;

/** Offsets outlive the consumer: the next one of the group goes on where the last stopped. */
@SuppressWarnings("deprecation")
final class Restarts {
    private Restarts() {
    }

    static int push(Clients clients) throws Exception {
        String topic = clients.unique("kept");
        String group = clients.unique("keeper");
        DefaultMQProducer producer = clients.producer();
        Pushes.send(producer, topic, 0, 100);
        for (int round = 0; round < 3; round++) {
            // From the last offset: what came while nobody listened is not lost, because the group has an offset; and
            // in the first round because the topic is young.
            DefaultMQPushConsumer consumer = clients.pushConsumer(group);
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            consumer.subscribe(topic, "*");
            Inbox inbox = new Inbox();
            consumer.registerMessageListener(inbox.listener(message -> Bodies.check(message, topic, "push")));
            consumer.start();
            Inbox.expectExactly(Inbox.range(round * 100, round * 100 + 100), inbox);
            // A shutdown commits as well; under load, with Java's broker, that was lost now and then.
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            awaitCommittedSum(producer, topic, group, round * 100 + 100);
            consumer.shutdown();
            Pushes.send(producer, topic, round * 100 + 100, round * 100 + 200);
        }
        awaitCommittedSum(producer, topic, group, 300);
        return 300;
    }

    static void awaitCommitted(DefaultMQProducer producer, String topic, String group, int queue, long offset)
        throws Exception {
        Map<Integer, Long> committed = new TreeMap<>();
        Check.eventually(() -> {
            committed.putAll(committed(producer, topic, group));
            return committed.get(queue) == offset;
        }, () -> "committed offset " + offset + " of queue " + queue + "; there are " + committed);
    }

    /** For scenarios that do not say which message goes to which queue. */
    static void awaitCommittedSum(DefaultMQProducer producer, String topic, String group, long sum) throws Exception {
        Map<Integer, Long> committed = new TreeMap<>();
        Check.eventually(() -> {
            committed.putAll(committed(producer, topic, group));
            return committed.values().stream().mapToLong(offset -> Math.max(0, offset)).sum() == sum;
        }, () -> "committed offsets that sum up to " + sum + "; there are " + committed);
    }

    /** By queue, -1 for none, as the master has them: commits are one-way requests, so it may be a moment behind. */
    private static Map<Integer, Long> committed(DefaultMQProducer producer, String topic, String group) throws Exception {
        MQClientInstance instance = Clients.instance(producer);
        Map<Integer, Long> committed = new TreeMap<>();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            String master = instance.findBrokerAddressInPublish(queue.getBrokerName());
            long offset = -1;
            try {
                offset = Versions.committedOffset(instance, master, group, topic, queue.getQueueId());
            } catch (MQBrokerException unavailable) {
                // A group may elect while the machine is busy; clients ask again too.
            }
            committed.put(queue.getQueueId(), offset);
        }
        return committed;
    }

    static int pull(Clients clients) throws Exception {
        String topic = clients.unique("kept-pull");
        String group = clients.unique("pull-keeper");
        DefaultMQProducer producer = clients.producer();
        Pushes.send(producer, topic, 0, 40);
        Map<MessageQueue, Long> kept = new HashMap<>();
        DefaultMQPullConsumer first = clients.pullConsumer(group);
        for (MessageQueue queue : ReadBack.queues(first, topic)) {
            long offset = 3 + queue.getQueueId();
            // A 5.x broker takes commits of groups that it knows, and a pull makes it know.
            Bodies.check(first.pull(queue, "*", 0, 1).getMsgFoundList().get(0), topic, "push");
            first.updateConsumeOffset(queue, offset);
            first.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            kept.put(queue, offset);
        }
        Check.equal(4, kept.size(), "queues");
        first.shutdown();
        DefaultMQPullConsumer second = clients.pullConsumer(group);
        for (Map.Entry<MessageQueue, Long> entry : kept.entrySet()) {
            // Written one way, so it may still be on its way.
            Check.eventually(() -> second.fetchConsumeOffset(entry.getKey(), true) == entry.getValue(),
                () -> entry + " kept, is " + second.fetchConsumeOffset(entry.getKey(), true));
            second.updateConsumeOffset(entry.getKey(), entry.getValue() + 1);
            second.getDefaultMQPullConsumerImpl().getOffsetStore().persist(entry.getKey());
            long at = entry.getValue();
            Bodies.check(second.pull(entry.getKey(), "*", at, 1).getMsgFoundList().get(0), topic, "push");
        }
        DefaultMQPullConsumer stranger = clients.pullConsumer(clients.unique("stranger"));
        for (Map.Entry<MessageQueue, Long> entry : kept.entrySet()) {
            Check.eventually(() -> second.fetchConsumeOffset(entry.getKey(), true) == entry.getValue() + 1,
                () -> "one more than " + entry);
            Check.that(stranger.fetchConsumeOffset(entry.getKey(), true) <= 0, "another group has no offset");
        }
        return 8;
    }
}
