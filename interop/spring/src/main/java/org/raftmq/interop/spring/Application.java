package org.raftmq.interop.spring;

import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.spring.annotation.MessageModel;
import org.apache.rocketmq.spring.annotation.RocketMQMessageListener;
import org.apache.rocketmq.spring.core.RocketMQListener;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.stereotype.Component;

/** What a user of rocketmq-spring writes: listeners by annotation. */
@SpringBootApplication
class Application {
    @Component
    @RocketMQMessageListener(topic = "spring-plain-${interop.run}", consumerGroup = "spring-plain-${interop.run}")
    static class PlainListener extends Inbox<MessageExt> implements RocketMQListener<MessageExt> {
        @Override
        public void onMessage(MessageExt message) {
            file(message);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-tagged-${interop.run}", consumerGroup = "spring-tagged-${interop.run}",
        selectorExpression = "red || blue")
    static class TagListener extends Inbox<MessageExt> implements RocketMQListener<MessageExt> {
        @Override
        public void onMessage(MessageExt message) {
            file(message);
        }
    }

    /** Spring turns the JSON of the body into the type of the listener. */
    @Component
    @RocketMQMessageListener(topic = "spring-typed-${interop.run}", consumerGroup = "spring-typed-${interop.run}")
    static class TypedListener extends Inbox<Order> implements RocketMQListener<Order> {
        @Override
        public void onMessage(Order order) {
            file(order);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "spring-everyone-${interop.run}", consumerGroup = "spring-everyone-${interop.run}",
        messageModel = MessageModel.BROADCASTING)
    static class BroadcastListener extends Inbox<MessageExt> implements RocketMQListener<MessageExt> {
        @Override
        public void onMessage(MessageExt message) {
            file(message);
        }
    }

    /** A body that is no string. */
    static class Order {
        private int number;
        private String text;

        public int getNumber() {
            return number;
        }

        public void setNumber(int number) {
            this.number = number;
        }

        public String getText() {
            return text;
        }

        public void setText(String text) {
            this.text = text;
        }
    }
}
