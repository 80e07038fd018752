package com.acme;

import java.util.concurrent.CompletableFuture;

/** `HotOne THREADS DEPTH`: that many threads, all parked but `order-worker-3`, which spins in OrderPricer. */
public final class HotOne {
    private HotOne() {}

    public static void main(String[] args) throws Exception {
        int threads = Integer.parseInt(args[0]);
        int depth = Integer.parseInt(args[1]);
        for (int i = 0; i < 3; i++) {
            Stage.park("order-worker-" + i, depth);
        }
        CompletableFuture<Long> tid = new CompletableFuture<>();
        Stage.start("order-worker-3", () -> {
            tid.complete(Stage.tid());
            for (long order = 1; ; order++) {
                Stage.awaitHot();
                OrderPricer.price(order);
            }
        });
        for (int i = 4; i < threads; i++) {
            Stage.park("http-worker-" + i, depth);
        }
        Stage.run("\"hot_tid\": " + tid.get() + ", \"main_tid\": " + ProcessHandle.current().pid(), word -> "");
    }
}
