"""Who is there in a RocketMQ cluster: its brokers as the name servers tell of them, and how all of them are asked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from opsdoc.clients.remoting import Server
from opsdoc.clients.rocketmq import Call
from opsdoc.host import Answer, Host
from opsdoc.model import Malformed, ProbeError, TimedOut, Unreachable, Unseen, Unsupported
from opsdoc.parsers import rocketmq_names as names

SIDE_BY_SIDE = 32  # questions that are put at once: a client keeps four connections to an address
MASTER = "0"  # the id of the master among a broker's addresses
AT_MOST = 5.0  # seconds for questions side by side

_MOST = 1e20  # what is more is no number of anything here
_RUNTIME = re.compile(r"\[ *(\d{1,6}) days, (\d{1,2}) hours, (\d{1,2}) minutes, (\d{1,2}) seconds", re.ASCII)
_NAME_SERVERS = "name servers listen at port 9876 by default, brokers at 10911"
_OWN_TOPICS = frozenset(
    """TBW102 SELF_TEST_TOPIC BenchmarkTest OFFSET_MOVED_EVENT SCHEDULE_TOPIC_XXXX TRANS_CHECK_MAX_TIME_TOPIC""".split()
)
_OWN_GROUPS = frozenset(
    """TOOLS_CONSUMER FILTERSRV_CONSUMER SELF_TEST_C_GROUP CLIENT_INNER_PRODUCER __MONITOR_CONSUMER
    CID_ONSAPI_OWNER CID_ONSAPI_PERMISSION CID_ONS-HTTP-PROXY CID_SYS_RMQ_TRANS CID_RMQ_SYS_TRANS""".split()
)
_OWN_PREFIXES = ("CID_RMQ_SYS_", "RMQ_SYS_", "rmq_sys_")


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


def success(answer: Answer[Any] | ProbeError, question: Call) -> Answer[Any] | ProbeError:
    """The answer if its code is SUCCESS; what its code says as an error otherwise."""
    if isinstance(answer, ProbeError) or answer.value["code"] == names.SUCCESS:
        return answer
    code, remark = answer.value["code"], answer.value["remark"] or ""
    first = remark.partition("\n")[0][:200]
    what = f"{question.server.address} answers request {question.code} with {names.reply_name(code)}: {first}"
    return (Unsupported if code == names.REQUEST_CODE_NOT_SUPPORTED else Malformed)(what)


def table(answer: Answer[Any] | ProbeError | None, name: str) -> dict[str, Any]:
    """An object in the body of an answer; empty where there is none."""
    return inner(None if answer is None or isinstance(answer, ProbeError) else answer.value["body"], name)


def inner(body: Any, name: str) -> dict[str, Any]:
    """An object within an object; empty where there is none."""
    found = body.get(name) if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def rows(answer: Answer[Any] | ProbeError | None, name: str) -> list[dict[str, Any]]:
    """The objects of a list in the body of an answer; none where there is none."""
    return listed(None if answer is None or isinstance(answer, ProbeError) else answer.value["body"], name)


def listed(body: Any, name: str) -> list[dict[str, Any]]:
    """The objects of a list within an object; none where there is none."""
    found = body.get(name) if isinstance(body, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def number(value: Any) -> int:
    """A whole number of a reply, as JSON or as text; 0 for anything else."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"-?\d{1,20}", value, re.ASCII) else 0
    if isinstance(value, float):
        return int(value) if abs(value) < _MOST else 0
    return value if type(value) is int else 0


def decimal(value: Any) -> float | None:
    """A number of a reply that may have a fraction; None for anything else, and for what is no share of a second."""
    if isinstance(value, str):
        match = re.fullmatch(r" *(-?\d{1,20}(?:\.\d{1,20})?(?:[eE]-?\d{1,3})?)(?: .*)?", value, re.ASCII)
        value = float(match[1]) if match else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST
    return float(value) if is_number else None


def ask_all(
    host: Host, questions: Sequence[Call], ends: float | None = None
) -> Iterator[tuple[Call, Answer[Any] | ProbeError]]:
    """Each question with its successful answer or error, SIDE_BY_SIDE at once.

    A server that was late is not asked again, so that it costs AT_MOST once; after `ends` (seconds since the run
    began) nobody is.
    """
    silent: dict[str, TimedOut] = {}
    for start in range(0, len(questions), SIDE_BY_SIDE):
        some = questions[start : start + SIDE_BY_SIDE]
        if ends is not None and host.now() >= ends:
            silent |= {q.server.address: TimedOut("no time was left in the window to ask") for q in some}
        asked = [question for question in some if question.server.address not in silent]
        answers = dict(zip(asked, host.gather(asked, AT_MOST), strict=True))
        for question in some:
            answer = answers.get(question) or silent[question.server.address]
            if isinstance(answer, TimedOut):
                silent.setdefault(question.server.address, answer)
            yield question, success(answer, question)


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def wall(host: Host, at: float) -> float:
    """The time of day of this machine, in seconds since 1970, `at` seconds after the run began; 1 s exact."""
    try:
        return datetime.fromisoformat(host.started).timestamp() + 0.5 + at
    except ValueError:
        return at


def clock_difference(runtime: Mapping[str, Any], now: float) -> float:
    """By how many seconds a broker's clock is ahead of ours, by its own start and age; 0 where they agree within 2."""
    age = _RUNTIME.search(str(runtime.get("runtime", "")))
    booted = number(runtime.get("bootTimestamp"))
    if age is None or booted <= 0:
        return 0.0
    days, hours, minutes, seconds = map(int, age.groups())
    theirs = booted / 1000 + ((days * 24 + hours) * 60 + minutes) * 60 + seconds + 0.5
    return theirs - now if abs(theirs - now) > 2 else 0.0


# ── brokers ──────────────────────────────────────────────────────────────────────────────────────


class Broker(NamedTuple):
    """A broker by its name: the server that is asked for it, and its slaves."""

    name: str
    cluster: str
    server: Server
    is_master: bool = True
    slaves: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """How people call it."""
        return f"{self.name} ({'master' if self.is_master else 'slave'}) {self.server.address}"


class Proxy(NamedTuple):
    """What listens where a name server was expected and serves only what clients ask: a proxy of 5.x."""

    server: Server


class Cluster(NamedTuple):
    """Who was found: the brokers of all clusters that the name servers know, and which of these did not answer."""

    brokers: tuple[Broker, ...]
    unseen: tuple[Unseen, ...] = ()

    @property
    def clusters(self) -> frozenset[str]:
        """The names of the clusters, and of the brokers: topics of these names are RocketMQ's own."""
        return frozenset(name for broker in self.brokers for name in (broker.cluster, broker.name))


def find(host: Host, servers: Sequence[Server]) -> Cluster | Proxy:
    """Ask all name servers for all brokers. Raises a ProbeError where none answers, or what answers is none."""
    questions = [Call(server, names.GET_BROKER_CLUSTER_INFO) for server in servers]
    brokers: dict[str, Broker] = {}
    failed: list[tuple[Call, ProbeError]] = []
    for question, answer in ask_all(host, questions):
        if isinstance(answer, ProbeError):
            failed.append((question, answer))
            continue
        for broker in _brokers(table(answer, "brokerAddrTable"), question.server):
            known = brokers.get(broker.name)
            if known is None or (broker.is_master and not known.is_master):
                brokers[broker.name] = broker
    if len(failed) == len(questions):
        question, error = failed[0]
        if isinstance(error, Unsupported) and str(names.GET_BROKER_CLUSTER_INFO) in error.detail:
            return _what_else(host, question.server)
        raise error
    if not brokers:
        where = ", ".join(server.address for server in servers)
        raise Unreachable(f"no broker is registered at {where}", "see whether the brokers' namesrvAddr names it")
    unseen = [error.unseen(f"name server {question.server.address}") for question, error in failed]
    return Cluster(tuple(sorted(brokers.values())), tuple(unseen))


def _brokers(found: Mapping[str, Any], asked: Server) -> Iterator[Broker]:
    for name, entry in found.items():
        addresses = entry.get("brokerAddrs") if isinstance(entry, dict) else None
        if not isinstance(addresses, dict):
            continue
        by_id = {key: text for key, text in addresses.items() if isinstance(text, str) and key.isdigit()}
        if not by_id:
            continue
        first = min(by_id, key=int)
        slaves = tuple(by_id[key] for key in sorted(by_id, key=int) if key not in (MASTER, first))
        cluster = entry.get("cluster")
        server = asked._replace(address=by_id[first])
        yield Broker(name, cluster if isinstance(cluster, str) else "", server, first == MASTER, slaves)


def _what_else(host: Host, server: Server) -> Proxy:
    """A proxy routes topics as a name server does, but knows no cluster; a broker does neither."""
    question = Call(server, names.GET_ROUTEINFO_BY_TOPIC, (("topic", "TBW102"),))
    (answer,) = host.gather([question])
    if isinstance(answer, ProbeError):
        raise answer
    if answer.value["code"] == names.REQUEST_CODE_NOT_SUPPORTED:
        raise Unsupported(f"{server.address} is a broker, not a name server", _NAME_SERVERS)
    return Proxy(server)


# ── what is RocketMQ's own ───────────────────────────────────────────────────────────────────────


def is_own_group(name: str) -> bool:
    """Whether a group is RocketMQ's own, and nobody's backlog."""
    return name in _OWN_GROUPS or name.startswith(_OWN_PREFIXES)


def is_own_topic(name: str, clusters: Collection[str] = ()) -> bool:
    """Whether a topic is RocketMQ's own: those that clusters and brokers are called by among them."""
    return name in _OWN_TOPICS or name in clusters or name.startswith(_OWN_PREFIXES) or name.endswith("_REPLY_TOPIC")


def addresses(texts: Iterable[str]) -> list[str]:
    """`host:port`, also several joined with `;` as RocketMQ writes them, without doubles."""
    return list(dict.fromkeys(part.strip() for text in texts for part in text.split(";") if part.strip()))
