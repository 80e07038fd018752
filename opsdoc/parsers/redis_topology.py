"""What Redis says about who belongs together: CLUSTER NODES and INFO, ROLE, and the replies of Sentinels.

Written from the output of 7.0 and the sources of src/cluster.c, src/replication.c and src/sentinel.c. Values are JSON
types, as `clients/redis.py` answers with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opsdoc.model import Malformed
from opsdoc.parsers.redis_info import joined

SLOTS = 16384
NODES_CAP = 2000  # lines: Redis advises against more than 1,000 nodes

_ID = re.compile(r"[0-9a-f]{40}")
_SLOTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MOVING = re.compile(r"\[([0-9]{1,5})-([<>])-")
_WHOLE = re.compile(r"[0-9]{1,19}")
_USABLE = re.compile(r"([0-9]{1,6}) usable Sentinels")


# ── cluster ──────────────────────────────────────────────────────────────────────────────────────


class ClusterInfo(NamedTuple):
    """CLUSTER INFO: how one node sees the cluster."""

    state: str  # ok or fail
    slots_assigned: int | None
    slots_ok: int | None
    slots_pfail: int | None
    slots_fail: int | None
    known_nodes: int | None
    size: int | None  # masters with slots
    epoch: int | None


class ClusterNode(NamedTuple):
    """A line of CLUSTER NODES: how one node sees another, or itself (`myself` among the flags).

    `address` is None where none is known. `slots` are ranges, both ends included; `moving` counts those on the way.
    `linked` says that the bus is connected, which it still is to a node that has just frozen.
    """

    id: str
    address: str | None
    hostname: str | None
    flags: tuple[str, ...]
    master: str | None
    linked: bool
    epoch: int
    slots: tuple[tuple[int, int], ...]
    moving: int

    @property
    def slot_count(self) -> int:
        """How many slots it serves."""
        return sum(last - first + 1 for first, last in self.slots)


def cluster_info(text: str) -> ClusterInfo:
    """CLUSTER INFO. Raises Malformed where it names no state."""
    pairs = (line.rstrip("\r").partition(":") for line in text.split("\n")[:1000])
    fields = {name: value for name, _, value in pairs}
    if "cluster_state" not in fields:
        raise Malformed(f"not the answer to CLUSTER INFO: {text[:40]!r}")
    names = "slots_assigned slots_ok slots_pfail slots_fail known_nodes size current_epoch".split()
    return ClusterInfo(fields["cluster_state"], *(whole(fields.get(f"cluster_{name}")) for name in names))


def cluster_nodes(text: str) -> tuple[ClusterNode, ...]:
    """CLUSTER NODES, at most NODES_CAP of them. Raises Malformed where a line is none."""
    return tuple(_node(line) for line in text.split("\n")[:NODES_CAP] if line.strip())


def _node(line: str) -> ClusterNode:
    words = line.split()
    if len(words) < 8 or _ID.fullmatch(words[0]) is None:
        raise Malformed(f"not a line of CLUSTER NODES: {line[:60]!r}")
    place, *more = words[1].split(",")  # 7.0 adds the host's name, 7.2 more after that
    host, _, port = place.partition("@")[0].rpartition(":")
    slots, moving = [], 0
    for word in words[8:]:
        if (ends := _SLOTS.fullmatch(word)) and int(ends[1]) <= int(ends[2] or ends[1]) < SLOTS:
            slots.append((int(ends[1]), int(ends[2] or ends[1])))
        elif _MOVING.match(word):
            moving += 1
    return ClusterNode(
        id=words[0],
        address=joined(host, port) if host and port != "0" else None,
        hostname=(more[0] or None) if more else None,
        flags=tuple(words[2].split(",")),
        master=words[3] if _ID.fullmatch(words[3]) else None,
        linked=words[7] == "connected",
        epoch=whole(words[6]) or 0,
        slots=tuple(slots),
        moving=moving,
    )


# ── replication ──────────────────────────────────────────────────────────────────────────────────


class Role(NamedTuple):
    """ROLE: `master`, `slave` or `sentinel`, with what belongs to it; the rest is None or empty."""

    name: str
    offset: int | None = None
    master: str | None = None  # the address that a replica follows
    link: str | None = None  # connect, connecting, sync, connected
    replicas: tuple[tuple[str, int | None], ...] = ()  # their addresses and offsets
    watched: tuple[str, ...] = ()  # the masters of a Sentinel


def role(value: Any) -> Role:
    """ROLE. Raises Malformed."""
    match value:
        case ["master", int(offset), [*replicas]]:
            return Role("master", offset, replicas=tuple(_followers(replicas)))
        case ["slave", str(host), int(port), str(link), int(offset)]:
            return Role("slave", None if offset < 0 else offset, joined(host, port), link)
        case ["sentinel", [*names]]:
            return Role("sentinel", watched=tuple(name for name in names if isinstance(name, str)))
        case _:
            raise Malformed(f"not the answer to ROLE: {value!r:.60}")


def _followers(replicas: list[Any]) -> Iterator[tuple[str, int | None]]:
    for replica in replicas:
        match replica:
            case [str(host), str(port), str(offset)]:
                yield joined(host, port), whole(offset)


# ── Sentinel ─────────────────────────────────────────────────────────────────────────────────────


class Member(NamedTuple):
    """A master, a replica or another Sentinel as one Sentinel sees it."""

    name: str
    address: str
    flags: tuple[str, ...]  # master, slave, sentinel, s_down, o_down, disconnected, failover_in_progress, …
    quorum: int | None = None  # the last three: of a master
    sentinels: int | None = None  # others than the one asked
    replicas: int | None = None


class Quorum(NamedTuple):
    """SENTINEL CKQUORUM: whether enough Sentinels are there; `usable` counts the one asked. `said` is its own text."""

    reached: bool
    usable: int | None
    said: str


def members(value: Any) -> tuple[Member, ...]:
    """SENTINEL MASTERS, REPLICAS or SENTINELS. Raises Malformed."""
    if not isinstance(value, list):
        raise Malformed(f"not a list of Sentinel's: {value!r:.60}")
    return tuple(_member(pairs(item)) for item in value[:NODES_CAP])


def _member(fields: Mapping[str, Any]) -> Member:
    known = {name: str(fields.get(name, "")) for name in ("name", "ip", "port", "flags")}
    counts = (whole(fields.get(name)) for name in ("quorum", "num-other-sentinels", "num-slaves"))
    return Member(known["name"], joined(known["ip"], known["port"]), tuple(known["flags"].split(",")), *counts)


def master_address(value: Any) -> str | None:
    """SENTINEL GET-MASTER-ADDR-BY-NAME; None where it knows no such master. Raises Malformed."""
    match value:
        case [str(host), str(port)]:
            return joined(host, port)
        case None:
            return None
        case _:
            raise Malformed(f"not the address of a master: {value!r:.60}")


def quorum(said: str) -> Quorum:
    """SENTINEL CKQUORUM: its reply or, where that is an error, the error."""
    usable = _USABLE.search(said[:400])
    return Quorum(said.startswith("OK"), int(usable[1]) if usable else None, said[:400])


# ── what they have in common ─────────────────────────────────────────────────────────────────────


def pairs(value: Any) -> dict[str, Any]:
    """A flat list of names and values, such as CONFIG GET gives. Raises Malformed."""
    if not isinstance(value, list) or len(value) % 2 or not all(isinstance(name, str) for name in value[::2]):
        raise Malformed(f"not a list of names and values: {value!r:.60}")
    return dict(zip(value[::2], value[1::2], strict=True))


def whole(value: Any) -> int | None:
    """A number as Redis writes it in texts, or as a number; None for anything else."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None
