"""Sockets and descriptors: who does not accept, close or answer, and what runs out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from opsdoc.clients.sockets import Settings
from opsdoc.host import Host
from opsdoc.looks import sampling, socket_facts
from opsdoc.looks import sockets as look
from opsdoc.model import Observation, Total, Unseen, Window
from opsdoc.options import Duration, Opt, Rows, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import sockets as sockets_signal
from opsdoc.signals.connections import Descriptors, Listener, Network, PeerConnections, Ports


@probe(
    judges=(sockets_signal,),
    observes=(Network, Listener, PeerConnections, Ports, Descriptors),
    precedence=sockets_signal.PRECEDENCE,
    example="opsdoc sockets 2609",
)
def sockets(
    host: Host,
    *,
    pid: Annotated[int | None, Opt("this process and its children only", metavar="PID", positional=True)] = None,
    window: WindowLength = Duration(2),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Find what connections wait for: full accept queues, CLOSE_WAIT, SYN_SENT, ports and descriptors running out."""
    scope = look.scope(host, pid)
    unseen = list(scope.unseen)
    settings = host.ask(Settings()).value
    first = last = look.sample(host, scope, unseen)
    if window:
        yield from sampling.let_pass(host, window)
        last = look.sample(host, scope, unseen)
    held = look.held(host, scope, last)
    facts = socket_facts.Facts(scope, first if window else None, last, held, settings)
    if window:
        yield Window(seconds=round(facts.seconds, 3))
    yield from socket_facts.told(host, facts, rows)
    yield from dict.fromkeys(unseen)
