"""Which finding about a database is the headline when several hold: the one table of precedence."""

from __future__ import annotations

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "db.connections",  # nobody comes in, whatever else is true
    "db.unreachable",  # as above, and what it would tell is missing
    "db.read-only-writer",  # writes fail, or go to the wrong server
    "db.commit-waits",  # writes are there and do not end
    "replica.slot-lost",  # it never catches up: the log that it needs is gone
    "replica.apply-error",  # it stands, and an operator has to decide
    "replica.diverged",  # why an error like that comes about, or will
    "replica.sql-stopped",  # it stands because somebody wanted it
    "replica.paused",
    "replica.receiver-dead",  # nothing arrives, so that what is applied tells nothing
    "replica.io-stopped",
    "replica.stalled",  # as above, and both sides still say that all is well
    "replica.none-connected",  # the same from the other side
    "db.lock-chain",  # a session is named that the others wait for, the applier included
    "replica.apply-locked",  # the applier is among those that wait
    "db.prepared",  # what locks are held by without a session
    "db.idle-transaction",  # who holds something up next, and should not
    "db.long-transaction",  # the same, and may be meant
    "replica.apply-slow",  # behind, and the stage is known
    "replica.send-slow",
    "replica.behind",  # behind, and no stage is known
    "replica.slot-retains",  # the disk fills, or the slot is lost next
    "replica.slot-inactive",  # that begins like this
    "replica.conflicts",  # readers pay for it that the replica keeps up
    "db.running",
    "db.deadlocks",
    "db.wraparound",
    "db.history",
    "replica.archive-only",
    "replica.cannot-know",  # before what is merely not told: it is named who knows
    "db.blind",
    # What is only ever in order
    "replica.delayed",
    "replica.fine",
    "db.fine",
    "db.hot-statement",
)
