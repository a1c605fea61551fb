package org.raftmq.interop;

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageId;
import org.apache.rocketmq.common.message.MessageQueue;

/** Offsets by number and by time, and what is inside the two kinds of message id. */
@SuppressWarnings("deprecation")
final class Offsets {
    private Offsets() {
    }

    static int search(Clients clients) throws Exception {
        String topic = clients.unique("search");
        DefaultMQProducer producer = clients.producer();
        producer.send(Bodies.message(topic, null, 0));
        DefaultMQPullConsumer consumer = clients.pullConsumer(clients.unique("searcher"));
        int used = ReadBack.awaitTopic(consumer, topic, 1).get(0).getQueueId();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).stream()
            .filter(candidate -> candidate.getQueueId() != used).findFirst().orElseThrow();
        Check.equal(0L, consumer.maxOffset(queue), "max offset of an empty queue");
        Check.that(consumer.minOffset(queue) <= 0, "min offset of an empty queue");
        int count = 30;
        for (int i = 1; i <= count; i++) {
            producer.send(Bodies.message(topic, null, i), queue);
            Thread.sleep(15);
        }
        ReadBack.awaitMax(consumer, queue, count);
        List<MessageExt> read = ReadBack.queue(consumer, queue);
        Check.equal(count, read.size(), "messages");
        Check.equal(0L, consumer.minOffset(queue), "min offset");
        Check.equal((long) count, consumer.maxOffset(queue), "max offset");
        Check.equal(read.get(0).getStoreTimestamp(), consumer.earliestMsgStoreTime(queue), "earliest store time");
        for (int i = 0; i < count; i++) {
            Bodies.check(read.get(i), topic, null);
            long time = read.get(i).getStoreTimestamp();
            Check.equal((long) i, consumer.searchOffset(queue, time), "offset at the very time of message " + i);
            if (i > 0) {
                // 4.9 takes the nearer neighbour, 5.x the later one.
                long between = consumer.searchOffset(queue, (read.get(i - 1).getStoreTimestamp() + time) / 2);
                Check.that(between == i || between == i - 1, "offset between " + (i - 1) + " and " + i + ": " + between);
            }
        }
        long first = read.get(0).getStoreTimestamp();
        Check.equal(0L, consumer.searchOffset(queue, first - 60_000), "offset of a time before the first");
        // 4.9 answers with the last message, 5.x with the end.
        long late = consumer.searchOffset(queue, System.currentTimeMillis() + 60_000);
        Check.that(late == count - 1 || late == count, "offset of a time to come: " + late);
        return count;
    }

    static int ids(Clients clients) throws Exception {
        String topic = clients.unique("ids");
        DefaultMQProducer producer = clients.producer();
        List<SendResult> results = new ArrayList<>();
        long begin = System.currentTimeMillis();
        for (int i = 0; i < 50; i++) {
            results.add(producer.send(Bodies.message(topic, "ids", i)));
        }
        List<String> members = Versions.brokerAddresses(Clients.instance(producer), topic);
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, 50);
        for (MessageExt message : read) {
            SendResult result = results.get(Bodies.number(message));
            checkOffsetId(result.getOffsetMsgId(), message);
            InetSocketAddress host = (InetSocketAddress) MessageDecoder.decodeMessageId(result.getOffsetMsgId()).getAddress();
            String address = host.getAddress().getHostAddress() + ":" + host.getPort();
            Check.that(members.contains(address), address + " in the id is none of " + members);
            Check.equal(result.getMsgId(), MessageClientIDSetter.getUniqID(message), "unique id");
            Date born = MessageClientIDSetter.getNearlyTimeFromID(result.getMsgId());
            Check.that(Math.abs(born.getTime() - begin) < 600_000, "time in the unique id: " + born);
            Bodies.check(message, topic, "ids");
        }
        return 50;
    }

    /** The id that the broker gave holds the store host and the physical offset of the message. */
    static void checkOffsetId(String offsetMsgId, MessageExt message) throws Exception {
        Check.equal(32, offsetMsgId.length(), "length of " + offsetMsgId);
        MessageId decoded = MessageDecoder.decodeMessageId(offsetMsgId);
        Check.equal(message.getCommitLogOffset(), decoded.getOffset(), "physical offset in " + offsetMsgId);
        Check.equal(message.getStoreHost(), decoded.getAddress(), "store host in " + offsetMsgId);
    }
}
