package org.raftmq.interop;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** Collects what one push consumer is given, checks each message, and accounts for every delivery. */
final class Inbox {
    private final List<MessageExt> received = new ArrayList<>();
    private final AtomicReference<Throwable> failure = new AtomicReference<>();

    interface MessageCheck {
        void check(MessageExt message);
    }

    /** A listener that files each message here after checking it; a wrong one fails the scenario, not the consumption. */
    MessageListenerConcurrently listener(MessageCheck check) {
        return (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    check.check(message);
                } catch (Throwable wrong) {
                    failure.compareAndSet(null, wrong);
                }
                synchronized (received) {
                    received.add(message);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    List<MessageExt> received() {
        if (failure.get() != null) {
            throw new AssertionError(failure.get());
        }
        synchronized (received) {
            return new ArrayList<>(received);
        }
    }

    int size() {
        return received().size();
    }

    Set<Integer> queues() {
        return received().stream().map(MessageExt::getQueueId).collect(Collectors.toSet());
    }

    /** Waits until the inboxes together hold {@code numbers}, then lets extras arrive: each exactly once, none other. */
    static void expectExactly(Set<Integer> numbers, Inbox... inboxes) throws Exception {
        Check.eventually(() -> numbers(inboxes).containsAll(numbers), () -> {
            Set<Integer> missing = new TreeSet<>(numbers);
            missing.removeAll(numbers(inboxes));
            return missing.size() + " of " + numbers.size() + " messages never came: " + missing;
        });
        Check.settle();
        Set<Integer> once = new HashSet<>();
        for (Inbox inbox : inboxes) {
            for (MessageExt message : inbox.received()) {
                int number = Bodies.number(message);
                Check.that(numbers.contains(number), number + " was not expected here");
                Check.that(once.add(number), number + " was delivered twice");
            }
        }
    }

    static Set<Integer> range(int from, int to) {
        return IntStream.range(from, to).boxed().collect(Collectors.toSet());
    }

    private static Set<Integer> numbers(Inbox... inboxes) {
        Set<Integer> all = ConcurrentHashMap.newKeySet();
        for (Inbox inbox : inboxes) {
            inbox.received().forEach(message -> all.add(Bodies.number(message)));
        }
        return all;
    }

    /** How many queues of the topic the consumer holds now. */
    static long held(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }
}
