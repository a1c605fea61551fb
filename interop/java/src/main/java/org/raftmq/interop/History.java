package org.raftmq.interop;

import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Paths;

/**
 * What the failover driver saw, a line each, fields separated by tabs, times in microseconds since 1970:
 *
 * <pre>
 * A begin end number queue offset   a send that was acknowledged
 * F begin end number why            a send that was not: it may be stored or not
 * C time number queue offset        a message that the push consumer was given
 * O begin end queue offset member   a committed offset as a member answered it, -1 for none
 * N begin end queue member why      a question for one that was not answered
 * S time                            the producers have stopped
 * Q queue min max                   a queue at the end
 * R queue offset number             a message in it; number -1 if its body is not ours
 * </pre>
 */
final class History implements AutoCloseable {
    private static final long BASE_US = System.currentTimeMillis() * 1000;
    private static final long BASE_NS = System.nanoTime();

    private final BufferedWriter writer;

    History(String file) throws IOException {
        writer = Files.newBufferedWriter(Paths.get(file));
    }

    /** Follows the monotonic clock, so that gaps are right whatever happens to the wall clock. */
    static long now() {
        return BASE_US + (System.nanoTime() - BASE_NS) / 1000;
    }

    synchronized void line(Object... fields) {
        try {
            for (int i = 0; i < fields.length; i++) {
                writer.write(i == 0 ? "" : "\t");
                writer.write(String.valueOf(fields[i]));
            }
            writer.write('\n');
            // Who watches the file wants whole lines soon.
            writer.flush();
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }

    @Override
    public synchronized void close() throws IOException {
        writer.close();
    }
}
