package org.raftmq.interop;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** Makes the clients of one scenario, with names of its own, and shuts them down at its end. */
final class Clients implements AutoCloseable {
    private static final AtomicInteger INSTANCES = new AtomicInteger();
    private static final int TIMEOUT_MS = 20_000;

    final String namesrv;
    private final String name;
    private final Deque<Runnable> closers = new ArrayDeque<>();

    Clients(String namesrv, String scenario) {
        this.namesrv = namesrv;
        this.name = scenario + "-" + Long.toString(System.currentTimeMillis(), 36);
    }

    /** A name for a topic or group that no earlier run used. */
    String unique(String what) {
        return what + "-" + name;
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(unique("producer"));
        configure(producer);
        producer.setSendMsgTimeout(TIMEOUT_MS);
        producer.start();
        closers.push(producer::shutdown);
        return producer;
    }

    static MQClientInstance instance(DefaultMQProducer producer) throws Exception {
        return Versions.clientInstance(producer);
    }

    /** Not started: the scenario subscribes first. */
    DefaultMQPushConsumer pushConsumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        configure(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        closers.push(consumer::shutdown);
        return consumer;
    }

    @SuppressWarnings("deprecation")
    DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        configure(consumer);
        consumer.setConsumerPullTimeoutMillis(TIMEOUT_MS);
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.start();
        closers.push(consumer::shutdown);
        return consumer;
    }

    /** Shuts down at the scenario's end what another class made. */
    void closeAtEnd(Runnable shutdown) {
        closers.push(shutdown);
    }

    void configure(ClientConfig client) {
        client.setNamesrvAddr(namesrv);
        client.setInstanceName("interop-" + INSTANCES.incrementAndGet());
        client.setPollNameServerInterval(1_000);
        Versions.setIfPresent(client, "setMqClientApiTimeout", TIMEOUT_MS);
    }

    /** A second shutdown of a client is harmless, so scenarios may shut down on their own. */
    @Override
    public void close() {
        closers.forEach(Runnable::run);
    }
}
