package org.raftmq.interop.spring;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.springframework.boot.Banner;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.context.ConfigurableApplicationContext;

/**
 * Starts the application against one cluster, runs its scenarios and prints a line for each.
 *
 * Arguments: {@code --namesrv HOST:PORT} [{@code --target java|single|three}] [scenario ...]; no scenario means all.
 */
public final class Suite {
    static final int QUEUES = 4;

    private Suite() {
    }

    public static void main(String[] arguments) throws Exception {
        String namesrv = null;
        String target = "unnamed";
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--namesrv": namesrv = arguments[++i]; break;
                case "--target": target = arguments[++i]; break;
                default: wanted.add(arguments[i]);
            }
        }
        if (namesrv == null) {
            System.err.println("usage: Suite --namesrv HOST:PORT [--target java|single|three] [scenario ...]");
            System.exit(2);
        }
        System.out.println("client rocketmq-spring 2.3.5, target " + target);
        Map<String, Object> settings = settings(namesrv, Long.toString(System.currentTimeMillis(), 36));
        createTopics(namesrv, settings);
        boolean passed;
        try (ConfigurableApplicationContext context = new SpringApplicationBuilder(Application.class)
            .web(WebApplicationType.NONE).bannerMode(Banner.Mode.OFF).logStartupInfo(false).properties(settings).run()) {
            passed = run(context.getBean(Scenarios.class), wanted);
        }
        System.exit(passed ? 0 : 1);
    }

    private static Map<String, Object> settings(String namesrv, String run) {
        Map<String, Object> settings = new LinkedHashMap<>();
        settings.put("rocketmq.name-server", namesrv);
        settings.put("rocketmq.producer.group", "spring-producer-" + run);
        settings.put("rocketmq.producer.send-message-timeout", 20_000);
        settings.put("rocketmq.pull-consumer.group", "spring-puller-" + run);
        settings.put("rocketmq.pull-consumer.topic", "spring-pulled-" + run);
        settings.put("logging.level.root", "ERROR");
        settings.put("interop.run", run);
        return settings;
    }

    /** A consumer asks for a route that it does not have only every 30 s, so the topics are there before the listeners. */
    private static void createTopics(String namesrv, Map<String, Object> settings) throws Exception {
        DefaultMQProducer maker = new DefaultMQProducer("spring-maker-" + settings.get("interop.run"));
        maker.setNamesrvAddr(namesrv);
        maker.setInstanceName("spring-maker");
        maker.setSendMsgTimeout(20_000);
        maker.start();
        for (String topic : List.of("plain", "tagged", "typed", "everyone", "pulled")) {
            String name = "spring-" + topic + "-" + settings.get("interop.run");
            maker.createTopic("TBW102", name, QUEUES, Map.of());
            awaitRoute(maker, name);
        }
        maker.shutdown();
    }

    private static void awaitRoute(DefaultMQProducer asker, String topic) throws Exception {
        long end = System.nanoTime() + 30_000_000_000L;
        while (true) {
            try {
                if (asker.fetchPublishMessageQueues(topic).size() == QUEUES) {
                    return;
                }
            } catch (MQClientException notYet) {
                if (System.nanoTime() > end) {
                    throw notYet;
                }
            }
            Thread.sleep(20);
        }
    }

    private static boolean run(Scenarios scenarios, List<String> wanted) {
        Map<String, Scenario> all = scenarios.all();
        if (!all.keySet().containsAll(wanted)) {
            System.out.println("no such scenario among " + wanted + "; there are: " + String.join(" ", all.keySet()));
            return false;
        }
        int passed = 0;
        int failed = 0;
        for (Map.Entry<String, Scenario> scenario : all.entrySet()) {
            if (!wanted.isEmpty() && !wanted.contains(scenario.getKey())) {
                continue;
            }
            long begin = System.nanoTime();
            try {
                int messages = scenario.getValue().run();
                System.out.printf("PASS %s (%d messages, %.1f s)%n", scenario.getKey(), messages, (System.nanoTime() - begin) / 1e9);
                passed++;
            } catch (Throwable why) {
                System.out.println("FAIL " + scenario.getKey() + ": " + why);
                Arrays.stream(why.getStackTrace()).filter(at -> at.getClassName().startsWith("org.raftmq"))
                    .forEach(at -> System.out.println("     at " + at));
                failed++;
            }
        }
        System.out.println(passed + " passed, " + failed + " failed");
        return failed == 0 && passed > 0;
    }

    /** What the application does; returns how many messages it asserted by content. */
    interface Scenario {
        int run() throws Exception;
    }
}
