package com.acme;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.locks.LockSupport;

/** What every sick program shares: commands on stdin, one JSON line on stdout when ready, the end at end of file. */
final class Stage {
    static volatile boolean hot;

    private Stage() {}

    interface Command {
        String on(String word) throws Exception;
    }

    /** Says that all is set up, then obeys `hot` and `rest` until stdin ends. The caller, main, idles in here. */
    static void run(String facts, Command command) throws Exception {
        System.out.println("{\"ready\": true" + (facts.isEmpty() ? "" : ", " + facts) + "}");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String word = in.readLine(); word != null; word = in.readLine()) {
            if (word.equals("hot") || word.equals("rest")) {
                hot = word.equals("hot");
            }
            String more = command.on(word);
            System.out.println("{\"did\": \"" + word + "\"" + (more.isEmpty() ? "" : ", " + more) + "}");
        }
        Runtime.getRuntime().halt(0);
    }

    /** Waits, without CPU, until there is work to do. */
    static void awaitHot() {
        while (!hot) {
            LockSupport.parkNanos(20_000_000L);
        }
    }

    /** The id that the kernel knows the current thread by. */
    static long tid() {
        try {
            return Long.parseLong(Files.readSymbolicLink(Path.of("/proc/thread-self")).getFileName().toString());
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    static Thread start(String name, Runnable work) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    /** A parked thread, `depth` calls deep. */
    static Thread park(String name, int depth) {
        return start(name, () -> Parked.waitForWork(depth));
    }
}
