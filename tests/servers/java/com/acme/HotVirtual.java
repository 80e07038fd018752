package com.acme;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.concurrent.CompletableFuture;

/**
 * `HotVirtual NAME PARKED`: a virtual thread of that name (`-` for none) spins in OrderPricer, the others are parked.
 *
 * Compiled for Java 11, which has no virtual threads, so they are made by reflection: it takes Java 21 to run it.
 */
public final class HotVirtual {
    private HotVirtual() {}

    public static void main(String[] args) throws Exception {
        String name = args[0].equals("-") ? null : args[0];
        int parked = Integer.parseInt(args[1]);
        CompletableFuture<Long> carrier = new CompletableFuture<>();
        Thread hot = start(name, () -> {
            carrier.complete(Stage.tid());
            for (long order = 1; ; order++) {
                Stage.awaitHot();
                OrderPricer.price(order);
            }
        });
        long tid = carrier.get();
        for (int i = 0; i < parked; i++) {
            start("order-waiter-" + i, () -> Parked.waitForWork(20));
        }
        Stage.run("\"hot_tid\": " + tid + ", \"virtual\": " + hot.getId(), word -> "");
    }

    private static Thread start(String name, Runnable work) throws Exception {
        Object builder = call(Thread.class, null, "ofVirtual");
        Class<?> type = Class.forName("java.lang.Thread$Builder");
        if (name != null) {
            builder = call(type, builder, "name", name);
        }
        return (Thread) call(type, builder, "start", work);
    }

    private static Object call(Class<?> type, Object on, String name, Object... args) throws Exception {
        for (Method method : type.getMethods()) {
            Class<?>[] wants = method.getParameterTypes();
            if (method.getName().equals(name) && wants.length == args.length
                    && (args.length == 0 || wants[0].isInstance(args[0]))) {
                try {
                    return method.invoke(on, args);
                } catch (InvocationTargetException e) {
                    throw new IllegalStateException(e.getCause());
                }
            }
        }
        throw new NoSuchMethodException(type + "." + name);
    }
}
