package org.raftmq.interop;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Reads queues from end to end with the pull consumer. */
@SuppressWarnings("deprecation")
final class ReadBack {
    private ReadBack() {
    }

    /** Every message of the topic, queue by queue in order of offset. */
    static List<MessageExt> topic(DefaultMQPullConsumer consumer, String topic) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        for (MessageQueue queue : queues(consumer, topic)) {
            all.addAll(queue(consumer, queue));
        }
        return all;
    }

    static List<MessageQueue> queues(DefaultMQPullConsumer consumer, String topic) throws Exception {
        List<MessageQueue> queues = new ArrayList<>(consumer.fetchSubscribeMessageQueues(topic));
        queues.sort(Comparator.naturalOrder());
        return queues;
    }

    /** Every message from the queue's min to its max offset; offsets must follow on one another. */
    static List<MessageExt> queue(DefaultMQPullConsumer consumer, MessageQueue queue) throws Exception {
        List<MessageExt> found = new ArrayList<>();
        long at = consumer.minOffset(queue);
        long max = consumer.maxOffset(queue);
        while (at < max) {
            PullResult pulled = consumer.pull(queue, "*", at, 32);
            Check.equal(PullStatus.FOUND, pulled.getPullStatus(), "pull of " + queue + " at " + at + " of " + max);
            for (MessageExt message : pulled.getMsgFoundList()) {
                Check.equal(at, message.getQueueOffset(), "queue offset in " + queue);
                Check.equal(queue.getQueueId(), message.getQueueId(), "queue id at offset " + at);
                found.add(message);
                at++;
            }
            Check.equal(at, pulled.getNextBeginOffset(), "next offset of " + queue);
        }
        return found;
    }

    /** Java's broker answers a send before its consume queue has the message. */
    static void awaitMax(DefaultMQPullConsumer consumer, MessageQueue queue, long offset) throws Exception {
        Check.eventually(() -> consumer.maxOffset(queue) == offset, () -> "max offset " + offset + " of " + queue + ", is "
            + consumer.maxOffset(queue));
    }

    /** Waits until the queues hold {@code count} messages: one-way sends and consume queues may lag. */
    static List<MessageExt> awaitTopic(DefaultMQPullConsumer consumer, String topic, int count) throws Exception {
        Check.eventually(() -> stored(consumer, topic) >= count,
            () -> count + " messages in " + topic + ", there are " + stored(consumer, topic));
        List<MessageExt> all = topic(consumer, topic);
        Check.equal(count, all.size(), "messages in " + topic);
        return all;
    }

    private static long stored(DefaultMQPullConsumer consumer, String topic) throws Exception {
        long stored = 0;
        for (MessageQueue queue : queues(consumer, topic)) {
            stored += consumer.maxOffset(queue) - consumer.minOffset(queue);
        }
        return stored;
    }
}
