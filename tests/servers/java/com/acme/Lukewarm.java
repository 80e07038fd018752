package com.acme;

/** `Lukewarm THREADS WORK_MS PERIOD_MS`: every thread works that long in each period, all in Stock.reserve. */
public final class Lukewarm {
    private Lukewarm() {}

    public static void main(String[] args) throws Exception {
        int threads = Integer.parseInt(args[0]);
        long work = (long) (Double.parseDouble(args[1]) * 1e6);
        long period = Long.parseLong(args[2]);
        for (int i = 0; i < threads; i++) {
            int number = i;
            Stage.start("stock-worker-" + i, () -> {
                try {
                    Thread.sleep(number * period / threads);
                    while (true) {
                        Stage.awaitHot();
                        Stock.reserve(work, period * 1_000_000);
                    }
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            });
        }
        Stage.run("", word -> "");
    }
}
