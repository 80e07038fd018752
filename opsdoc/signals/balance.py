"""Whether servers get their part: what was counted beside what the weights would give, in standard deviations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Deviation(NamedTuple):
    """One server's share, what its weight stands for, and how unlikely the difference is by chance."""

    share: float
    expected: float
    sigma: float

    @property
    def relative(self) -> float:
        """By which part of the expected share it differs: 0.5 is half as much more, -1 is nothing at all."""
        return self.share / self.expected - 1 if self.expected else 0.0


def deviations(counts: Sequence[int], weights: Sequence[float]) -> list[Deviation]:
    """Each count against its weight's part of the sum, in standard deviations of a binomial distribution.

    Round robin is more even than chance, so that what chance would explain is never called unbalanced.
    """
    total, whole = sum(counts), sum(weights)
    if not total or whole <= 0:
        return []
    found = []
    for count, weight in zip(counts, weights, strict=True):
        expected = weight / whole
        spread = math.sqrt(total * expected * (1 - expected))
        sigma = (count - total * expected) / spread if spread else 0.0
        found.append(Deviation(count / total, expected, sigma))
    return found


def medians_of_others(values: Sequence[float]) -> list[float]:
    """For each value the median of all others, 0 where there are none; sorted once, for groups of thousands."""
    order = sorted(range(len(values)), key=values.__getitem__)
    others = len(values) - 1
    found = [0.0] * len(values)
    for place, index in enumerate(order if others else []):
        low, high = (others - 1) // 2, others // 2
        found[index] = sum(values[order[at + (at >= place)]] for at in (low, high)) / 2
    return found
