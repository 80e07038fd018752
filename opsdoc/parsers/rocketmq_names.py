"""RocketMQ's names: codes of requests and replies, versions, and the topics that belong to a consumer group.

Read in RequestCode, ResponseCode, MQVersion, KeyBuilder and TopicValidator of RocketMQ 4.9 and 5.3.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from opsdoc.model import Malformed
from opsdoc.parsers.fastjson import object_key

# ── codes of requests; all of them only read ─────────────────────────────────────────────────────

QUERY_CONSUMER_OFFSET = 14
GET_ALL_TOPIC_CONFIG = 21
GET_BROKER_CONFIG = 26
GET_BROKER_RUNTIME_INFO = 28
SEARCH_OFFSET_BY_TIMESTAMP = 29
GET_MAX_OFFSET = 30
GET_MIN_OFFSET = 31
GET_EARLIEST_MSG_STORETIME = 32
VIEW_MESSAGE_BY_ID = 33
GET_CONSUMER_LIST_BY_GROUP = 38
GET_ALL_CONSUMER_OFFSET = 43
GET_ALL_DELAY_OFFSET = 45
GET_TIMER_METRICS = 61
GET_ROUTEINFO_BY_TOPIC = 105
GET_BROKER_CLUSTER_INFO = 106
GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201
GET_TOPIC_STATS_INFO = 202
GET_CONSUMER_CONNECTION_LIST = 203
GET_PRODUCER_CONNECTION_LIST = 204
GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206
GET_CONSUME_STATS = 208
QUERY_TOPIC_CONSUME_BY_WHO = 300
QUERY_CONSUME_TIME_SPAN = 303
GET_CONSUMER_RUNNING_INFO = 307
VIEW_BROKER_STATS_DATA = 315
GET_BROKER_CONSUME_STATS = 317
QUERY_CONSUME_QUEUE = 321
QUERY_TOPICS_BY_CONSUMER = 343
QUERY_SUBSCRIPTION_BY_CONSUMER = 345
GET_TOPIC_CONFIG = 351
GET_BROKER_HA_STATUS = 907
CONTROLLER_GET_METADATA_INFO = 1005
CONTROLLER_GET_SYNC_STATE_DATA = 1006
GET_BROKER_EPOCH_CACHE = 1007

# ── codes of replies ─────────────────────────────────────────────────────────────────────────────

SUCCESS = 0
SYSTEM_ERROR = 1
REQUEST_CODE_NOT_SUPPORTED = 3
NO_PERMISSION = 16
TOPIC_NOT_EXIST = 17
QUERY_NOT_FOUND = 22
CONSUMER_NOT_ONLINE = 206
CONSUME_MSG_TIMEOUT = 207
BROADCAST_CONSUMPTION = 213
FLOW_CONTROL = 215

REPLIES = {
    SUCCESS: "SUCCESS",
    SYSTEM_ERROR: "SYSTEM_ERROR",
    2: "SYSTEM_BUSY",
    REQUEST_CODE_NOT_SUPPORTED: "REQUEST_CODE_NOT_SUPPORTED",
    4: "TRANSACTION_FAILED",
    11: "SLAVE_NOT_AVAILABLE",
    14: "SERVICE_NOT_AVAILABLE",
    15: "VERSION_NOT_SUPPORTED",
    NO_PERMISSION: "NO_PERMISSION",
    TOPIC_NOT_EXIST: "TOPIC_NOT_EXIST",
    19: "PULL_NOT_FOUND",
    20: "PULL_RETRY_IMMEDIATELY",
    21: "PULL_OFFSET_MOVED",
    QUERY_NOT_FOUND: "QUERY_NOT_FOUND",
    23: "SUBSCRIPTION_PARSE_FAILED",
    24: "SUBSCRIPTION_NOT_EXIST",
    25: "SUBSCRIPTION_NOT_LATEST",
    26: "SUBSCRIPTION_GROUP_NOT_EXIST",
    29: "INVALID_PARAMETER",
    CONSUMER_NOT_ONLINE: "CONSUMER_NOT_ONLINE",
    CONSUME_MSG_TIMEOUT: "CONSUME_MSG_TIMEOUT",
    208: "NO_MESSAGE",
    211: "BROKER_NOT_EXIST",
    212: "BROKER_DISPATCH_NOT_COMPLETE",
    BROADCAST_CONSUMPTION: "BROADCAST_CONSUMPTION",
    FLOW_CONTROL: "FLOW_CONTROL",
    501: "NOT_LEADER_FOR_QUEUE",
    604: "ILLEGAL_OPERATION",
    1500: "GO_AWAY",
    2004: "CONTROLLER_MASTER_NOT_AVAILABLE",
    2007: "CONTROLLER_NOT_LEADER",
    2008: "CONTROLLER_BROKER_METADATA_NOT_EXIST",
}


def reply_name(code: int) -> str:
    """How RocketMQ calls a reply's code, such as `TOPIC_NOT_EXIST`; `code 4711` where it is not known."""
    return REPLIES.get(code, f"code {code}")


# ── versions ─────────────────────────────────────────────────────────────────────────────────────

_FIRST_4 = 212  # the ordinal of V4_0_0_SNAPSHOT; from there on each of 4.0.0 to 5.9.9 has a snapshot and a release
_HIGHER = 612  # HIGHER_VERSION, which follows 5.9.9


def version_name(ordinal: int) -> str | None:
    """The version that a header or a connection claims: 399 is `4.9.3`.

    Of the 3.x, which RocketMQ counted by another pattern, only that is said; None is no version of up to 5.9.9.
    """
    if not 0 <= ordinal < _HIGHER:
        return None
    if ordinal < _FIRST_4:
        return "3.x"
    number, is_release = divmod(ordinal - _FIRST_4, 2)
    minor, patch = divmod(number, 10)
    return f"{4 + minor // 10}.{minor % 10}.{patch}{'' if is_release else '-SNAPSHOT'}"


# ── queues as keys ───────────────────────────────────────────────────────────────────────────────


class Queue(NamedTuple):
    """A queue of a topic on one broker: in replies it is the key of what is told of it."""

    broker: str
    topic: str
    number: int


def queue(key: str) -> Queue:
    """The queue that a key stands for, such as `{"brokerName":"a","queueId":0,"topic":"T"}`. Raises Malformed."""
    value = object_key(key)
    broker, topic, number = value.get("brokerName"), value.get("topic"), value.get("queueId")
    if not isinstance(broker, str) or not isinstance(topic, str) or type(number) is not int:
        raise Malformed(f"not a queue: {key[:80]!r:.80}")
    return Queue(broker, topic, number)


# ── topics of groups ─────────────────────────────────────────────────────────────────────────────

RETRY = "%RETRY%"
DEAD_LETTER = "%DLQ%"
SCHEDULE_TOPIC = "SCHEDULE_TOPIC_XXXX"  # the messages that wait in backoff; its queue is the delay level less one


class Owner(NamedTuple):
    """Whose a topic may be: a group's own retry or dead-letter topic, or, with `topic`, that of its POP retries."""

    kind: Literal["retry", "pop-retry", "dead-letter"]
    group: str
    topic: str | None = None


def retry_topic(group: str) -> str:
    """Where failed messages of a group wait, whatever their topic was."""
    return RETRY + group


def pop_retry_topics(group: str, topic: str) -> tuple[str, str]:
    """Where failed messages of a topic wait that a group pops: by the first naming, which is the default, and by V2."""
    return f"{RETRY}{group}_{topic}", f"{RETRY}{group}+{topic}"


def dead_letter_topic(group: str) -> str:
    """Where messages of a group end that failed too often."""
    return DEAD_LETTER + group


def owners(name: str, groups: Collection[str], topics: Collection[str]) -> tuple[Owner, ...]:
    """Whose retry or dead-letter topic `name` may be, of the groups and topics that exist; the plainest first.

    Two are an ambiguity that no name can tell: `%RETRY%a_b` with the groups `a` and `a_b` and a topic `b`. None is
    another kind of topic, or one whose group is gone.
    """
    if name.startswith(DEAD_LETTER):
        group = name.removeprefix(DEAD_LETTER)
        return (Owner("dead-letter", group),) if group in groups else ()
    if not name.startswith(RETRY):
        return ()
    rest = name.removeprefix(RETRY)
    found = [Owner("retry", rest)] if rest in groups else []
    for at, mark in enumerate(rest):
        if mark in "_+" and rest[at + 1 :] in topics and rest[:at] in groups:
            found.append(Owner("pop-retry", rest[:at], rest[at + 1 :]))
    return tuple(found)
