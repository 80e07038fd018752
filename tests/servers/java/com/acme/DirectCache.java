package com.acme;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;

/** A cache in direct buffers that is as large as it may be: each new page asks for a full collection to make room. */
public final class DirectCache {
    private static final int PAGE = 1 << 20;
    private static final ArrayDeque<ByteBuffer> PAGES = new ArrayDeque<>();
    private static volatile long replaced;

    private DirectCache() {}

    public static void main(String[] args) throws Exception {
        int most = Integer.parseInt(args[0]);
        while (PAGES.size() < most) {
            PAGES.add(page());
        }
        Stage.start("page-cache-filler", () -> {
            while (true) {
                Stage.awaitHot();
                PAGES.remove();
                PAGES.add(page());
                replaced++;
            }
        });
        Stage.run("\"pages\": " + PAGES.size(), word -> word.equals("hot") ? "\"replaced\": " + waitForWork() : "");
    }

    private static ByteBuffer page() {
        ByteBuffer made = ByteBuffer.allocateDirect(PAGE);
        for (int at = 0; at < PAGE; at += 4096) {
            made.put(at, (byte) 1);
        }
        return made;
    }

    private static long waitForWork() throws InterruptedException {
        long before = replaced;
        for (int look = 0; look < 100 && replaced < before + 64; look++) {
            Thread.sleep(50);
        }
        return replaced - before;
    }
}
