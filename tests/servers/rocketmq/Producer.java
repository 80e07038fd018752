package com.acme;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A producer: namesrv= topic= [rate=PER SECOND] [group=] [tags=A,B] [keys=PREFIX] [delay=LEVEL] [ordered=] [half=].
 *
 * <p>While it is hot it sends at that rate; `send N` sends N at once. `ordered` keeps the messages of one key (there are
 * ten) in one queue; `half` begins a transaction for each and never ends it.
 */
final class Producer {
    private static final AtomicLong SENT = new AtomicLong();
    private static final AtomicLong FAILED = new AtomicLong();

    private static Settings settings;
    private static DefaultMQProducer producer;

    private Producer() {}

    public static void main(String[] args) throws Exception {
        settings = new Settings(args);
        String group = settings.text("group", "shop");
        if (settings.flag("half")) {
            TransactionMQProducer transactions = new TransactionMQProducer(group, settings.account());
            transactions.setTransactionListener(new NeverResolved());
            producer = transactions;
        } else {
            producer = new DefaultMQProducer(group, settings.account());
        }
        producer.setNamesrvAddr(settings.text("namesrv", ""));
        producer.setClientIP("127.0.0.1");
        producer.setSendMsgTimeout(10_000);
        producer.setPollNameServerInterval(1000);
        producer.start();
        int rate = settings.number("rate", 0);
        if (rate > 0) {
            Stage.start("order-sender", () -> sendAtRate(rate));
        }
        Stage.run("\"pid\": " + ProcessHandle.current().pid(), word -> {
            if (word.startsWith("send ")) {
                for (int left = Integer.parseInt(word.substring(5)); left > 0; left--) {
                    send();
                }
            }
            return "\"sent\": " + SENT + ", \"failed\": " + FAILED;
        });
    }

    private static void sendAtRate(int rate) {
        while (true) {
            Stage.awaitHot();
            for (long next = System.nanoTime(); Stage.hot; next += 1_000_000_000L / rate) {
                LockSupport.parkNanos(next - System.nanoTime());
                try {
                    send();
                } catch (Exception e) {
                    FAILED.incrementAndGet();
                }
            }
        }
    }

    private static void send() throws Exception {
        long number = SENT.get();
        String[] tags = settings.text("tags", "TagA").split(",");
        String key = settings.text("keys", "K") + (settings.flag("ordered") ? number % 10 : number);
        byte[] body = ("order " + number).getBytes(StandardCharsets.UTF_8);
        Message message = new Message(settings.text("topic", ""), tags[(int) (number % tags.length)], key, body);
        message.setDelayTimeLevel(settings.number("delay", 0));
        if (producer instanceof TransactionMQProducer) {
            ((TransactionMQProducer) producer).sendMessageInTransaction(message, null);
        } else if (settings.flag("ordered")) {
            producer.send(message, (queues, m, k) -> queues.get(Math.floorMod(k.hashCode(), queues.size())), key);
        } else {
            producer.send(message);
        }
        SENT.incrementAndGet();
    }

    private static final class NeverResolved implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return LocalTransactionState.UNKNOW;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return LocalTransactionState.UNKNOW;
        }
    }
}
