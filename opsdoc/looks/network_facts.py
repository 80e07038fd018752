"""What two samples say of a network namespace as a whole: its ephemeral ports, and what the kernel counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opsdoc.looks.sockets import Namespace, Net, numbers
from opsdoc.model import Unknown
from opsdoc.parsers.sockets import Survey, address, destinations, is_loopback, parse_numbers, parse_ports
from opsdoc.signals.connections import Network, Ports

DEFAULT_RANGE = (32768, 60999)  # of a new network namespace (net/ipv4/af_inet.c, inet_init_net)
NOTICEABLE = 0.01  # of the ports
ONE_SAMPLE = Unknown("that needs two samples: --window 2s")
OUT_OF_SIGHT = Unknown("a setting of another network namespace cannot be read from here")


class View(NamedTuple):
    """One network namespace over the window."""

    where: Namespace
    first: Net | None  # None: it was seen once only
    last: Net
    survey: Survey  # of its last tables
    settings: Mapping[str, Any]  # empty where they cannot be read
    seconds: float


def of(where: Namespace) -> dict[str, Any]:
    """The fields that say which namespace an observation is of."""
    return {"namespace": where.title, "namespace_pid": where.pid if not where.own else None}


def ports(view: View) -> Iterator[Ports]:
    """The destinations that take ephemeral ports: the first, and those that take a noticeable part."""
    limits = numbers(parse_numbers, view.settings.get("port_range"))
    first, last = limits[:2] if len(limits) >= 2 else DEFAULT_RANGE
    reserved = numbers(parse_ports, view.settings.get("reserved_ports"))
    kept = {port for low, high in reserved for port in range(max(low, first), min(high, last) + 1)}
    capacity = max(1, last - first + 1 - len(kept))
    for place, one in enumerate(destinations(view.survey.pairs, max(0, first), min(65535, last))):
        if place and one.ports < NOTICEABLE * capacity:
            return
        yield Ports(
            subject=f"{address(one.local)} → {address(one.remote)}",
            share=round((one.ports - (one.time_wait if _reused(view, one.local) is True else 0)) / capacity, 4),
            used=one.ports,
            capacity=capacity,
            time_wait=one.time_wait,
            reusable=_reused(view, one.local),
            range=f"{first}-{last}" + (f" without {len(kept)} that are reserved" if kept else ""),
            assumed=None if limits else "the range is the kernel's default: that of another namespace cannot be read",
            **of(view.where),
        )


def _reused(view: View, local: bytes) -> bool | Unknown:
    """Whether a new connection takes a port in TIME_WAIT after a second: with time stamps, by tcp_tw_reuse."""
    reuse, stamps = (numbers(parse_numbers, view.settings.get(name)) for name in ("reuse", "timestamps"))
    if not reuse or not stamps:
        return OUT_OF_SIGHT
    return stamps[0] != 0 and (reuse[0] == 1 or (reuse[0] == 2 and is_loopback(local)))


def network(view: View) -> Network:
    """What the kernel counted over the window, and what it is short of."""
    now, then = view.last.counters, None if view.first is None else view.first.counters
    settings, usage = view.settings, view.last.usage
    page = settings.get("page_bytes", 0)
    memory, orphans = numbers(parse_numbers, settings.get("memory")), numbers(parse_numbers, settings.get("orphans"))
    tracked, most_tracked = (numbers(parse_numbers, settings.get(name)) for name in ("tracked", "most_tracked"))

    def grown(name: str) -> int | Unknown:
        if isinstance(now, str):
            return Unknown(now)
        if then is None or isinstance(then, str):
            return ONE_SAMPLE if then is None else Unknown(then)
        if name not in now:
            return Unknown(f"this kernel does not count {name.partition('.')[2]}")
        return max(0, now[name] - then.get(name, now[name]))

    def rate(name: str) -> float | Unknown:
        count = grown(name)
        return count if isinstance(count, Unknown) else round(count / max(view.seconds, 1e-6), 2)

    sent, again, asked_again = (grown(f"{name}") for name in ("Tcp.OutSegs", "Tcp.RetransSegs", "TcpExt.TCPSynRetrans"))
    share: float | Unknown | None = sent if isinstance(sent, Unknown) else again if isinstance(again, Unknown) else None
    if isinstance(sent, int) and isinstance(again, int):
        data = max(0, again - (asked_again if isinstance(asked_again, int) else 0))
        share = round(data / (sent + data), 4) if sent + data else None
    return Network(
        subject=view.where.title,
        retransmitted=share,
        segments=sent,
        overflows=rate("TcpExt.ListenOverflows"),
        drops=rate("TcpExt.ListenDrops"),
        half_open_drops=rate("TcpExt.TCPReqQFullDrop"),
        syn_retries=rate("TcpExt.TCPSynRetrans"),
        timeouts=rate("TcpExt.TCPTimeouts"),
        attempt_failures=rate("Tcp.AttemptFails"),
        resets=rate("Tcp.EstabResets"),
        memory_aborts=rate("TcpExt.TCPAbortOnMemory"),
        pruned=rate("TcpExt.PruneCalled"),
        listeners=len(view.last.tables.listeners) + len(view.last.tables.unix),
        longest_queue=max((one.received for one in view.last.tables.listeners), default=0),
        states=dict(view.survey.states),
        orphans=usage.get("orphan") if view.where.own else OUT_OF_SIGHT,
        most_orphans=orphans[0] if orphans else OUT_OF_SIGHT,
        memory=usage["mem"] * page if page and "mem" in usage else OUT_OF_SIGHT,
        most_memory=memory[2] * page if len(memory) == 3 else OUT_OF_SIGHT,
        tracked=tracked[0] if tracked else None if view.where.own else OUT_OF_SIGHT,
        most_tracked=most_tracked[0] if most_tracked else None if view.where.own else OUT_OF_SIGHT,
        seconds=round(view.seconds, 3),
        cut=view.last.tables.cut or (view.first is not None and view.first.tables.cut),
        **of(view.where),
    )
