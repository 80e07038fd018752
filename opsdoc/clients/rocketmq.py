"""RocketMQ's name servers and brokers: requests that only read, as questions with plain answers.

What people wrote (remarks, bodies, properties, thread dumps) is masked. Names of groups, topics, brokers and clients
are not, for they must match each other exactly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.remoting import Server, ask
from opsdoc.model import Denied, Malformed
from opsdoc.parsers import fastjson, rocketmq_message
from opsdoc.parsers.remoting import Command
from opsdoc.parsers.rocketmq_names import (
    GET_BROKER_CONFIG,
    NO_PERMISSION,
    SUCCESS,
    SYSTEM_ERROR,
    VIEW_MESSAGE_BY_ID,
    reply_name,
)
from opsdoc.redact import Redactor

WITHIN = 5.0  # seconds for one answer: a broker with 50,000 queues makes 7 MB of JSON
PREVIEW = 200  # characters of a message's body

# What stands under these keys is a name, however deep.
_NAMES = frozenset(
    """brokerAddr brokerAddrTable brokerAddrs brokerDatas brokerName clientAddr clientId cluster clusterAddrTable
    clusterName consumerGroup consumerIdList group groupList groupName masterAddr messageQueue queueDatas topic
    topicList topicName""".split()
)
# A message's own properties that are names; each is masked all the same if it does not look like one.
_NAMED_PROPERTIES = frozenset(
    """CLUSTER DLQ_ORIGIN_MESSAGE_ID DLQ_ORIGIN_TOPIC ORIGIN_MESSAGE_ID PGROUP REAL_TOPIC RETRY_TOPIC
    UNIQ_KEY""".split()
)
_NAME_MARKS = str.maketrans("", "", "%|_+-")


class Call(NamedTuple):
    """One request. The answer is `{"code", "remark", "fields", "body"}`, also for a code that tells of a failure.

    `body` is the JSON of the reply with its keys as text (`parsers/fastjson.py`), or None. It is a broker's
    configuration as an object for GET_BROKER_CONFIG. Refused credentials are Denied.
    """

    server: Server
    code: int
    fields: tuple[tuple[str, str], ...] = ()
    within: float = WITHIN

    def key(self) -> str:
        return _key(self.server, self.code, *(f"{name}={value}" for name, value in sorted(self.fields)))

    def answer(self, live: Live) -> dict[str, Any]:
        reply = _asked(self.server, self.code, dict(self.fields), live, self.within)
        mask = live.redactor.text
        return {
            "code": reply.code,
            "remark": None if reply.remark is None else mask(reply.remark),
            "fields": {name: mask(value) for name, value in reply.fields.items()},
            "body": self._body(reply, live.redactor),
        }

    def _body(self, reply: Command, redactor: Redactor) -> Any:
        if reply.code != SUCCESS or not reply.body:
            return None
        if self.code == GET_BROKER_CONFIG:
            return _configuration(reply.body, redactor)
        try:
            body = fastjson.parse(reply.body)
        except Malformed as error:
            raise Malformed(f"{self.server.address} answers request {self.code}: {error.detail}") from None
        _mask(body, redactor)
        return body


class Messages(NamedTuple):
    """The messages at physical offsets of a broker's log, which no consumer group learns of.

    The answer is a list of `{"offset", "code", "remark", "message"}` in the order asked; `message` is None where the
    broker has none, else the fields of `parsers/rocketmq_message.Message`, with the beginning of the body as text, or
    None where it is packed in a way that cannot be unpacked. 5.x wants to know the `topic`, too.
    """

    server: Server
    topic: str
    offsets: tuple[int, ...]
    within: float = WITHIN

    def key(self) -> str:
        return _key(
            self.server, VIEW_MESSAGE_BY_ID, f"topic={self.topic}", f"offset={','.join(map(str, self.offsets))}"
        )

    def answer(self, live: Live) -> list[dict[str, Any]]:
        return [self._message(offset, live) for offset in self.offsets]

    def _message(self, offset: int, live: Live) -> dict[str, Any]:
        fields = {"offset": str(offset), **({"topic": self.topic} if self.topic else {})}
        reply = _asked(self.server, VIEW_MESSAGE_BY_ID, fields, live, self.within)
        remark = reply.remark
        message = None
        if reply.code == SUCCESS:
            try:
                message = _shown(rocketmq_message.parse(reply.body), live.redactor)
            except Malformed as error:
                remark = error.detail
        return {
            "offset": offset,
            "code": reply.code,
            "remark": None if remark is None else live.redactor.text(remark),
            "message": message,
        }


def _key(server: Server, code: int, *fields: str) -> str:
    return " ".join(["rocketmq", str(code), server.address, *fields])


def _asked(server: Server, code: int, fields: dict[str, str], live: Live, within: float) -> Command:
    """The reply, unless it says that we may not ask: 4.x has no code of its own for that, 5.x has."""
    reply = ask(server, code, fields, live, within)
    remark = reply.remark or ""
    if reply.code == NO_PERMISSION or (reply.code == SYSTEM_ERROR and "AclException" in remark):
        if server.credentials is None:
            hint = "give credentials that may read: --client-config FILE with accessKey and secretKey"
        else:
            hint = "check accessKey and secretKey, and what the broker's access control permits them"
        raise Denied(f"{server.address} refuses request {code} ({reply_name(reply.code)}): {remark}", hint)
    return reply


# ── masking ──────────────────────────────────────────────────────────────────────────────────────


def _mask(body: Any, redactor: Redactor) -> None:
    """Mask in place the text in a reply that is not a name."""
    waiting = [body] if isinstance(body, dict | list) else []
    while waiting:
        container = waiting.pop()
        for place, value in container.items() if isinstance(container, dict) else enumerate(container):
            if place in _NAMES:
                continue
            if isinstance(value, str):
                container[place] = _masked(str(place), value, redactor)
            elif isinstance(value, dict | list):
                waiting.append(value)


def _masked(name: str, value: str, redactor: Redactor) -> str:
    """The value without secrets, which its name may tell of."""
    if name == "jstack":  # it may be long: see Redactor.lines
        return redactor.lines(value.encode()).decode("utf-8", "replace")
    prefix = f"{name}="
    masked = redactor.argv([prefix + value])[0]
    return masked.removeprefix(prefix) if masked.startswith(prefix) else redactor.text(value)


def _configuration(body: bytes, redactor: Redactor) -> dict[str, str]:
    """Lines of `key=value`."""
    pairs = (line.partition("=") for line in body.decode("utf-8", "backslashreplace").splitlines())
    return {name: _masked(name, value, redactor) for name, mark, value in pairs if mark}


def _shown(message: rocketmq_message.Message, redactor: Redactor) -> dict[str, Any]:
    body = None if message.body is None else redactor.text(message.body.decode("utf-8", "backslashreplace"))
    properties = {
        name: value if name in _NAMED_PROPERTIES and _is_name(value) else _masked(name, value, redactor)
        for name, value in message.properties.items()
    }
    return {**message._asdict(), "body": None if body is None else body[:PREVIEW], "properties": properties}


def _is_name(text: str) -> bool:
    bare = text.translate(_NAME_MARKS)
    return len(text) <= 255 and bare.isascii() and bare.isalnum()
