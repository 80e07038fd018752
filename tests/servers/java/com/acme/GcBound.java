package com.acme;

import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;

/** A heap that is nearly full and a thread that churns it: the collector works, the application hardly does. */
public final class GcBound {
    private static final List<byte[]> LIVE = new ArrayList<>();
    private static final int BLOCK = 64 * 1024;

    private GcBound() {}

    public static void main(String[] args) throws Exception {
        double full = Double.parseDouble(args[0]);
        fillHeap(full);
        Stage.start("order-cache-filler", () -> {
            ArrayDeque<byte[][]> young = new ArrayDeque<>();
            while (true) {
                Stage.awaitHot();
                fillCache(young);
            }
        });
        Stage.run("", word -> word.equals("hot") ? "\"gc_share\": " + waitForGc(full) : "");
    }

    private static void fillHeap(double full) {
        while ((double) LIVE.size() * BLOCK < Runtime.getRuntime().maxMemory() * full) {
            LIVE.add(new byte[BLOCK]);
        }
    }

    static void fillCache(ArrayDeque<byte[][]> young) {
        byte[][] page = new byte[64][];
        for (int i = 0; i < page.length; i++) {
            page[i] = new byte[512];
        }
        young.add(page);
        if (young.size() > 24) {
            young.remove();
        }
    }

    private static long gcMillis() {
        long sum = 0;
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            sum += bean.getCollectionTime();
        }
        return sum;
    }

    /** Returns when the collector took most of half a second, or after ten such looks, each with a fuller heap. */
    private static double waitForGc(double full) throws InterruptedException {
        double share = 0;
        for (int look = 0; look < 10 && share < 0.7; look++) {
            fillHeap(Math.min(0.87, full + look * 0.01));
            long gc = gcMillis();
            long start = System.nanoTime();
            Thread.sleep(500);
            share = (gcMillis() - gc) * 1e6 / (System.nanoTime() - start);
        }
        return share;
    }
}
