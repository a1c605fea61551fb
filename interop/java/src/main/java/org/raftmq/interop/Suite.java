package org.raftmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs scenarios of Apache's client against one cluster, all in this JVM, and prints a line for each.
 *
 * Arguments: {@code --namesrv HOST:PORT} [{@code --target java|single|three}] [{@code --restarts}] [scenario ...]; no scenario
 * means all. With {@code --restarts} there is somebody at the other end of the standard streams who restarts brokers
 * ({@link BrokerRestarts}); without, the scenarios that need it do not exist.
 */
public final class Suite {
    private final Map<String, Scenario> scenarios = new LinkedHashMap<>();

    private Suite() throws ReflectiveOperationException {
        scenarios.put("sync", Sends::sync);
        scenarios.put("sync-to-queue", Sends::syncToQueue);
        scenarios.put("async", Sends::async);
        scenarios.put("oneway", Sends::oneway);
        scenarios.put("batch", Sends::batch);
        scenarios.put("compressed", Sends::compressed);
        scenarios.put("too-large", Sends::tooLarge);
        scenarios.put("create-topic", Topics::create);
        scenarios.put("push-clustering", Pushes::clustering);
        scenarios.put("push-broadcasting", Pushes::broadcasting);
        scenarios.put("tags", Pushes::tags);
        scenarios.put("pull", Pulls::pull);
        scenarios.put("pull-long-polling", Pulls::longPolling);
        scenarios.put("offsets-kept-push", Restarts::push);
        scenarios.put("offsets-kept-pull", Restarts::pull);
        scenarios.put("offset-search", Offsets::search);
        scenarios.put("message-ids", Offsets::ids);
        scenarios.putAll(Versions.litePullScenarios());
    }

    public static void main(String[] arguments) throws ReflectiveOperationException {
        String namesrv = null;
        String target = "unnamed";
        boolean restarts = false;
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--namesrv": namesrv = arguments[++i]; break;
                case "--target": target = arguments[++i]; break;
                case "--restarts": restarts = true; break;
                default: wanted.add(arguments[i]);
            }
        }
        if (namesrv == null) {
            System.err.println("usage: Suite --namesrv HOST:PORT [--target java|single|three] [scenario ...]");
            System.exit(2);
        }
        // The clients keep threads that are not daemons, and 5.5.0 does not always end them.
        Suite suite = new Suite();
        if (restarts) {
            suite.scenarios.put("offsets-kept-brokers-restart",
                target.equals("three") ? BrokerRestarts::three : BrokerRestarts::one);
        }
        System.exit(suite.run(namesrv, target, wanted) ? 0 : 1);
    }

    private boolean run(String namesrv, String target, List<String> wanted) {
        for (String name : wanted) {
            if (!scenarios.containsKey(name)) {
                System.out.println("no scenario " + name + "; there are: " + String.join(" ", scenarios.keySet()));
                return false;
            }
        }
        System.out.println("client " + Versions.client() + ", target " + target);
        int passed = 0;
        int failed = 0;
        for (Map.Entry<String, Scenario> scenario : scenarios.entrySet()) {
            if (!wanted.isEmpty() && !wanted.contains(scenario.getKey())) {
                continue;
            }
            long begin = System.nanoTime();
            try (Clients clients = new Clients(namesrv, scenario.getKey())) {
                int messages = scenario.getValue().run(clients);
                double seconds = (System.nanoTime() - begin) / 1e9;
                System.out.printf("PASS %s (%d messages, %.1f s)%n", scenario.getKey(), messages, seconds);
                passed++;
            } catch (Throwable why) {
                System.out.println("FAIL " + scenario.getKey() + ": " + why);
                Arrays.stream(why.getStackTrace()).filter(at -> at.getClassName().startsWith("org.raftmq"))
                    .forEach(at -> System.out.println("     at " + at));
                failed++;
            }
            System.out.flush();
        }
        System.out.println(passed + " passed, " + failed + " failed");
        return failed == 0;
    }

    /** What a client does against a cluster; returns how many messages it asserted by content. */
    interface Scenario {
        int run(Clients clients) throws Exception;
    }
}
