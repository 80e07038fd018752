package com.acme;

import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A push consumer: namesrv= group= topic= [filter=] [mode=ok|stuck|fail] [only=KEY] [sleep=MS] [ordered=] [broadcast=]
 * [threads=] [retries=] [instance=] [persist=MS].
 *
 * <p>`only` keeps the mode to the messages with that key. `stuck` waits in StockClient.reserve while the program is hot,
 * as it is from the start; `rest` lets it go on. `status` tells what it did so far; `commit` does what a client does by
 * itself only ten seconds after its start.
 */
final class Consumer {
    private static final AtomicLong CONSUMED = new AtomicLong();
    private static final AtomicLong FAILED = new AtomicLong();
    private static final AtomicLong BEGUN = new AtomicLong();

    private static String mode;
    private static String only;
    private static int sleep;

    private Consumer() {}

    public static void main(String[] args) throws Exception {
        Settings settings = new Settings(args);
        mode = settings.text("mode", "ok");
        only = settings.text("only", "");
        sleep = settings.number("sleep", 0);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(
                settings.text("group", ""), settings.account(), new AllocateMessageQueueAveragely());
        consumer.setNamesrvAddr(settings.text("namesrv", ""));
        consumer.setClientIP("127.0.0.1");
        if (!settings.text("instance", "").isEmpty()) {
            consumer.setInstanceName(settings.text("instance", ""));
        }
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(settings.number("threads", 4));
        consumer.setConsumeThreadMax(settings.number("threads", 4));
        consumer.setMaxReconsumeTimes(settings.number("retries", -1));
        consumer.setPersistConsumerOffsetInterval(settings.number("persist", 1000));
        consumer.setHeartbeatBrokerInterval(5000);
        consumer.setPollNameServerInterval(1000);
        if (settings.flag("broadcast")) {
            broadcast(consumer);
        }
        consumer.subscribe(settings.text("topic", ""), settings.text("filter", "*"));
        if (settings.flag("ordered")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                context.setAutoCommit(true);
                return Consumer.consume(messages)
                        ? ConsumeOrderlyStatus.SUCCESS
                        : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) ->
                    Consumer.consume(messages)
                            ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS
                            : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        Stage.hot = mode.equals("stuck");
        StockClient.hold();
        consumer.start();
        String facts = "\"pid\": " + ProcessHandle.current().pid()
                + ", \"client\": \"" + consumer.buildMQClientId() + "\"";
        Stage.run(facts, word -> {
            if (word.equals("commit")) {
                consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            }
            return "\"consumed\": " + CONSUMED + ", \"failed\": " + FAILED + ", \"begun\": " + BEGUN;
        });
    }

    private static boolean consume(List<MessageExt> messages) {
        for (MessageExt message : messages) {
            boolean sick = only.isEmpty() || only.equals(message.getKeys());
            BEGUN.incrementAndGet();
            if (sick && mode.equals("fail")) {
                FAILED.incrementAndGet();
                return false;
            }
            try {
                if (sick && mode.equals("stuck")) {
                    StockClient.reserve(sleep);
                } else if (sleep > 0) {
                    Thread.sleep(sleep);
                }
            } catch (InterruptedException e) {
                return false;
            }
            CONSUMED.incrementAndGet();
        }
        return true;
    }

    /** The type of the mode stands in another package in each of the two lines of versions. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void broadcast(DefaultMQPushConsumer consumer) throws ReflectiveOperationException {
        Class<?> model = DefaultMQPushConsumer.class.getMethod("getMessageModel").getReturnType();
        DefaultMQPushConsumer.class
                .getMethod("setMessageModel", model)
                .invoke(consumer, Enum.valueOf((Class<Enum>) model, "BROADCASTING"));
    }
}
