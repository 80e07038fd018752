"""Which finding about a message queue is the headline when several hold: the one table of precedence."""

from __future__ import annotations

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "broker.unreachable",  # half of the picture is missing, and half of the queues
    "backlog.disabled",  # whatever the consumers do
    "backlog.no-consumer",
    "backlog.blocked",  # a client is named, and its code
    "backlog.stalled",
    "backlog.skewed",  # the same for some of the queues
    "consumer.stuck",
    "consumer.not-pulling",
    "broker.send-wait",  # what comes in is held up, so that backlogs look well
    "broker.dispatch-behind",
    "backlog.lost",  # gone, whatever happens next
    "broker.disk",  # what is lost next
    "consumer.slow",  # why it grows
    "backlog.growing",
    "backlog.behind",
    "backlog.dead-letters",
    "consumer.failing",
    "backlog.retry",
    "backlog.redelivery",
    "backlog.ahead",
    "consumer.mismatch",
    "consumer.duplicate-id",
    "broker.slave-behind",
    "broker.half-messages",
    "broker.controller",
    "backlog.unread-queues",
    "backlog.rewound",
    "backlog.draining",  # on the mend
    "backlog.idle-members",
    "backlog.from-slave",
    "backlog.unknown",
    "broker.unknown",
    "consumer.unknown",
    "backlog.broadcast",
    # What is only ever in order
    "backlog.drained",
    "backlog.keeps-up",
    "backlog.never-consumed",
    "consumer.fine",
    "broker.fine",
)
