"""How much of its CPU quota a cgroup used between two looks, and how often it was held up by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from opsdoc.host import Answer
from opsdoc.model import Unknown, Unseen
from opsdoc.parsers.cgroup import name_of
from opsdoc.signals.quota import Quota

_NO_CPU: Mapping[int, float] = MappingProxyType({})
_ABOVE = Unknown("the quota is that of a cgroup above the ones that can be seen from here")


class Looked(NamedTuple):
    """A process, and two answers to `clients.cgroup.Cgroup`."""

    pid: int
    name: str
    earlier: Answer[dict[str, Any]]
    later: Answer[dict[str, Any]]


def limited(answer: Mapping[str, Any]) -> bool:
    """Whether a second look is worth while: there is a quota, a memory limit, or time held up by someone's quota."""
    held = any(level.get("held_seconds") for level in answer["levels"])
    return held or answer["memory"] is not None or any(level.get("quota") is not None for level in answer["levels"])


def quotas(samples: Sequence[Looked], used: Mapping[int, float] = _NO_CPU) -> list[Quota]:
    """One for each cgroup that has a quota, or has used up its memory limit, in the order of the samples.

    `used` is the CPU of processes in cores, for kernels that keep no account of a cgroup's. A process that changed its
    cgroup in between is left out.
    """
    groups: dict[str, list[Looked]] = {}
    for one in map(Looked._make, samples):
        if one.earlier.value["path"] == one.later.value["path"]:
            groups.setdefault(one.later.value["path"], []).append(one)
    found = [_quota(group, used) for group in groups.values()]
    return [quota for quota in found if quota.quota is not None or quota.short_of_memory]


def blind(samples: Sequence[Looked]) -> Iterator[Unseen]:
    """The processes whose quota could not be read."""
    for one in map(Looked._make, samples):
        reasons = {why: None for what, why in one.later.value["unknown"].items() if what != "memory"}
        if reasons:
            detail = "; ".join(reasons)
            yield Unseen(subject=f"quota of process {one.pid} {one.name}", reason="unsupported", detail=detail)


def _quota(group: Sequence[Looked], used: Mapping[int, float]) -> Quota:
    first = group[0]
    path, memory = first.later.value["path"], first.later.value["memory"] or {}
    pids = tuple(one.pid for one in group)
    span = max(first.later.at - first.earlier.at, 1e-6)
    before = {level["path"]: level for level in first.earlier.value["levels"]}
    rates = [
        _Rate.of(before[level["path"]], level, span) for level in first.later.value["levels"] if level["path"] in before
    ]
    worst = max((rate for rate in rates if rate.quota is not None), key=_Rate.weight, default=None)
    common = {
        "subject": name_of(path),
        "path": path,
        "pids": pids,
        "program": first.name,
        "memory_limit": memory.get("limit_bytes"),
        "memory_used": memory.get("used_bytes"),
    }
    if worst is None:
        held = rates[0].held if rates else None
        if not held:
            return Quota(**common)
        return Quota(**common, quota=_ABOVE, throttled=_ABOVE, throttled_seconds=held, folder=rates[0].folder)
    known = [used[pid] for pid in pids if pid in used]
    by_process = round(sum(known), 4) if known else Unknown("this kernel keeps no account of the CPU of a cgroup")
    return Quota(
        **common,
        quota=worst.quota,
        throttled=Unknown("it has no counters") if worst.throttled is None else worst.throttled,
        throttled_seconds=Unknown("it has no counters") if worst.seconds is None else worst.seconds,
        used=by_process if worst.used is None else worst.used,
        periods=worst.periods,
        level=worst.path,
        folder=worst.folder,
    )


class _Rate(NamedTuple):
    """One level between two looks."""

    path: str
    folder: str
    quota: float | None
    throttled: float | None  # of its periods; none passed while nothing in it wanted to run
    periods: int | None
    seconds: float | None  # held up, in every second
    held: float | None  # the same, by whosever quota
    used: float | None  # cores

    @classmethod
    def of(cls, earlier: Mapping[str, Any], later: Mapping[str, Any], span: float) -> _Rate:
        def grown(name: str) -> Any:
            then, now = earlier.get(name), later.get(name)
            return None if then is None or now is None else max(0, now - then)

        def rate(name: str) -> float | None:
            amount = grown(name)
            return None if amount is None else round(amount / span, 4)

        periods, throttled = grown("periods"), grown("throttled_periods")
        share = None if periods is None or throttled is None else min(1.0, round(throttled / max(1, periods), 4))
        return cls(
            later["path"],
            later["folder"],
            later.get("quota"),
            share,
            periods,
            rate("throttled_seconds"),
            rate("held_seconds"),
            rate("used_seconds"),
        )

    def weight(self) -> tuple[float, float]:
        """The level that held it up most; of equals the one with the smallest quota."""
        return self.throttled or 0.0, -(self.quota or 0.0)
