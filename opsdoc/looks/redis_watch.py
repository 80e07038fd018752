"""A look at Redis nodes at both ends of a window, and what may be asked once the window is over."""

from __future__ import annotations

from collections.abc import Sequence

from opsdoc.clients.redis import Command, Latency
from opsdoc.clients.redis_sample import KeySample
from opsdoc.clients.redis_target import Target
from opsdoc.host import Host
from opsdoc.looks.redis_node import ALL, OF_CLUSTER, ROLE, VIEW, Node, about, glance_at, look_at, watched_names
from opsdoc.looks.redis_nodes import Found, find
from opsdoc.model import ProbeError
from opsdoc.signals.cache_words import so_far

SLOW_LOG: Command = ("SLOWLOG", "GET", "16")
STATE: Command = ("CLUSTER", "INFO")
PARTS = 4  # of the window, so that its course is seen: each costs one INFO of one section, 0.03 ms of the server
SAMPLE_SECONDS = 0.25  # for the keys of one node; 30 take about 1 ms


def quorum(name: str) -> Command:
    """How a Sentinel is asked whether there are enough of them."""
    return ("SENTINEL", "CKQUORUM", name)


def watch(host: Host, targets: Sequence[Target], window: float, sample: int) -> Found:
    """Find all nodes, look at them before and after the window, then time PINGs and take a sample of the keys.

    A node that does not answer has time for that beside the window. Keys come last, so that nothing that is measured
    counts what we ask. Raises the ProbeError of the one that was named, where there is no other and it does not answer.
    """
    found = find(host, targets)
    named = [node for node in found.nodes if node.named]
    if len(named) == 1 and named[0].error is not None:
        raise named[0].error
    alive = [node for node in found.nodes if node.answers]
    began = max((node.looks[0].at for node in alive), default=host.now())
    host.tell(_so_far(found, alive, window))
    counting = [node for node in alive if node.info is not None and node.kind != "sentinel"]
    try:
        for number in range(1, PARTS):
            left = began + window * number / PARTS - host.now()
            if left > 0:  # a node that does not answer may have taken longer
                host.sleep(left)
                glance_at(host, counting)
        host.sleep(max(0.0, began + window - host.now()))
    except ProbeError as error:
        found.cut_short = error  # what was seen until now is told
        return found
    look_at(host, [(node, _commands(node)) for node in alive])
    _ask_the_rest(host, [node for node in alive if node.answers and node.kind != "sentinel"], sample)
    return found


def _so_far(found: Found, alive: Sequence[Node], window: float) -> str:
    """What is known before the window."""
    silent = [node.name for node in found.nodes if found.is_dead(node)]
    told = [node.info for node in alive if node.info is not None]
    hits, misses = (sum(info.whole(name) or 0 for info in told) for name in ("keyspace_hits", "keyspace_misses"))
    return so_far(len(alive), silent, hits, misses, window)


def _commands(node: Node) -> tuple[Command, ...]:
    """What is asked at the end of the window, the counters first."""
    if node.kind == "sentinel":
        named = [command for name in watched_names(node) for command in (*about(name), quorum(name))]
        return (ROLE, *named)
    counters = (ALL,) if node.info is not None else (ROLE,)
    more = (STATE, VIEW, OF_CLUSTER) if node.kind == "cluster" else ()
    return (*counters, SLOW_LOG, *more)


def _ask_the_rest(host: Host, nodes: Sequence[Node], sample: int) -> None:
    """PINGs of all nodes, and keys of the masters, which in a cluster alone tell the sizes of keys."""
    for node, timed in zip(nodes, host.gather([Latency(node.target) for node in nodes]), strict=True):
        node.latency = timed
    holders = [node for node in nodes if sample and node.role_told != "slave" and _holds_keys(node)]
    samples = host.gather([KeySample(_database(node), sample, SAMPLE_SECONDS) for node in holders])
    for node, taken in zip(holders, samples, strict=True):
        node.sample = taken


def _holds_keys(node: Node) -> bool:
    return node.info is None or bool(node.info.databases)


def _database(node: Node) -> Target:
    """The database that was named or, where that is empty, the one with most keys."""
    databases = {one.number: one.keys for one in node.info.databases} if node.info is not None else {}
    if not databases or databases.get(node.target.database):
        return node.target
    return node.target._replace(database=max(databases, key=lambda number: databases[number]))
