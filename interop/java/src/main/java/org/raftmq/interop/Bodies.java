package org.raftmq.interop;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that can be told apart and checked from their number alone. */
final class Bodies {
    /** Beyond ASCII on purpose, four-byte characters included. */
    static final String TEXT_PROPERTY = "Grüße, 消息, 🚀";

    private Bodies() {
    }

    static Message message(String topic, String tag, int number, byte[] body) {
        Message message = new Message(topic, tag, "key-" + number + " other-" + number, 7, body, true);
        message.putUserProperty("number", Integer.toString(number));
        message.putUserProperty("text", TEXT_PROPERTY);
        return message;
    }

    static Message message(String topic, String tag, int number) {
        return message(topic, tag, number, small(topic, number));
    }

    static byte[] small(String topic, int number) {
        return ("RaftMQ " + topic + " Nachricht ü " + number).getBytes(StandardCharsets.UTF_8);
    }

    /** {@code size} bytes that compress well (even numbers) or not at all (odd ones). */
    static byte[] large(int number, int size) {
        byte[] body = new byte[size];
        if (number % 2 == 0) {
            Arrays.fill(body, (byte) ('a' + number % 26));
        } else {
            new Random(number).nextBytes(body);
        }
        return body;
    }

    static int number(MessageExt message) {
        return Integer.parseInt(message.getUserProperty("number"));
    }

    /** Everything that the producer put in must be there, and nothing of it changed. */
    static void check(MessageExt message, String topic, String tag, byte[] body) {
        int number = number(message);
        Check.equal(topic, message.getTopic(), "topic of " + number);
        Check.equal(tag, message.getTags(), "tag of " + number);
        Check.equal("key-" + number + " other-" + number, message.getKeys(), "keys of " + number);
        Check.equal(TEXT_PROPERTY, message.getUserProperty("text"), "property of " + number);
        Check.equal(7, message.getFlag(), "flag of " + number);
        Check.that(Arrays.equals(body, message.getBody()), "body of " + number + " differs");
        Check.that(message.getStoreTimestamp() > 0 && message.getBornTimestamp() > 0, "times of " + number);
        Check.equal(0, message.getReconsumeTimes(), "reconsume times of " + number);
    }

    static void check(MessageExt message, String topic, String tag) {
        check(message, topic, tag, small(topic, number(message)));
    }
}
