package com.acme;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;

/** Work and back-off in one function, as a retry loop does. */
final class Stock {
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    private Stock() {}

    static double reserve(long workNanos, long restMillis) throws InterruptedException {
        double left = 1;
        while (Stage.hot) {
            long end = CLOCK.getCurrentThreadCpuTime() + workNanos;
            while (CLOCK.getCurrentThreadCpuTime() < end) { for (int i = 0; i < 2000; i++) { left = left * 1.0000001 + 1; } }
            Thread.sleep(restMillis);
        }
        return left;
    }
}
