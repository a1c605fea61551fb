package org.raftmq.interop;

import java.util.Objects;
import java.util.concurrent.Callable;

/** Assertions, and waiting for a condition in place of sleeping. */
final class Check {
    /** Generous: the machine may be busy compiling. */
    static final long PATIENCE_MS = 90_000;

    private Check() {
    }

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object expected, Object actual, String what) {
        if (!Objects.equals(expected, actual)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    static void eventually(Callable<Boolean> condition, String what) throws Exception {
        eventually(condition, () -> what);
    }

    /** {@code what} is asked only at the end, so that it can tell the last state. */
    static void eventually(Callable<Boolean> condition, Callable<String> what) throws Exception {
        long end = System.nanoTime() + PATIENCE_MS * 1_000_000;
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("not within " + PATIENCE_MS / 1000 + " s: " + what.call());
            }
            Thread.sleep(20);
        }
    }

    /** Lets a wrong extra delivery arrive, where the scenario claims that none comes. */
    static void settle() throws InterruptedException {
        Thread.sleep(1_500);
    }
}
