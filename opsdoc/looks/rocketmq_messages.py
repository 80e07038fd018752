"""Messages of RocketMQ read by their place: an index of a queue, then what its entries point at. No group is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from opsdoc.clients.rocketmq import Call, Messages
from opsdoc.host import Answer, Host
from opsdoc.looks.rocketmq_cluster import Broker, number, rows, success
from opsdoc.model import ProbeError
from opsdoc.parsers import rocketmq_names as names


class Entry(NamedTuple):
    """An entry of a queue's index: its number, where the message is, and, in the queues of delay, when it is due."""

    number: int
    position: int
    due: int  # milliseconds


def index(
    host: Host, broker: Broker, topic: str, queue: int, start: int, count: int
) -> tuple[Answer[Any], list[Entry]]:
    """At most `count` entries of a queue from a number on, with the answer that told them. Raises a ProbeError."""
    fields = (("topic", topic), ("queueId", str(queue)), ("index", str(start)), ("count", str(count)))
    question = Call(broker.server, names.QUERY_CONSUME_QUEUE, fields)
    answer = success(host.ask(question), question)
    if isinstance(answer, ProbeError):
        raise answer
    entries = [
        Entry(start + at, number(row.get("physicOffset")), number(row.get("tagsCode")))
        for at, row in enumerate(rows(answer, "queueData"))
    ]
    return answer, entries[:count]


def messages(host: Host, broker: Broker, topic: str, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The messages that entries point at, without those that are gone. Raises a ProbeError."""
    if not entries:
        return []
    answer = host.ask(Messages(broker.server, topic, tuple(entry.position for entry in entries)))
    return [one["message"] for one in answer.value if isinstance(one.get("message"), dict)]
