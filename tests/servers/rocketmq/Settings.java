package com.acme;

import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.remoting.RPCHook;

/** The words `name=value` of a command line. */
final class Settings {
    private final Map<String, String> values = new HashMap<>();

    Settings(String[] words) {
        for (String word : words) {
            int at = word.indexOf('=');
            values.put(word.substring(0, at), word.substring(at + 1));
        }
    }

    String text(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    int number(String name, int otherwise) {
        return Integer.parseInt(text(name, String.valueOf(otherwise)));
    }

    boolean flag(String name) {
        return Boolean.parseBoolean(text(name, "false"));
    }

    /** What signs the requests, if there is an account. */
    RPCHook account() {
        String access = text("access", "");
        return access.isEmpty() ? null : new AclClientRPCHook(new SessionCredentials(access, text("secret", "")));
    }
}
