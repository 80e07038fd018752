package com.acme;

/**
 * `CountedLoop TURNS`: one thread, order-worker-3, runs a counted loop of so many turns again and again.
 *
 * Without polls in the loop nobody can stop it: a collector that does not ask for them (Serial, Parallel) makes every
 * safepoint wait for the end of the loop, and all other threads with it.
 */
public final class CountedLoop {
    private static volatile int sum;

    private CountedLoop() {}

    public static void main(String[] args) throws Exception {
        int turns = Integer.parseInt(args[0]);
        for (int i = 0; i < 20_000; i++) {
            sum += spin(2_000); // so often that it is compiled, and short enough to be interrupted meanwhile
        }
        java.util.concurrent.CompletableFuture<Long> tid = new java.util.concurrent.CompletableFuture<>();
        Stage.start("order-worker-3", () -> {
            tid.complete(Stage.tid());
            while (true) {
                Stage.awaitHot();
                sum += spin(turns);
            }
        });
        Stage.run("\"hot_tid\": " + tid.get() + ", \"main_tid\": " + ProcessHandle.current().pid(), word -> "");
    }

    static int spin(int turns) {
        int total = sum;
        for (int i = 0; i < turns; i++) {
            total = total * 31 + (total ^ i); // HOT
        }
        return total;
    }
}
