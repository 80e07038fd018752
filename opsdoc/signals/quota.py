"""Whether a container or a unit gets no CPU because it has used up its quota."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals import naming
from opsdoc.signals.processes import Process


class Quota(Observation):
    """What a cgroup may use, over the window. Of several quotas from here to the root it is the one that held it up."""

    kind: ClassVar[str] = "quota"
    throttled: float | Unknown | None = measure("periods throttled", "ratio", "main")
    quota: float | Unknown | None = measure("may use", "cores", "line")
    used: float | Unknown | None = measure("used", "cores", "line")
    throttled_seconds: float | Unknown | None = measure("held up in every second", "seconds", "line")
    periods: int | None = measure("periods in the window", "count")
    path: str = measure("cgroup")
    level: str | None = measure("cgroup with the quota")
    folder: str | None = measure("its folder")
    pids: tuple[int, ...] = measure("processes seen in it", "id", default=())
    program: str = measure("program")
    memory_limit: int | None = measure("memory limit", "bytes")
    memory_used: int | None = measure("memory used", "bytes")

    @property
    def short_of_memory(self) -> bool:
        """Whether it has hardly anything left below its memory limit, the page cache included."""
        return bool(self.memory_limit) and (self.memory_used or 0) >= FULL * (self.memory_limit or 0)


FULL = 0.9  # of the memory limit
HELD_UP = 0.1  # seconds in every second: below it a quota that cannot be seen does not matter


class Limits(NamedTuple):
    """From which share on it matters."""

    throttled: Limit = Limit(
        0.1,
        0.5,
        "ratio",
        "what runs in a throttled period stands still for the rest of it, usually up to 0.1 s: at a tenth the slowest "
        "tenth of requests shows it; the alert CPUThrottlingHigh of the Kubernetes mixin fires at 0.25",
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Who is held up by a quota: by how much it is exceeded, and whose quota it is."""
    processes = {o.pid: o for o in observations if isinstance(o, Process)}
    for quota in observations:
        if isinstance(quota, Quota) and quota.quota is not None:
            yield _judge_quota(quota, limits.throttled, processes.get(quota.pids[0]) if quota.pids else None)


def _judge_quota(quota: Quota, limit: Limit, process: Process | None) -> Finding:
    held = known(quota.throttled_seconds) or 0.0
    finding = Finding(
        rule="cpu.throttled",
        key=f"cpu.throttled:{quota.program if process is None else naming.stable(process)}",
        severity=Severity.OK,
        subject=f"{_who(quota, process)} in {quota.subject}",
        summary=f"{quota.subject} used {_cores(quota.used)} of the {_cores(quota.quota)} that it may",
        evidence=(quota.id, *([process.id] if process else [])),
    )
    if not isinstance(quota.throttled, float):
        if held < HELD_UP:
            return finding._replace(summary=f"{quota.subject} is not held up by a quota")
        return finding._replace(
            severity=Severity.UNKNOWN,
            summary=f"{finding.subject} is held up {held:.1f} s of every second by a quota out of sight",
            next_step="look from the machine itself: the quota is that of a cgroup further up",
            by_hand=(f"cat /proc/{quota.pids[0] if quota.pids else 'PID'}/cgroup", *_by_hand(quota)),
        )
    severity = limit.grade(quota.throttled)
    if severity is Severity.OK:
        return finding
    whose = "" if quota.level in (None, quota.path) else f", the quota of {quota.level}"
    return finding._replace(
        severity=severity,
        summary=(
            f"{finding.subject} is throttled in {quota.throttled * 100:.0f} % of the periods: it may use "
            f"{_cores(quota.quota)}{whose}, and {_waits(held)}"
        ),
        threshold=limit.crossed("quota.throttled", quota.throttled),
        confidence=None
        if quota.periods is None
        else f"{round(quota.throttled * quota.periods)} of {quota.periods} periods",
        next_step=f"find the code that uses it up, or raise the quota{_how(quota)}{_threads(held)}",
        by_hand=_by_hand(quota),
    )


def _who(quota: Quota, process: Process | None) -> str:
    first = naming.who(process, process.pid) if process else f"{quota.program} (pid {quota.pids[0]})"
    more = len(quota.pids) - 1
    return f"{first} and {more} more" if more > 0 else first


def _waits(held: float) -> str:
    """Held-up time is added up over the CPUs on which it wanted to run."""
    if held >= 1:
        return f"its threads together are held up {held:.1f} s of every second"
    return f"is held up {held:.2g} s of every second"


def _threads(held: float) -> str:
    """What is held up longer than the time that passes is held up on several CPUs at once."""
    if held < 1:
        return ""
    return "; several of its threads want a CPU at once: start fewer (-XX:ActiveProcessorCount, GOMAXPROCS)"


def _how(quota: Quota) -> str:
    """Where the quota is set, by what the cgroup is called."""
    name, _, rest = quota.subject.partition(" ")
    if name in ("docker", "podman"):
        return f": {name} update --cpus N {rest}"
    if quota.subject.startswith("kubernetes pod "):
        return ": resources.limits.cpu of the pod"
    if quota.subject.startswith("systemd unit ") and " in " not in quota.subject:
        return f": systemctl set-property {_quoted(rest.removeprefix('unit '))} CPUQuota=N%"
    return ""


def _by_hand(quota: Quota) -> tuple[str, ...]:
    if quota.folder is None:
        return ()
    stat = _quoted(f"{quota.folder}/cpu.stat")
    return (f"cat {stat}; sleep 5; cat {stat}",)


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w./:@,+-]+", word, re.ASCII) else "'" + word.replace("'", "'\\''") + "'"


def _cores(value: float | Unknown | None) -> str:
    return f"{value:.2f} cores" if isinstance(value, float | int) else "an unknown share"
