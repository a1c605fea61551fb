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

/** The places where the API of 4.9 and of 5.x differ, reached by reflection so that one source tree serves both. */
final class Versions {
    private Versions() {
    }

    static String client() {
        return MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION);
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
