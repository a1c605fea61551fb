package org.raftmq.interop;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;

/** The ways to send; each is read back whole. */
@SuppressWarnings("deprecation")
final class Sends {
    private Sends() {
    }

    /** The topic does not exist before: the first send creates it from TBW102. */
    static int sync(Clients clients) throws Exception {
        String topic = clients.unique("sync");
        DefaultMQProducer producer = clients.producer();
        Receipts receipts = new Receipts();
        for (int i = 0; i < 200; i++) {
            SendResult result = producer.send(Bodies.message(topic, "tag-" + i % 3, i));
            Check.equal("DefaultRegion", result.getRegionId(), "region");
            receipts.add(i, result);
        }
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, receipts.size());
        receipts.checkAgainst(read);
        read.forEach(message -> Bodies.check(message, topic, "tag-" + Bodies.number(message) % 3));
        Check.equal(4L, read.stream().map(MessageExt::getQueueId).distinct().count(), "queues in use");
        return read.size();
    }

    /** A queue that the caller chooses, directly and by selector; the order within it is the order of the calls. */
    static int syncToQueue(Clients clients) throws Exception {
        String topic = clients.unique("to-queue");
        DefaultMQProducer producer = clients.producer();
        Versions.createTopic(producer, "TBW102", topic, 4);
        Check.eventually(() -> Versions.readQueues(Clients.instance(producer), topic) == 4, "a route with 4 queues");
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
        Collections.sort(queues);
        Receipts receipts = new Receipts();
        for (int i = 0; i < 60; i++) {
            int queueId = i % 3;
            Message message = Bodies.message(topic, null, i);
            SendResult result = i % 2 == 0 ? producer.send(message, queues.get(queueId))
                : producer.send(message, (all, sent, id) -> all.stream()
                    .filter(queue -> queue.getQueueId() == (Integer) id).findFirst().orElseThrow(), queueId);
            Check.equal(queueId, result.getMessageQueue().getQueueId(), "queue of " + i);
            Check.equal((long) (i / 3), result.getQueueOffset(), "queue offset of " + i);
            receipts.add(i, result);
        }
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, receipts.size());
        receipts.checkAgainst(read);
        read.forEach(message -> Bodies.check(message, topic, null));
        return read.size();
    }

    static int async(Clients clients) throws Exception {
        int count = 500;
        String topic = clients.unique("async");
        DefaultMQProducer producer = clients.producer();
        Receipts receipts = new Receipts();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        CountDownLatch answered = new CountDownLatch(count);
        Semaphore inFlight = new Semaphore(64);
        for (int i = 0; i < count; i++) {
            int number = i;
            inFlight.acquire();
            producer.send(Bodies.message(topic, "async", i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    try {
                        receipts.add(number, result);
                    } catch (AssertionError wrong) {
                        failure.set(wrong);
                    }
                    done();
                }

                @Override
                public void onException(Throwable why) {
                    failure.set(why);
                    done();
                }

                private void done() {
                    inFlight.release();
                    answered.countDown();
                }
            });
        }
        Check.that(answered.await(Check.PATIENCE_MS, TimeUnit.MILLISECONDS), "answers missing: " + answered.getCount());
        if (failure.get() != null) {
            throw new AssertionError(failure.get());
        }
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, count);
        receipts.checkAgainst(read);
        read.forEach(message -> Bodies.check(message, topic, "async"));
        return read.size();
    }

    static int oneway(Clients clients) throws Exception {
        int count = 200;
        String topic = clients.unique("oneway");
        DefaultMQProducer producer = clients.producer();
        // One-way sends cannot report that the topic is still being created.
        producer.send(Bodies.message(topic, "oneway", 0));
        for (int i = 1; i < count; i++) {
            producer.sendOneway(Bodies.message(topic, "oneway", i));
        }
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, count);
        read.forEach(message -> Bodies.check(message, topic, "oneway"));
        Check.equal((long) count, read.stream().map(Bodies::number).distinct().count(), "different messages");
        return read.size();
    }

    /** A batch lies in one queue without a gap; its answer names the first queue offset and every id. */
    static int batch(Clients clients) throws Exception {
        String topic = clients.unique("batch");
        DefaultMQProducer producer = clients.producer();
        int sent = 0;
        List<SendResult> results = new ArrayList<>();
        List<Integer> firstNumbers = new ArrayList<>();
        for (int size : new int[] {1, 2, 10, 50, 100, 37}) {
            List<Message> batch = new ArrayList<>();
            firstNumbers.add(sent);
            for (int i = 0; i < size; i++) {
                batch.add(Bodies.message(topic, "tag-" + sent % 2, sent));
                sent++;
            }
            SendResult result = producer.send(batch);
            Check.equal(SendStatus.SEND_OK, result.getSendStatus(), "status of the batch of " + size);
            Check.equal(size, result.getMsgId().split(",").length, "message ids of the batch of " + size);
            Check.equal(size, result.getOffsetMsgId().split(",").length, "offset ids of the batch of " + size);
            results.add(result);
        }
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, sent);
        for (MessageExt message : read) {
            int number = Bodies.number(message);
            Bodies.check(message, topic, "tag-" + number % 2);
            int batch = firstNumbers.size() - 1;
            while (firstNumbers.get(batch) > number) {
                batch--;
            }
            SendResult result = results.get(batch);
            int index = number - firstNumbers.get(batch);
            Check.equal(result.getMessageQueue().getQueueId(), message.getQueueId(), "queue of " + number);
            Check.equal(result.getQueueOffset() + index, message.getQueueOffset(), "queue offset of " + number);
            Check.equal(result.getMsgId().split(",")[index], message.getMsgId(), "message id of " + number);
            Offsets.checkOffsetId(result.getOffsetMsgId().split(",")[index], message);
        }
        return read.size();
    }

    /** Bodies over 4 KiB are compressed by the client; the broker keeps them so and the consumer sees them whole. */
    static int compressed(Clients clients) throws Exception {
        String topic = clients.unique("compressed");
        DefaultMQProducer producer = clients.producer();
        Receipts receipts = new Receipts();
        int[] sizes = {4095, 4096, 4097, 5000, 10_000, 65_536, 100_001, 1_000_000};
        for (int i = 0; i < 40; i++) {
            receipts.add(i, producer.send(Bodies.message(topic, "big", i, Bodies.large(i, sizes[i % 8]))));
        }
        DefaultMQPullConsumer reader = clients.pullConsumer(clients.unique("reader"));
        List<MessageExt> read = ReadBack.awaitTopic(reader, topic, 40);
        receipts.checkAgainst(read);
        for (MessageExt message : read) {
            int number = Bodies.number(message);
            int size = sizes[number % 8];
            Bodies.check(message, topic, "big", Bodies.large(number, size));
            // 5.x clears the flag when it has unpacked the body, so the stored size has to tell.
            boolean flagged = (message.getSysFlag() & MessageSysFlag.COMPRESSED_FLAG) != 0;
            Check.that(flagged == (size >= 4096) || !Versions.client().startsWith("V4"), "compressed flag of " + number);
            if (number % 2 == 0) {
                Check.equal(size >= 4096, message.getStoreSize() < size, "compression of " + number + " with " + size
                    + " bytes, stored in " + message.getStoreSize());
            }
        }
        return read.size();
    }

    /** A body over the broker's maxMessageSize is refused with code 13, and the connection goes on. */
    static int tooLarge(Clients clients) throws Exception {
        String topic = clients.unique("too-large");
        DefaultMQProducer producer = clients.producer();
        producer.setMaxMessageSize(8 * 1024 * 1024);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        Receipts receipts = new Receipts();
        receipts.add(0, producer.send(Bodies.message(topic, null, 0)));
        try {
            producer.send(Bodies.message(topic, null, 1, Bodies.large(1, 4 * 1024 * 1024 + 1)));
            throw new AssertionError("4 MiB + 1 byte was accepted");
        } catch (MQBrokerException refused) {
            Check.equal(13, refused.getResponseCode(), "response code (" + refused.getErrorMessage() + ")");
        }
        receipts.add(2, producer.send(Bodies.message(topic, null, 2)));
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, 2);
        receipts.checkAgainst(read);
        return read.size();
    }
}
