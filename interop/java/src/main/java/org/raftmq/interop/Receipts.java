package org.raftmq.interop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;

/** What the broker answered to each send, by message number, to be held against what is read. */
final class Receipts {
    private final Map<Integer, SendResult> byNumber = new ConcurrentHashMap<>();

    void add(int number, SendResult result) {
        Check.equal(SendStatus.SEND_OK, result.getSendStatus(), "send status of " + number);
        Check.that(byNumber.put(number, result) == null, number + " was answered twice");
    }

    int size() {
        return byNumber.size();
    }

    /** Each answered message is read once, from the queue, at the offset and under the ids that the answer named. */
    void checkAgainst(List<MessageExt> read) {
        Map<Integer, MessageExt> found = new ConcurrentHashMap<>();
        for (MessageExt message : read) {
            Check.that(found.put(Bodies.number(message), message) == null, Bodies.number(message) + " is stored twice");
        }
        Check.equal(byNumber.keySet(), found.keySet(), "message numbers");
        byNumber.forEach((number, result) -> {
            MessageExt message = found.get(number);
            Check.equal(result.getMessageQueue().getQueueId(), message.getQueueId(), "queue of " + number);
            String broker = result.getMessageQueue().getBrokerName();
            Check.equal(broker, Versions.brokerName(message, broker), "broker of " + number);
            Check.equal(result.getQueueOffset(), message.getQueueOffset(), "queue offset of " + number);
            Check.equal(result.getMsgId(), message.getMsgId(), "message id of " + number);
        });
    }

    SendResult get(int number) {
        return byNumber.get(number);
    }
}
