package com.acme;

import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongUnaryOperator;

/** Defines the same class anew, over and over, and warms it up each time: the compilers never come to an end. */
public final class JitStorm {
    private JitStorm() {}

    public static void main(String[] args) throws Exception {
        byte[] rules = bytesOf(Rules.class);
        Stage.start("rule-engine", () -> {
            for (long order = 1; ; order++) {
                Stage.awaitHot();
                apply(rules, order);
                LockSupport.parkNanos(20_000_000L); // the compilers need the CPU more
            }
        });
        Stage.run("", word -> word.equals("hot") ? "\"jit_share\": " + waitForJit() : "");
    }

    /** What is generated anew for each order, as template engines and rule engines do. */
    public static final class Rules implements LongUnaryOperator {
        @Override
        public long applyAsLong(long order) {
            return discount(order) + taxes(order) + shipping(order) + stock(order);
        }

        private static long discount(long order) {
            long sum = 0;
            for (int item = 1; item < 24; item++) {
                for (int step = 1; step < 8; step++) {
                    switch ((int) ((order + item * step) & 7)) {
                        case 0: sum += sum / item; break;
                        case 1: sum += sum ^ step; break;
                        case 2: sum += Math.max(sum, order); break;
                        case 3: sum += Long.rotateLeft(sum, item); break;
                        case 4: sum += Long.bitCount(sum) * order; break;
                        default: sum += item * 31L + step;
                    }
                }
            }
            return sum;
        }

        private static long taxes(long order) {
            double[] rates = new double[32];
            for (int item = 0; item < rates.length; item++) {
                rates[item] = Math.sqrt(order + item) + Math.abs(Math.sin(item));
            }
            double sum = 0;
            for (int item = 1; item < rates.length; item++) {
                sum += rates[item] * rates[item - 1] - Math.floor(rates[item]);
            }
            return (long) sum;
        }

        private static long shipping(long order) {
            StringBuilder label = new StringBuilder();
            for (int line = 0; line < 4; line++) {
                label.append(order % 10).append('-').append(line * order).append(';');
            }
            return label.toString().hashCode();
        }

        private static long stock(long order) {
            int[][] shelves = new int[12][12];
            for (int row = 0; row < 12; row++) {
                for (int column = 0; column < 12; column++) {
                    shelves[row][column] = (int) (order * row - column) & 0xff;
                }
            }
            long sum = 0;
            for (int row = 1; row < 12; row++) {
                for (int column = 1; column < 12; column++) {
                    sum += shelves[row][column] * shelves[column][row - 1] + shelves[row - 1][column];
                }
            }
            return sum;
        }
    }

    /** Each loader has a class of its own, which is interpreted at first and then compiled. */
    private static final class Generated extends ClassLoader {
        Generated() {
            super(JitStorm.class.getClassLoader());
        }

        LongUnaryOperator define(byte[] bytes) {
            try {
                return (LongUnaryOperator) defineClass(null, bytes, 0, bytes.length)
                        .getDeclaredConstructor().newInstance();
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    static long apply(byte[] bytes, long order) {
        LongUnaryOperator rules = new Generated().define(bytes);
        long sum = 0;
        for (int i = 0; i < 6_000; i++) {
            sum += rules.applyAsLong(order + i);
        }
        return sum;
    }

    private static byte[] bytesOf(Class<?> type) throws IOException {
        try (InputStream in = type.getResourceAsStream("/" + type.getName().replace('.', '/') + ".class")) {
            return in.readAllBytes();
        }
    }

    /** Returns when the compilers were busy for most of half a second, or after ten such looks. */
    private static double waitForJit() throws InterruptedException {
        double share = 0;
        for (int look = 0; look < 10 && share < 0.7; look++) {
            long before = ManagementFactory.getCompilationMXBean().getTotalCompilationTime();
            long start = System.nanoTime();
            Thread.sleep(500);
            share = (ManagementFactory.getCompilationMXBean().getTotalCompilationTime() - before) * 1e6
                    / (System.nanoTime() - start);
        }
        return share;
    }
}
