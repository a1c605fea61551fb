package org.raftmq.interop.spring;

import java.util.ArrayList;
import java.util.List;

/** Keeps what a listener was given. */
class Inbox<T> {
    private static final long PATIENCE_MS = 60_000;

    private final List<T> received = new ArrayList<>();

    final synchronized void file(T message) {
        received.add(message);
        notifyAll();
    }

    /** Waits for so many and takes them out, after a second in which none more may come. */
    final synchronized List<T> take(int count) throws InterruptedException {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (received.size() < count && System.currentTimeMillis() < end) {
            wait(100);
        }
        // Lets a wrong extra delivery arrive.
        long settled = System.currentTimeMillis() + 1_000;
        while (System.currentTimeMillis() < settled) {
            wait(50);
        }
        if (received.size() != count) {
            throw new AssertionError(count + " messages were to come, " + received.size() + " came");
        }
        List<T> taken = new ArrayList<>(received);
        received.clear();
        return taken;
    }
}
