package org.raftmq.interop;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.message.MessageExt;

/** The places where the APIs from 4.4 to 5.5 differ, reached by reflection so that one source tree serves them all. */
final class Versions {
    private Versions() {
    }

    static String client() {
        return MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION);
    }

    /** The lite pull consumer came with 4.6; a build against an older client leaves its scenarios out. */
    @SuppressWarnings("unchecked")
    static Map<String, Suite.Scenario> litePullScenarios() throws ReflectiveOperationException {
        try {
            Class<?> scenarios = Class.forName("org.raftmq.interop.LitePulls");
            return (Map<String, Suite.Scenario>) scenarios.getDeclaredMethod("scenarios").invoke(null);
        } catch (ClassNotFoundException leftOut) {
            return Collections.emptyMap();
        }
    }

    /** Spelled {@code getmQClientFactory} before 4.9. */
    static MQClientInstance clientInstance(DefaultMQProducer producer) throws Exception {
        Object implementation = producer.getDefaultMQProducerImpl();
        for (Method candidate : implementation.getClass().getMethods()) {
            if (candidate.getName().equalsIgnoreCase("getMqClientFactory")) {
                return (MQClientInstance) unwrap(() -> candidate.invoke(implementation));
            }
        }
        throw new NoSuchMethodException("getMqClientFactory");
    }

    /** Messages name their broker since 4.6; {@code otherwise} before. */
    static String brokerName(MessageExt message, String otherwise) {
        try {
            return (String) method(message, "getBrokerName", 0).invoke(message);
        } catch (NoSuchMethodException absent) {
            return otherwise;
        } catch (ReflectiveOperationException failed) {
            throw new IllegalStateException(failed);
        }
    }

    /** {@code MessageModel} moved to another package in 5.0. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static void setMessageModel(Object consumer, String model) throws Exception {
        Method setter = method(consumer, "setMessageModel", 1);
        setter.invoke(consumer, Enum.valueOf((Class<? extends Enum>) setter.getParameterTypes()[0], model));
    }

    /** {@code createTopic} takes attributes as well in 5.x. */
    static void createTopic(DefaultMQProducer producer, String template, String topic, int queues) throws Exception {
        for (Method candidate : producer.getClass().getMethods()) {
            Class<?>[] types = candidate.getParameterTypes();
            boolean named = candidate.getName().equals("createTopic") && types.length >= 3 && types[2] == int.class;
            if (named && types.length == 3) {
                unwrap(() -> candidate.invoke(producer, template, topic, queues));
                return;
            }
            if (named && types.length == 4 && types[3] == Map.class) {
                unwrap(() -> candidate.invoke(producer, template, topic, queues, Collections.emptyMap()));
                return;
            }
        }
        throw new NoSuchMethodException("createTopic");
    }

    /** Sets an int property that only newer clients have. */
    static void setIfPresent(Object client, String setter, int value) {
        try {
            client.getClass().getMethod(setter, int.class).invoke(client, value);
        } catch (NoSuchMethodException absent) {
            return;
        } catch (ReflectiveOperationException failed) {
            throw new IllegalStateException(failed);
        }
    }

    /** Addresses of all members that the route of a topic names, masters and others. */
    static List<String> brokerAddresses(MQClientInstance instance, String topic) throws Exception {
        Object route = unwrap(() -> method(instance.getMQClientAPIImpl(), "getTopicRouteInfoFromNameServer", 2)
            .invoke(instance.getMQClientAPIImpl(), topic, 15_000L));
        List<String> addresses = new ArrayList<>();
        for (Object broker : (Collection<?>) method(route, "getBrokerDatas", 0).invoke(route)) {
            Map<?, ?> ids = (Map<?, ?>) method(broker, "getBrokerAddrs", 0).invoke(broker);
            ids.values().forEach(address -> addresses.add((String) address));
        }
        return addresses;
    }

    /** Read queues per broker name in the route of a topic. */
    static int readQueues(MQClientInstance instance, String topic) throws Exception {
        Object route = unwrap(() -> method(instance.getMQClientAPIImpl(), "getTopicRouteInfoFromNameServer", 2)
            .invoke(instance.getMQClientAPIImpl(), topic, 15_000L));
        int queues = 0;
        for (Object queue : (Collection<?>) method(route, "getQueueDatas", 0).invoke(route)) {
            queues += (Integer) method(queue, "getReadQueueNums", 0).invoke(queue);
        }
        return queues;
    }

    /** Asks one member for a committed offset (request 14); -1 if it has none. Leaves the client's own table alone. */
    static long committedOffset(MQClientInstance instance, String address, String group, String topic, int queue)
        throws Exception {
        Object api = instance.getMQClientAPIImpl();
        Method query = method(api, "queryConsumerOffset", 3);
        Object header = query.getParameterTypes()[1].getDeclaredConstructor().newInstance();
        method(header, "setConsumerGroup", 1).invoke(header, group);
        method(header, "setTopic", 1).invoke(header, topic);
        method(header, "setQueueId", 1).invoke(header, queue);
        try {
            return (Long) unwrap(() -> query.invoke(api, address, header, 5_000L));
        } catch (MQBrokerException refused) {
            if (refused.getResponseCode() == 22) {
                return -1;
            }
            throw refused;
        }
    }

    private static Method method(Object of, String name, int parameters) throws NoSuchMethodException {
        for (Method candidate : of.getClass().getMethods()) {
            if (candidate.getName().equals(name) && candidate.getParameterCount() == parameters) {
                return candidate;
            }
        }
        throw new NoSuchMethodException(of.getClass() + "." + name);
    }

    private interface Reflective {
        Object call() throws ReflectiveOperationException;
    }

    private static Object unwrap(Reflective call) throws Exception {
        try {
            return call.call();
        } catch (InvocationTargetException wrapped) {
            if (wrapped.getCause() instanceof Exception) {
                throw (Exception) wrapped.getCause();
            }
            throw wrapped;
        }
    }
}
