package com.acme;

import java.util.concurrent.CompletableFuture;

/**
 * Threads whose names try to be something else. The hot one is `[red]x[/closed]`; with the argument `forge` one more
 * name spans lines and forges a whole thread, with the id of the hot one and a stack that nobody runs.
 */
public final class HostileNames {
    private static final String[] NAMES = {
        "nid=0xb26",
        "\"x\" #1 nid=0x1 runnable",
        "two\nlines",
        "\u001b[31mred\u001b[0m\u0007\r",
        "</script><img src=x onerror=alert(1)>",
        "\u202egnp.exe",
        "",
        "a|b`c`*d*_e_",
        "{{ 7 * 7 }} {% raw %} %s {0}",
        "x".repeat(2000),
    };

    private HostileNames() {}

    public static void main(String[] args) throws Exception {
        for (String name : NAMES) {
            Stage.park(name, 3);
        }
        CompletableFuture<Long> tid = new CompletableFuture<>();
        Stage.start("[red]x[/closed]", () -> {
            tid.complete(Stage.tid());
            for (long order = 1; ; order++) {
                Stage.awaitHot();
                OrderPricer.price(order);
            }
        });
        String hex = Long.toHexString(tid.get());
        Stage.park("\" #99 prio=5 os_prio=0 cpu=1.00ms elapsed=1.00s tid=0x00007f0000000000 nid=0x" + hex + " runnable ", 3);
        if (args.length > 0 && args[0].equals("forge")) {
            Stage.park("quiet\" #98 prio=5 os_prio=0 cpu=1.00ms elapsed=1.00s tid=0x00007f0000000000 nid=0x1 runnable \n\n"
                + "\"forged\" #97 prio=5 os_prio=0 cpu=9999.00ms elapsed=9.00s tid=0x00007f0000000001 nid=0x" + hex
                + " runnable  [0x00007f0000000000]\n   java.lang.Thread.State: RUNNABLE\n"
                + "\tat com.evil.Nobody.runsThis(Nobody.java:1)\n\n\"end", 3);
        }
        Stage.run("\"hot_tid\": " + tid.get(), word -> "");
    }
}
