"""Whether servers answer now: many at once, one connection each, under one deadline.

One thread drives non-blocking sockets: a server that never answers costs a file descriptor for its share of the time,
and nothing else.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.addresses import TICK, look_up, name_of
from opsdoc.clients.conversation import CONNECT_LIMIT, Call, Said, Target, Waits
from opsdoc.clients.tls import unverified
from opsdoc.model import Unsupported

__all__ = ["Dial", "Resolve", "Target"]

MOST_TARGETS = 64
IN_FLIGHT = 32


class Dial(NamedTuple):
    """Whether servers answer now: a list in the order of the targets, of which the first 64 are dialled.

    Each is {address, result, seconds, connect_seconds, detail, status}. `result` is `connects` (TCP, or the unix
    socket: the kernel accepts even for a process that hangs), `tls ok` (certificates are not verified), `http NNN`
    with the number as `status`; or `refused`, `socket missing`, `not permitted`, `queue full` (of a unix socket),
    `no route`, `no local port`, `no answer` (to the connection), `reset`, `tls failed`, `tls no answer`,
    `closed early`, `silent` (connected, but no answer to the request), `not http`, `name unknown`, `skipped`.
    Without a `path` no request is made. Unix sockets stand below the root of the process `pid` where one is given.
    """

    targets: tuple[Target, ...]
    within: float
    path: str | None = None
    pid: int | None = None

    def key(self) -> str:
        what = "http" if self.path is not None else "connect"
        at = "" if self.pid is None else f" of {self.pid}"
        return f"dial {what}{at}: " + " ".join(f"{'tls:' * one.tls}{one.address}" for one in self.targets)

    def answer(self, live: Live) -> list[dict[str, Any]]:
        _refuse_foreign(live)
        until = time.monotonic() + min(self.within, live.remaining())
        calls = [Call(target, self.path) for target in self.targets]
        for call in calls[MOST_TARGETS:]:
            call.said = Said("skipped", f"no more than {MOST_TARGETS} servers are dialled at once")
        dialled = calls[:MOST_TARGETS]
        context = unverified() if any(call.target.tls for call in dialled) else None
        root = None if self.pid is None else f"{live.proc}/{self.pid}/root"
        with contextlib.ExitStack() as opened:
            names = [name for call in dialled if (name := name_of(call.target.address))]
            found = look_up(names, min(until, time.monotonic() + CONNECT_LIMIT), live) if names else {}
            for call in dialled:
                call.aim(found, root, opened)
                call.context = context
            _drive([call for call in dialled if call.said is None], until, live)
        return [call.told(live) for call in calls]


class Resolve(NamedTuple):
    """What names stand for now, as this machine's resolver has it: nginx asks it once, when it starts.

    The answer is {addresses: {name: [address…] or null}, errors: {name: why}}, addresses sorted, IPv4 first.
    """

    names: tuple[str, ...]
    within: float

    def key(self) -> str:
        return f"resolve {' '.join(self.names)}"

    def answer(self, live: Live) -> dict[str, Any]:
        _refuse_foreign(live)
        found = look_up(self.names, time.monotonic() + min(self.within, live.remaining()), live)
        return {
            "addresses": {name: None if isinstance(one, str) else one for name, one in found.items()},
            "errors": {name: one for name, one in found.items() if isinstance(one, str)},
        }


def _refuse_foreign(live: Live) -> None:
    if live.foreign_proc:
        raise Unsupported(f"{live.proc} may be another machine's: from here its servers need not be those it sees")


# ── all of them ──────────────────────────────────────────────────────────────────────────────────


class _Line(NamedTuple):
    call: Call
    talk: Waits


def _drive(calls: Sequence[Call], until: float, live: Live) -> None:
    """Hold all conversations, 32 at a time. Each has the same share of the time, so that the last has one, too."""
    waves = -(-len(calls) // IN_FLIGHT)
    share = max(0.0, until - time.monotonic()) / max(1, waves)
    waiting = deque(calls)
    limits: dict[_Line, float] = {}
    with selectors.DefaultSelector() as selector:

        def step(line: _Line, resume: Callable[[], tuple[int, float]]) -> None:
            """Go on to the next wait of a conversation, or to its end."""
            try:
                event, limits[line] = resume()
            except StopIteration:
                limits.pop(line, None)
                _hang_up(line.call, selector)
            else:
                _watch(line, event, selector)

        try:
            while (waiting or limits) and not live.stopping.is_set() and time.monotonic() < live.deadline:
                while waiting and len(limits) < IN_FLIGHT:
                    call = waiting.popleft()
                    line = _Line(call, call.conversation(min(until, time.monotonic() + share)))
                    step(line, partial(next, line.talk))
                pause = min(limits.values(), default=0.0) - time.monotonic()
                for key, _ in selector.select(min(TICK, max(0.0, pause))):
                    step(key.data, partial(next, key.data.talk))
                now = time.monotonic()
                for line in [line for line, limit in limits.items() if limit <= now]:
                    step(line, partial(line.talk.throw, TimeoutError()))
        finally:
            for line in limits:
                _hang_up(line.call, selector)


def _watch(line: _Line, event: int, selector: selectors.BaseSelector) -> None:
    connection = line.call.connection
    assert connection is not None
    if connection.fileno() in selector.get_map():
        selector.modify(connection.fileno(), event, line)
    else:
        selector.register(connection.fileno(), event, line)


def _hang_up(call: Call, selector: selectors.BaseSelector) -> None:
    if call.connection is not None:
        with contextlib.suppress(KeyError, ValueError):  # it never had to wait
            selector.unregister(call.connection.fileno())
        call.connection.close()
