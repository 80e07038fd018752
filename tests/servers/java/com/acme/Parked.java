package com.acme;

import java.util.concurrent.locks.LockSupport;

/** Threads of a pool that have nothing to do. */
final class Parked {
    private Parked() {}

    static int waitForWork(int depth) {
        if (depth > 1) {
            return waitForWork(depth - 1) + 1;
        }
        while (true) {
            LockSupport.park();
        }
    }
}
