package org.raftmq.interop;

import java.util.List;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Topics made on purpose (request 17). */
final class Topics {
    private Topics() {
    }

    static int create(Clients clients) throws Exception {
        String topic = clients.unique("created");
        DefaultMQProducer producer = clients.producer();
        try {
            Versions.readQueues(Clients.instance(producer), topic);
            throw new AssertionError("a route for a topic that nobody made");
        } catch (MQClientException absent) {
            Check.equal(17, absent.getResponseCode(), "code of a missing route");
        }
        Versions.createTopic(producer, "TBW102", topic, 6);
        Check.eventually(() -> {
            try {
                return Versions.readQueues(Clients.instance(producer), topic) == 6;
            } catch (MQClientException notYet) {
                return false;
            }
        }, "a route with 6 queues");
        Check.equal(6, producer.fetchPublishMessageQueues(topic).size(), "queues to publish to");
        Receipts receipts = new Receipts();
        for (int i = 0; i < 36; i++) {
            receipts.add(i, producer.send(Bodies.message(topic, null, i)));
        }
        List<MessageExt> read = ReadBack.awaitTopic(clients.pullConsumer(clients.unique("reader")), topic, receipts.size());
        receipts.checkAgainst(read);
        read.forEach(message -> Bodies.check(message, topic, null));
        Check.equal(6L, read.stream().map(MessageExt::getQueueId).distinct().count(), "queues in use");
        return read.size();
    }
}
