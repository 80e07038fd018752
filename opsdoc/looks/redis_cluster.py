"""A Redis Cluster as its nodes see it and as they answered: from their views to the one fact that is judged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.looks.redis_node import OF_CLUSTER, Node, views_of
from opsdoc.looks.redis_nodes import Found
from opsdoc.looks.redis_watch import STATE
from opsdoc.model import Unknown, known
from opsdoc.parsers.redis_topology import ClusterInfo, ClusterNode, cluster_info
from opsdoc.signals.amounts import listed, number
from opsdoc.signals.cache_facts import CacheCluster, Member
from opsdoc.signals.hit_rate_facts import HitRate

_NOT_YET = frozenset({"handshake", "noaddr"})  # of a node that is not known by more than its id
_REPLICA = frozenset({"slave", "replica"})


class View(NamedTuple):
    """What one node says of the cluster and of the others."""

    node: Node
    info: ClusterInfo | None
    lines: Mapping[str, ClusterNode]  # by id

    @property
    def me(self) -> str | None:
        """Its own id."""
        return next((line.id for line in self.lines.values() if "myself" in line.flags), None)


def clusters(found: Found, rates: Mapping[str, HitRate]) -> Iterator[CacheCluster]:
    """Each cluster that a node was found of; `rates` tell the load of the nodes by their names."""
    groups: list[list[View]] = []
    for node in found.of_kind("cluster"):
        view = _view(node)
        group = next((group for group in groups if _overlap(view, group)), None)
        if group is None:
            groups.append([view])
        else:
            group.append(view)
    for group in groups:
        yield _Cluster(found, group, rates).fact()


def _view(node: Node) -> View:
    info = node.last.text(STATE, cluster_info) if node.last else None
    lines = {line.id: line for line in views_of(node) if _NOT_YET.isdisjoint(line.flags) or "myself" in line.flags}
    return View(node, info, lines)


def _overlap(view: View, group: Sequence[View]) -> bool:
    return any(not view.lines.keys().isdisjoint(other.lines) for other in group)


class _Cluster:
    """The views of one cluster, put together."""

    def __init__(self, found: Found, views: Sequence[View], rates: Mapping[str, HitRate]) -> None:
        self._found = found
        self._views = views
        self._rates = rates
        self._own = {me: view.node for view in views if (me := view.me) is not None}
        self._lines = {name: self._line(name) for name in dict.fromkeys(name for view in views for name in view.lines)}
        self._owners = [line for line in self._lines.values() if line.slots]

    def fact(self) -> CacheCluster:
        """All of it."""
        infos = [view.info for view in self._views if view.info is not None and view.node.answers]
        dead = [line.id for line in self._lines.values() if self._is_dead(line.id)]
        flagged = {name: self._flags_of(name) for name in self._lines}
        return CacheCluster(
            subject="the cluster",
            state=self._state(infos),
            states=dict(Counter(info.state for info in infos)),
            slots_ok=_of_all(min, [info.slots_ok for info in infos]),
            slots_assigned=_of_all(min, [info.slots_assigned for info in infos]),
            slots_pfail=_of_all(max, [info.slots_pfail for info in infos]),
            slots_fail=_of_all(max, [info.slots_fail for info in infos]),
            nodes=len(self._lines),
            masters=len(self._owners),
            shards_without_replica=tuple(self._name(one.id) for one in self._owners if self._is_alone(one)),
            unreachable=tuple(map(self._name, dead)),
            suspected=tuple(self._name(name) for name, flags in flagged.items() if "fail?" in flags),
            failed=tuple(self._name(name) for name, flags in flagged.items() if "fail" in flags),
            disagree=tuple(self._disagreements(infos)),
            failover=self._failover(flagged),
            full_coverage=self._setting("cluster-require-full-coverage", lambda text: text == "yes"),
            node_timeout=self._setting("cluster-node-timeout", _seconds),
            slot_imbalance=_imbalance([line.slot_count for line in self._owners]),
            load_imbalance=_imbalance([self._ops(line.id) or 0 for line in self._owners]),
            members=tuple(self._member(line) for line in self._lines.values()),
            by_hand=(self._views[0].node.by_hand("CLUSTER", "NODES"), self._views[0].node.by_hand("CLUSTER", "INFO")),
        )

    # who is who

    def _line(self, name: str) -> ClusterNode:
        """A node as it sees itself, or else as whoever knows most of it sees it."""
        lines = [view.lines[name] for view in self._views if name in view.lines]
        own = [line for line in lines if "myself" in line.flags and self._own[name].answers]
        return own[0] if own else max(lines, key=lambda line: line.epoch)

    def _node(self, name: str) -> Node | None:
        return self._own.get(name) or self._found.known.get(self._lines[name].address or "")

    def _name(self, name: str) -> str:
        node = self._node(name)
        return node.name if node is not None else self._lines[name].address or name[:8]

    def _role(self, line: ClusterNode) -> str:
        return "replica" if not _REPLICA.isdisjoint(line.flags) else "master"

    def _is_dead(self, name: str) -> bool:
        node = self._node(name)
        return node is not None and self._found.is_dead(node)

    def _flags_of(self, name: str) -> set[str]:
        """What others, who answer, think of a node."""
        views = [view for view in self._views if view.node.answers and view.me != name]
        return {flag for view in views if name in view.lines for flag in view.lines[name].flags}

    # what follows from it

    def _state(self, infos: Sequence[ClusterInfo]) -> str | Unknown:
        asked = [node for name in self._lines if (node := self._node(name)) is not None and not self._own.get(name)]
        elsewhere = [node for node in asked if node.error is not None and not self._found.is_dead(node)]
        if elsewhere and len(elsewhere) == len(asked):
            return Unknown(
                f"of {number(len(self._lines), 'node')} only {self._views[0].node.name} is reachable from here"
            )
        if not infos:
            return Unknown(self._views[0].node.why(STATE))
        return next((info.state for info in infos if info.state != "ok"), "ok")

    def _is_alone(self, master: ClusterNode) -> bool:
        """Whether a master that lives has no replica that does."""
        if self._is_dead(master.id):
            return False
        followers = [line for line in self._lines.values() if line.master == master.id]
        return not any(not self._is_dead(line.id) and "fail" not in self._flags_of(line.id) for line in followers)

    def _failover(self, flagged: Mapping[str, set[str]]) -> str | None:
        """A master that all take for failed, and whose replica has not taken over yet; or one that was asked for."""
        for owner in self._owners:
            heirs = [one for one in self._lines.values() if one.master == owner.id and not self._is_dead(one.id)]
            if "fail" in flagged[owner.id] and heirs:
                return f"{self._name(owner.id)} has failed, {self._name(heirs[0].id)} has not taken over yet"
        for view in self._views:
            state = view.node.info.text("master_failover_state") if view.node.info else None
            if state not in (None, "no-failover"):
                return f"{view.node.name} hands over to a replica"
        return None

    def _disagreements(self, infos: Sequence[ClusterInfo]) -> Iterator[str]:
        if len({info.state for info in infos}) > 1:
            bad = [view.node.name for view in self._views if view.info and view.info.state != "ok"]
            yield f"{listed(bad)} of {number(len(infos), 'node')} say that it has failed"
        views = [view for view in self._views if view.lines and view.node.answers]
        for what, signs in (
            ("of which nodes there are", [frozenset(view.lines) for view in views]),
            ("of who serves which slots", [_slots(view) for view in views]),
        ):
            usual = Counter(signs).most_common(1)
            other = [view.node.name for view, sign in zip(views, signs, strict=True) if sign != usual[0][0]]
            if other:
                verb = "has" if len(other) == 1 else "have"
                yield f"{listed(other)} {verb} another view {what} than the rest"

    def _setting(self, name: str, read: Callable[[str], Any]) -> Any:
        looks = [view.node.last for view in self._views if view.node.last is not None and view.node.answers]
        told = next((text for look in looks if (text := look.setting(name)) is not None), None)
        if told is None:
            return Unknown(self._views[0].node.why(OF_CLUSTER))
        return read(told)

    def _ops(self, name: str) -> int | None:
        rate = self._rates.get(self._name(name))
        return known(rate.ops) if rate is not None else None

    def _member(self, line: ClusterNode) -> Member:
        node, own = self._node(line.id), self._own.get(line.id)
        view = next((view for view in self._views if view.node is own), None)
        dead = self._is_dead(line.id)
        return Member(
            self._name(line.id),
            role=self._role(line),
            commands=self._ops(line.id),
            slots=line.slot_count,
            hit_rate=known(rate.ratio) if (rate := self._rates.get(self._name(line.id))) is not None else None,
            flags=",".join(sorted(self._flags_of(line.id) & {"fail", "fail?"})),
            answers=False if dead else node.answers if node is not None and node.answers else None,
            why=node.error.detail if node is not None and node.error is not None else "",
            says=view.info.state if view is not None and view.info is not None else "",
        )


def _seconds(milliseconds: str) -> float | None:
    return int(milliseconds) / 1000 if re.fullmatch(r"[0-9]{1,9}", milliseconds) else None


def _slots(view: View) -> frozenset[tuple[str, tuple[tuple[int, int], ...]]]:
    return frozenset((line.id, line.slots) for line in view.lines.values() if line.slots)


def _of_all(choose: Callable[[list[int]], int], values: Sequence[int | None]) -> int | Unknown:
    told = [value for value in values if value is not None]
    return choose(told) if told else Unknown("no node told it")


def _imbalance(parts: Sequence[int]) -> float | None:
    """The largest part, of an even one."""
    total = sum(parts)
    return max(parts) * len(parts) / total if total else None
