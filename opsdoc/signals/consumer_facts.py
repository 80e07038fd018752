"""A client of a message queue as it was measured, what it does, and the code that its threads stand in."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Literal

from opsdoc.model import Frame, Observation, Share, Unknown, known, measure
from opsdoc.signals.amounts import number
from opsdoc.signals.origin import first_app

State = Literal["consuming", "idle", "stuck", "blocked", "not pulling", "unknown"]

STUCK = 60.0  # seconds with messages at hand and none consumed, as RocketMQ's `mqadmin consumerStatus` has it
NOT_PULLING = 120.0  # seconds without a pull, after which RocketMQ's client itself takes a queue for expired
HALTED: tuple[State, ...] = ("stuck", "blocked", "not pulling")


class Consumer(Observation):
    """A client of a group. `cached` messages were delivered to it and are not consumed; `frames` is the most common
    stack of its consume threads, innermost first, which `agreement` of them have.

    `since` is of the queue with messages at hand that was left alone longest, else of the one consumed from last: a
    client whose other queues go on is stuck all the same.
    """

    kind: ClassVar[str] = "consumer"
    cached: int | Unknown | None = measure("cached", "count", "main")
    state: State = measure("state", show="line", default="unknown")
    since: float | Unknown | None = measure("last consumed, ago", "seconds", "line")
    ok_rate: float | Unknown | None = measure("consumed", "per_second", "line")
    failed_rate: float | Unknown | None = measure("failed", "per_second", "line")
    consume_seconds: float | Unknown | None = measure("a message takes", "seconds", "line")
    agreement: Share | None = measure("threads with this stack")
    frames: tuple[Frame, ...] | Unknown | None = measure("stack")
    threads: int | None = measure("consume threads", "count")
    consumer: str = measure("consumer", default="")
    client: str = measure("client", default="")
    address: str = measure("address", default="")
    version: str | None = measure("version")
    language: str | None = measure("language")
    queues: int = measure("queues", "count", default=0)
    ordered: bool | None = measure("in order")
    unlocked: int | None = measure("queues that it has no lock for", "count")
    last_pull: float | Unknown | None = measure("last pull, ago", "seconds")
    subscription: str | None = measure("subscribes to")
    mismatch: str | None = measure("differs from the group in")
    connections: int = measure("connections with this id", "count", default=1)
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())


def state_of(
    *,
    cached: int | Unknown | None,
    since: float | Unknown | None,
    last_pull: float | Unknown | None = None,
    queues: int,
    ordered: bool = False,
    unlocked: int = 0,
) -> State:
    """What a client does, by what it tells of itself; times are seconds ago. Without a queue it has nothing to do.

    One that consumes in order is blocked where others would be stuck, and where it does not get the lock of a queue.
    """
    if queues == 0:
        return "idle"
    at_hand, ago = known(cached), known(since)
    if at_hand is None or ago is None:
        return "unknown"
    if at_hand > 0 and ago >= STUCK:
        return "blocked" if ordered else "stuck"
    if unlocked and ago >= STUCK:
        return "blocked"
    if at_hand == 0 and (known(last_pull) or 0.0) >= NOT_PULLING:
        return "not pulling"
    return "consuming" if at_hand or ago < STUCK else "idle"


def where(client: Consumer) -> str:
    """`20 of 20 consume threads in com.acme.StockClient.reserve (StockClient.java:40) ← SocketInputStream.read`."""
    frames = known(client.frames)
    frame = first_app(frames or ())
    if not frames or frame is None:
        return ""
    share = client.agreement
    many = f"{share.seen:,} of {number(share.of, 'consume thread')}" if share else "its consume threads"
    top = frames[0]
    below = "" if top.function == frame.function else f" ← {'.'.join(top.function.split('.')[-2:])}"
    return f"{many} in {frame}{below}"


# What the innermost call of a stuck thread waits for, by a part of its name, and what to do about it.
_WAITS = (
    (("socketread", "socketinputstream", "read0", "recv", "poll0", "epoll"),
     "waits for an answer over the network: give that call a timeout, and see who does not answer"),
    (("sleep",), "sleeps: see why, and for how long"),
    (("connect",), "waits for a connection: see whether the other side is there"),
    (("park", ".wait", "acquire", "lock"),
     "waits for a lock, a pool or a result: see who holds it or was to give it"),
)  # fmt: skip


def waits_for(client: Consumer) -> str:
    """What to do about the code that its threads stand in, or how to see it."""
    frames = known(client.frames)
    frame = first_app(frames or ())
    if not frames or frame is None:
        return f"take a thread dump of {client.client} and look at its consume threads only"
    top = frames[0].function.lower()
    for parts, meaning in _WAITS:
        if top != frame.function.lower() and any(part in top for part in parts):
            return f"{frame} {meaning}"
    return f"read {frame}: it does not return"


def by_hand(client: Consumer) -> tuple[str, ...]:
    """The commands that show it, or those for any client of its language."""
    if client.by_hand:
        return client.by_hand
    language = (client.language or "").lower()
    return ("py-spy dump --nonblocking --pid PID",) if language == "python" else ("jstack -l PID",)


def all_halted(clients: Collection[Consumer], members: int | None = None) -> bool:
    """Whether each client with a queue is proven to stand still, and all `members` of the group told."""
    states = [client.state for client in clients if client.queues or client.state in HALTED]
    return bool(states) and len(clients) >= (members or 0) and all(state in HALTED for state in states)
