package org.raftmq.interop.spring;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.spring.core.RocketMQTemplate;
import org.apache.rocketmq.spring.support.RocketMQHeaders;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.messaging.Message;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.stereotype.Component;

/** What goes out by {@code RocketMQTemplate} comes in at the listeners, unchanged and where the send was told. */
@Component
final class Scenarios {
    private static final String TEXT = "Grüße, 消息, 🚀";

    private final RocketMQTemplate template;
    private final Application.PlainListener plain;
    private final Application.TagListener tagged;
    private final Application.TypedListener typed;
    private final Application.BroadcastListener everyone;
    private final String run;

    Scenarios(RocketMQTemplate template, Application.PlainListener plain, Application.TagListener tagged,
        Application.TypedListener typed, Application.BroadcastListener everyone, @Value("${interop.run}") String run) {
        this.template = template;
        this.plain = plain;
        this.tagged = tagged;
        this.typed = typed;
        this.everyone = everyone;
        this.run = run;
    }

    Map<String, Suite.Scenario> all() {
        Map<String, Suite.Scenario> all = new LinkedHashMap<>();
        all.put("sync-send", this::syncSend);
        all.put("sync-send-batch", this::syncSendBatch);
        all.put("sync-send-orderly", this::syncSendOrderly);
        all.put("async-send", this::asyncSend);
        all.put("send-one-way", this::sendOneWay);
        all.put("listener-tags", this::tags);
        all.put("listener-typed", this::typed);
        all.put("listener-broadcasting", this::broadcasting);
        all.put("receive", this::receive);
        return all;
    }

    private int syncSend() throws Exception {
        Map<Integer, SendResult> told = new HashMap<>();
        for (int i = 0; i < 50; i++) {
            told.put(i, template.syncSend(topic("plain") + ":spring", message(i)));
        }
        check(plain.take(50), topic("plain"), "spring", told);
        return 50;
    }

    /** A batch lies in one queue without a gap. */
    private int syncSendBatch() throws Exception {
        List<Message<String>> batch = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            batch.add(message(i));
        }
        SendResult result = template.syncSend(topic("plain") + ":spring", batch);
        equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        List<MessageExt> came = plain.take(20);
        check(came, topic("plain"), "spring", Map.of());
        for (MessageExt message : came) {
            equal(result.getMessageQueue().getQueueId(), message.getQueueId(), "queue of " + number(message));
            equal(result.getQueueOffset() + number(message), message.getQueueOffset(), "queue offset of " + number(message));
        }
        return 20;
    }

    /** One hash key, one queue, in the order of the calls. */
    private int syncSendOrderly() throws Exception {
        Map<Integer, SendResult> told = new HashMap<>();
        for (int i = 0; i < 20; i++) {
            told.put(i, template.syncSendOrderly(topic("plain") + ":spring", message(i), "one-key"));
            equal(told.get(0).getMessageQueue(), told.get(i).getMessageQueue(), "queue of " + i);
            equal(told.get(0).getQueueOffset() + i, told.get(i).getQueueOffset(), "queue offset of " + i);
        }
        check(plain.take(20), topic("plain"), "spring", told);
        return 20;
    }

    private int asyncSend() throws Exception {
        Map<Integer, CompletableFuture<SendResult>> answers = new HashMap<>();
        for (int i = 0; i < 50; i++) {
            CompletableFuture<SendResult> answer = new CompletableFuture<>();
            answers.put(i, answer);
            template.asyncSend(topic("plain") + ":spring", message(i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    answer.complete(result);
                }

                @Override
                public void onException(Throwable why) {
                    answer.completeExceptionally(why);
                }
            });
        }
        Map<Integer, SendResult> told = new HashMap<>();
        for (Map.Entry<Integer, CompletableFuture<SendResult>> answer : answers.entrySet()) {
            told.put(answer.getKey(), answer.getValue().get(30, TimeUnit.SECONDS));
        }
        check(plain.take(50), topic("plain"), "spring", told);
        return 50;
    }

    private int sendOneWay() throws Exception {
        for (int i = 0; i < 20; i++) {
            template.sendOneWay(topic("plain") + ":spring", message(i));
        }
        List<MessageExt> came = plain.take(20);
        check(came, topic("plain"), "spring", Map.of());
        return 20;
    }

    private int tags() throws Exception {
        String[] tags = {"red", "green", "blue"};
        Map<Integer, SendResult> told = new HashMap<>();
        for (int i = 0; i < 30; i++) {
            SendResult result = template.syncSend(topic("tagged") + ":" + tags[i % 3], message(i));
            if (i % 3 != 1) {
                told.put(i, result);
            }
        }
        List<MessageExt> came = tagged.take(20);
        for (MessageExt message : came) {
            check(List.of(message), topic("tagged"), tags[number(message) % 3], told);
        }
        return 20;
    }

    private int typed() throws Exception {
        for (int i = 0; i < 20; i++) {
            Application.Order order = new Application.Order();
            order.setNumber(i);
            order.setText(TEXT + i);
            template.convertAndSend(topic("typed"), order);
        }
        Set<Integer> numbers = new HashSet<>();
        for (Application.Order order : typed.take(20)) {
            equal(TEXT + order.getNumber(), order.getText(), "text of " + order.getNumber());
            numbers.add(order.getNumber());
        }
        equal(20, numbers.size(), "different orders");
        return 20;
    }

    private int broadcasting() throws Exception {
        Map<Integer, SendResult> told = new HashMap<>();
        for (int i = 0; i < 20; i++) {
            told.put(i, template.syncSend(topic("everyone") + ":spring", message(i)));
        }
        check(everyone.take(20), topic("everyone"), "spring", told);
        return 20;
    }

    /** The template's own consumer, the lite pull consumer underneath. */
    private int receive() throws Exception {
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            sent.add(body(i));
            equal(SendStatus.SEND_OK, template.syncSend(topic("pulled"), message(i)).getSendStatus(), "status of " + i);
        }
        List<String> came = new ArrayList<>();
        for (int polls = 0; polls < 60 && came.size() < sent.size(); polls++) {
            came.addAll(template.receive(String.class, 1_000));
        }
        came.addAll(template.receive(String.class, 1_000));
        Collections.sort(sent);
        Collections.sort(came);
        equal(sent, came, "bodies");
        return 20;
    }

    private String topic(String name) {
        return "spring-" + name + "-" + run;
    }

    private static String body(int number) {
        return "RaftMQ Nachricht ü " + number;
    }

    private static Message<String> message(int number) {
        return MessageBuilder.withPayload(body(number)).setHeader(RocketMQHeaders.KEYS, "key-" + number)
            .setHeader("number", Integer.toString(number)).setHeader("text", TEXT).build();
    }

    private static int number(MessageExt message) {
        return Integer.parseInt(message.getUserProperty("number"));
    }

    /** Each once, unchanged; and with {@code told}, where its send was told and under its id. */
    private static void check(List<MessageExt> came, String topic, String tag, Map<Integer, SendResult> told) {
        Set<Integer> numbers = new HashSet<>();
        for (MessageExt message : came) {
            int number = number(message);
            equal(true, numbers.add(number), number + " came once");
            equal(topic, message.getTopic(), "topic of " + number);
            equal(tag, message.getTags(), "tag of " + number);
            equal("key-" + number, message.getKeys(), "key of " + number);
            equal(TEXT, message.getUserProperty("text"), "header of " + number);
            equal(body(number), new String(message.getBody(), StandardCharsets.UTF_8), "body of " + number);
            if (!told.isEmpty()) {
                SendResult result = told.get(number);
                equal(SendStatus.SEND_OK, result.getSendStatus(), "status of " + number);
                equal(result.getMessageQueue().getQueueId(), message.getQueueId(), "queue of " + number);
                equal(result.getQueueOffset(), message.getQueueOffset(), "queue offset of " + number);
                equal(result.getMsgId(), message.getMsgId(), "id of " + number);
            }
        }
    }

    private static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }
}
