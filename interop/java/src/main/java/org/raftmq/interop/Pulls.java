package org.raftmq.interop;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullCallback;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** {@code DefaultMQPullConsumer}: each status that a pull can have, and waiting for a message. */
@SuppressWarnings("deprecation")
final class Pulls {
    private Pulls() {
    }

    static int pull(Clients clients) throws Exception {
        String topic = clients.unique("pull");
        DefaultMQProducer producer = clients.producer();
        producer.send(Bodies.message(topic, "even", 0));
        DefaultMQPullConsumer consumer = clients.pullConsumer(clients.unique("puller"));
        int used = ReadBack.awaitTopic(consumer, topic, 1).get(0).getQueueId();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).stream()
            .filter(candidate -> candidate.getQueueId() != used).findFirst().orElseThrow();
        for (int i = 1; i <= 100; i++) {
            producer.send(Bodies.message(topic, i % 2 == 0 ? "even" : "odd", i), queue);
        }
        ReadBack.awaitMax(consumer, queue, 100);
        long before = 0;
        long max = 100;

        for (int wanted : new int[] {1, 7, 32}) {
            PullResult some = consumer.pull(queue, "*", before, wanted);
            Check.equal(PullStatus.FOUND, some.getPullStatus(), "status");
            Check.equal(wanted, some.getMsgFoundList().size(), "messages of " + wanted + " wanted");
            Check.equal(before + wanted, some.getNextBeginOffset(), "next offset");
            Check.equal(0L, some.getMinOffset(), "min offset");
            Check.equal(max, some.getMaxOffset(), "max offset");
        }

        long at = before;
        int odd = 0;
        while (at < max) {
            PullResult filtered = consumer.pull(queue, "odd", at, 32);
            Check.equal(PullStatus.FOUND, filtered.getPullStatus(), "status with a filter");
            for (MessageExt message : filtered.getMsgFoundList()) {
                Bodies.check(message, topic, "odd");
                Check.equal(2L * odd + before, message.getQueueOffset(), "offset of odd message " + odd);
                odd++;
            }
            Check.that(filtered.getNextBeginOffset() > at, "a filtered pull goes on");
            at = filtered.getNextBeginOffset();
        }
        Check.equal(50, odd, "odd messages");

        PullResult none = consumer.pull(queue, "no-such-tag", before, 32);
        Check.equal(PullStatus.NO_MATCHED_MSG, none.getPullStatus(), "status when nothing matches");
        Check.equal(max, none.getNextBeginOffset(), "next offset when nothing matches");
        PullResult end = consumer.pull(queue, "*", max, 32);
        Check.equal(PullStatus.NO_NEW_MSG, end.getPullStatus(), "status at the end");
        PullResult past = consumer.pull(queue, "*", max + 1000, 32);
        Check.equal(PullStatus.OFFSET_ILLEGAL, past.getPullStatus(), "status past the end");
        Check.equal(max, past.getNextBeginOffset(), "next offset past the end");

        List<MessageExt> read = ReadBack.topic(consumer, topic);
        Check.equal(101, read.size(), "messages");
        read.forEach(message -> Bodies.check(message, topic, Bodies.number(message) % 2 == 0 ? "even" : "odd"));
        return read.size() + odd;
    }

    /** A pull at the end of a queue is held until a message comes, and is answered at once then. */
    static int longPolling(Clients clients) throws Exception {
        String topic = clients.unique("held");
        DefaultMQProducer producer = clients.producer();
        producer.send(Bodies.message(topic, "held", 0));
        DefaultMQPullConsumer consumer = clients.pullConsumer(clients.unique("waiter"));
        int used = ReadBack.awaitTopic(consumer, topic, 1).get(0).getQueueId();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).stream()
            .filter(candidate -> candidate.getQueueId() != used).findFirst().orElseThrow();
        long end = 0;
        for (int i = 1; i <= 5; i++) {
            ReadBack.awaitMax(consumer, queue, end);
            CompletableFuture<PullResult> held = new CompletableFuture<>();
            consumer.pullBlockIfNotFound(queue, "held", end, 32, new PullCallback() {
                @Override
                public void onSuccess(PullResult result) {
                    held.complete(result);
                }

                @Override
                public void onException(Throwable why) {
                    held.completeExceptionally(why);
                }
            });
            Thread.sleep(700);
            Check.that(!held.isDone(), "answered although there is nothing: " + held);
            // A message that the filter refuses must not end the wait with an empty hand.
            producer.send(Bodies.message(topic, "other", 100 + i), queue);
            producer.send(Bodies.message(topic, "held", i), queue);
            long sent = System.nanoTime();
            PullResult result = held.get(30, TimeUnit.SECONDS);
            long waitedMs = (System.nanoTime() - sent) / 1_000_000;
            if (result.getPullStatus() == PullStatus.NO_MATCHED_MSG) {
                // Woken by the periodic check, not by arrival: permitted, and the next pull finds it.
                result = consumer.pull(queue, "held", result.getNextBeginOffset(), 32);
            }
            Check.equal(PullStatus.FOUND, result.getPullStatus(), "status of held pull " + i);
            Check.equal(1, result.getMsgFoundList().size(), "messages of held pull " + i);
            Check.equal(i, Bodies.number(result.getMsgFoundList().get(0)), "message of held pull " + i);
            Bodies.check(result.getMsgFoundList().get(0), topic, "held");
            end += 2;
            Check.that(waitedMs < 4_000, "held pull " + i + " was answered " + waitedMs + " ms after the send");
        }
        return 5;
    }
}
