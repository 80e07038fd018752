"""Redis: commands that only read, as questions with plain answers.

What may be asked is listed here: nothing that writes, waits, or counts as a hit or miss of the keyspace, as even
SCAN with TYPE and XINFO do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.redis_talk import WITHIN, talk
from opsdoc.clients.redis_target import Target
from opsdoc.model import Malformed
from opsdoc.parsers import redis_text
from opsdoc.parsers.resp import Failure, Reply
from opsdoc.redact import Redactor

SETTINGS = frozenset(
    """activedefrag active-expire-effort appendfsync appendonly client-output-buffer-limit cluster-* hz io-threads
    latency-monitor-threshold lazyfree-* lfu-* maxclients maxmemory* min-replicas-* repl-* replica-* save
    slowlog-* tcp-backlog tcp-keepalive timeout""".split()
)  # for CONFIG GET: no pattern among them matches a password

_COUNT = re.compile(r"[1-9][0-9]?|1[01][0-9]|12[0-8]")
_NOTHING = re.compile("")
_NAME = re.compile(r"[^\s\0]{1,200}")
_ALLOWED: Mapping[str, re.Pattern[str]] = {  # what may follow
    "ACL WHOAMI": _NOTHING,
    "CLUSTER INFO": _NOTHING,
    "CLUSTER MYID": _NOTHING,
    "CLUSTER NODES": _NOTHING,
    "CLUSTER SHARDS": _NOTHING,
    "CLUSTER SLOTS": _NOTHING,
    "CONFIG GET": re.compile("|".join(map(re.escape, sorted(SETTINGS)))),
    "DBSIZE": _NOTHING,
    "INFO": re.compile(r"(?:[a-z]{1,20}(?: [a-z]{1,20}){0,9})?"),
    "LATENCY LATEST": _NOTHING,
    "MEMORY STATS": _NOTHING,
    "PING": _NOTHING,
    "ROLE": _NOTHING,
    "SENTINEL CKQUORUM": _NAME,
    "SENTINEL GET-MASTER-ADDR-BY-NAME": _NAME,
    "SENTINEL MASTER": _NAME,
    "SENTINEL MASTERS": _NOTHING,
    "SENTINEL REPLICAS": _NAME,
    "SENTINEL SENTINELS": _NAME,
    "SENTINEL SLAVES": _NAME,  # its name before 5.0
    "SLOWLOG GET": _COUNT,
    "SLOWLOG LEN": _NOTHING,
    "TIME": _NOTHING,
}
Command = tuple[str, ...]


# ── questions ────────────────────────────────────────────────────────────────────────────────────


class Ask(NamedTuple):
    """Commands, sent together. The answer has for each, in order, {"ok": …} or {"error": "NOPERM …"}.

    "ok" is JSON: text for INFO and CLUSTER NODES, lists for what Redis answers with lists, and for SLOWLOG GET the
    entries of `parsers/redis_text.Slow`, which keep no argument. A server that wants a password that it was not given,
    or another one, is Denied. Commands that are not known to be harmless are a ValueError.
    """

    target: Target
    commands: tuple[Command, ...]
    within: float = WITHIN

    def key(self) -> str:
        return f"redis {self.target.address}: {'; '.join(map(' '.join, self.commands))}"

    def answer(self, live: Live) -> list[dict[str, Any]]:
        for command in self.commands:
            _refuse_unless_harmless(command)
        replies = talk(self.target, live, self.within, lambda talking: talking.ask(self.commands))
        pairs = zip(self.commands, replies, strict=True)
        return [self._shown(command, reply, live.redactor) for command, reply in pairs]

    def _shown(self, command: Command, reply: Reply, redactor: Redactor) -> dict[str, Any]:
        if isinstance(reply, Failure):
            return {"error": redactor.text(redis_text.plain(reply))}
        if command[:2] == ("SLOWLOG", "GET"):
            try:
                return {"ok": [_masked(slow._asdict(), redactor) for slow in redis_text.slow_log(reply)]}
            except Malformed as error:
                return {"error": error.detail}
        if isinstance(reply, bytes):  # it may be long
            return {"ok": redis_text.plain(redactor.lines(reply))}
        return {"ok": _masked(redis_text.plain(reply), redactor)}


class Latency(NamedTuple):
    """How long the server takes to answer PING, asked so many times one after another: seconds each.

    They hold the way there and back, and whatever command the server is busy with.
    """

    target: Target
    times: int = 3
    within: float = WITHIN

    def key(self) -> str:
        return f"redis {self.target.address}: PING {self.times} times"

    def answer(self, live: Live) -> list[float]:
        return talk(self.target, live, self.within, lambda talking: [talking.ping() for _ in range(self.times)])


def _refuse_unless_harmless(command: Command) -> None:
    for words in (1, 2):
        allowed = _ALLOWED.get(" ".join(command[:words]))
        if allowed is not None and allowed.fullmatch(" ".join(command[words:])):
            return
    raise ValueError(f"not known to be harmless: {' '.join(command)!r:.80}")


def _masked(value: Any, redactor: Redactor) -> Any:
    """JSON types with their texts masked."""
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, list):
        return [_masked(item, redactor) for item in value]
    if isinstance(value, dict):
        return {name: _masked(item, redactor) for name, item in value.items()}
    return value
