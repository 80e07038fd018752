"""A small client of RocketMQ for test traffic: it sends, commits and poses as consumers, and reads raw facts.

It changes what it is connected to, which opsdoc never does, and shares no code with it: what both say of a broker they
know from two sources. Frames have JSON headers. Nothing here waits longer than `TIMEOUT`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from servers.programs import wait_until

TIMEOUT = 15.0  # seconds
SUCCESS = 0
NOT_FOUND = 22  # QUERY_NOT_FOUND: nothing was committed
OFFLINE = 206  # CONSUMER_NOT_ONLINE
NO_SUCH_TOPIC = 17
VERSION = 399  # V4_9_3
ONE_WAY = 2
BATCH = 200_000  # bytes
PREPARED = 4  # the bit of sysFlag of a half message
READ, WRITE = 4, 2


class Account(NamedTuple):
    access: str
    secret: str


class Reply(NamedTuple):
    """What came back: the code, the text of an error, the fields of the header, the body."""

    code: int
    remark: str
    fields: dict[str, str]
    body: bytes

    def value(self) -> Any:
        """The body, in which keys may be objects or numbers: an object as key becomes its JSON text."""
        text = self.body.decode()
        text = re.sub(r"([{,])(\{[^{}]*\}):", lambda key: f"{key[1]}{json.dumps(key[2])}:", text)
        return json.loads(re.sub(r"([{,])(-?\d+):", r'\1"\2":', text))


class Refused(Exception):
    """The other side answered with an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"code {reply.code}: {reply.remark}")
        self.reply = reply


class Message(NamedTuple):
    """Where a message stands: its queue, its offset in it, and in the commit log."""

    queue: int
    offset: int
    position: int
    id: str


class Stats(NamedTuple):
    """One queue in the reply to 208."""

    end: int
    committed: int
    last: int  # milliseconds


class Link(contextlib.AbstractContextManager):
    """A connection to a name server, a broker or a proxy: `127.0.0.1:PORT`."""

    def __init__(
        self, address: str, account: Account | None = None, trust: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        host, port = address.rsplit(":", 1)
        self.address = address
        self.account = account
        self._numbers = itertools.count(1)
        self._socket = socket.create_connection((host, int(port)), timeout)
        if trust is not None:
            self._socket = ssl.create_default_context(cafile=trust).wrap_socket(self._socket, server_hostname=host)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, code: int, fields: Mapping[str, object] | None = None, body: bytes = b"") -> Reply:
        """Return the reply to a request, whatever its code."""
        number = next(self._numbers)
        self._send({"code": code, "opaque": number, "flag": 0, "extFields": self._signed(fields or {}, body)}, body)
        while True:
            header, answer = self._receive()
            if header["flag"] & 1 and header["opaque"] == number:
                return Reply(header["code"], header.get("remark") or "", header.get("extFields") or {}, answer)

    def do(self, code: int, fields: Mapping[str, object] | None = None, body: bytes = b"") -> Reply:
        """Return the reply to a request that must succeed."""
        reply = self.ask(code, fields, body)
        if reply.code != SUCCESS:
            raise Refused(reply)
        return reply

    def _signed(self, fields: Mapping[str, object], body: bytes) -> dict[str, str]:
        text = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in fields.items() if v is not None}
        if self.account is not None:
            text["AccessKey"] = self.account.access
            signed = "".join(text[name] for name in sorted(text)).encode() + body
            digest = hmac.new(self.account.secret.encode(), signed, hashlib.sha1).digest()
            text["Signature"] = base64.b64encode(digest).decode()
        return text

    def _send(self, header: dict[str, object], body: bytes) -> None:
        header |= {"language": "PYTHON", "version": VERSION, "serializeTypeCurrentRPC": "JSON"}
        data = json.dumps(header).encode()
        self._socket.sendall(struct.pack(">II", 4 + len(data) + len(body), len(data)) + data + body)

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        (size,) = struct.unpack(">I", self._exactly(4))
        frame = self._exactly(size)
        (kind,) = struct.unpack(">I", frame[:4])
        assert kind >> 24 == 0, "a header that is not JSON"
        end = 4 + (kind & 0xFFFFFF)
        return json.loads(frame[4:end]), frame[end:]

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise EOFError(f"{self.address} closed the connection")
            parts += part
        return bytes(parts)


class Broker(Link):
    """A connection to a broker that changes what is there.

    To a proxy, `behind` is the name of the broker whose offsets are asked for; without it the proxy refuses.
    """

    behind: str | None = None

    def _queue(self, topic: str, queue: int) -> dict[str, object]:
        return {"topic": topic, "queueId": queue, "bname": self.behind}

    # ── topics and groups ────────────────────────────────────────────────────────────────────────

    def topic(self, name: str, *, read: int = 4, write: int = 4, perm: int = READ | WRITE) -> str:
        """Create or change a topic."""
        queues = {"readQueueNums": read, "writeQueueNums": write}
        how = {"perm": perm, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": False}
        self.do(17, {"topic": name, "defaultTopic": "TBW102", **queues, **how})
        return name

    def drop_topic(self, name: str) -> None:
        self.do(215, {"topic": name})

    def group(self, name: str, **settings: object) -> str:
        """Create or change a group: consumeEnable, retryMaxTimes, retryQueueNums and so on."""
        body = {"groupName": name, "consumeEnable": True, "retryMaxTimes": 16, "retryQueueNums": 1, **settings}
        self.do(200, {}, json.dumps(body).encode())
        return name

    def setting(self, **settings: object) -> None:
        """Change the broker's settings while it runs."""
        self.do(25, {}, "".join(f"{name}={value}\n" for name, value in settings.items()).encode())

    # ── messages ─────────────────────────────────────────────────────────────────────────────────

    def send(
        self,
        topic: str,
        body: bytes = b"order",
        *,
        queue: int = 0,
        keys: str = "",
        tags: str = "TagA",
        delay: int = 0,
        half: bool = False,
        born: int | None = None,
        **properties: str,
    ) -> Message:
        """Send one message: with a level of delay, or as the first half of a transaction that is never ended.

        One that is neither can be read, and counts, when this returns.
        """
        more = {"TAGS": tags, **({"KEYS": keys} if keys else {}), "WAIT": "true", "UNIQ_KEY": _unique(), **properties}
        if delay:
            more["DELAY"] = str(delay)
        if half:
            more |= {"TRAN_MSG": "true", "PGROUP": "shop"}
        sent = self._sent(topic, queue, body, more, flags=PREPARED if half else 0, born=born)
        if not (delay or half):
            self._await_end(topic, queue, sent.offset + 1)
        return sent

    def send_many(self, topic: str, count: int, *, queue: int = 0, tags: str = "TagA", size: int = 10) -> None:
        """Send many messages to one queue, in batches; they can be read when this returns."""
        last = 0
        step = max(1, BATCH // (size + 100))
        for start in range(0, count, step):
            some = range(start, min(count, start + step))
            batch = b"".join(_packed(b"x" * size, {"TAGS": tags, "KEYS": f"K{i}", "UNIQ_KEY": _unique()}) for i in some)
            last = self._sent(topic, queue, batch, {"WAIT": "true"}, batch=True).offset + len(some)
        self._await_end(topic, queue, last)

    def _sent(
        self,
        topic: str,
        queue: int,
        body: bytes,
        properties: Mapping[str, str],
        *,
        batch: bool = False,
        flags: int = 0,
        born: int | None = None,
    ) -> Message:
        where = {"a": "shop", "b": topic, "c": "TBW102", "d": 4, "e": queue}  # the group, and what a new topic is like
        what = {"f": flags, "g": born or _now(), "h": 0, "i": _properties(properties)}
        how = {"j": 0, "k": False, "m": batch}  # tries so far, unit mode
        fields = self.do(320 if batch else 310, {**where, **what, **how}, body).fields
        first = fields["msgId"].split(",")[0]
        return Message(int(fields["queueId"]), int(fields["queueOffset"]), int(first[-16:], 16), first)

    def _await_end(self, topic: str, queue: int, offset: int) -> None:
        """Return when the index of a queue has come so far: it follows the commit log a moment later."""
        wait_until(lambda: self.end(topic, queue) >= offset, f"{topic} to reach {offset}")

    def send_back(self, group: str, topic: str, message: Message, *, delay: int = 0, most: int = 16) -> None:
        """Give a message back as a consumer does that failed: a level of delay, -1 for the dead letters at once."""
        what = {"offset": message.position, "originMsgId": message.id, "originTopic": topic}
        self.do(36, {"group": group, "delayLevel": delay, "unitMode": False, "maxReconsumeTimes": most, **what})

    # ── offsets ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Set the offsets of a group, by queue, to anything; the group is made if need be, as 5.x wants it."""
        if group not in self.groups():
            self.group(group)
        for queue, offset in offsets.items():
            self.do(15, {"consumerGroup": group, **self._queue(topic, queue), "commitOffset": offset})

    def committed(self, group: str, topic: str, queue: int = 0) -> int | None:
        """The offset of a group; None if it never committed.

        4.9 ignores the wish for an error and says 0 as long as the first message of the queue is there.
        """
        reply = self.ask(14, {"consumerGroup": group, **self._queue(topic, queue), "setZeroIfNotFound": False})
        if reply.code == NOT_FOUND:
            return None
        if reply.code != SUCCESS:
            raise Refused(reply)
        return int(reply.fields["offset"])

    def end(self, topic: str, queue: int = 0) -> int:
        """The offset that the next message gets."""
        return int(self.do(30, self._queue(topic, queue)).fields["offset"])

    def start(self, topic: str, queue: int = 0) -> int:
        """The offset of the first message that is still there."""
        return int(self.do(31, self._queue(topic, queue)).fields["offset"])

    def offsets(self) -> dict[str, dict[str, int]]:
        """All that was ever committed, as slaves copy it: by `topic@group`, then by queue."""
        return self.do(43).value()["offsetTable"]

    def stats(self, group: str, topic: str | None = None) -> dict[tuple[str, int], Stats]:
        """What 208 says of a group, by topic and queue."""
        table = self.do(208, {"consumerGroup": group, "topic": topic}).value().get("offsetTable", {})
        found = {}
        for key, row in table.items():
            queue = json.loads(key)
            stats = Stats(row["brokerOffset"], row["consumerOffset"], row.get("lastTimestamp", 0))
            found[queue["topic"], queue["queueId"]] = stats
        return found

    def lag(self, group: str, topic: str | None = None) -> int:
        """The sum of end minus committed of a group, as 208 gives them: over all its topics, or one."""
        return sum(queue.end - queue.committed for queue in self.stats(group, topic).values())

    def entries(self, topic: str, queue: int = 0, index: int = 0, count: int = 32) -> list[dict[str, Any]]:
        """The entries of a queue's index: physicOffset, physicSize, tagsCode; none of a queue never written to."""
        where = {"topic": topic, "queueId": queue, "index": index, "count": count, "consumerGroup": ""}
        reply = self.do(321, where)
        return (reply.value().get("queueData") or []) if reply.body else []

    def message(self, position: int, topic: str = "") -> bytes:
        """The bytes of the message at a position in the commit log."""
        return self.do(33, {"offset": position, "topic": topic}).body

    def connections(self, group: str) -> dict[str, Any] | None:
        """What 203 says of the members of a group; None when it has none."""
        reply = self.ask(203, {"consumerGroup": group})
        if reply.code == OFFLINE:
            return None
        if reply.code != SUCCESS:
            raise Refused(reply)
        return reply.value()

    def groups(self) -> set[str]:
        """The groups that the broker has settings of."""
        return set(self.do(201).value()["subscriptionGroupTable"])

    def topics(self) -> dict[str, dict[str, Any]]:
        """The topics that the broker has settings of."""
        return self.do(21).value()["topicConfigTable"]

    def running(self, group: str, client: str, *, stacks: bool = False) -> dict[str, Any]:
        """What 307 says: the tables inside a client, and its thread dump."""
        return self.do(307, {"consumerGroup": group, "clientId": client, "jstackEnable": stacks}).value()


class Member(Broker):
    """A consumer that only says that it is there: it never pulls, and never answers what the broker relays to it."""

    def __init__(
        self,
        address: str,
        group: str,
        topics: Iterable[str],
        *,
        client: str = "127.0.0.1@1",
        tags: str = "*",
        broadcast: bool = False,
        account: Account | None = None,
    ) -> None:
        super().__init__(address, account)
        self.client = client
        wanted = [] if tags == "*" else [tag.strip() for tag in tags.split("||")]
        how = {"subString": tags, "tagsSet": wanted, "codeSet": [], "expressionType": "TAG", "classFilterMode": False}
        consumer = {
            "groupName": group,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "BROADCASTING" if broadcast else "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
            "subscriptionDataSet": [{"topic": topic, "subVersion": _now(), **how} for topic in topics],
            "unitMode": False,
        }
        body = {"clientID": client, "producerDataSet": [], "consumerDataSet": [consumer]}
        self.do(34, {}, json.dumps(body).encode())


# ── how messages are written ─────────────────────────────────────────────────────────────────────


_counter = itertools.count(1)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _unique() -> str:
    """An id as clients make it: 32 hexadecimal digits."""
    return f"7F000001{_now() & 0xFFFFFFFFFFFFFFFF:016X}{next(_counter):08X}"


def _properties(values: Mapping[str, str]) -> str:
    return "".join(f"{name}\x01{value}\x02" for name, value in values.items())


def _packed(body: bytes, properties: Mapping[str, str]) -> bytes:
    """One message of a batch: size, magic, checksum, flag, body, properties."""
    more = _properties(properties).encode()
    rest = struct.pack(">IIII", 0, 0, 0, len(body)) + body + struct.pack(">H", len(more)) + more
    return struct.pack(">I", 4 + len(rest)) + rest
