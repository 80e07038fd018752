"""All that was seen of Redis nodes, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.looks.redis_cluster import clusters
from opsdoc.looks.redis_facts import ONLY_TOTALS, health_of, rate_of, refused, unknown_rate
from opsdoc.looks.redis_keys import key_items
from opsdoc.looks.redis_node import ALL, Node
from opsdoc.looks.redis_nodes import Found
from opsdoc.looks.redis_sentinel import sentinel_views, silent
from opsdoc.looks.redis_watch import SLOW_LOG, STATE
from opsdoc.model import Observation, Total, Unseen, Window
from opsdoc.signals.hit_rate_facts import HitRate
from opsdoc.signals.hit_rate_samples import with_shares

_GRANTS = {ALL: "+info", SLOW_LOG: "+slowlog|get", STATE: "+cluster|info +cluster|nodes +config|get"}

Item = Observation | Unseen | Total | Window


def items(found: Found, window: float, rows: int) -> Iterator[Item]:
    """Hit rates, nodes, clusters, Sentinels and keys; what is judged is never cut, `rows` is for keys."""
    silent_sentinels = list(silent(found))
    names = {one.subject.removeprefix("Sentinel ") for one in silent_sentinels}
    nodes = [node for node in found.nodes if node.kind != "sentinel" and node.name not in names]
    no_window = found.cut_short.detail if found.cut_short else "" if window else ONLY_TOTALS
    rates = with_shares([rate for node in nodes if (rate := _rate(found, node, no_window)) is not None])
    if not no_window:
        yield Window(round(max((rate.window_seconds for rate in rates), default=window), 3))
    yield from rates
    for node in nodes:
        if found.is_dead(node) or node.looks:
            yield health_of(found, node)
    yield from clusters(found, {rate.name: rate for rate in rates})
    yield from sentinel_views(found)
    yield from key_items(nodes, rows)
    yield from found.unseen
    if found.cut_short is not None:
        yield found.cut_short.unseen("the end of the window")
    yield from silent_sentinels
    for node in nodes:
        yield from _unseen(found, node)


def _rate(found: Found, node: Node, no_window: str) -> HitRate | None:
    if found.is_dead(node):
        return None
    if node.error is not None or not node.looks:
        return unknown_rate(node, refused(node))
    return rate_of(node, no_window)


def _unseen(found: Found, node: Node) -> Iterator[Unseen]:
    """What a node did not tell, with what would make it."""
    if node.error is not None and not found.is_dead(node):
        yield node.error.unseen(node.name)
    if node.answers:
        for command, grant in _GRANTS.items():
            if (why := node.refusal(command)) is not None:
                yield _refused(node, why, command, grant)


def _refused(node: Node, why: str, command: tuple[str, ...], grant: str) -> Unseen:
    denied = why.startswith("NOPERM")
    return Unseen(
        f"{' '.join(command[:2])} of {node.name}".replace("INFO all", "INFO"),
        "denied" if denied else "unsupported",
        why,
        f"ACL SETUSER {node.user or 'NAME'} {grant}" if denied else "",
    )
