package com.acme;

import java.util.concurrent.locks.ReentrantLock;

/** The stock service that a consumer asks: it answers after a while, or never as long as its lock is held. */
final class StockClient {
    private static final ReentrantLock CONNECTION = new ReentrantLock(true);

    private StockClient() {}

    /** Takes so many milliseconds, and waits for the connection first. */
    static void reserve(int millis) throws InterruptedException {
        CONNECTION.lockInterruptibly(); // STUCK
        CONNECTION.unlock();
        if (millis > 0) {
            Thread.sleep(millis);
        }
    }

    /** Somebody else has the connection while the program is hot. */
    static void hold() {
        Stage.start("stock-refresher", () -> {
            while (true) {
                Stage.awaitHot();
                CONNECTION.lock();
                try {
                    while (Stage.hot) {
                        Thread.sleep(20);
                    }
                } catch (InterruptedException e) {
                    return;
                } finally {
                    CONNECTION.unlock();
                }
            }
        });
    }
}
