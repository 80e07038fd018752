package com.acme;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;

/** Work and back-off in one function, as a retry loop does. */
final class Stock {
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    private Stock() {}

    /** Starts every period, late or not, so that a crowded machine gets the same share of work. */
    static double reserve(long workNanos, long periodNanos) throws InterruptedException {
        double left = 1;
        long next = System.nanoTime();
        while (Stage.hot) {
            next = Math.max(next + periodNanos, System.nanoTime());
            long end = CLOCK.getCurrentThreadCpuTime() + workNanos;
            while (CLOCK.getCurrentThreadCpuTime() < end) { for (int i = 0; i < 2000; i++) { left = left * 1.0000001 + 1; } }
            Thread.sleep(Math.max(1, (next - System.nanoTime()) / 1_000_000));
        }
        return left;
    }
}
