"""A look at memcached servers at both ends of a window, and at their counters within it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opsdoc.clients.memcached import Server, Stats
from opsdoc.host import Answer, Host
from opsdoc.model import ProbeError, TimedOut, Unreachable
from opsdoc.parsers import memcached
from opsdoc.signals.cache_words import so_far

FIRST = ("", "items")
LAST = ("", "items", "slabs", "settings")  # the counters first
NOW = ("",)
GLANCE = 0.5  # seconds for what is asked within the window, so that who stands still does not make it longer
PARTS = 4  # of the window, so that its course is seen


class Look(NamedTuple):
    """What a server said at a time (seconds since the run began), by group."""

    at: float
    groups: dict[str, memcached.Stats]
    refused: str = ""  # why the general group is not there

    def of(self, group: str) -> memcached.Stats:
        """A group; an empty one where it was refused."""
        return self.groups.get(group, memcached.Stats({}))


@dataclass(slots=True, eq=False, repr=False)
class Watched:
    """One server: its looks, and why it did not answer, or not any more."""

    server: Server
    looks: list[Look] = field(default_factory=list)
    between: list[Look] = field(default_factory=list)  # at its counters alone
    error: ProbeError | None = None

    @property
    def name(self) -> str:
        """What it is called everywhere."""
        return self.server.address

    @property
    def is_dead(self) -> bool:
        """Whether it does not answer; one that wants a password, or is none, does."""
        return isinstance(self.error, Unreachable | TimedOut)

    def by_hand(self, group: str = "") -> str:
        """A command line that asks it the same."""
        address, command = self.server.address, f"stats {group}".strip()
        if self.server.encryption is not None:
            ask = f"openssl s_client -quiet -connect {shlex.quote(address)}"
        elif address.startswith("unix:"):
            ask = f"nc -U {shlex.quote(address.removeprefix('unix:'))}"
        else:
            host, _, port = address.rpartition(":")
            ask = f"nc {shlex.quote(host.strip('[]'))} {port}"
        return f"printf '{command}\\r\\nquit\\r\\n' | {ask}"


class Seen(NamedTuple):
    """All servers, and why there is no look at the end of the window where there is none."""

    watched: list[Watched]
    cut_short: ProbeError | None = None


def watch(host: Host, servers: Sequence[Server], window: float) -> Seen:
    """Look at servers before and after the window.

    One that does not answer has time for that beside the window. Raises the ProbeError of the one that was named, where
    there is no other and it does not answer.
    """
    watched = [Watched(server) for server in dict.fromkeys(servers)]
    _look_at(host, watched, FIRST)
    if len(watched) == 1 and watched[0].error is not None:
        raise watched[0].error
    alive = [one for one in watched if one.error is None]
    began = max((one.looks[0].at for one in alive), default=host.now())
    host.tell(_so_far(watched, alive, window))
    try:
        for number in range(1, PARTS):
            left = began + window * number / PARTS - host.now()
            if left > 0:  # a server that does not answer may have taken longer
                host.sleep(left)
                _glance_at(host, alive)
        host.sleep(max(0.0, began + window - host.now()))
    except ProbeError as error:
        return Seen(watched, error)  # what was seen until now is told
    _look_at(host, alive, LAST)
    return Seen(watched)


def _so_far(watched: Sequence[Watched], alive: Sequence[Watched], window: float) -> str:
    """What is known before the window."""
    stats = [one.looks[0].of("") for one in alive]
    hits, misses = (sum(told.whole(name) or 0 for told in stats) for name in ("get_hits", "get_misses"))
    return so_far(len(alive), [one.name for one in watched if one.is_dead], hits, misses, window)


def _look_at(host: Host, watched: Sequence[Watched], groups: tuple[str, ...]) -> None:
    for one, answer in zip(watched, host.gather([Stats(one.server, groups) for one in watched]), strict=True):
        if isinstance(answer, Answer):
            one.looks.append(_look(answer, groups))
        else:
            one.error = answer


def _glance_at(host: Host, watched: Sequence[Watched]) -> None:
    """What servers have counted until now. Who does not tell it soon is asked again at the end, as all are."""
    for one, answer in zip(watched, host.gather([Stats(one.server, NOW, GLANCE) for one in watched]), strict=True):
        if isinstance(answer, Answer):
            one.between.append(_look(answer, NOW))


def _look(answer: Answer[Any], groups: tuple[str, ...]) -> Look:
    pairs = list(zip(groups, answer.value, strict=True))
    told = {group: memcached.Stats(reply["ok"]) for group, reply in pairs if "ok" in reply}
    refused = next((reply["error"] for group, reply in pairs if "error" in reply and not group), "")
    return Look(answer.at + answer.took, told, refused)
