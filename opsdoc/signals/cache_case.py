"""A node of a cache with all that was seen of it: its hit rate and its health, found together by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from opsdoc.model import Observation, known
from opsdoc.signals.cache_facts import CacheNode
from opsdoc.signals.hit_rate_facts import HitRate


class Case(NamedTuple):
    """One node. At least one of the two is there; `parts` are the parts that its hit rate is made of."""

    rate: HitRate | None
    health: CacheNode | None
    parts: tuple[HitRate, ...] = ()

    @property
    def name(self) -> str:
        """What the node is called."""
        return self.rate.name if self.rate else self.health.name if self.health else ""

    @property
    def refused(self) -> int:
        """Writes of the window that were refused for want of memory."""
        return (known(self.health.oom_errors) or 0) if self.health else 0

    @property
    def expires(self) -> int | None:
        """Keys with a time to live."""
        return known(self.rate.expires) if self.rate else None

    @property
    def evicts(self) -> bool | None:
        """Whether it makes room when it is full; None where that is unknown."""
        return self.health.evicts(self.expires) if self.health else None

    @property
    def evidence(self) -> tuple[str, ...]:
        """The observations, as findings cite them."""
        return tuple(one.id for one in (self.rate, self.health) if one is not None and one.id)

    @property
    def by_hand(self) -> tuple[str, ...]:
        """The commands that show both."""
        return tuple(dict.fromkeys(said for one in (self.rate, self.health) if one is not None for said in one.by_hand))


def cases_of(observations: Sequence[Observation]) -> list[Case]:
    """One case for each node, in the order in which they were seen; parts are with the node that counts them too."""
    rates = [one for one in observations if isinstance(one, HitRate)]
    nodes = {rate.name for rate in rates if rate.part_of is None}
    whole = [rate for rate in rates if rate.part_of not in nodes]  # a part of what was not seen stands for itself
    parts: dict[str, list[HitRate]] = {}
    for rate in rates:
        if rate.part_of in nodes:
            parts.setdefault(rate.part_of or "", []).append(rate)
    healths = {one.name: one for one in observations if isinstance(one, CacheNode)}
    cases = [Case(rate, healths.pop(rate.name, None), tuple(parts.get(rate.name, ()))) for rate in whole]
    return cases + [Case(None, health) for health in healths.values()]
