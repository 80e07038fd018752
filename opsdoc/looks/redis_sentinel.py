"""The masters that Sentinels watch, as all Sentinels that answered see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.looks.redis_node import Node, about, member, members, watched_names
from opsdoc.looks.redis_nodes import Found
from opsdoc.looks.redis_watch import quorum
from opsdoc.model import Denied, Unknown, Unseen
from opsdoc.parsers import redis_topology as topology
from opsdoc.signals.cache_facts import SentinelView

_GONE = frozenset({"s_down", "o_down", "disconnected"})  # flags of who takes over nothing
_DOWN = ("o_down", "s_down")
_ROLES = {"master": "master", "slave": "replica"}


class _Said(NamedTuple):
    """What one Sentinel says of one master."""

    node: Node
    address: str | None
    master: topology.Member | None
    replicas: tuple[topology.Member, ...]
    quorum: topology.Quorum | None
    refused: str  # why there is no quorum


def sentinel_views(found: Found) -> Iterator[SentinelView]:
    """Each watched master; Sentinels that do not answer have no say."""
    asked: dict[str, list[_Said]] = {}
    for node in found.of_kind("sentinel"):
        if node.answers:
            for name in watched_names(node):
                asked.setdefault(name, []).append(_said(node, name))
    for name, said in asked.items():
        yield _view(found, name, said)


def silent(found: Found) -> Iterator[Unseen]:
    """Sentinels that were told of and do not answer: whether enough are left is asked of the others."""
    sentinels = found.of_kind("sentinel")
    told = {
        one.address
        for node in sentinels
        for look in node.looks
        for name in watched_names(node)
        for one in members(look, about(name)[2])
    }
    for node in found.nodes:
        if node.error is not None and (node.name in told or node.kind == "sentinel"):
            yield node.error.unseen(f"Sentinel {node.name}")


def _said(node: Node, name: str) -> _Said:
    look = node.looks[-1]
    master, address, _, replicas = about(name)
    said = look.refused.get(quorum(name)) or look.text(quorum(name), str)
    return _Said(
        node,
        look.read(address, topology.master_address),
        member(look, master),
        members(look, replicas),
        # That there is none comes as an error; any other error is none about the quorum.
        topology.quorum(said) if said and said.startswith(("OK", "NOQUORUM")) else None,
        said or "it was not asked",
    )


def _view(found: Found, name: str, said: Sequence[_Said]) -> SentinelView:
    quorums = [one.quorum for one in said if one.quorum is not None]
    masters = [one.master for one in said if one.master is not None]
    addresses = [address for address, _ in Counter(one.address for one in said if one.address).most_common()]
    lost = next((one for one in quorums if not one.reached), None)
    usable = [one.usable for one in quorums if one.usable is not None]
    flags = {flag for one in masters for flag in one.flags}
    return SentinelView(
        subject=name,
        master=name,
        usable=min(usable, default=Unknown(said[0].refused)),
        quorum=max((one.quorum for one in masters if one.quorum is not None), default=None),
        sentinels=max((one.sentinels + 1 for one in masters if one.sentinels is not None), default=None),
        quorum_ok=lost is None if quorums else Unknown(said[0].refused),
        agreed=len(addresses) == 1 if addresses else Unknown("none of them names an address"),
        addresses=tuple(addresses),
        master_role=_role_at(found, addresses[0]) if addresses else None,
        flags=",".join(flag for flag in (*_DOWN, "failover_in_progress") if flag in flags),
        replicas=_heirs(said),
        failover="the Sentinels make a replica the master" if "failover_in_progress" in flags else None,
        said=lost.said if lost is not None else "",
        by_hand=(
            said[0].node.by_hand("SENTINEL", "MASTER", name),
            said[0].node.by_hand("SENTINEL", "CKQUORUM", name),
        ),
    )


def _heirs(said: Sequence[_Said]) -> int:
    """Replicas that may take over, as that Sentinel sees it that sees fewest."""
    return min(sum(_GONE.isdisjoint(replica.flags) for replica in one.replicas) for one in said)


def _role_at(found: Found, address: str) -> str | Unknown:
    """What the node there says that it is."""
    node = found.known.get(address)
    role = node.role_told if node is not None and node.answers else None
    if role is not None:
        return _ROLES.get(role, role)
    error = node.error if node is not None else None
    denied = isinstance(error, Denied)
    return Unknown(error.detail if error is not None and denied else "the node there does not answer")
